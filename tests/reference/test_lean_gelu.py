"""GELU that keeps a byte: forward exact, gradients off by no more than it says, a byte kept."""

import pytest
import torch
from torch.nn import functional

from multum.cost.witness import kept_by_autograd
from multum.transfer.lean_gelu import LeanGELU, gelu_8bit

APPROXIMATIONS = ("none", "tanh")


@pytest.mark.parametrize("approximate", APPROXIMATIONS)
def test_gradients_are_off_by_half_a_step_at_most(approximate: str) -> None:
    x = torch.linspace(-12, 12, 100_001, dtype=torch.float64, requires_grad=True)
    expected, found = functional.gelu(x, approximate=approximate), gelu_8bit(x, approximate=approximate)
    assert torch.equal(found, expected)
    (true,), (mine,) = (torch.autograd.grad(it.sum(), x) for it in (expected, found))
    off = (true - mine).abs()
    assert 0 < off.max() <= 1 / 404 + 1e-12
    shut = (x < -8) | (x > 8)
    assert torch.equal(mine[shut], (x[shut] > 0).double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_byte_an_element_is_kept_and_the_type_stays(dtype: torch.dtype) -> None:
    x = torch.randn(3, 7, 5, dtype=dtype, requires_grad=True)
    layer = LeanGELU()
    layer.keeps = "8bit"
    y = layer(x.clone())
    assert y.dtype == dtype
    assert kept_by_autograd(y.sum()) == x.numel()
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_exactly_or_without_gradients_it_is_torchs() -> None:
    x = torch.randn(50, requires_grad=True)
    layer = LeanGELU()
    assert type(layer(x).grad_fn).__name__ == "GeluBackward0"
    layer.keeps = "8bit"
    assert not layer(x.detach()).requires_grad
