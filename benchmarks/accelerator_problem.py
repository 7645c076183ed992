"""What the accelerator's suites work on: bounds of trace rows by hand, and random workloads on small machines."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multum.accelerator import TopkEngine, Workload
from multum.accelerator.architecture import Architecture
from multum.accelerator.crossbar import Crossbar
from multum.accelerator.hbm import HbmShape, HbmTimings
from multum.accelerator.multiplier_array import MultiplierArray
from multum.accelerator.softmax import SoftmaxUnit
from multum.accelerator.sram import DoubleBuffer
from multum.accelerator.topk_expectation import expected_search_cycles

BYTES_PER_CYCLE = 512
"""What HBM2 brings when it never waits."""
ROWS_PER_CYCLE = 8
"""Rows of 64 channels that 512 multipliers take."""
ARRAY_LATENCY = 7
"""Of an array: a multiplication, and log2(512 / 8) levels of its tree."""
FIRST_PASS, SECOND_PASS = 51, 36
"""Of the softmax unit: dequantize 7, exponential 21, accumulate 23; divide 29, quantize 7."""


def row_bounds(workload: Workload) -> NDArray[np.float64]:
    """Cycles that each row of a generated step needs with an ideal memory, by hand.

    A row overlaps with its neighbours, so it takes as long as the unit that takes longest; the first of a layer has
    nothing before it to overlap with, so it takes the sum of its latencies.

    Args:
        workload: Rows of one query and 64 channels each.
    """
    keys, values = workload.key_fetch_num, workload.value_fetch_num
    key_cycles = keys * _bytes_a_row(workload.quant_key_bit) / BYTES_PER_CYCLE
    value_cycles = values * _bytes_a_row(workload.quant_value_bit) / BYTES_PER_CYCLE
    score_cycles, product_cycles = -(-keys // ROWS_PER_CYCLE), -(-values // ROWS_PER_CYCLE)
    topk_cycles = _topk_cycles(keys, values)
    steady = np.max([score_cycles, product_cycles, key_cycles + value_cycles, topk_cycles], axis=0)
    probabilities = key_cycles + ARRAY_LATENCY + (score_cycles + FIRST_PASS) + (score_cycles + SECOND_PASS)
    chosen = probabilities + topk_cycles + value_cycles
    at_once = np.maximum(key_cycles + value_cycles, probabilities)
    first = np.where(values < keys, chosen, at_once) + product_cycles + ARRAY_LATENCY
    same_step = np.diff(workload.iteration_id, prepend=-1) == 0
    same_layer = np.diff(workload.layer_id, prepend=-1) == 0
    bounds: NDArray[np.float64] = np.where(same_step & same_layer, steady, first)
    return bounds


def _bytes_a_row(bits: NDArray[Any]) -> NDArray[np.float64]:
    """Of 64 numbers; -1 is float32, 12 bits are two planes of 8 and 4."""
    return np.where(bits == -1, 32, bits) * 64 / 8


def _topk_cycles(items: NDArray[Any], k: NDArray[Any]) -> NDArray[np.float64]:
    """The expected search, and the pass of the filter behind it."""
    engine = TopkEngine()
    known = {
        (n, wanted): expected_search_cycles(engine, n, wanted) + -(-n // engine.parallelism) + 3
        if wanted < n
        else 0.0
        for n, wanted in set(zip(items.tolist(), k.tolist(), strict=True))
    }
    return np.array([known[pair] for pair in zip(items.tolist(), k.tolist(), strict=True)])


@dataclass(frozen=True, kw_only=True)
class Machine:
    """An architecture that is small enough to be looked at cycle by cycle, and how it is run."""

    architecture: Architecture
    """It."""
    ideal_dram: bool
    """Whether its memory never waits."""
    overlap: bool
    """Whether rows overlap."""


def small_machine(generator: np.random.Generator) -> Machine:
    """Few channels that are refreshed often, narrow units, short queues: everything waits for everything."""
    channels = int(generator.choice([1, 2]))
    lanes = int(generator.choice([4, 8]))
    engine = TopkEngine(parallelism=int(generator.choice([2, 4, 8])), fifo_depth=32)
    engine = replace(engine, fifo_depth=64 // engine.parallelism)
    memory = DoubleBuffer(rows=64, width=16, buffers=int(generator.choice([1, 2, 3])))
    architecture = Architecture(
        name="small",
        query_key=MultiplierArray(multipliers=int(generator.choice([32, 64, 128]))),
        prob_value=MultiplierArray(multipliers=int(generator.choice([32, 64, 128]))),
        softmax=SoftmaxUnit(lanes=lanes, fifo_depth=64 // lanes),
        key_sram=memory,
        value_sram=replace(memory, buffers=int(generator.choice([1, 2, 3]))),
        token_topk=engine,
        value_topk=engine,
        address_crossbar=Crossbar(outputs=channels, fifo_depth=int(generator.choice([4, 16]))),
        data_crossbar=Crossbar(inputs=channels, outputs=32),
        hbm=HbmShape(channels=channels, row_bytes=256),
        hbm_timings=HbmTimings(refi=int(generator.choice([200, 400])), rfc=60),
    )
    return Machine(
        architecture=architecture,
        ideal_dram=bool(generator.random() < 0.2),
        overlap=bool(generator.random() < 0.8),
    )


def random_workload(generator: np.random.Generator, num_layers: int = 4) -> Workload:
    """A few layers of a few heads of 16 channels: one query or three, any bits, flat rows, pruned values."""
    heads = generator.integers(1, 4, num_layers)
    length = int(generator.integers(4, 60))
    keys = np.sort(generator.integers(1, length + 1, num_layers))[::-1]
    values = np.maximum(1, (keys * generator.choice([1.0, 0.5, 0.2])).astype(int))
    queries = int(generator.choice([1, 1, 1, 3]))
    key_bits, lsb_bits = [(None, None), (8, None), (12, None), (6, 4), (4, 4), (8, 4)][generator.integers(6)]
    is_progressive = lsb_bits is not None
    following = np.append(keys[1:], keys[-1])
    made = Workload.from_counts(
        keys=[keys.tolist()],
        heads=heads,
        values=[values.tolist()],
        lengths=[length],
        head_width=16,
        num_queries=queries,
        query_bits=12,
        key_bits=key_bits,
        value_bits=None if key_bits is None else int(generator.choice([6, 8, 12])),
        lsb_bits=lsb_bits,
        threshold=0.1 if is_progressive else None,
        accumulate=True,
        topk=[np.where(following < keys, following, -1).tolist()],
    )
    if is_progressive:
        return replace(made, if_requant=generator.random(len(made)) < 0.3)
    return made
