"""What became of each token: the layers it lived through and the attention it had gathered after each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from multum.attention.token_pruning import LayerTokens
from multum.core import invalid

ROUNDING = 1e-4
"""By how much a sum of attention may fall in float32 and still count as never falling."""


@dataclass(frozen=True, kw_only=True)
class TokenFate:
    """One token of a text, and what became of it.

    Raises:
        UserError: The token is empty, or its importance is not cumulative.

    >>> TokenFate(text="film", importance=(0.8, 2.1)).last_layer
    2
    """

    text: str
    """The token as it stands in the text, or the name of one of the model's own."""

    importance: tuple[float, ...]
    """Cumulative importance after each layer it lived through: attention received so far, never falling; empty for one
    that left before the first layer (a schedule's `spare_tokens`)."""

    is_special: bool = False
    """Whether it is a token of the model's own, such as [CLS]."""

    is_protected: bool = False
    """Whether the schedule keeps it whatever it earns."""

    def __post_init__(self) -> None:
        check_life(self.text, self.importance)

    @property
    def last_layer(self) -> int:
        """How many layers it lived through: 1 means that it was pruned after the first layer, 0 before it."""
        return len(self.importance)

    @property
    def earned(self) -> float:
        """Cumulative importance at its end; 0 for one that left before the first layer."""
        return self.importance[-1] if self.importance else 0.0


def check_life(text: str, importance: Sequence[float]) -> None:
    """Refuse a fate that no run leaves: no text, or importance that is not a growing sum.

    Raises:
        UserError: When it is so.
    """
    if not text:
        raise invalid("a token's text", "some text", text)
    if not all(0 <= value < math.inf for value in importance):
        raise invalid(f"importance of {text!r}", "finite and not negative", tuple(importance))
    if any(later < earlier * (1 - ROUNDING) for earlier, later in pairwise(importance)):
        raise invalid(f"importance of {text!r}", "cumulative, so never falling", tuple(importance))


def token_lives(layers: Sequence[LayerTokens], length: int, sentence: int = 0) -> list[list[float]]:
    """For every token of one sentence its cumulative importance after each layer it lived in.

    Args:
        layers: What each layer worked on, all of them scored (`keep_scoring=True`).
        length: Tokens of the input, padding included.
        sentence: Which sentence of the batch.

    Returns:
        One list for each input position; empty for padding, and for a token that left before the first layer.
    """
    lives: list[list[float]] = [[] for _ in range(length)]
    for layer in layers:
        assert layer.importance_BL is not None, "keep_scoring was asked for"
        rows = (layer.position_BL, layer.mask_BL, layer.importance_BL)
        for position, is_real, score in zip(*(row[sentence].tolist() for row in rows), strict=True):
            if is_real:
                lives[position].append(score)
    return lives
