"""How many tokens each layer may keep: the one dial of token pruning.

A schedule gives, for every layer, the part of a sentence's own tokens that this layer works on. Layer 0 sees all of
them (nothing has been scored yet), unless it is told which tokens a sentence can spare, and ratios never grow, for a
pruned token does not come back. Which shape is right depends on what reads the last layer: mean pooling wants a flat
tail, a classifier on [CLS] tolerates a linear one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from multum.attention.head_schedule import check_falling, check_ratios
from multum.attention.length_adaptive import LengthAdaptive
from multum.core import check_fields, invalid

UNPRUNED_PART = 0.15
"""The part of layers, from the front, that the paper leaves unpruned (SpAtten, section III-A)."""

EMBEDDING_WINDOW = 32
"""How many neighbours compete in `embedding_schedule`."""

Score = Literal["attention", "value"]
"""How tokens earn importance; see `TokenSchedule.score`."""


@dataclass(frozen=True, kw_only=True)
class TokenSchedule:
    """The part of tokens that each layer keeps.

    Raises:
        UserError: No layer, a ratio outside (0, 1], a first ratio below 1 without `spare_tokens`, ratios that grow,
            `min_tokens` below 1, a spare token listed twice.

    >>> TokenSchedule(keep_ratios=(1.0, 0.5, 0.5)).token_reduction
    1.5
    """

    keep_ratios: tuple[float, ...]
    """For every layer the part of a sentence's tokens it works on, in (0, 1]; never grows, and starts at 1 unless there
    are `spare_tokens`."""
    min_tokens: int = 1
    """A sentence keeps at least so many tokens (all, if it has fewer)."""
    protect_first: bool = True
    """Whether the first token ([CLS], which classifier heads and poolers read) is never pruned."""
    score: Score = "attention"
    """What a token earns: the attention it receives (the paper), or that times the length of its value vector."""
    window: int | None = None
    """Tokens compete within windows of so many neighbours, each giving up the same share; None: all with all (the
    paper). Keeps a mean-pooled embedding from losing one end of a passage."""
    length: LengthAdaptive | None = None
    """How the ratios bend with the length of a sentence; None: they hold for every length."""
    spare_tokens: tuple[int, ...] | None = None
    """Ids of the tokens that a sentence can spare, the first of them to go first (`count_common_tokens`,
    `rank_by_absence`): they leave before the first layer, as many as the first ratio says, what is not listed last.
    Empty: nobody has ranked yet, `adapt` does by the texts that it trains on; until then the later tokens leave. None:
    layer 0 works on all tokens (the paper)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_ratios("keep_ratios", self.keep_ratios)
        if self.keep_ratios[0] != 1.0 and self.spare_tokens is None:
            raise invalid(
                "keep_ratios[0]",
                "1 without spare_tokens",
                self.keep_ratios[0],
                "no token has been scored before layer 0 has run",
            )
        if self.spare_tokens is not None and len(set(self.spare_tokens)) < len(self.spare_tokens):
            raise invalid("spare_tokens", "different ids", "some id twice")
        check_falling("keep_ratios", self.keep_ratios)
        if self.min_tokens < 1:
            raise invalid("min_tokens", "at least 1", self.min_tokens)
        if self.window is not None and self.window < 2:
            raise invalid("window", "at least 2 tokens, or None", self.window)

    @property
    def num_layers(self) -> int:
        """How many layers the schedule is for."""
        return len(self.keep_ratios)

    @property
    def token_reduction(self) -> float:
        """Tokens of the dense model over tokens kept, summed over layers (rounding left aside).

        Of a schedule that adapts to the length: at its reference length.
        """
        return self.num_layers / math.fsum(self.keep_ratios)

    def keep_ratio(self, layer: int, length: int) -> float:
        """The part of a sentence of `length` tokens that layer `layer` works on, before rounding and floor."""
        ratio = self.keep_ratios[layer]
        return ratio if self.length is None else self.length.keep_ratio(ratio, length)

    def num_tokens(self, layer: int, length: int) -> int:
        """How many tokens of a sentence of `length` tokens layer `layer` works on.

        `ceil(keep_ratio(layer, length) * length)`, at least `min_tokens`, at most `length`.

        >>> TokenSchedule(keep_ratios=(1.0, 0.2)).num_tokens(1, 384)
        77
        """
        wished = math.ceil(
            self.keep_ratio(layer, length) * length - 1e-9
        )  # 0.07 * 100 is 7, not 7.000000000000001
        return min(length, max(self.min_tokens, wished))

    @property
    def last_pruned_layer(self) -> int:
        """The last layer that starts with fewer tokens than the one before it had; 0 when nothing is pruned."""
        ratios = self.keep_ratios
        return max((i for i in range(1, len(ratios)) if ratios[i] < ratios[i - 1]), default=0)


