"""The ceiling of multiply-adds is a ceiling."""

import time

import pytest
import torch

from multum.ops import FmaPeak, measure_fma_peak
from multum.ops.fma_peak import peak


def matmul_rate() -> float:
    left = torch.randn(384, 384)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - start)
    return 2 * 384**3 / best


def test_ceiling_lies_above_what_a_matrix_product_reaches_and_below_the_possible() -> None:
    found = measure_fma_peak(rounds=3, round_seconds=0.02)
    assert found.method in {"registers", "matmul"}
    assert 1e9 < found.flops_per_second < 1e12  # one core: 16 lanes x 2 ports x 2 x 6 GHz is 0.4e12
    # half of it, for a shared machine may slow the one measurement and not the other
    assert found.flops_per_second > 0.5 * matmul_rate()


def test_without_a_compiler_a_matrix_product_gives_a_lower_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "load_native", lambda source: None)
    threads = torch.get_num_threads()
    found = measure_fma_peak(rounds=1)
    assert isinstance(found, FmaPeak)
    assert found.method == "matmul"
    assert 1e8 < found.flops_per_second < 1e12
    assert torch.get_num_threads() == threads
