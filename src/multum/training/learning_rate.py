"""How the learning rate moves: up in a line while the optimizer's averages fill, then down."""

import math
from dataclasses import dataclass
from typing import Literal

from multum.core import check_fields, invalid

Decay = Literal["constant", "linear", "cosine"]
"""The way down after the warm-up."""


@dataclass(frozen=True, kw_only=True)
class LearningRate:
    """A learning rate for every step of a training.

    Raises:
        UserError: A value outside its range.

    >>> rate = LearningRate(peak=1.0, warmup_part=0.5, decay="linear")
    >>> [rate.at(step, num_steps=4) for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """

    peak: float = 5e-5
    """The largest rate; positive."""
    warmup_part: float = 0.1
    """Part of the steps in which the rate rises in a line, in [0, 1]."""
    decay: Decay = "linear"
    """The way down after that: none, a line, or half a cosine."""
    final_part: float = 0.0
    """Part of the peak that the way down leads to, in [0, 1]."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.peak <= 0:
            raise invalid("peak", "a positive number", self.peak)
        for name in ("warmup_part", "final_part"):
            if not 0 <= getattr(self, name) <= 1:
                raise invalid(name, "in [0, 1]", getattr(self, name))

    def at(self, step: int, *, num_steps: int) -> float:
        """The rate of step `step` of `num_steps`, counted from 0; never 0 before the last step is done."""
        warmup = math.ceil(self.warmup_part * num_steps)
        if step < warmup:
            return self.peak * (step + 1) / warmup
        done = (step - warmup) / max(1, num_steps - warmup)
        if self.decay == "constant":
            return self.peak
        left = 1 - done if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return self.peak * (self.final_part + (1 - self.final_part) * left)