def flat_schedule(
    num_layers: int, keep_ratio: float, *, num_dense_layers: int = 1, min_tokens: int = 1
) -> TokenSchedule:
    """All tokens in the first layers, then one ratio to the end: the schedule for mean-pooled embeddings.

    Args:
        num_layers: Layers of the model.
        keep_ratio: Part kept in every later layer, in (0, 1].
        num_dense_layers: Leading layers that keep everything; in 1..num_layers.
        min_tokens: See `TokenSchedule`.

    >>> flat_schedule(6, 0.4).token_reduction
    2.0
    """
    _check_layers(num_layers, num_dense_layers)
    ratios = (1.0,) * num_dense_layers + (float(keep_ratio),) * (num_layers - num_dense_layers)
    return TokenSchedule(keep_ratios=ratios, min_tokens=min_tokens)


def embedding_schedule(num_layers: int, keep_ratio: float, *, min_tokens: int = 1) -> TokenSchedule:
    """The schedule for mean-pooled sentence embeddings: flat, scored by value, neighbours compete.

    Args:
        num_layers: Layers of the model.
        keep_ratio: Part kept in every layer but the first, in (0, 1].
        min_tokens: See `TokenSchedule`.

    Differs from the paper: which has no embeddings. Chosen on WikiText-2 passages, which no figure is measured on
    (LOG.md): at half the tokens scoring by value loses about a third less there than the paper's score does.

    >>> embedding_schedule(6, 0.4).window
    32
    """
    flat = flat_schedule(num_layers, keep_ratio, min_tokens=min_tokens)
    return replace(flat, score="value", window=EMBEDDING_WINDOW)


def linear_schedule(
    num_layers: int,
    average_keep_ratio: float,
    *,
    final_keep_ratio: float,
    num_dense_layers: int | None = None,
    min_tokens: int = 1,
) -> TokenSchedule:
    """The paper's rule: ratios fall in a straight line whose two ends average to `average_keep_ratio`.

    Args:
        num_layers: Layers of the model.
        average_keep_ratio: Mean ratio over the layers that prune, in (0, 1].
        final_keep_ratio: Ratio of the last layer; the first pruning layer gets `2 * average - final`.
        num_dense_layers: Leading layers that keep everything; by default 15 % of them, at least one.
        min_tokens: See `TokenSchedule`.

    Raises:
        UserError: The two ratios ask for a start above 1 or below the end.

    Source: SpAtten, section III-A (`r_start + r_end = 2 r_avg`, the first 15 % of layers unpruned).
    Differs from the paper: ratios here are the part kept, not the part pruned.

    >>> [round(r, 2) for r in linear_schedule(6, 0.5, final_keep_ratio=0.2).keep_ratios]
    [1.0, 0.8, 0.65, 0.5, 0.35, 0.2]
    """
    dense = max(1, round(UNPRUNED_PART * num_layers)) if num_dense_layers is None else num_dense_layers
    _check_layers(num_layers, dense)
    start = 2 * average_keep_ratio - final_keep_ratio
    if not final_keep_ratio <= start <= 1.0:
        constraint = "such that 2 * average - final lies between final and 1"
        raise invalid(
            "average_keep_ratio, final_keep_ratio", constraint, (average_keep_ratio, final_keep_ratio)
        )
    steps = num_layers - dense
    tail = _straight_line(start, final_keep_ratio, steps)
    return TokenSchedule(keep_ratios=(1.0,) * dense + tuple(tail), min_tokens=min_tokens)


def _straight_line(start: float, end: float, steps: int) -> Sequence[float]:
    if steps == 1:
        return [(start + end) / 2]
    return [start + (end - start) * step / (steps - 1) for step in range(steps)]


def _check_layers(num_layers: int, num_dense_layers: int) -> None:
    if num_layers < 1:
        raise invalid("num_layers", "at least 1", num_layers)
    if not 1 <= num_dense_layers <= num_layers:
        raise invalid("num_dense_layers", f"in 1..{num_layers}", num_dense_layers)
