"""How long a step of a training will take on this machine, before it is taken.

    seconds = 1.4 operations / peak + 2.8 bytes / bandwidth + layers (30 million operations / peak)

The first two terms are floors, times what libraries stay above them; the third is what calling a layer costs, forward
and backward. The three numbers were fitted to 64 steps: four backbones, four modes, three sizes, whole batches and one
picture at a time, on one core with AVX2. Of these 86 in 100 are told to 25 %, all to a factor of 1.8 (LOG.md).
"""

import math
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch

from multum.ops import measure_fma_peak
from multum.transfer.step_memory import StepMemory

if TYPE_CHECKING:
    from multum.transfer.train_config import TransferConfig

OVER_OPERATIONS, OVER_BYTES, LAYER_OPERATIONS = 1.4, 2.8, 30e6
STREAM_FLOATS, STREAM_ROUNDS = 16 << 20, 5


@dataclass(frozen=True, kw_only=True)
class MachineSpeed:
    """What one core can do at most."""

    flops_per_second: float
    """A multiply-add counts as two."""
    bytes_per_second: float
    """Read and written, while memory is copied."""


@cache
def measure_speed() -> MachineSpeed:
    """Measure this machine, once a process; half a second, and 128 MB for that long."""
    source, target = torch.ones(STREAM_FLOATS), torch.empty(STREAM_FLOATS)
    threads, best = torch.get_num_threads(), math.inf
    torch.set_num_threads(1)
    try:
        for _ in range(STREAM_ROUNDS):
            start = time.perf_counter()
            target.copy_(source)
            best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return MachineSpeed(
        flops_per_second=measure_fma_peak(rounds=2, round_seconds=0.02).flops_per_second,
        bytes_per_second=2 * source.nbytes / best,
    )


def step_seconds(memory: StepMemory, config: "TransferConfig", speed: MachineSpeed | None = None) -> float:
    """Predict how long a step takes, decoding of pictures and the optimizer not counted.

    Args:
        memory: The step, as `step_memory` or a plan has it.
        config: Its dials; so many threads share operations and calls, and all of them one memory.
        speed: Of a core; None: this machine's, measured.
    """
    it = speed or measure_speed()
    passes = -(-config.batch_size // config.at_a_time)
    operations = OVER_OPERATIONS * 2 * memory.macs + LAYER_OPERATIONS * memory.num_layers * passes
    moved = OVER_BYTES * memory.cost.dram_bytes * passes
    return operations / it.flops_per_second / config.num_threads + moved / it.bytes_per_second
