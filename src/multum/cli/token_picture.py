"""Every token's fate and score by layer, on a terminal: a row of shaded cells for each token, none where it is gone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from multum.attention import TokenFate

if TYPE_CHECKING:
    from rich.console import RenderableType

SHADES = "▁▂▃▄▅▆▇█"
"""From little to much attention, within a layer."""
GONE = "·"
"""A layer that the token did not live to see."""
NUM_TOKENS_IN_A_TABLE = 30
"""Texts up to this many tokens are a table with numbers; longer ones stand in columns."""


def token_picture(tokens: Sequence[TokenFate], num_layers: int) -> "RenderableType":
    """Draw every token's fate and score in every layer.

    Args:
        tokens: The text's tokens in order.
        num_layers: Layers of the model.

    Returns:
        A table with the numbers for a short text; for a long one the tokens in columns, each with its row of cells.
    """
    from rich.columns import Columns
    from rich.table import Table
    from rich.text import Text

    scales = [_full(tokens, layer) for layer in range(num_layers)]
    if len(tokens) > NUM_TOKENS_IN_A_TABLE:
        width = max(len(token.text) for token in tokens)
        return Columns(
            [
                Text(f"{token.text:>{width}} {cells(token, scales)}", style=_style(token, num_layers))
                for token in tokens
            ]
        )
    table = Table("token", *map(str, range(1, num_layers + 1)), "")
    for token in tokens:
        numbers = [f"{value:.3g}" for value in token.importance]
        gone = [GONE] * (num_layers - token.last_layer)
        name = f"{token.text} (protected)" if token.is_protected else token.text
        row = [name, *numbers, *gone, cells(token, scales)]
        table.add_row(*map(Text, row), style=_style(token, num_layers))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def cells(token: TokenFate, scales: Sequence[float]) -> str:
    """A token's life in characters, one for each layer.

    >>> cells(TokenFate(text="film", importance=(1.0, 4.0)), [8.0, 4.0, 9.0])
    '▁█·'
    """
    last = len(SHADES) - 1
    alive = [
        SHADES[min(last, int(last * value / scale))]
        for value, scale in zip(token.importance, scales, strict=False)
    ]
    return "".join(alive) + GONE * (len(scales) - token.last_layer)


def _full(tokens: Sequence[TokenFate], layer: int) -> float:
    """The largest importance of a layer; the model's own tokens, which draw most of it, are left aside."""
    alive = [token for token in tokens if token.last_layer > layer]
    values = [token.importance[layer] for token in alive if not token.is_special]
    return max(values or [token.importance[layer] for token in alive], default=1.0) or 1.0


def _style(token: TokenFate, num_layers: int) -> str:
    return "bold" if token.last_layer == num_layers else "dim"
