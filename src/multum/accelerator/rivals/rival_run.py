"""What a rival's model found, in the words of all rivals, and the shapes of the heads that it was asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from multum.accelerator.workload import Workload
from multum.core import check_fields, invalid


class HeadShape(NamedTuple):
    """One head of a layer: what the time of a rival depends on."""

    num_keys: int
    """Keys, and as many values."""
    num_queries: int
    """Queries that meet them."""
    width: int
    """Channels of each."""

    @property
    def dense_operations(self) -> int:
        """Operations of Q x K and prob x V when nothing is left out, a product and its sum counted as two.

        >>> HeadShape(100, 10, 64).dense_operations
        256000
        """
        return 4 * self.num_queries * self.num_keys * self.width


@dataclass(frozen=True, kw_only=True)
class RivalRun:
    """A workload on a rival.

    >>> run = RivalRun(name="A3", cycles=2_000, dram_bytes=64, operations=10, dense_operations=4_000, clock_ghz=1.0)
    >>> run.seconds, run.effective_flops
    (2e-06, 2000000000.0)
    """

    name: str
    """Which rival."""
    cycles: int
    """From the first request to the last output."""
    dram_bytes: int
    """Bytes read from the memory outside."""
    operations: int
    """Operations done, a product and its sum counted as two."""
    dense_operations: int
    """Operations of the same attention when nothing is left out."""
    clock_ghz: float
    """Cycles of a nanosecond."""

    @property
    def seconds(self) -> float:
        """At the rival's clock."""
        return self.cycles / (1e9 * self.clock_ghz)

    @property
    def effective_flops(self) -> float:
        """Operations a second as comparisons count them: those that a dense run would have needed."""
        return self.dense_operations / self.seconds


def head_shapes(workload: Workload) -> Iterator[tuple[HeadShape, int]]:
    """The different shapes of a workload's heads, and how often each occurs.

    >>> list(head_shapes(Workload.from_counts(keys=[[10, 10]], heads=3, num_queries=10)))
    [(HeadShape(num_keys=10, num_queries=10, width=64), 6)]
    """
    columns = workload.key_fetch_num, workload.num_queries, workload.embedding_length_D.astype(np.int64)
    shapes, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    for shape, count in zip(shapes.tolist(), counts.tolist(), strict=True):
        yield HeadShape(*shape), count


def check_rival(rival: object, ratios: tuple[str, ...]) -> None:
    """Hold a rival's dials to what can be built: parts in (0, 1], everything else positive.

    Raises:
        UserError: A dial does not fit; the message names it.
    """
    check_fields(rival)
    for name, value in vars(rival).items():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value <= 0:
            raise invalid(name, "positive", value)
    for name in ratios:
        if getattr(rival, name) > 1:
            raise invalid(name, "in (0, 1]", getattr(rival, name))
