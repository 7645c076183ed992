"""Activations that keep a bit of each element: the same numbers as torch's, the same gradients, from every path."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch.nn import functional

from multum.core import UserError
from multum.ops.masked_activation import (
    Bend,
    masked_activation,
    masked_activation_,
    masked_gradient,
    masked_sum,
)
from multum.ops.masked_activation.op import _masked_activation, is_channels_last, laid_out, standard_layout

Impl = Literal["reference", "cpu"]

BENDS: dict[str, tuple[Bend, Callable[[torch.Tensor], torch.Tensor]]] = {
    "relu": (Bend(), functional.relu),
    "relu6": (Bend(high=6.0), functional.relu6),
    "leaky": (Bend(negative_slope=0.1), lambda x: functional.leaky_relu(x, 0.1)),
    "clamp": (Bend(low=-1.5, high=0.25), lambda x: functional.hardtanh(x, -1.5, 0.25)),
}
SHAPES = [(3,), (0, 4), (2, 5), (2, 8, 3, 3), (1, 1, 5, 7), (3, 7, 4, 5), (2, 24, 1, 1), (2, 16, 33, 31)]
LARGE = (4, 100, 70, 61)  # several threads, several chunks


def draw(shape: tuple[int, ...], *, channels_last: bool) -> torch.Tensor:
    x = 4 * torch.randn(shape)
    if x.numel() > 2:
        x.view(-1)[:3] = torch.tensor([0.0, 6.0, -0.0])  # on the bends
    return laid_out(x, channels_last=channels_last and x.dim() == 4)


@pytest.mark.parametrize("impl", ["reference", "cpu"])
@pytest.mark.parametrize("kind", BENDS)
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [*SHAPES, LARGE], ids=str)
def test_values_and_gradients_are_torchs_to_the_bit(
    shape: tuple[int, ...], channels_last: bool, kind: str, impl: Impl
) -> None:
    bend, stock = BENDS[kind]
    x = draw(shape, channels_last=channels_last)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = masked_activation(ours, bend, impl=impl), stock(theirs)
    assert torch.equal(y, expected)
    gradient = torch.randn(shape)
    y.backward(gradient)
    expected.backward(gradient)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("impl", ["reference", "cpu"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [*(it for it in SHAPES[2:]), LARGE], ids=str)
def test_sums_by_channel_are_those_in_float64(
    shape: tuple[int, ...], channels_last: bool, impl: Impl
) -> None:
    x = draw(shape, channels_last=channels_last)
    expected = functional.relu6(x)
    bits = masked_activation_(x, Bend(high=6.0), impl)
    assert torch.equal(x, expected)
    gradient = laid_out(torch.randn(shape), channels_last=is_channels_last(x))
    passed, total = masked_gradient(gradient, bits, Bend(high=6.0), with_sum=True, impl=impl)
    assert torch.equal(masked_sum(gradient, bits, Bend(high=6.0), impl=impl), total)  # type: ignore[arg-type]
    exact = passed.double().sum([dim for dim in range(x.dim()) if dim != 1])
    size = passed.double().abs().sum([dim for dim in range(x.dim()) if dim != 1])
    assert total is not None
    assert ((total.double() - exact).abs() <= 1e-6 * size + 1e-12).all()


def test_any_number_of_threads_gives_the_same_bits() -> None:
    threads = torch.get_num_threads()
    gradient = torch.randn(LARGE)
    for channels_last in (False, True):
        placed = laid_out(gradient, channels_last=channels_last)
        bits = masked_activation_(placed.clone(), Bend(), "cpu")
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(masked_gradient(placed, bits, Bend(), with_sum=True, impl="cpu"))
        torch.set_num_threads(threads)
        assert torch.equal(found[0][0], found[1][0])
        first, second = found[0][1], found[1][1]
        assert first is not None
        assert second is not None
        assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_take_the_reference(dtype: torch.dtype) -> None:
    x = torch.randn(3, 5, dtype=dtype, requires_grad=True)
    y = masked_activation(x)
    assert torch.equal(y, functional.relu(x))
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (x > 0).to(dtype))


def test_a_layout_of_its_own_is_made_contiguous() -> None:
    x = torch.randn(4, 6, 5).permute(2, 0, 1).requires_grad_()
    y = masked_activation(x, impl="cpu")
    y.backward(torch.ones(y.shape))
    assert torch.equal(y, functional.relu(x))
    assert standard_layout(x).is_contiguous()
    assert x.grad is not None
    assert torch.equal(x.grad, (x > 0).float())


def test_one_bit_of_an_element_is_kept() -> None:
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda it: it):
        masked_activation(torch.randn(2, 16, 7, 7, requires_grad=True))
    assert [(it.dtype, it.numel()) for it in kept] == [(torch.uint8, 2 * 16 * 7 * 7 // 8)]


@pytest.mark.parametrize("impl", ["reference", "cpu"])
def test_not_a_number_stays_one_and_gets_no_gradient(impl: Impl) -> None:
    x = torch.tensor([float("nan"), 1.0, -1.0, float("inf")], requires_grad=True)
    y = masked_activation(x, Bend(high=6.0), impl=impl)
    y.backward(torch.ones(4))
    assert y.isnan().tolist() == [True, False, False, False]
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("impl", ["reference", "cpu"])
def test_registration_passes_torchs_own_check(impl: Impl) -> None:
    for x in (torch.randn(3, 5, requires_grad=True), draw((2, 8, 3, 3), channels_last=True).requires_grad_()):
        torch.library.opcheck(_masked_activation, (x, 0.0, 6.0, 0.0, impl))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bend(low=1.0, high=1.0), "high must be above low, 1.0; got 1.0"),
        (lambda: Bend(high=6.0, negative_slope=0.1), "negative_slope must be 0 where there is another bend"),
        (lambda: masked_activation(torch.randn(2).double(), impl="cpu"), "the tensors of impl='cpu'"),
    ],
)
def test_misfits_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
