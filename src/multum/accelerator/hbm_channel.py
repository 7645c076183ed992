"""One pseudo-channel of HBM2, cycle by cycle: which command may be given when, and when data arrive.

In each cycle a controller may give one read and one command that opens or closes a row. Reads of rows that are open
come first, the oldest of them (FR-FCFS); a row is closed when the oldest request for its bank wants another one and
nobody in the queue wants it. Every `refi` cycles all rows are closed and nothing happens for `rfc` cycles.

This is the reference: it looks at every cycle in which something could happen, and it can be read.

Source: JEDEC's HBM2 as in Ramulator 2's public model; FR-FCFS of Rixner et al. (ISCA 2000).
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from multum.accelerator.hbm import HbmShape, HbmTimings
from multum.core import invalid

QUEUE_DEPTH = 64
"""Requests that the controller sees, as deep as the fetcher's FIFOs."""
NEVER = 1 << 62


class Request(NamedTuple):
    """A transaction that somebody waits for."""

    arrival: int
    """Cycle from which on it is in the queue, if there is room."""
    bank: int
    """Bank of the pseudo-channel."""
    row: int
    """Row of the bank."""


class Command(NamedTuple):
    """What the controller said."""

    cycle: int
    """When."""
    name: Literal["activate", "precharge", "read", "refresh"]
    """What."""
    bank: int
    """To which bank; -1 for all."""
    row: int
    """Of which row; -1 where none is meant."""


@dataclass(kw_only=True)
class _Bank:
    row: int | None = None
    may_activate: int = 0
    may_precharge: int = 0
    may_read: int = 0


@dataclass(frozen=True, kw_only=True)
class Served:
    """What became of requests."""

    done: tuple[int, ...]
    """For each request the cycle after its last data."""
    commands: tuple[Command, ...]
    """Everything that was said."""

    @property
    def cycles(self) -> int:
        """When the last data had arrived."""
        return max(self.done, default=0)

    def count(self, name: str) -> int:
        """How often a command was given."""
        return sum(command.name == name for command in self.commands)


