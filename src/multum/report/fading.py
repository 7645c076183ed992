"""Words that fade: a passage losing its tokens layer by layer, as in Fig. 1 of the SpAtten paper.

The picture is text, not an image, so it can be read at any width, searched and read aloud. It has
three parts:

1. The passage. The longer a word lived, the darker its ink; the words that live to the end are bold. The marker
   under a word is the attention it has gathered, its cumulative importance. Each word tells its fate when it
   is pointed at, tapped, or reached with the arrow keys; without any script the browser's own hint does.
2. A strip with a line for every layer in which the number of tokens changes. Every word stays in its place,
   and those that are gone leave a faint line.
3. What is left at the end.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from multum.attention import WordFate
from multum.core.errors import invalid
from multum.report.markup import Html, element, join
from multum.report.words import (
    changing_layers,
    check_words,
    count_alive,
    largest_importance,
    spell,
    tell_fate,
)

NUM_WORDS_SET_LARGE = 30
"""Passages up to this length are set large, like the paper's one sentence."""

MOST_LEGEND_STEPS = 6
"""Shades of ink that the legend shows."""


def fading_words(
    words: Sequence[WordFate],
    num_layers: int,
    *,
    tokens_per_layer: Sequence[int] | None = None,
    label: str = "",
    shows_strip: bool = True,
    shows_legend: bool = True,
) -> Html:
    """Draw a passage that loses its words.

    Args:
        words: The passage in its order, special tokens included where they are to be shown.
        num_layers: Layers of the model; words with this `last_layer` are the survivors.
        tokens_per_layer: Tokens that each layer works on, when known: words may have several wordpieces. The
            words are counted when left out.
        label: What a screen reader calls the passage.
        shows_strip: Whether the strip stands open; folded otherwise.
        shows_legend: Whether the legend is drawn; the second passage on a page can do without.

    Returns:
        The picture.

    Raises:
        UserError: When there are no words, a word outlives the model, or the token counts do not fit.
    """
    check_words(words, num_layers)
    counts = _counts(words, num_layers, tokens_per_layer)
    unit = "tokens" if tokens_per_layer is not None else "words"
    strip = element(
        "ol", {"class": "strip short" if is_short(words) else "strip"}, *_strip_rows(words, counts, unit)
    )
    summary = element("summary", None, f"Layer by layer: {_falling(counts)} {unit}")
    fold = element("details", {"open": shows_strip}, summary, element("div", {"class": "fold"}, strip))
    parts = [_passage(words, num_layers, label or "Passage losing its words"), _left(words, num_layers)]
    if shows_legend:
        parts.insert(1, _legend(num_layers))
    tallest = max(word.earned for word in [word for word in words if not word.is_special] or words)
    attributes = {"class": "fading", "data-largest": f"{tallest:.4g}"}
    return element("div", attributes, *parts, fold)


def is_short(words: Sequence[WordFate]) -> bool:
    """Say whether a passage is so short that it is set large."""
    return len(words) <= NUM_WORDS_SET_LARGE


def _counts(
    words: Sequence[WordFate], num_layers: int, tokens_per_layer: Sequence[int] | None
) -> tuple[int, ...]:
    if tokens_per_layer is None:
        return count_alive(words, num_layers)
    if len(tokens_per_layer) != num_layers:
        raise invalid(
            "tokens_per_layer", f"one count for each of {num_layers} layers", list(tokens_per_layer)
        )
    if any(later > earlier for earlier, later in pairwise(tokens_per_layer)):
        raise invalid(
            "tokens_per_layer", "never rising", list(tokens_per_layer), "pruned tokens never return"
        )
    return tuple(tokens_per_layer)


def _passage(words: Sequence[WordFate], num_layers: int, label: str) -> Html:
    largest = largest_importance(words)
    pieces = [join([" ", _word(word, num_layers, largest)]) for word in words]
    name = "passage short" if is_short(words) else "passage"
    how = "each word tells its fate; use the arrow keys"
    return element("p", {"class": name, "role": "group", "aria-label": f"{label}: {how}"}, *pieces)


def _word(word: WordFate, num_layers: int, largest: float) -> Html:
    names = ["kept"] * (word.last_layer == num_layers) + ["special"] * word.is_special
    life, tint = _life(word.last_layer, num_layers), min(1.0, word.earned / largest)
    attributes = {
        "class": " ".join(names) or None,
        "style": f"--life:{life:.2f};--tint:{tint:.2f}",
        "title": tell_fate(word, num_layers),
        "data-importance": " ".join(f"{value:.3g}" for value in word.importance),
    }
    return element("span", attributes, word.text)


def _life(last_layer: int, num_layers: int) -> float:
    """Map a life to ink: the shortest is the faintest, and a survivor has all of it."""
    return max(0, last_layer - 1) / (num_layers - 1) if num_layers > 1 else 1.0


def _legend(num_layers: int) -> Html:
    spread = {
        round(1 + step * (num_layers - 2) / (MOST_LEGEND_STEPS - 2)) for step in range(MOST_LEGEND_STEPS - 1)
    }
    early = sorted(layer for layer in spread if 1 <= layer < num_layers)
    steps = [
        element("span", {"class": "step", "style": f"--life:{_life(layer, num_layers):.2f}"}, f" {layer}")
        for layer in early
    ]
    ink = [element("span", None, "gone after layer", *steps)] if steps else []
    kept = element("b", None, "kept to the end")
    tint = element(
        "span", None, "marker: little", element("span", {"class": "ramp"}), "much attention gathered"
    )
    return element("p", {"class": "legend"}, *ink, kept, tint)


def _strip_rows(words: Sequence[WordFate], counts: Sequence[int], unit: str) -> Iterable[Html]:
    for layer in changing_layers(counts):
        stretches = groupby(words, key=lambda word, at=layer: (word.last_layer >= at, word.is_special))  # type: ignore[misc]
        pieces = [_stretch(list(group), *key) for key, group in stretches]
        name = element("b", None, f"Layer {layer}")
        label = element("div", {"class": "layer"}, name, f"{counts[layer - 1]} {unit}")
        yield element("li", None, label, element("p", None, *pieces))


def _stretch(words: Sequence[WordFate], is_alive: bool, is_special: bool) -> Html:
    """Write neighbours that share their state: as they are, or as a gap of their own width."""
    names = ["special"] * is_special + ["gone"] * (not is_alive)
    if not names:
        return join([" ", spell(words)])
    attributes = {"class": " ".join(names), "aria-hidden": None if is_alive else "true"}
    return join([" ", element("span", attributes, spell(words))])


def _left(words: Sequence[WordFate], num_layers: int) -> Html:
    """Spell what lived to the end, with an ellipsis where a word is missing between two of them."""
    read = [word for word in words if not word.is_special]
    pieces: list[str] = []
    is_gap = False
    for word in read:
        if word.last_layer < num_layers:
            is_gap = True
            continue
        pieces.append(f"{'… ' if is_gap and pieces else ''}{word.text}")
        is_gap = False
    head = f"Left at the end: {len(pieces)} of {len(read)} words"
    told = " ".join(pieces) or "Only the model's own tokens."
    return element("p", {"class": "left"}, element("span", None, head), told)


def _falling(counts: Sequence[int]) -> str:
    return " → ".join(str(counts[layer - 1]) for layer in changing_layers(counts))
