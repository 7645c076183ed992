"""Every token's fate and score after every layer, as text that a reader can go through.

A short text is a table: tokens down, layers across, the cumulative importance written in each cell and told by its
shade. A long one stays a text: every token with a row of small bars under it, one for each layer it lived through. A
token that is gone has no further cells. Shades compare tokens within one layer, because that is where they compete:
sums grow from layer to layer for everybody.
"""

from collections.abc import Sequence

from multum.attention import TokenFate
from multum.core.errors import invalid
from multum.report.markup import Html, element, join
from multum.report.words import tell_life

NUM_TOKENS_IN_A_TABLE = 30
"""Texts up to this many tokens are drawn as a table."""

FULL_SHADE_PART = 0.95
"""The part of a layer's tokens that do not exceed its full shade."""


def token_map(tokens: Sequence[TokenFate], num_layers: int, *, label: str = "") -> Html:
    """Draw every token's fate and score in every layer.

    Args:
        tokens: The text's tokens in order, the model's own included.
        num_layers: Layers of the model; tokens with this `last_layer` are the survivors.
        label: What a screen reader calls the text.

    Returns:
        The picture.

    Raises:
        UserError: No tokens, or one that outlives the model.
    """
    if not tokens:
        raise invalid("tokens", "at least one", list(tokens), "the text is empty")
    for token in tokens:
        if token.last_layer > num_layers:
            raise invalid(f"layers of {token.text!r}", f"at most num_layers = {num_layers}", token.last_layer)
    scales = [full_shade(tokens, layer) for layer in range(1, num_layers + 1)]
    drawn = _table if len(tokens) <= NUM_TOKENS_IN_A_TABLE else _flow
    tallest = max(token.earned for token in [it for it in tokens if not it.is_special] or tokens)
    attributes = {"class": "fading token-map", "data-largest": f"{tallest:.4g}"}
    return element("div", attributes, drawn(tokens, num_layers, scales, label or "Tokens"), _legend(tokens))


def full_shade(tokens: Sequence[TokenFate], layer: int) -> float:
    """The importance that has the full shade in a layer, counted from 1.

    The model's own tokens draw so much attention that they do not count, unless there is nothing else.

    >>> full_shade([TokenFate(text=str(v), importance=(float(v),)) for v in range(1, 21)], 1)
    19.0
    """
    alive = [token for token in tokens if token.last_layer >= layer]
    values = sorted(token.importance[layer - 1] for token in alive if not token.is_special)
    values = values or sorted(token.importance[layer - 1] for token in alive)
    if not values:
        return 1.0
    return values[round(FULL_SHADE_PART * (len(values) - 1))] or values[-1] or 1.0


def _table(tokens: Sequence[TokenFate], num_layers: int, scales: Sequence[float], label: str) -> Html:
    layers = range(1, num_layers + 1)
    head = element(
        "tr",
        None,
        element("th", {"scope": "col"}, "Layer"),
        *[element("th", {"scope": "col"}, str(layer)) for layer in layers],
    )
    body = [_table_row(token, num_layers, scales) for token in tokens]
    parts = [element("thead", None, head), element("tbody", None, *body)]
    table = element("table", {"class": "numeric shaded", "aria-label": label}, *parts)
    box = {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": label}
    return element("div", box, table)


def _table_row(token: TokenFate, num_layers: int, scales: Sequence[float]) -> Html:
    mark = [element("small", None, "protected")] if token.is_protected else []
    name = element("th", {"scope": "row", "class": _names(token, num_layers)}, token.text, *mark)
    cells = [
        element("td", {"style": f"--tint:{_tint(value, scale)}"}, f"{value:.3g}")
        for value, scale in zip(token.importance, scales, strict=False)
    ]
    gone = [element("td", {"class": "gone", "aria-label": "gone"})] * (num_layers - token.last_layer)
    return element("tr", None, name, *cells, *gone)


def _flow(tokens: Sequence[TokenFate], num_layers: int, scales: Sequence[float], label: str) -> Html:
    spans = [join([_flowing(token, num_layers, scales), " "]) for token in tokens]
    how = "each token tells its fate; use the arrow keys"
    attributes = {"class": "passage tokens", "role": "group", "aria-label": f"{label}: {how}"}
    return element("p", {**attributes, "style": f"--layers:{num_layers}"}, *spans)


def _flowing(token: TokenFate, num_layers: int, scales: Sequence[float]) -> Html:
    bars = [
        element("i", {"style": f"--tint:{_tint(value, scale)}"})
        for value, scale in zip(token.importance, scales, strict=False)
    ]
    attributes = {
        "class": _names(token, num_layers),
        "title": tell_life(token.importance, num_layers) + "; protected" * token.is_protected,
        "data-importance": " ".join(f"{value:.3g}" for value in token.importance),
    }
    return element("span", attributes, token.text, element("span", {"class": "bars"}, *bars))


def _names(token: TokenFate, num_layers: int) -> str | None:
    is_kept = token.last_layer == num_layers
    names = ["kept"] * is_kept + ["special"] * token.is_special + ["protected"] * token.is_protected
    return " ".join(names) or None


def _tint(value: float, scale: float) -> str:
    return f"{min(1.0, value / scale):.2f}"


def _legend(tokens: Sequence[TokenFate]) -> Html:
    ramp = element("span", {"class": "ramp shade"})
    parts = [
        element("b", None, "kept to the end"),
        element("span", None, "in its layer: little", ramp, "much attention gathered so far"),
        element("span", None, "no cell: gone"),
    ]
    if any(token.is_protected for token in tokens):
        parts.append(
            element("span", None, element("span", {"class": "protected"}, "underlined"), ": protected")
        )
    return element("p", {"class": "legend"}, *parts)
