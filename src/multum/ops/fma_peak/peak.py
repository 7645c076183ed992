"""Measure how many float32 operations one core can do, so that a time can be put beside its floor."""

import ctypes
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from multum.native import load_native

SOURCE = Path(__file__).with_name("cpu.cpp")


@dataclass(frozen=True, kw_only=True)
class FmaPeak:
    """The highest rate seen, and how it was obtained."""

    flops_per_second: float
    """Floating-point operations per second of one thread; a multiply-add counts as two."""
    method: str
    """`registers` (compiled loop of multiply-adds) or `matmul` (torch, where no compiler is: a lower bound)."""


def measure_fma_peak(*, rounds: int = 5, round_seconds: float = 0.05) -> FmaPeak:
    """Best of several short rounds on one thread (the best, because a ceiling is asked for).

    Args:
        rounds: How many rounds; at least 1.
        round_seconds: About how long each lasts.

    >>> measure_fma_peak(rounds=1, round_seconds=0.01).flops_per_second > 1e8
    True
    """
    loaded = load_native(SOURCE)
    if loaded is None:
        return FmaPeak(flops_per_second=_matmul_rate(rounds), method="matmul")
    run = loaded.handle.multum_fma_peak
    run.argtypes, run.restype = [ctypes.c_int64, ctypes.c_void_p], ctypes.c_int64
    sink = ctypes.c_float()
    repeats, best = 10_000, 0.0
    for _ in range(rounds + 1):  # the first only finds how many repeats fill a round
        start = time.perf_counter()
        operations = run(repeats, ctypes.byref(sink))
        seconds = time.perf_counter() - start
        best = max(best, operations / seconds)
        repeats = max(1, int(repeats * round_seconds / seconds))
    return FmaPeak(flops_per_second=best, method="registers")


def _matmul_rate(rounds: int) -> float:
    size, threads = 768, torch.get_num_threads()
    left, best = torch.ones(size, size), 0.0
    torch.set_num_threads(1)
    try:
        for _ in range(rounds + 1):
            start = time.perf_counter()
            torch.mm(left, left)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    finally:
        torch.set_num_threads(threads)
    return best
