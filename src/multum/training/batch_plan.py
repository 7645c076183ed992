"""Which samples each step trains on: a pure function of the seed and the step, so that a resume only needs the step.

Sentences of like length share a batch, because padding is computed like everything else. To keep the order random all
the same, only a pool of neighbouring batches is sorted by length, and the batches are shuffled afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from multum.core import invalid


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """The order of samples in every epoch.

    Raises:
        UserError: No sample, or a size below 1.

    >>> plan = BatchPlan(lengths=(9, 2, 9, 2), batch_size=2, num_epochs=1, seed=0)
    >>> sorted(sorted(batch) for batch in plan.epoch(0))
    [[0, 2], [1, 3]]
    """

    lengths: Sequence[int]
    """Length of every sample; all alike when they need no sorting."""
    batch_size: int
    """Samples of a step; the last batch of an epoch may hold fewer."""
    num_epochs: int
    """How often each sample is seen."""
    seed: int
    """Seed of the order."""
    pool_batches: int = 32
    """So many batches are sorted by length together."""

    def __post_init__(self) -> None:
        if not self.lengths:
            raise invalid("lengths", "of at least one sample", list(self.lengths))
        for name in ("batch_size", "num_epochs", "pool_batches"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))

    @property
    def steps_per_epoch(self) -> int:
        """Batches of one epoch."""
        return -(-len(self.lengths) // self.batch_size)

    @property
    def num_steps(self) -> int:
        """Batches of all epochs."""
        return self.num_epochs * self.steps_per_epoch

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch: indices of samples."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        pool_size = self.pool_batches * self.batch_size
        pools = [order[start : start + pool_size] for start in range(0, len(order), pool_size)]
        ranked = [index for pool in pools for index in sorted(pool, key=lambda i: self.lengths[i])]
        batches = [ranked[i : i + self.batch_size] for i in range(0, len(ranked), self.batch_size)]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
