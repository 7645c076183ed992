"""HBM2: how a stack of memory is divided, what it has to wait for, and where an address lies.

A stack has 16 channels of two pseudo-channels; each of these has its own data bus of 16 GB/s and its own banks, so they
never wait for each other. 32 bytes are the least that is read: a transaction, two cycles of a pseudo-channel's bus.
Neighbouring transactions lie on neighbouring pseudo-channels, so that a stream uses all of them.

Units: cycles of 1 ns.

Source: SpAtten (HPCA 2021), Table I (16 channels, 512 GB/s); timings of Ramulator 2's public HBM2 model, 2 Gb/s a pin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.counts import check_counts
from multum.core import invalid

RFC_BY_GIGABITS = {2: 160, 4: 260, 8: 350, 16: 450}
"""Cycles of a refresh of all banks, by the density of a channel."""


@dataclass(frozen=True, kw_only=True)
class HbmTimings:
    """What a pseudo-channel waits for, in cycles of 1 ns; names as in the standard.

    Raises:
        UserError: A time below 1, a short one above its long one, a refresh longer than the time between two.
    """

    cl: int = 7
    """From a read to its first data."""
    rcd: int = 7
    """From an activate to a read of its row."""
    rp: int = 7
    """From a precharge to the next activate of its bank."""
    ras: int = 17
    """From an activate to the precharge of its bank."""
    rc: int = 19
    """From an activate to the next of its bank; what `ras` and `rp` come to may be more."""
    ccd_short: int = 1
    """From a read to one of another bank group."""
    ccd_long: int = 2
    """From a read to one of its bank group."""
    rrd_short: int = 2
    """From an activate to one of another bank group."""
    rrd_long: int = 3
    """From an activate to one of its bank group."""
    faw: int = 15
    """Any five activates span at least this."""
    refi: int = 3900
    """From a refresh to the next."""
    rfc: int = RFC_BY_GIGABITS[8]
    """How long a refresh keeps all banks busy."""
    burst: int = 2
    """How long a transaction keeps the data bus busy."""

    def __post_init__(self) -> None:
        check_counts(self, "at least 1 cycle")
        for short, long in (("ccd_short", "ccd_long"), ("rrd_short", "rrd_long")):
            if getattr(self, short) > getattr(self, long):
                raise invalid(short, f"at most {long}, {getattr(self, long)}", getattr(self, short))
        if self.rp + self.rfc + self.rcd >= self.refi:
            raise invalid("rfc", f"such that data fit between two refreshes, {self.refi} cycles", self.rfc)

    def at_clock(self, clock_ghz: float) -> "HbmTimings":
        """The same times in cycles of another clock, rounded up; a transaction must be a whole number of cycles.

        >>> HbmTimings().at_clock(2.0).faw
        30
        """
        burst = self.burst * clock_ghz
        if burst < 1 or burst != int(burst):
            raise invalid(
                "clock_ghz", f"such that a transaction of {self.burst} ns takes whole cycles", clock_ghz
            )
        return HbmTimings(**{it.name: math.ceil(getattr(self, it.name) * clock_ghz) for it in fields(self)})

    @property
    def stream_efficiency(self) -> float:
        """Part of the bus's time that a stream of neighbouring transactions fills.

        Rows are opened behind the data of others, so only refreshes cost: precharge, refresh, activate, once in `refi`.
        Holds where the data of a row take at least as long as it takes to open one in each of the banks in turn.

        >>> round(HbmTimings().stream_efficiency, 4)
        0.9067
        """
        return 1 - (self.rp + self.rfc + self.rcd) / self.refi

    def miss_efficiency(self, num_banks: int) -> float:
        """Part of the bus's time that transactions fill of which each opens a row of its own, banks taken in turn.

        An activate for each: four in `faw`, one in `rrd_short`, one for each bank in the time that it is busy.

        >>> round(HbmTimings().miss_efficiency(16), 4)
        0.4836
        """
        busy = max(self.rc, self.ras + self.rp)
        apart = max(self.faw / 4, self.rrd_short, busy / num_banks, self.burst)
        return self.burst / apart * self.stream_efficiency


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where transactions lie, an array for each level."""

    channel: NDArray[np.int64]
    """Pseudo-channel."""
    group: NDArray[np.int64]
    """Bank group."""
    bank: NDArray[np.int64]
    """Bank, counted over all groups: neighbours are of different groups."""
    row: NDArray[np.int64]
    """Row of the bank."""
    column: NDArray[np.int64]
    """Transaction of the row."""


@dataclass(frozen=True, kw_only=True)
class HbmShape:
    """How a stack is divided; an address is, from its highest to its lowest part, row, bank, column, channel.

    Raises:
        UserError: A count below 1, a row that is no multiple of a transaction.

    >>> HbmShape().num_channels, HbmShape().bytes_per_cycle(HbmTimings())
    (32, 512.0)
    """

    channels: int = 16
    """Channels of 128 bits."""
    pseudo_channels: int = 2
    """Parts of a channel with a bus and banks of their own."""
    bank_groups: int = 4
    """Groups of a pseudo-channel."""
    banks_per_group: int = 4
    """Banks of a group."""
    row_bytes: int = 1024
    """Bytes of a row of a pseudo-channel's bank."""
    transaction_bytes: int = 32
    """The least that is read."""

    def __post_init__(self) -> None:
        check_counts(self)
        if self.row_bytes % self.transaction_bytes:
            raise invalid("row_bytes", f"a multiple of {self.transaction_bytes}", self.row_bytes)

    @property
    def num_channels(self) -> int:
        """Pseudo-channels of the stack."""
        return self.channels * self.pseudo_channels

    @property
    def num_banks(self) -> int:
        """Banks of a pseudo-channel."""
        return self.bank_groups * self.banks_per_group

    @property
    def columns(self) -> int:
        """Transactions of a row."""
        return self.row_bytes // self.transaction_bytes

    def bytes_per_cycle(self, timings: HbmTimings) -> float:
        """What all buses carry together when none ever waits."""
        return self.num_channels * self.transaction_bytes / timings.burst

    def place(self, transactions: Sequence[int] | NDArray[np.int64]) -> Place:
        """Where transactions lie, by their number (address over `transaction_bytes`).

        >>> place = HbmShape().place([0, 1, 32, 1024])
        >>> place.channel.tolist(), place.column.tolist(), place.bank.tolist()
        ([0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1])
        """
        number = np.asarray(transactions, dtype=np.int64)
        if number.ndim != 1 or bool((number < 0).any()):
            raise invalid("transactions", "a list of numbers of at least 0", transactions)
        number, channel = np.divmod(number, self.num_channels)
        number, column = np.divmod(number, self.columns)
        row, bank = np.divmod(number, self.num_banks)
        return Place(channel=channel, group=bank % self.bank_groups, bank=bank, row=row, column=column)
