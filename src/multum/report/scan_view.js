"use strict";

// Turns the pictures of a scan into one that can be turned. Every view of a scan is one byte for each point and a row
// of 256 colours; the views that are pressed are drawn beside each other from one place. Where WebGL is missing, the
// still pictures stay.

(function () {
  const CODE = { hidden: 254, none: 255, ink: 253, ring: 252, mostRamp: 250 };
  const VERTEX = `
    attribute vec3 position; attribute float value;
    uniform mat4 clip; uniform float size, largest, emphasis, reach;
    varying float code, fog;
    void main() {
      gl_Position = clip * vec4(position, 1.0);
      code = value;
      fog = clamp((gl_Position.w - reach) / (3.0 * reach), 0.0, 0.65);
      float grown = value == emphasis ? 1.4 : 1.0;
      gl_PointSize = clamp(size / gl_Position.w, largest * 0.27, largest) * grown;
      if (value == ${CODE.hidden}.0) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    }`;
  const FRAGMENT = `
    precision mediump float;
    uniform sampler2D palette; uniform vec3 paper; uniform bool dots;
    varying float code, fog;
    void main() {
      if (dots && length(gl_PointCoord - 0.5) > 0.5) discard;
      gl_FragColor = vec4(mix(texture2D(palette, vec2((code + 0.5) / 256.0, 0.5)).rgb, paper, fog), 1.0);
    }`;

  async function unpack(text, facts) {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const opened = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(opened).arrayBuffer());
    const count = facts.points;
    const steps = new Int16Array(3 * count);
    for (let axis = 0; axis < 3; axis += 1) {
      const low = bytes.subarray(2 * axis * count), high = bytes.subarray((2 * axis + 1) * count);
      for (let point = 0, sum = 0; point < count; point += 1) {
        sum = (sum + low[point] + 256 * high[point]) << 16 >> 16; // differences, modulo 2^16
        steps[3 * point + axis] = sum;
      }
    }
    const planes = [];
    for (let start = 6 * count; start < bytes.length; start += count) planes.push(bytes.subarray(start, start + count));
    return { steps, intensity: planes[0], labels: planes.slice(1) };
  }

  function rgb(colour) { // #rrggbb
    return [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
  }

  function mixed(first, second, share) {
    return first.map((part, place) => Math.round(part + (second[place] - part) * share));
  }

  function program(gl) {
    const made = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
    }
    gl.bindAttribLocation(made, 0, "position");
    gl.bindAttribLocation(made, 1, "value");
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) return null;
    gl.useProgram(made);
    const place = {};
    for (const name of ["clip", "size", "largest", "emphasis", "reach", "palette", "paper", "dots"]) {
      place[name] = gl.getUniformLocation(made, name);
    }
    return place;
  }

  function buffer(gl, data) {
    const made = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, made);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    return made;
  }

  function boxLines(boxes) { // centre, size, yaw; twelve edges, and a line that points ahead
    const lines = [];
    for (const [x, y, z, length, width, height, yaw] of boxes) {
      const cos = Math.cos(yaw), sin = Math.sin(yaw);
      const corner = (a, b, c) => [x + (a * cos * length - b * sin * width) / 2, y + (a * sin * length + b * cos * width) / 2, z + c * height / 2];
      for (const one of [-1, 1]) {
        for (const other of [-1, 1]) {
          lines.push(corner(-1, one, other), corner(1, one, other), corner(one, -1, other), corner(one, 1, other));
          lines.push(corner(one, other, -1), corner(one, other, 1));
        }
      }
      lines.push(corner(0, 0, -1), corner(1.6, 0, -1));
    }
    return new Float32Array(lines.flat());
  }

  function ringLines(facts) {
    const lines = [];
    for (let radius = facts.ring; radius <= 2 * facts.reach; radius += facts.ring) {
      for (let part = 0; part < 96; part += 1) {
        for (const end of [part, part + 1]) {
          const angle = end * Math.PI / 48;
          lines.push(radius * Math.cos(angle), radius * Math.sin(angle), facts.ground);
        }
      }
    }
    return new Float32Array(lines);
  }

  class Scan {
    constructor(figure, facts, points, gl, uniforms) {
      Object.assign(this, { figure, facts, points, gl, uniforms });
      this.stage = figure.querySelector(".scan-stage");
      this.canvas = figure.querySelector("canvas");
      this.pressed = facts.start.slice();
      this.hidden = new Set();
      this.buffers = new Map();
      this.withBoxes = true;
      this.positions = buffer(gl, points.steps);
      this.boxes = boxLines(facts.boxes);
      this.rings = ringLines(facts);
      this.boxBuffer = buffer(gl, this.boxes);
      this.ringBuffer = buffer(gl, this.rings);
      gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
      for (const [what, how] of [[gl.TEXTURE_MIN_FILTER, gl.NEAREST], [gl.TEXTURE_MAG_FILTER, gl.NEAREST], [gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE]]) {
        gl.texParameteri(gl.TEXTURE_2D, what, how);
      }
      gl.enable(gl.DEPTH_TEST);
      gl.enable(gl.SCISSOR_TEST);
      this.home();
    }

    home() {
      const [x, y] = this.facts.target;
      this.camera = { x, y, z: this.facts.ground, yaw: 0.42, pitch: 0.52, distance: 1.15 * this.facts.reach };
      this.ask();
    }

    fromAbove() {
      this.home();
      Object.assign(this.camera, { yaw: 0, pitch: Math.PI / 2 - 0.001, distance: 2.1 * this.facts.reach });
    }

    ask() { // for a drawing, with the next picture of the screen
      if (this.asked) return;
      this.asked = true;
      requestAnimationFrame(() => { this.asked = false; this.draw(); });
    }

    values(view) { // one byte for each point
      const { steps, intensity, labels } = this.points, { facts, hidden } = this;
      const own = view.kind === "class" || view.kind === "error" ? labels[view.of] : labels[0];
      const made = new Uint8Array(facts.points);
      const perMetre = CODE.mostRamp / Math.max(facts.high - facts.low, 1e-6);
      for (let point = 0; point < made.length; point += 1) {
        const label = own ? own[point] : CODE.none;
        if (view.kind === "class") made[point] = label;
        else if (view.kind === "error") made[point] = labels[0][point] === CODE.none ? 2 : Number(labels[0][point] !== label);
        else if (view.kind === "intensity") made[point] = intensity[point] * CODE.mostRamp / 255;
        else {
          const height = steps[3 * point + 2] * facts.step + facts.middle[2] - facts.low;
          made[point] = Math.max(0, Math.min(CODE.mostRamp, height * perMetre));
        }
        const judged = view.kind === "class" ? label : labels.length ? labels[0][point] : CODE.none;
        if (hidden.has(judged)) made[point] = CODE.hidden;
      }
      return made;
    }

    palette(view, look) {
      const row = new Uint8Array(4 * 256).fill(255);
      const put = (place, colour) => row.set(colour, 4 * place);
      const faint = mixed(look.paper, look.muted, 0.35);
      if (view.kind === "class") this.facts.colours.forEach((colour, place) => put(place, rgb(colour)));
      else if (view.kind === "error") [mixed(look.paper, look.muted, 0.6), look.wrong, faint].forEach((colour, place) => put(place, colour));
      else {
        const stops = this.facts.ramp.map(rgb);
        for (let place = 0; place <= CODE.mostRamp; place += 1) {
          const at = place / CODE.mostRamp * (stops.length - 1), before = Math.min(Math.floor(at), stops.length - 2);
          put(place, mixed(stops[before], stops[before + 1], at - before));
        }
      }
      put(CODE.none, faint);
      put(CODE.ink, look.ink);
      put(CODE.ring, look.rule);
      return row;
    }

    look() {
      const style = getComputedStyle(this.figure);
      const named = (name) => rgb(style.getPropertyValue(name).trim());
      return { paper: named("--paper"), muted: named("--muted"), ink: named("--ink"), rule: named("--rule"), wrong: named("--wrong") };
    }

    clip(aspect) { // rows of the matrix from metres to the screen
      const { x, y, z, yaw, pitch, distance } = this.camera;
      const cy = Math.cos(yaw), sy = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
      const ahead = [cp * cy, cp * sy, -sp], right = [sy, -cy, 0], up = [sp * cy, sp * sy, cp];
      const eye = [x - distance * ahead[0], y - distance * ahead[1], z - distance * ahead[2]];
      const near = Math.max(0.2, distance / 60), far = distance + 6 * this.facts.reach + 100, lens = 1.9;
      const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
      const row = (axis, scale, plus) => [...axis.map((part) => part * scale), plus - scale * dot(axis, eye)];
      const depth = (far + near) / (far - near);
      return [
        row(right, lens / Math.max(1, aspect), 0), row(up, lens * Math.min(1, aspect), 0),
        row(ahead, depth, -2 * far * near / (far - near)), row(ahead, 1, 0),
      ];
    }

    draw() {
      const { gl, uniforms, facts, canvas } = this;
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const wide = canvas.clientWidth >= 560, columns = wide ? Math.min(2, this.pressed.length) : 1;
      const rows = Math.ceil(this.pressed.length / columns);
      this.arrange(columns, rows);
      canvas.width = Math.round(canvas.clientWidth * ratio);
      canvas.height = Math.round(canvas.clientHeight * ratio);
      const look = this.look(), gap = Math.round(ratio);
      const width = Math.floor((canvas.width - gap * (columns - 1)) / columns), height = Math.floor((canvas.height - gap * (rows - 1)) / rows);
      gl.scissor(0, 0, canvas.width, canvas.height);
      gl.clearColor(...look.rule.map((part) => part / 255), 1);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.clearColor(...look.paper.map((part) => part / 255), 1);
      const metres = this.clip(width / height);
      const steps = metres.map((row) => [...row.slice(0, 3).map((part) => part * facts.step), row[3] + row[0] * facts.middle[0] + row[1] * facts.middle[1] + row[2] * facts.middle[2]]);
      const upload = (rows4) => gl.uniformMatrix4fv(uniforms.clip, false, [0, 1, 2, 3].flatMap((column) => rows4.map((row) => row[column])));
      gl.uniform3fv(uniforms.paper, look.paper.map((part) => part / 255));
      gl.uniform1f(uniforms.size, height * 0.16);
      gl.uniform1f(uniforms.largest, 5.5 * ratio);
      gl.uniform1f(uniforms.reach, this.camera.distance * 0.9);
      for (let pane = 0; pane < columns * rows; pane += 1) {
        const left = (pane % columns) * (width + gap), top = Math.floor(pane / columns) * (height + gap);
        const place = [left, canvas.height - top - height, width, height];
        gl.viewport(...place);
        gl.scissor(...place);
        gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
        if (pane >= this.pressed.length) continue; // three views leave a fourth place empty
        const number = this.pressed[pane], view = facts.views[number];
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, this.palette(view, look));
        upload(metres);
        this.lines(this.ringBuffer, this.rings.length / 3, CODE.ring);
        if (this.withBoxes) this.lines(this.boxBuffer, this.boxes.length / 3, CODE.ink);
        upload(steps);
        gl.uniform1i(uniforms.dots, 1);
        gl.uniform1f(uniforms.emphasis, view.kind === "error" ? 1 : -1);
        gl.enableVertexAttribArray(0);
        gl.bindBuffer(gl.ARRAY_BUFFER, this.positions);
        gl.vertexAttribPointer(0, 3, gl.SHORT, false, 0, 0);
        gl.enableVertexAttribArray(1);
        if (!this.buffers.has(number)) this.buffers.set(number, buffer(gl, this.values(view)));
        gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers.get(number));
        gl.vertexAttribPointer(1, 1, gl.UNSIGNED_BYTE, false, 0, 0);
        gl.drawArrays(gl.POINTS, 0, facts.points);
      }
      this.figure.dataset.drawn = String(Number(this.figure.dataset.drawn || 0) + 1);
    }

    lines(what, count, code) {
      const { gl, uniforms } = this;
      gl.uniform1i(uniforms.dots, 0);
      gl.bindBuffer(gl.ARRAY_BUFFER, what);
      gl.enableVertexAttribArray(0);
      gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
      gl.disableVertexAttribArray(1);
      gl.vertexAttrib1f(1, code);
      gl.drawArrays(gl.LINES, 0, count);
    }

    arrange(columns, rows) { // names over the panes
      const key = [columns, rows, ...this.pressed].join();
      if (key === this.arranged) return;
      this.arranged = key;
      this.stage.style.setProperty("--rows", String(rows));
      this.stage.querySelector(".scan-names").style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
      this.stage.querySelector(".scan-names").replaceChildren(...this.pressed.map((number) => {
        const name = document.createElement("span");
        name.textContent = this.facts.views[number].name;
        return name;
      }));
    }

    forgetValues() {
      for (const made of this.buffers.values()) this.gl.deleteBuffer(made);
      this.buffers.clear();
      this.ask();
    }

    turn(dx, dy) {
      const { camera } = this;
      camera.yaw -= dx * 0.008;
      camera.pitch = Math.max(0.03, Math.min(Math.PI / 2 - 0.001, camera.pitch + dy * 0.006));
      this.ask();
    }

    move(dx, dy) { // the ground stays under the pointer, nearly
      const { camera } = this, metre = camera.distance * 1.1 / Math.max(240, this.canvas.clientHeight);
      const cy = Math.cos(camera.yaw), sy = Math.sin(camera.yaw), along = dy / Math.max(0.35, Math.sin(camera.pitch));
      camera.x += metre * (along * cy - dx * sy);
      camera.y += metre * (along * sy + dx * cy);
      this.ask();
    }

    zoom(factor) {
      this.camera.distance = Math.max(2, Math.min(8 * this.facts.reach, this.camera.distance * factor));
      this.ask();
    }
  }

  function listen(scan) {
    const { canvas } = scan, fingers = new Map();
    const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
    canvas.addEventListener("pointerdown", function (event) {
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", function (event) {
      const finger = fingers.get(event.pointerId);
      if (!finger) return;
      const before = fingers.size === 2 ? spread() : 0;
      const dx = event.clientX - finger.x, dy = event.clientY - finger.y;
      Object.assign(finger, { x: event.clientX, y: event.clientY });
      if (fingers.size === 2) {
        scan.move(dx / 2, dy / 2);
        scan.zoom(before / Math.max(1, spread()));
      } else if (event.shiftKey || event.buttons & 6) scan.move(dx, dy);
      else scan.turn(dx, dy);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", function (event) {
      if (document.activeElement !== canvas && !event.ctrlKey) return; // whoever only scrolls by is not held
      event.preventDefault();
      scan.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.003));
    }, { passive: false });
    canvas.addEventListener("keydown", function (event) {
      const go = event.shiftKey ? (dx, dy) => scan.move(-dx, -dy) : (dx, dy) => scan.turn(dx, dy);
      const keys = {
        ArrowLeft: () => go(24, 0), ArrowRight: () => go(-24, 0), ArrowUp: () => go(0, 24), ArrowDown: () => go(0, -24),
        "+": () => scan.zoom(0.85), "=": () => scan.zoom(0.85), "-": () => scan.zoom(1 / 0.85), Home: () => scan.home(),
      };
      if (!(event.key in keys)) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  function setUpTools(scan) {
    const { figure } = scan;
    const toggle = (button, is) => button.setAttribute("aria-pressed", String(is));
    for (const button of figure.querySelectorAll("[data-view]")) {
      const number = Number(button.dataset.view);
      toggle(button, scan.pressed.includes(number));
      button.addEventListener("click", function () {
        const without = scan.pressed.filter((it) => it !== number);
        scan.pressed = without.length < scan.pressed.length ? (without.length ? without : [number]) : [...without, number].sort((a, b) => a - b).slice(-4);
        for (const it of figure.querySelectorAll("[data-view]")) toggle(it, scan.pressed.includes(Number(it.dataset.view)));
        scan.ask();
      });
    }
    for (const button of figure.querySelectorAll("[data-class]")) {
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", function () {
        const number = Number(button.dataset.class);
        if (!scan.hidden.delete(number)) scan.hidden.add(number);
        toggle(button, !scan.hidden.has(number));
        scan.forgetValues();
      });
    }
    const tools = { home: () => scan.home(), above: () => scan.fromAbove(), boxes: () => { scan.withBoxes = !scan.withBoxes; scan.ask(); } };
    for (const button of figure.querySelectorAll("[data-tool]")) {
      button.addEventListener("click", function () {
        tools[button.dataset.tool]();
        if (button.dataset.tool === "boxes") toggle(button, scan.withBoxes);
      });
    }
  }

  async function setUp(figure) {
    const canvas = figure.querySelector("canvas"), facts = JSON.parse(figure.dataset.facts);
    const gl = canvas.getContext("webgl", { antialias: false, alpha: false });
    if (!gl || typeof DecompressionStream === "undefined") return;
    const uniforms = program(gl);
    if (!uniforms) return;
    const scan = new Scan(figure, facts, await unpack(figure.dataset.points, facts), gl, uniforms);
    figure.removeAttribute("data-points"); // it is not needed twice
    figure.classList.add("turnable");
    canvas.addEventListener("webglcontextlost", () => figure.classList.remove("turnable"));
    listen(scan);
    setUpTools(scan);
    const ask = () => scan.ask();
    new ResizeObserver(ask).observe(canvas);
    new MutationObserver(ask).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", ask);
    scan.ask();
  }

  document.addEventListener("DOMContentLoaded", function () {
    for (const figure of document.querySelectorAll("figure.scan")) setUp(figure);
  });
})();
