"""The fast engine: `cpu.cpp` beside this file, fed with a plan as two tables of integers."""

import ctypes
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.architecture import Architecture
from multum.accelerator.engine.memory import MemoryCounts
from multum.accelerator.engine.plan import Plan
from multum.accelerator.engine.reference import BUFFERED_ROWS
from multum.accelerator.fetcher import ADDRESS_CYCLES, DATA_CYCLES, Regions
from multum.accelerator.simulation import TIMES, UNITS
from multum.native import load_native

SOURCE = Path(__file__).with_name("cpu.cpp")

Ints = NDArray[np.int64]

_COUNTS = 9


def run_fast(
    plan: Plan, architecture: Architecture, *, ideal_dram: bool
) -> tuple[Ints, dict[str, int], MemoryCounts] | None:
    """Run a plan in C++; None where there is no compiler (a warning has said so).

    Returns:
        The table of times (rows, `TIMES`), busy cycles by unit, and what the memory did.
    """
    library = load_native(SOURCE)
    if library is None:
        return None
    parameters, rows = _parameters(plan, architecture, ideal_dram), _rows(plan)
    sizes = [library.handle.spatten_engine_sizes(it) for it in range(4)]
    assert sizes == [len(parameters), rows.shape[1], len(TIMES), _COUNTS], "cpu.cpp and fast.py differ"
    times, counts = np.empty((len(plan), len(TIMES)), dtype=np.int64), np.zeros(_COUNTS, dtype=np.int64)
    pointers = [ctypes.c_void_p(it.ctypes.data) for it in (parameters, rows, times, counts)]
    run = library.handle.spatten_engine
    stuck = run(pointers[0], pointers[1], ctypes.c_int64(len(plan)), pointers[2], pointers[3])
    assert not stuck, "rows that wait for each other"
    query_key, softmax, topk, tokens, prob_value, hbm, transactions, activates, refreshes = counts.tolist()
    busy = dict(zip(UNITS, (hbm, query_key, softmax, topk, tokens, prob_value), strict=True))
    memory = MemoryCounts(
        transactions=transactions, activates=activates, refreshes=refreshes, busy_cycles=hbm
    )
    return times, busy, memory


def _parameters(plan: Plan, architecture: Architecture, ideal_dram: bool) -> Ints:
    """In the order of `Parameters` in cpu.cpp."""
    shape, times, softmax = architecture.hbm, plan.timings, architecture.softmax
    query_key = architecture.query_key.latency_cycles
    to_fifo = softmax.dequantize_cycles + softmax.exponential_cycles
    memory = (
        *(shape.num_channels, shape.pseudo_channels, shape.bank_groups, shape.num_banks, shape.columns),
        *(shape.transaction_bytes, architecture.address_crossbar.fifo_depth),
        *(times.cl, times.rcd, times.rp, times.ras, times.rc, times.ccd_short, times.ccd_long),
        *(times.rrd_short, times.rrd_long, times.faw, times.refi, times.rfc, times.burst),
        *(int(ideal_dram), ADDRESS_CYCLES, DATA_CYCLES),
    )
    buffers = (
        architecture.key_sram.buffers,
        architecture.value_sram.buffers,
        BUFFERED_ROWS,
        architecture.value_topk.capacity,
    )
    latencies = (
        query_key,
        architecture.prob_value.latency_cycles,
        architecture.importance.latency_cycles,
        softmax.first_pass_cycles(0),
        query_key + to_fifo,
        softmax.second_pass_cycles(0),
        softmax.fifo_depth,
    )
    return np.array([*memory, *buffers, *latencies], dtype=np.int64)


def _rows(plan: Plan) -> Ints:
    """One line a row, in the order of `Row` in cpu.cpp."""
    planes: tuple[Regions, ...] = (plan.key_plane, plan.second_key_plane, plan.value_plane)
    columns = (
        *(
            plan.queries,
            plan.keys,
            plan.values,
            plan.fetched_values,
            plan.tokens,
            plan.barrier,
            plan.key_seed,
        ),
        *(plan.query_key_cycles, plan.softmax_words, plan.topk_cycles, plan.prob_value_cycles),
        *(plan.token_topk_cycles, plan.second_plane, plan.decides, plan.values_at_once),
        *(it.start + it.offset for it in planes),
        *(it.stride for it in planes),
        *(it.count for it in planes),
        *(it.row_bits for it in planes),
    )
    return np.ascontiguousarray(np.stack(columns, axis=1).astype(np.int64))
