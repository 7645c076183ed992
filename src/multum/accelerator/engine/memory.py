"""The memory as the reference engine sees it: fetches are posted, and some cycles later all their data are there.

Older rows come first: of all fetches that wait, the memory serves that of the oldest row, and of one row first its
keys, then their second plane, then its values. `HbmMemory` is the model of HBM2, a controller for each pseudo-channel;
`IdealMemory` carries as many bits in every cycle as the buses could, and never waits.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from multum.accelerator.fetcher import ADDRESS_CYCLES, DATA_CYCLES
from multum.accelerator.hbm import HbmShape, HbmTimings
from multum.accelerator.hbm_channel import HbmChannel, Request

KEYS, SECOND_KEYS, VALUES = 0, 1, 2
"""What a fetch brings."""


@dataclass(kw_only=True)
class Fetch:
    """One plane of a row's keys or values on its way."""

    row: int
    """Of the workload."""
    what: int
    """`KEYS`, `SECOND_KEYS` or `VALUES`."""
    bits: int
    """Bits that were asked for."""
    transactions: Sequence[int]
    """What brings them."""
    posted: int
    """The cycle in which it was asked for."""
    ready: int | None = None
    """The cycle from which on all data are on the chip."""

    def is_there(self, cycle: int) -> bool:
        """Whether all data are on the chip."""
        return self.ready is not None and self.ready <= cycle


@dataclass
class MemoryCounts:
    """What a memory did."""

    transactions: int = 0
    activates: int = 0
    refreshes: int = 0
    busy_cycles: int = 0


class Memory(Protocol):
    """What both memories can do."""

    counts: MemoryCounts

    def post(self, fetch: Fetch) -> None:
        """Ask for data."""

    def tick(self, cycle: int) -> None:
        """Go through one cycle; called for each, in their order."""


@dataclass(kw_only=True)
class IdealMemory:
    """Full buses in every cycle."""

    shape: HbmShape
    """How many buses."""
    timings: HbmTimings
    """Of which only the burst counts."""
    counts: MemoryCounts = field(default_factory=MemoryCounts)
    """What it did."""

    def __post_init__(self) -> None:
        self._waiting: dict[tuple[int, int], tuple[Fetch, int]] = {}

    def post(self, fetch: Fetch) -> None:
        """Ask for data."""
        self._waiting[fetch.row, fetch.what] = fetch, fetch.bits * self.timings.burst
        self.counts.transactions += len(fetch.transactions)

    def tick(self, cycle: int) -> None:
        """Carry what the buses carry in one cycle."""
        self.counts.busy_cycles += bool(self._waiting)
        room = 8 * self.shape.num_channels * self.shape.transaction_bytes  # bits of a burst
        for age in sorted(self._waiting):
            fetch, left = self._waiting[age]
            taken = min(room, left)
            room -= taken
            self._waiting[age] = fetch, left - taken
            if left == taken:
                fetch.ready = cycle + 1
                del self._waiting[age]


@dataclass(kw_only=True)
class HbmMemory:
    """HBM2: the fetcher hands each channel one request a cycle, its pseudo-channels taking turns."""

    shape: HbmShape
    """How it is divided."""
    timings: HbmTimings
    """What it waits for."""
    queue_depth: int
    """Requests that each controller sees."""
    counts: MemoryCounts = field(default_factory=MemoryCounts)
    """What it did."""

    def __post_init__(self) -> None:
        self._channels = [
            HbmChannel(shape=self.shape, timings=self.timings, queue_depth=self.queue_depth)
            for _ in range(self.shape.num_channels)
        ]
        self._waiting: dict[tuple[int, int], tuple[Fetch, list[deque[Request]]]] = {}
        self._read: dict[
            int, tuple[Fetch, int, int]
        ] = {}  # by tag: the fetch, what is missing, when the last came

    def post(self, fetch: Fetch) -> None:
        """Ask for data; there at once if they came with the other head of a pair."""
        if not fetch.transactions:
            fetch.ready = fetch.posted + ADDRESS_CYCLES + DATA_CYCLES
            return
        place = self.shape.place(fetch.transactions)
        queues: list[deque[Request]] = [deque() for _ in self._channels]
        for channel, bank, row in zip(
            place.channel.tolist(), place.bank.tolist(), place.row.tolist(), strict=True
        ):
            queues[channel].append(Request(fetch.posted, bank, row))
        self._waiting[fetch.row, fetch.what] = fetch, queues
        self._read[_tag(fetch)] = fetch, len(fetch.transactions), 0
        self.counts.transactions += len(fetch.transactions)

    def tick(self, cycle: int) -> None:
        """One request into each channel, then one cycle of each controller."""
        self.counts.busy_cycles += bool(self._read)
        for number, channel in enumerate(self._channels):
            if cycle % self.shape.pseudo_channels == number % self.shape.pseudo_channels:
                self._hand_over(cycle, number, channel)
            commands, read = channel.tick(cycle)
            self.counts.activates += sum(it.name == "activate" for it in commands)
            self.counts.refreshes += sum(it.name == "refresh" for it in commands)
            for tag, done in read:
                self._arrive(tag, done)

    def _hand_over(self, cycle: int, number: int, channel: HbmChannel) -> None:
        for age in sorted(self._waiting):
            fetch, queues = self._waiting[age]
            if queues[number] and fetch.posted + ADDRESS_CYCLES <= cycle:
                if channel.accept(queues[number][0], _tag(fetch)):
                    queues[number].popleft()
                    if not any(queues):
                        del self._waiting[age]
                return

    def _arrive(self, tag: int, done: int) -> None:
        fetch, missing, last = self._read[tag]
        self._read[tag] = fetch, missing - 1, max(last, done)
        if missing == 1:
            fetch.ready = max(last, done) + DATA_CYCLES
            del self._read[tag]


def _tag(fetch: Fetch) -> int:
    return 3 * fetch.row + fetch.what
