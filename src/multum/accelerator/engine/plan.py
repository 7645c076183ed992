"""What both engines work on: how long each row keeps each unit, and where its keys and values lie.

A plan holds no time of day. Whatever follows from counts and sizes alone is worked out here, once, for all rows at
the same time; when things happen is the engines' business.

Shape legend: R rows of the workload.

Source: SpAtten (HPCA 2021), section IV (dataflow).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.architecture import Architecture
from multum.accelerator.fetcher import Regions, regions_of
from multum.accelerator.hbm import HbmTimings
from multum.accelerator.topk_engine import TopkEngine
from multum.accelerator.topk_expectation import each_pair, expected_search_cycles
from multum.accelerator.workload import Workload
from multum.accelerator.workload_columns import UNSET
from multum.core import invalid

Ints = NDArray[np.int64]

NO_PLANE, WITH_KEYS, WHEN_FLAT = 0, 1, 2
"""What becomes of the keys' second plane: there is none, it comes with the first, it comes when the row is flat."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A workload made ready for an architecture; one entry a row, (R,), unless said."""

    queries: Ints
    """Queries that meet the row's keys, one after the other."""
    keys: Ints
    """Keys fetched, and scores of a query."""
    values: Ints
    """Value rows that a query multiplies."""
    fetched_values: Ints
    """Value rows fetched: those of the one query, or all when several queries choose from them."""
    tokens: Ints
    """Tokens among which the keys are chosen."""
    barrier: Ints
    """Number of the stretch that the row belongs to: one begins when the one before has been finished."""
    key_seed: Ints
    """Which of the tokens are its keys; the same for all heads of a layer."""
    query_key_cycles: Ints
    """A query in Q x K: the multipliers or the softmax unit behind them, whichever takes longer."""
    softmax_words: Ints
    """Words of a query's scores in the softmax unit, and cycles of one pass."""
    topk_cycles: Ints
    """The choice of a query's values; 0 where all are kept."""
    prob_value_cycles: Ints
    """A query in prob x V."""
    token_topk_cycles: Ints
    """The choice of tokens after the row; 0 where none are chosen."""
    second_plane: Ints
    """`NO_PLANE`, `WITH_KEYS` or `WHEN_FLAT`."""
    decides: Ints
    """Whether the keys must stay until it is known whether the row is flat, 0 or 1."""
    values_at_once: Ints
    """Whether values are fetched right behind the keys, as none are left out, 0 or 1."""
    key_plane: Regions
    """The keys' first plane in memory."""
    second_key_plane: Regions
    """Their second."""
    value_plane: Regions
    """The values."""
    timings: HbmTimings
    """The memory's, in cycles of the architecture's clock."""

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def useful_bits(self) -> Ints:
        """Bits of keys and values that each row asks for, as they are stored."""
        keys: Ints = self.keys * (self.key_plane.row_bits + self.second_key_plane.row_bits)
        return keys + self.fetched_values * self.value_plane.row_bits

    @property
    def transactions(self) -> Ints:
        """Transactions that bring them."""
        keys: Ints = self.keys * (self.key_plane.count + self.second_key_plane.count)
        return keys + self.fetched_values * self.value_plane.count


def plan_of(workload: Workload, architecture: Architecture, *, overlap: bool = True) -> Plan:
    """Work out what both engines need.

    Args:
        workload: What to run.
        architecture: On what.
        overlap: Whether rows of a layer may overlap in time; otherwise each begins when the one before is finished.

    Raises:
        UserError: More keys than a buffer, the softmax unit or the top-k engine holds.
    """
    width = workload.embedding_length_D.astype(np.int64)
    keys, values = workload.key_fetch_num, workload.value_fetch_num
    _check_capacity(workload, architecture)
    several = workload.num_queries > 1
    key_plane, second_key_plane, value_plane = regions_of(workload, architecture.hbm)
    layers = _stretches(workload)
    flat = workload.if_requant & ~several
    softmax_words = _ceil(keys, architecture.softmax.lanes)
    return Plan(
        queries=workload.num_queries,
        keys=keys,
        values=values,
        fetched_values=np.where(several, keys, values),
        tokens=workload.sentence_length_L,
        barrier=layers if overlap else np.arange(len(workload)),
        key_seed=layers,
        query_key_cycles=np.maximum(
            _in_array(architecture.query_key.multipliers, keys, width), softmax_words
        ),
        softmax_words=softmax_words,
        topk_cycles=_topk_cycles(architecture.value_topk, keys, values),
        prob_value_cycles=_in_array(architecture.prob_value.multipliers, values, width),
        token_topk_cycles=_topk_cycles(
            architecture.token_topk, keys, np.where(workload.if_topk, workload.topk, keys)
        ),
        second_plane=np.where(flat, WHEN_FLAT, np.where(second_key_plane.row_bits > 0, WITH_KEYS, NO_PLANE)),
        decides=((workload.auto_requant_thres != UNSET) & ~several | flat).astype(np.int64),
        values_at_once=(several | (values >= keys)).astype(np.int64),
        key_plane=key_plane,
        second_key_plane=second_key_plane,
        value_plane=value_plane,
        timings=architecture.hbm_timings.at_clock(architecture.clock_ghz),
    )


def _ceil(numbers: Ints, size: int) -> Ints:
    return -(-numbers // size)


def _in_array(multipliers: int, rows: Ints, width: Ints) -> Ints:
    """`MultiplierArray.busy_cycles` of every row."""
    rows_per_cycle = np.maximum(1, multipliers // width)
    return -(-rows // rows_per_cycle) * -(-width // multipliers)


def _topk_cycles(engine: TopkEngine, num_items: Ints, k: Ints) -> Ints:
    """Expected search, rounded, and the filter behind it; 0 where all are kept."""

    def cycles(items: int, wanted: int) -> int:
        return round(expected_search_cycles(engine, items, wanted)) + engine.pass_cycles(items)

    return each_pair(cycles, num_items, k).astype(np.int64)


def _stretches(workload: Workload) -> Ints:
    """Number the layers of all iterations, in their order."""
    begins = (np.diff(workload.iteration_id) != 0) | (np.diff(workload.layer_id) != 0)
    return np.concatenate([[0], np.cumsum(begins)]).astype(np.int64)


def _check_capacity(workload: Workload, architecture: Architecture) -> None:
    """Every row fits a buffer of keys; that the units behind it hold as many is what `Architecture` checks."""
    sram = architecture.key_sram
    blocks = _ceil(workload.embedding_length_D.astype(np.int64), sram.width)
    needed = workload.key_fetch_num * blocks
    worst = int(np.argmax(needed))
    if needed[worst] > min(sram.rows, architecture.value_sram.rows):
        fitting, channels = sram.rows // int(blocks[worst]), int(workload.embedding_length_D[worst])
        raise invalid(
            f"row {worst}, key_fetch_num",
            f"at most {fitting}, the keys of {channels} channels that a buffer holds",
            int(workload.key_fetch_num[worst]),
            "take an architecture of larger buffers, `Architecture.grown_for(workload)`",
        )
