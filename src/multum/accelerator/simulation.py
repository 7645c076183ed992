"""What a simulation found: when every row was finished, what kept each unit busy, and what the memory did.

Shape legend: R rows of the workload.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.activity import Activity
from multum.accelerator.architecture import Architecture
from multum.accelerator.workload import Workload

TIMES = (
    "keys asked",
    "keys there",
    "first score",
    "probabilities",
    "values chosen",
    "values asked",
    "values there",
    "last product",
    "finished",
)
"""What is known of every row, in cycles."""
UNITS = ("HBM", "Q x K", "softmax", "top-k (values)", "top-k (tokens)", "prob x V")
"""Units whose time is told, in the order in which a row meets them."""


@dataclass(frozen=True, kw_only=True)
class DramTraffic:
    """What the memory outside the chip did."""

    useful_bytes: int
    """Bytes of keys and values that were asked for."""
    transactions: int
    """Transactions that brought them; of 32 bytes each."""
    transaction_bytes: int
    """Bytes of one."""
    activates: int
    """Rows that were opened."""
    refreshes: int
    """Refreshes of a pseudo-channel."""

    @property
    def moved_bytes(self) -> int:
        """Bytes over the buses: those of whole transactions."""
        return self.transactions * self.transaction_bytes

    @property
    def row_hit_rate(self) -> float:
        """Part of the transactions that found their row open, because another had opened it."""
        return 1 - self.activates / self.transactions if self.transactions else 0.0


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A workload on an architecture."""

    workload: Workload
    """What was run."""
    architecture: Architecture
    """On what."""
    times: NDArray[np.int64]
    """When each row took each step, (R, 9); what the columns are says `TIMES`."""
    moved_bytes: NDArray[np.int64]
    """Bytes over the buses for each row, (R,)."""
    unit_busy_cycles: dict[str, int]
    """Cycles in which each unit of `UNITS` did something."""
    dram: DramTraffic
    """What the memory did."""
    activity: Activity
    """What the units did."""

    @property
    def finish_cycle(self) -> NDArray[np.int64]:
        """When each row's output was complete, (R,), ascending."""
        finished: NDArray[np.int64] = self.times[:, TIMES.index("finished")]
        return finished

    @property
    def cycles(self) -> int:
        """From the first request to the last output."""
        return int(self.finish_cycle[-1])

    @property
    def row_cycles(self) -> NDArray[np.int64]:
        """From the output before to each row's own, (R,); they add up to `cycles`."""
        return np.diff(self.finish_cycle, prepend=0)

    @property
    def seconds(self) -> float:
        """At the architecture's clock."""
        return self.cycles / (1e9 * self.architecture.clock_ghz)

    @property
    def utilization(self) -> dict[str, float]:
        """Part of the time in which each unit was busy."""
        return {unit: busy / self.cycles for unit, busy in self.unit_busy_cycles.items()}

    @property
    def dram_efficiency(self) -> float:
        """Bytes moved over what the buses could have carried in the time in which anything was asked for."""
        peak = self.architecture.hbm.bytes_per_cycle(self.architecture.hbm_timings)
        busy = self.unit_busy_cycles["HBM"]
        return self.dram.moved_bytes / (peak * busy) if busy else 0.0

    @property
    def flops(self) -> float:
        """Operations a second that Q x K and prob x V reached."""
        return self.activity.operations / self.seconds

    @property
    def operations_per_byte(self) -> float:
        """Operational intensity: where on the roofline the workload lies."""
        return self.activity.operations / self.dram.moved_bytes
