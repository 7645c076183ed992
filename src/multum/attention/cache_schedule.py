"""How many rows each layer's key/value cache keeps while a model generates.

In generation a row is pruned from the cache of a layer, not from a sentence of hidden states: the model writes one
token at a time, and what shrinks is what every later token must read.
"""

import math
from dataclasses import dataclass

from multum.attention.head_schedule import check_falling, check_ratios
from multum.core import check_fields, invalid


@dataclass(frozen=True, kw_only=True)
class CacheSchedule:
    """The rows that each layer's cache keeps: ratios of the context, or fixed counts.

    Raises:
        UserError: Neither or both of ratios and counts, values out of range, values that grow with depth, more
            protected tokens than kept ones.

    >>> CacheSchedule(keep_counts=(921, 716, 204)).num_rows(2, 4096)
    204
    >>> CacheSchedule(keep_ratios=(1.0, 0.5), protect_first=4, grace_tokens=8).num_rows(1, 1000)
    500
    """

    keep_ratios: tuple[float, ...] | None = None
    """For every layer the part of the context so far that its cache keeps, in (0, 1]; never grows with depth."""
    keep_counts: tuple[int, ...] | None = None
    """For every layer the number of rows its cache keeps, whatever the context; never grows with depth."""
    protect_first: int = 4
    """The first so many tokens of a sequence are never pruned (attention sinks); 0 is the paper."""
    grace_tokens: int = 32
    """The latest so many tokens are not pruned yet: a new token has had no time to earn importance. At least 1."""
    decay: float = 1.0
    """Cumulative importance is multiplied by this before every generated token's is added; 1 is the paper."""
    prompt_rows: int | None = None
    """Only the last so many rows of the prompt give importance; None: all of them (the paper)."""
    prune_prompt: bool = False
    """Whether a prompt is pruned on its way through the layers, so that later ones read fewer of its tokens (the
    paper's summarization stage); False: it is read whole, and only what the cache holds after it is pruned."""
    readmit: bool = False
    """Whether layer 0 may restart each step from rows that later layers pruned, as the public traces do; rows can
    then not be freed."""

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.keep_ratios is None) == (self.keep_counts is None):
            both = (self.keep_ratios, self.keep_counts)
            raise invalid("keep_ratios, keep_counts", "given one of the two", both)
        if self.keep_ratios is not None:
            check_ratios("keep_ratios", self.keep_ratios)
        if self.protect_first < 0:
            raise invalid("protect_first", "at least 0", self.protect_first)
        if self.grace_tokens < 1:
            raise invalid(
                "grace_tokens", "at least 1", self.grace_tokens, "the token just written must be read"
            )
        if not 0.0 < self.decay <= 1.0:
            raise invalid("decay", "in (0, 1]", self.decay)
        if self.prompt_rows is not None and self.prompt_rows < 1:
            raise invalid("prompt_rows", "at least 1, or None", self.prompt_rows)
        if self.prune_prompt and self.readmit:
            raise invalid("prune_prompt", "False with readmit", True, "rows that left a prompt cannot return")
        for layer, count in enumerate(self.keep_counts or ()):
            if count < self.protect_first + self.grace_tokens:
                least = self.protect_first + self.grace_tokens
                remedy = "lower protect_first or grace_tokens"
                raise invalid(f"keep_counts[{layer}]", f"at least {least}, the protected rows", count, remedy)
        check_falling("what layers keep", self.dials)

    @property
    def dials(self) -> tuple[float, ...] | tuple[int, ...]:
        """What every layer keeps: ratios, or counts."""
        dials = self.keep_ratios if self.keep_ratios is not None else self.keep_counts
        assert dials is not None
        return dials

    @property
    def num_layers(self) -> int:
        """How many layers the schedule is for."""
        return len(self.dials)

    def prunes_prompt_in(self, layer: int) -> bool:
        """Whether a layer works on a part of the prompt only: those with the first layer's dial read all of it."""
        return self.prune_prompt and self.dials[layer] != self.dials[0]

    def num_rows(self, layer: int, length: int) -> int:
        """Rows of a sequence of `length` tokens that the cache of `layer` keeps; never fewer than are protected."""
        if self.keep_counts is not None:
            return min(length, self.keep_counts[layer])
        assert self.keep_ratios is not None
        wished = math.ceil(self.keep_ratios[layer] * length - 1e-9)
        return min(length, max(self.protect_first + self.grace_tokens, wished))
