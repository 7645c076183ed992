"""Run by cocotb inside the simulator: random vectors through the Verilog and through the Python units, cycle by cycle.

What is drawn and how much comes in the environment, as JSON; how many vectors agreed is written to a file.
"""

import json
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from multum.accelerator import TopkEngine, ZeroEliminator

WISH = json.loads(os.environ.get("MULTUM_VERILOG_WISH", "{}"))
LONGEST_CYCLES = 100_000
"""After so many cycles an engine that is not done never will be."""


def _joined(items: Any) -> int:
    """Items as one number, the first in the lowest bits."""
    return sum(int(item) << WISH["score_bits"] * lane for lane, item in enumerate(items))


def _lanes(value: Any, count: int) -> list[int]:
    """The first elements of a row; what lies on the other lanes does not matter, and may be unknown."""
    width = WISH["score_bits"]
    return [int(value[width * lane + width - 1 : width * lane]) for lane in range(count)]


def _scores(generator: np.random.Generator, most: int) -> Any:
    """Scores with few ties, many, or nothing else."""
    limit = 2 ** WISH["score_bits"]
    different = min(limit, int(generator.choice([1, 4, 50, limit])))
    return generator.integers(0, different, int(generator.integers(2, most + 1)))


def _tell(equal: int) -> None:
    Path(WISH["result"]).write_text(json.dumps({"equal": equal}))


@cocotb.test()  # type: ignore[untyped-decorator]
async def topk_engine(dut: Any) -> None:
    """Search, last pass, survivors and both times."""
    engine = TopkEngine(**WISH["engine"])
    generator, equal = np.random.default_rng(WISH["seed"]), 0
    Clock(dut.clock, 2, "ns").start()
    for _ in range(WISH["vectors"]):
        scores = _scores(generator, WISH["most"])
        k = int(generator.integers(1, len(scores)))
        equal += await _searched(dut, engine, scores, k)
        _tell(equal)


async def _searched(dut: Any, engine: TopkEngine, scores: Any, k: int) -> bool:
    lanes = engine.parallelism
    dut.reset.value, dut.start.value, dut.num_loaded.value = 1, 0, 0
    await FallingEdge(dut.clock)
    dut.reset.value = 0
    for first in range(0, len(scores), lanes):
        row = scores[first : first + lanes]
        dut.loaded_row.value, dut.num_loaded.value = _joined(row), len(row)
        await FallingEdge(dut.clock)
    dut.num_loaded.value, dut.k.value, dut.start.value = 0, k, 1
    await FallingEdge(dut.clock)
    dut.start.value = 0
    found, kept, packed, rows = 0, [], [], 0
    for cycle in range(1, LONGEST_CYCLES):
        await FallingEdge(dut.clock)
        if int(dut.kept_valid.value):
            mask = int(dut.kept_lanes.value)
            kept += [rows * lanes + lane for lane in range(lanes) if mask >> lane & 1]
            packed += _lanes(dut.kept_row.value, int(dut.num_kept.value))
            rows += 1
        found = cycle if int(dut.found.value) else found
        if int(dut.done.value):
            break
    run = engine.select(scores, k)
    ours = (run.kept.tolist(), scores[run.kept].tolist(), run.threshold, run.search_cycles, run.cycles)
    return (kept, packed, int(dut.threshold.value), found, cycle) == ours


@cocotb.test()  # type: ignore[untyped-decorator]
async def zero_eliminator(dut: Any) -> None:
    """A row enters in one cycle and is packed in the next."""
    lanes = WISH["engine"]["parallelism"]
    eliminator = ZeroEliminator(lanes=lanes)
    generator, equal = np.random.default_rng(WISH["seed"]), 0
    Clock(dut.clock, 2, "ns").start()
    dut.reset.value = 0
    await FallingEdge(dut.clock)
    for _ in range(WISH["vectors"]):
        row = generator.integers(0, 2 ** WISH["score_bits"], lanes)
        present = generator.random(lanes) < generator.random()
        dut.row.value = _joined(row)
        dut.present.value = sum(int(there) << lane for lane, there in enumerate(present))
        await FallingEdge(dut.clock)  # the rising edge before it was the only one
        packed = eliminator.pack(row.tolist(), present.tolist())
        count = int(dut.num_packed.value)
        equal += (_lanes(dut.packed_row.value, count), eliminator.latency_cycles) == (packed, 1)
        _tell(equal)
