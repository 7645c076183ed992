"use strict";

// Everything on the page can be read without this script. It adds three comforts: a switch between light and
// dark, a note beside a word of a passage (by mouse, touch or keyboard), and folds that open for printing.

(function () {
  const root = document.documentElement;
  const systemIsDark = window.matchMedia("(prefers-color-scheme: dark)");

  function remembered() {
    try { return window.localStorage.getItem("multum-theme"); } catch { return null; } // storage may be forbidden
  }

  function remember(theme) {
    try { window.localStorage.setItem("multum-theme", theme); } catch { /* then it lasts as long as the page */ }
  }

  const choice = remembered();
  if (choice === "light" || choice === "dark") root.dataset.theme = choice; // before anything is painted

  function currentTheme() {
    return root.dataset.theme || (systemIsDark.matches ? "dark" : "light");
  }

  function setUpThemeSwitch() {
    const button = document.querySelector("button.theme");
    function label() {
      const other = currentTheme() === "dark" ? "Light" : "Dark";
      button.querySelector(".theme-name").textContent = other;
      button.setAttribute("aria-label", other + " colours");
    }
    button.addEventListener("click", function () {
      root.dataset.theme = currentTheme() === "dark" ? "light" : "dark";
      remember(root.dataset.theme);
      label();
    });
    systemIsDark.addEventListener("change", label);
    label();
    button.hidden = false;
  }

  function makeNote() {
    const note = document.createElement("div");
    note.className = "word-note";
    note.setAttribute("role", "status"); // read aloud when it changes
    note.hidden = true;
    document.body.append(note);
    return note;
  }

  function fill(note, word) {
    const name = document.createElement("strong");
    name.textContent = word.textContent;
    const fate = document.createElement("span");
    fate.textContent = word.dataset.fate;
    const bars = document.createElement("span");
    bars.className = "word-bars";
    bars.setAttribute("aria-hidden", "true");
    const values = word.dataset.importance.split(" ").filter(Boolean).map(Number);
    const largest = Number(word.closest(".fading").dataset.largest) || 1;
    for (const value of values) {
      const bar = document.createElement("i");
      bar.style.setProperty("--height", String(Math.max(0.04, Math.min(1, value / largest))));
      bars.append(bar);
    }
    note.replaceChildren(name, fate, bars);
  }

  function place(note, word) {
    const margin = 8;
    const box = word.getBoundingClientRect();
    const size = note.getBoundingClientRect();
    const roomBelow = root.clientHeight - box.bottom > size.height + 2 * margin;
    const top = roomBelow || box.top < size.height + 2 * margin ? box.bottom + margin : box.top - size.height - margin;
    const left = Math.min(Math.max(margin, box.left), root.clientWidth - size.width - margin);
    note.style.top = window.scrollY + top + "px";
    note.style.left = Math.max(margin, left) + "px";
  }

  function setUpWords() {
    const words = document.querySelectorAll(".passage [data-importance]");
    if (!words.length) return;
    const note = makeNote();
    let shown = null;

    function hide() {
      if (shown) shown.classList.remove("shown");
      shown = null;
      note.hidden = true;
    }
    function show(word) {
      hide();
      shown = word;
      word.classList.add("shown");
      fill(note, word);
      note.hidden = false;
      place(note, word);
    }
    for (const word of words) {
      word.dataset.fate = word.title; // our note takes the place of the browser's own
      word.removeAttribute("title");
    }
    for (const passage of document.querySelectorAll(".passage")) {
      const inOrder = [...passage.querySelectorAll("[data-importance]")];
      let current = 0; // one stop for the Tab key; the arrow keys go from word to word
      inOrder.forEach((word, index) => { word.tabIndex = index ? -1 : 0; });
      function focus(index) {
        inOrder[current].tabIndex = -1;
        current = Math.max(0, Math.min(inOrder.length - 1, index));
        inOrder[current].tabIndex = 0;
        inOrder[current].focus();
      }
      passage.addEventListener("keydown", function (event) {
        const at = inOrder.indexOf(document.activeElement);
        const target = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: inOrder.length - 1 };
        if (event.key === "Escape") hide();
        else if (at >= 0 && event.key in target) { event.preventDefault(); focus(target[event.key]); }
      });
      passage.addEventListener("focusin", (event) => { if (inOrder.includes(event.target)) show(event.target); });
      passage.addEventListener("focusout", hide);
      passage.addEventListener("pointerover", function (event) {
        const word = event.target.closest("[data-importance]");
        if (word) show(word);
      });
      passage.addEventListener("pointerleave", function (event) {
        if (event.pointerType === "mouse") hide();
      });
      passage.addEventListener("click", function (event) {
        const word = event.target.closest("[data-importance]");
        if (word) focus(inOrder.indexOf(word));
      });
    }
    document.addEventListener("click", (event) => { if (!event.target.closest(".passage")) hide(); });
    window.addEventListener("resize", hide);
  }

  function setUpPrinting() {
    let opened = [];
    window.addEventListener("beforeprint", function () {
      opened = [...document.querySelectorAll("details:not([open])")];
      for (const fold of opened) fold.open = true;
    });
    window.addEventListener("afterprint", function () {
      for (const fold of opened) fold.open = false;
    });
  }

  document.addEventListener("DOMContentLoaded", function () {
    setUpThemeSwitch();
    setUpWords();
    setUpPrinting();
  });
})();
