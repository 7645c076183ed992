"""The traps that `tests/conftest.py` sets are really set."""

import random

import numpy as np
import pytest
import torch

from multum.core.once import warn_once
from tolerances import TABLE, assert_close, tolerance

_DRAWN: dict[str, tuple[float, float, float]] = {}


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64]
)
def test_fresh_floating_memory_is_nan(dtype: torch.dtype) -> None:
    template = torch.zeros(3, 2, dtype=dtype)
    for fresh in (
        torch.empty(3, 2, dtype=dtype),
        torch.empty_like(template),
        torch.empty_strided((3, 2), (2, 1), dtype=dtype),
        template.new_empty(3, 2),
        template.new_empty_strided((3, 2), (2, 1)),
    ):
        assert fresh.dtype is dtype
        assert fresh.isnan().all()


def test_fresh_integer_memory_holds_the_largest_value() -> None:
    assert (torch.empty(5, dtype=torch.int32) == torch.iinfo(torch.int32).max).all()


def test_poison_respects_the_default_device() -> None:
    with torch.device("meta"):
        assert torch.empty(2).is_meta
        assert torch.nn.Linear(2, 3).weight.is_meta


def test_poison_leaves_parameters_trainable() -> None:
    weight = torch.empty(2, requires_grad=True)
    assert weight.requires_grad
    assert weight.is_leaf


@pytest.mark.parametrize("attempt", [1, 2])
def test_every_test_draws_the_same_numbers(attempt: int) -> None:
    drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))  # noqa: NPY002
    seen = _DRAWN.setdefault("numbers", drawn)
    assert drawn == seen


@pytest.mark.parametrize("attempt", [1, 2])
def test_every_test_hears_a_warning_anew(attempt: int) -> None:
    with pytest.warns(RuntimeWarning, match="said once"):
        warn_once("said once")


def test_one_thread_computes() -> None:
    assert torch.get_num_threads() == 1


def test_tolerances_tighten_with_the_type() -> None:
    steps = [TABLE[dtype].relative for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64)]
    assert steps == sorted(steps, reverse=True)
    for dtype, entry in TABLE.items():
        assert entry.relative > 2 * torch.finfo(dtype).eps
    assert tolerance(torch.float32, num_terms=6400).relative == pytest.approx(
        10 * TABLE[torch.float32].relative
    )


def test_assert_close_refuses_what_is_off_and_what_is_misshapen() -> None:
    exact = torch.ones(4, dtype=torch.float64)
    assert_close(exact.float() + 1e-6, exact)
    with pytest.raises(AssertionError):
        assert_close(exact.float() + 1e-4, exact)
    with pytest.raises(AssertionError, match="is not"):
        assert_close(torch.ones(1), exact)


def test_poison_does_not_disturb_compiling_exporting_and_differentiating() -> None:
    class Doubled(torch.nn.Module):
        def forward(self, input_N: torch.Tensor) -> torch.Tensor:
            fresh_N = torch.empty_like(input_N)
            fresh_N.copy_(input_N)
            return 2 * fresh_N + input_N.new_empty(1).fill_(1.0)

    model, input_N = Doubled(), torch.ones(4)
    expected_N = torch.full((4,), 3.0)
    assert torch.equal(torch.compile(model, fullgraph=True, backend="aot_eager")(input_N), expected_N)
    assert torch.equal(torch.export.export(model, (input_N,)).module()(input_N), expected_N)
    assert torch.equal(torch.func.grad(lambda it: model(it).sum())(input_N), torch.full((4,), 2.0))
    with torch.inference_mode():
        assert torch.equal(model(input_N), expected_N)