@dataclass(kw_only=True)
class HbmChannel:
    """A pseudo-channel and its controller."""

    timings: HbmTimings = field(default_factory=HbmTimings)
    """What it waits for."""
    shape: HbmShape = field(default_factory=HbmShape)
    """How it is divided."""
    queue_depth: int = QUEUE_DEPTH
    """Requests among which it chooses."""

    def __post_init__(self) -> None:
        if self.queue_depth < 1:
            raise invalid("queue_depth", "at least 1", self.queue_depth)
        self._banks = [_Bank() for _ in range(self.shape.num_banks)]
        self._activates: deque[int] = deque(maxlen=4)
        self._last_activate = [-NEVER] * self.shape.bank_groups
        self._last_read = [-NEVER] * self.shape.bank_groups
        self._bus_free = 0
        self._refresh_due = self.timings.refi
        self._refreshing_until = 0
        self._waiting: list[tuple[int, Request]] = []

    @property
    def num_waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def accept(self, request: Request, tag: int) -> bool:
        """Put a request into the queue, if there is room; `tick` calls it by its tag when it is read."""
        if len(self._waiting) >= self.queue_depth:
            return False
        self._waiting.append((tag, request))
        return True

    def tick(self, cycle: int) -> tuple[list[Command], list[tuple[int, int]]]:
        """Say what may be said in this cycle; to be called for one cycle after the other.

        Returns:
            The commands, and for each request that was read its tag and the cycle after its last data.
        """
        if cycle < self._refreshing_until:
            return [], []
        if cycle >= self._refresh_due:
            commands = self._refresh(cycle)
            self._refreshing_until = commands[-1].cycle + self.timings.rfc
            return commands, []
        if not self._waiting:
            return [], []
        commands, read = [], []
        bus_is_free = self._bus_free - self.timings.cl <= cycle
        index = next(
            (
                it
                for it, (_, request) in enumerate(self._waiting)
                if bus_is_free and self._read_time(request) <= cycle
            ),
            None,
        )
        row_command = self._row_command(cycle)
        if index is not None:
            tag, request = self._waiting.pop(index)
            read.append((tag, self._read(cycle, request)))
            commands.append(Command(cycle, "read", request.bank, request.row))
        if row_command is not None:
            self._obey(row_command)
            commands.append(row_command)
        return commands, read

    def idle_until(self, cycle: int) -> int:
        """The next cycle in which it could say anything, if nothing comes."""
        if cycle < self._refreshing_until:
            return self._refreshing_until
        bus_free = self._bus_free - self.timings.cl
        times = (
            [self._read_time(request) for _, request in self._waiting] if bus_free <= cycle else [bus_free]
        )
        times += [it.cycle for it in self._wishes()]
        return max(cycle + 1, min([*times, self._refresh_due]))

    def serve(self, requests: Sequence[Request]) -> Served:
        """Read all requests, which come in the order of their arrival.

        Raises:
            UserError: A bank that there is not, or arrivals out of order.
        """
        self._check(requests)
        done, commands = [0] * len(requests), []
        following, cycle = 0, 0
        while self._waiting or following < len(requests):
            while following < len(requests) and requests[following].arrival <= cycle:
                if not self.accept(requests[following], following):
                    break
                following += 1
            said, read = self.tick(cycle)
            commands += said
            for tag, finished in read:
                done[tag] = finished
            arrival = requests[following].arrival if following < len(requests) else NEVER
            room = self.num_waiting < self.queue_depth
            cycle = (
                cycle + 1 if said else min(self.idle_until(cycle), max(arrival, cycle + 1) if room else NEVER)
            )
        return Served(done=tuple(done), commands=tuple(commands))

    # when a command may be given --------------------------------------------------------------------------------------

    def _group(self, bank: int) -> int:
        return bank % self.shape.bank_groups

    def _read_time(self, request: Request) -> int:
        """The first cycle in which a request could be read; never, while its row is closed."""
        bank, times = self._banks[request.bank], self.timings
        if bank.row != request.row:
            return NEVER
        group = self._group(request.bank)
        apart = max(
            last + (times.ccd_long if it == group else times.ccd_short)
            for it, last in enumerate(self._last_read)
        )
        return max(bank.may_read, apart, self._bus_free - times.cl)

    def _activate_time(self, bank: int) -> int:
        times, group = self.timings, self._group(bank)
        apart = max(
            last + (times.rrd_long if it == group else times.rrd_short)
            for it, last in enumerate(self._last_activate)
        )
        four = self._activates[0] + times.faw if len(self._activates) == 4 else -NEVER
        return max(self._banks[bank].may_activate, apart, four)

    def _wishes(self) -> list[Command]:
        """For each bank that needs one, its row command and the first cycle for it; the bank of the oldest first."""
        if all(self._banks[it.bank].row == it.row for _, it in self._waiting):
            return []
        wanted = {(it.bank, it.row) for _, it in self._waiting}
        wishes, seen = [], set()
        for _, request in self._waiting:
            bank = self._banks[request.bank]
            if request.bank in seen or (bank.row is not None and (request.bank, bank.row) in wanted):
                continue
            seen.add(request.bank)
            if bank.row is None:
                wishes.append(
                    Command(self._activate_time(request.bank), "activate", request.bank, request.row)
                )
            else:
                wishes.append(Command(bank.may_precharge, "precharge", request.bank, -1))
        return wishes

    def _row_command(self, cycle: int) -> Command | None:
        """The first that may be given now."""
        ready = (it._replace(cycle=cycle) for it in self._wishes() if it.cycle <= cycle)
        return next(ready, None)

    # what a command does ----------------------------------------------------------------------------------------------

    def _read(self, cycle: int, request: Request) -> int:
        self._last_read[self._group(request.bank)] = cycle
        self._bus_free = cycle + self.timings.cl + self.timings.burst
        return self._bus_free

    def _obey(self, command: Command) -> None:
        bank, times = self._banks[command.bank], self.timings
        if command.name == "precharge":
            bank.row = None
            bank.may_activate = max(bank.may_activate, command.cycle + times.rp)
            return
        bank.row = command.row
        bank.may_read = command.cycle + times.rcd
        bank.may_precharge = command.cycle + times.ras
        bank.may_activate = command.cycle + times.rc
        self._last_activate[self._group(command.bank)] = command.cycle
        self._activates.append(command.cycle)

    def _refresh(self, cycle: int) -> list[Command]:
        """Close all rows as soon as that is allowed, and refresh."""
        start = max([cycle, *(bank.may_precharge for bank in self._banks if bank.row is not None)])
        opened = any(bank.row is not None for bank in self._banks)
        closing = [Command(start, "precharge", -1, -1)] if opened else []
        start += self.timings.rp if opened else 0
        start = max([start, *(bank.may_activate - self.timings.rc for bank in self._banks)])
        for bank in self._banks:
            bank.row = None
            bank.may_activate = start + self.timings.rfc
        self._refresh_due += self.timings.refi
        return [*closing, Command(start, "refresh", -1, -1)]

    def _check(self, requests: Sequence[Request]) -> None:
        for number, request in enumerate(requests):
            if not 0 <= request.bank < self.shape.num_banks:
                raise invalid(f"bank of request {number}", f"in 0..{self.shape.num_banks - 1}", request.bank)
            if number and request.arrival < requests[number - 1].arrival:
                raise invalid(f"arrival of request {number}", "in order", request.arrival)
