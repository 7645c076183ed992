"""The reference engine: one cycle after the other, one agent for each step of a row's way, to be stepped and read.

A row's keys are fetched into one of two buffers. When all are there its queries go by, one after the other: Q x K,
the two passes of the softmax unit, the choice of values, prob x V. Rows overlap as far as buffers and units allow, and
nobody overtakes. Each agent looks whether its next step can be taken now, and takes it; what one does may free another,
so all are asked again until none moves.

- keys: a row's are asked for when a buffer is free and its stretch (a layer) has begun. The buffer is free again when
  its last query has entered Q x K, or, under progressive quantization, when it is known not to be flat.
- Q x K: a query enters when its keys are there, the multipliers are free, and the softmax unit's FIFO has room for its
  exponentials until they are divided.
- softmax: the second pass begins when the sum is known, the divider is free, and the top-k engine has room.
- decision: a flat row's probabilities are thrown away and its second plane is asked for. Rows behind it that have
  entered already lose what they did. A row that decides nothing does not enter behind one that is undecided.
- top-k: when the probabilities are there, the engine is free, and one of two lists for the chosen is.
- values: asked for when they are chosen, or with the keys where all are; into one of two buffers.
- prob x V: when list and values are there.
- tokens are chosen beside all that, from the probabilities of a layer's last row; the next layer waits for it.

Source: SpAtten (HPCA 2021), section IV.
Differs from the paper: it does not say how deep the buffers between units are, nor what a flat row does to others.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.architecture import Architecture
from multum.accelerator.engine.memory import (
    KEYS,
    SECOND_KEYS,
    VALUES,
    Fetch,
    HbmMemory,
    IdealMemory,
    Memory,
)
from multum.accelerator.engine.plan import WHEN_FLAT, WITH_KEYS, Plan
from multum.accelerator.fetcher import Regions, surviving, transactions_of
from multum.accelerator.simulation import TIMES

BUFFERED_ROWS = 2
"""Longest rows of probabilities that wait for the top-k engine, and lists of chosen values behind it."""


@dataclass(eq=False, kw_only=True)
class _Query:
    row: int
    number: int
    is_replay: bool = False
    sum_known: int = 0
    divided_from: int | None = None
    probabilities: int = 0
    chosen: int | None = None


class ReferenceEngine:
    """A plan on its way through the architecture.

    Args:
        plan: What to run.
        architecture: On what.
        ideal_dram: Whether the memory never waits.
    """

    def __init__(self, plan: Plan, architecture: Architecture, *, ideal_dram: bool = False) -> None:
        self.cycle = 0
        self.times: NDArray[np.int64] = np.full((len(plan), len(TIMES)), -1, dtype=np.int64)
        self.busy = {"Q x K": 0, "softmax": 0, "top-k (values)": 0, "top-k (tokens)": 0, "prob x V": 0}
        self._plan, self._architecture = plan, architecture
        self.memory: Memory = (
            IdealMemory(shape=architecture.hbm, timings=plan.timings)
            if ideal_dram
            else HbmMemory(
                shape=architecture.hbm,
                timings=plan.timings,
                queue_depth=architecture.address_crossbar.fifo_depth,
            )
        )
        self._fetches: dict[tuple[int, int], Fetch] = {}
        self._next_keys = self._next_values = 0
        self._next_query = (0, 0)
        self._replay: _Query | None = None
        self._key_buffers: dict[int, int | None] = {}  # by row, when it is free again
        self._value_buffers: dict[int, int | None] = {}
        self._lists: list[tuple[_Query, int | None]] = []
        self._multipliers_free = self._divider_free = self._topk_free = self._products_free = 0
        self._in_softmax: deque[_Query] = deque()
        self._before_topk: deque[_Query] = deque()
        self._chosen: deque[_Query] = deque()
        self._tokens_chosen: dict[int, int] = {}  # by stretch

    @property
    def is_finished(self) -> bool:
        """Whether it is known when the last row will be finished."""
        return bool(self.times[-1, -1] >= 0)

    @property
    def busy_by_unit(self) -> dict[str, int]:
        """Cycles in which each unit did something."""
        return {"HBM": self.memory.counts.busy_cycles, **self.busy}

    def run(self) -> None:
        """Step until all rows are finished."""
        while not self.is_finished:
            self.step()

    def step(self) -> None:
        """Go through one cycle."""
        agents = (
            self._multiply_values,
            self._choose_values,
            self._leave_softmax,
            self._divide,
            self._multiply_keys,
            self._ask_for_values,
            self._ask_for_keys,
        )
        moved = True
        while moved:
            moved = sum(agent() for agent in agents) > 0  # all are asked, also behind one that moved
        if not self.is_finished:
            self.memory.tick(self.cycle)
            self.cycle += 1

    # fetches ----------------------------------------------------------------------------------------------------------

    def _ask_for_keys(self) -> bool:
        row, plan = self._next_keys, self._plan
        if row >= len(plan) or not self._has_begun(row):
            return False
        if not _take_buffer(self._key_buffers, row, self._architecture.key_sram.buffers, self.cycle):
            return False
        planes = (
            [plan.key_plane, plan.second_key_plane]
            if plan.second_plane[row] == WITH_KEYS
            else [plan.key_plane]
        )
        self._ask(row, KEYS, planes, self._keys_of(row))
        self.times[row, 0] = self.cycle
        self._next_keys += 1
        return True

    def _ask_for_values(self) -> bool:
        row, plan = self._next_values, self._plan
        if row >= self._next_keys:
            return False
        are_chosen = 0 <= self.times[row, 4] <= self.cycle
        if not plan.values_at_once[row] and not are_chosen:
            return False
        if not _take_buffer(self._value_buffers, row, self._architecture.value_sram.buffers, self.cycle):
            return False
        keys = self._keys_of(row)
        chosen = [keys[it] for it in surviving(row, len(keys), int(plan.fetched_values[row]))]
        self._ask(row, VALUES, [plan.value_plane], chosen)
        self.times[row, 5] = self.cycle
        self._next_values += 1
        return True

    def _ask(self, row: int, what: int, planes: list[Regions], tokens: list[int]) -> None:
        fetch = Fetch(
            row=row,
            what=what,
            bits=len(tokens) * sum(int(plane.row_bits[row]) for plane in planes),
            transactions=[it for plane in planes for it in transactions_of(plane, row, tokens)],
            posted=self.cycle,
        )
        self._fetches[row, what] = fetch
        self.memory.post(fetch)

    def _is_there(self, row: int, what: int) -> bool:
        fetch = self._fetches.get((row, what))
        return fetch is not None and fetch.is_there(self.cycle)

    def _keys_of(self, row: int) -> list[int]:
        """Tokens of a row's keys."""
        plan = self._plan
        return list(surviving(int(plan.key_seed[row]), int(plan.tokens[row]), int(plan.keys[row])))

    def _has_begun(self, row: int) -> bool:
        """Whether everything before the row's stretch is finished."""
        stretch = int(self._plan.barrier[row])
        if stretch == 0:
            return True
        last = self.times[int(np.searchsorted(self._plan.barrier, stretch)) - 1, -1]
        return bool(0 <= last <= self.cycle) and self._tokens_chosen[stretch - 1] <= self.cycle

    # Q x K and softmax ------------------------------------------------------------------------------------------------

    def _multiply_keys(self) -> bool:
        query = self._replay or self._coming()
        if query is None or self._multipliers_free > self.cycle or not self._may_enter(query):
            return False
        row, plan, softmax = query.row, self._plan, self._architecture.softmax
        self._multipliers_free = self.cycle + int(plan.query_key_cycles[row])
        query.sum_known = (
            self.cycle
            + self._architecture.query_key.latency_cycles
            + softmax.first_pass_cycles(int(plan.keys[row]))
        )
        self.busy["Q x K"] += int(plan.query_key_cycles[row])
        self.busy["softmax"] += int(plan.softmax_words[row])
        self._in_softmax.append(query)
        is_last = query.number + 1 == plan.queries[row]
        if query.number == 0:
            self.times[row, 2] = self.cycle
        if is_last and (query.is_replay or not plan.decides[row]):
            self._key_buffers[row] = self._multipliers_free
        self._replay = None
        self._next_query = (row + 1, 0) if is_last else (row, query.number + 1)
        return True

    def _coming(self) -> _Query | None:
        row, number = self._next_query
        return _Query(row=row, number=number) if row < len(self._plan) else None

    def _may_enter(self, query: _Query) -> bool:
        plan = self._plan
        if not self._is_there(query.row, SECOND_KEYS if query.is_replay else KEYS):
            return False
        undecided = any(plan.decides[it.row] and not it.is_replay for it in self._in_softmax)
        if undecided and not plan.decides[query.row]:
            return False
        return self._fifo_has_room(int(plan.softmax_words[query.row]))

    def _fifo_has_room(self, words: int) -> bool:
        """Whether exponentials that begin to arrive now find room, while earlier ones leave."""
        softmax = self._architecture.softmax
        arrival = (
            self.cycle
            + self._architecture.query_key.latency_cycles
            + softmax.dequantize_cycles
            + softmax.exponential_cycles
        )
        waiting = leaving = 0
        for it in self._in_softmax:
            size = int(self._plan.softmax_words[it.row])
            if it.divided_from is None or it.divided_from > arrival:
                waiting += size
            else:
                leaving += max(0, size - (arrival - it.divided_from))
        return waiting + max(words, leaving) <= softmax.fifo_depth

    def _divide(self) -> bool:
        query = next((it for it in self._in_softmax if it.divided_from is None), None)
        if query is None:
            return False
        keys = int(self._plan.keys[query.row])
        held = [
            it for it in (*self._in_softmax, *self._before_topk, *self._chosen) if it.divided_from is not None
        ]
        waiting = sum(
            int(self._plan.keys[it.row]) for it in held if it.chosen is None or it.chosen > self.cycle
        )
        if waiting + keys > BUFFERED_ROWS * self._architecture.value_topk.capacity:
            return False
        query.divided_from = max(query.sum_known, self._divider_free, self.cycle)
        self._divider_free = query.divided_from + int(self._plan.softmax_words[query.row])
        query.probabilities = query.divided_from + self._architecture.softmax.second_pass_cycles(keys)
        return True

    def _leave_softmax(self) -> bool:
        if not self._in_softmax or self._in_softmax[0].divided_from is None:
            return False
        query, plan = self._in_softmax[0], self._plan
        row = query.row
        if query.probabilities > self.cycle:
            return False
        if plan.second_plane[row] == WHEN_FLAT and not query.is_replay:
            self._start_again(query)
            return True
        self._in_softmax.popleft()
        if plan.decides[row] and not query.is_replay:
            self._key_buffers[row] = self.cycle
        self._before_topk.append(query)
        if query.number + 1 == plan.queries[row]:
            self.times[row, 3] = self.cycle
            self._choose_tokens(row)
        return True

    def _start_again(self, query: _Query) -> None:
        """A flat row: throw away what it and those behind it did, and ask for the second plane."""
        self._in_softmax.clear()
        self._multipliers_free = self._divider_free = self.cycle
        self._replay = _Query(row=query.row, number=query.number, is_replay=True)
        self._ask(query.row, SECOND_KEYS, [self._plan.second_key_plane], self._keys_of(query.row))

    def _choose_tokens(self, row: int) -> None:
        """Beside the critical path: after the last row of a stretch."""
        plan, stretch = self._plan, int(self._plan.barrier[row])
        cycles = int(plan.token_topk_cycles[row])
        latency = self._architecture.importance.latency_cycles if cycles else 0
        self._tokens_chosen[stretch] = max(self._tokens_chosen.get(stretch, 0), self.cycle + latency + cycles)
        self.busy["top-k (tokens)"] += cycles

    # top-k and prob x V -----------------------------------------------------------------------------------------------

    def _choose_values(self) -> bool:
        self._lists = [it for it in self._lists if it[1] is None or it[1] > self.cycle]
        if not self._before_topk or self._topk_free > self.cycle or len(self._lists) >= BUFFERED_ROWS:
            return False
        query = self._before_topk.popleft()
        cycles = int(self._plan.topk_cycles[query.row])
        self._topk_free = query.chosen = self.cycle + cycles
        self.busy["top-k (values)"] += cycles
        self._lists.append((query, None))
        self._chosen.append(query)
        if query.number + 1 == self._plan.queries[query.row]:
            self.times[query.row, 4] = query.chosen
        return True

    def _multiply_values(self) -> bool:
        if not self._chosen or self._products_free > self.cycle:
            return False
        query, plan = self._chosen[0], self._plan
        row = query.row
        assert query.chosen is not None, "in the list of the chosen before it was"
        if query.chosen > self.cycle or not self._is_there(row, VALUES):
            return False
        self._chosen.popleft()
        cycles = int(plan.prob_value_cycles[row])
        self._products_free = self.cycle + cycles
        self._lists = [(it, self._products_free if it is query else free) for it, free in self._lists]
        self.busy["prob x V"] += cycles
        if query.number + 1 == plan.queries[row]:
            keys, values = self._fetches.pop((row, KEYS)), self._fetches.pop((row, VALUES))
            self.times[row, 1], self.times[row, 6] = keys.ready or 0, values.ready or 0
            self._fetches.pop((row, SECOND_KEYS), None)
            self._value_buffers[row] = self._products_free
            self.times[row, 7] = self.cycle
            self.times[row, 8] = self._products_free + self._architecture.prob_value.latency_cycles
        return True


def _take_buffer(buffers: dict[int, int | None], row: int, how_many: int, cycle: int) -> bool:
    """Give the row a buffer, if one is free."""
    for owner in [owner for owner, free in buffers.items() if free is not None and free <= cycle]:
        del buffers[owner]
    if len(buffers) >= how_many:
        return False
    buffers[row] = None
    return True
