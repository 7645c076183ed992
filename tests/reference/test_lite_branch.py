"""The branch of a lite residual in one pass: plain torch's numbers and gradients, whatever the shape."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from multum.core import UserError
from multum.ops.lite_branch import LiteLayer, LiteSteps, implementations, lite_branch, lite_branch_reference
from multum.ops.lite_branch.op import _backward, _forward, _lite_backward, _lite_forward

CASES = {  # pictures, channels in and out, height and width, groups, kernel, steps, size of the output
    "upsampled": (2, 16, 24, 14, 14, 2, 5, LiteSteps(), (14, 14)),
    "strided": (3, 6, 5, 13, 11, 2, 5, LiteSteps(stride=2), (7, 6)),
    "strided thrice": (1, 34, 50, 31, 17, 2, 5, LiteSteps(stride=3), (11, 6)),
    "odd channels": (1, 7, 3, 9, 9, 1, 3, LiteSteps(), (9, 9)),
    "pairs of pixels": (2, 48, 40, 5, 5, 2, 3, LiteSteps(), (5, 5)),
    "whole map": (3, 12, 10, 3, 3, 2, 1, LiteSteps(pool=0), (3, 3)),
    "whole map, strided": (2, 20, 8, 2, 5, 2, 1, LiteSteps(stride=2, pool=0), (1, 3)),
    "as large as the pooled": (2, 8, 8, 12, 12, 2, 3, LiteSteps(), (6, 6)),
    "smaller than the pooled": (1, 8, 9, 16, 16, 2, 3, LiteSteps(), (3, 5)),
    "one channel, not pooled": (1, 1, 1, 4, 4, 1, 3, LiteSteps(pool=1), (4, 4)),
    "many pixels": (2, 6, 20, 40, 36, 2, 5, LiteSteps(), (40, 36)),
}
DEPTHWISE = (2, 10, 10, 12, 12, 10, 3, LiteSteps(), (12, 12))
CASES["each channel alone"] = DEPTHWISE


def draw(case: str, *, inmost: bool = True) -> tuple[list[Tensor], LiteSteps]:
    """x, base, both weights and norms."""
    pictures, channels, outputs, high, wide, groups, kernel, steps, size = CASES[case]
    x, base = torch.randn(pictures, channels, high, wide), torch.randn(pictures, outputs, *size)
    w1 = 0.2 * torch.randn(channels, channels // groups, kernel, kernel)
    if inmost:
        x, base, w1 = (it.contiguous(memory_format=torch.channels_last) for it in (x, base, w1))
    norms = [
        [torch.rand(count) + 0.5, torch.randn(count), torch.randn(count), torch.rand(count) + 0.5]
        for count in (channels, outputs)
    ]
    return [x, base, w1, *norms[0], 0.2 * torch.randn(outputs, channels, 1, 1), *norms[1]], steps


def run(tensors: list[Tensor], steps: LiteSteps, **options: Any) -> Tensor:
    x, base, *layers = tensors
    first, second = LiteLayer(*layers[:5], eps=1e-3), LiteLayer(*layers[5:], eps=1e-5)
    return lite_branch(x, base, first, second, steps, **options)


def leaves(tensors: list[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Copies; all but the statistics want gradients."""
    copied = [it.detach().to(dtype, copy=True) for it in tensors]
    for place, it in enumerate(copied):
        it.requires_grad_(place not in (5, 6, 10, 11))
    return copied


@pytest.mark.parametrize("inmost", [True, False], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_plain_torch_in_float64(case: str, inmost: bool) -> None:
    tensors, steps = draw(case, inmost=inmost)
    ours, theirs = leaves(tensors), leaves(tensors, torch.float64)
    y, expected = run(ours, steps, impl="cpu"), run(theirs, steps, impl="reference")
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    gradient = torch.randn(y.shape)
    y.backward(gradient)
    expected.backward(gradient.double())
    for mine, true in zip(ours, theirs, strict=True):
        assert (mine.grad is None) == (true.grad is None)
        if mine.grad is not None and true.grad is not None:
            assert torch.dist(mine.grad.double(), true.grad) <= 3e-6 * true.grad.norm()


def test_it_is_the_branch_itself_where_the_base_is_nothing() -> None:
    tensors, steps = draw("upsampled")
    alone = run([tensors[0], torch.zeros_like(tensors[1]), *tensors[2:]], steps, impl="cpu")
    torch.testing.assert_close(run(tensors, steps, impl="cpu") - tensors[1], alone, rtol=1e-4, atol=1e-5)


def test_gradients_that_nobody_wants_are_not_made() -> None:
    tensors, steps = draw("strided")
    some = [it.clone() for it in tensors]
    some[2].requires_grad_()
    run(some, steps, impl="cpu").sum().backward()
    assert some[2].grad is not None
    assert all(it.grad is None for it in some if it is not some[2])


def test_any_number_of_threads_gives_the_same_bits() -> None:
    threads = torch.get_num_threads()
    tensors, steps = draw("many pixels")
    found = []
    for count in (1, 3):
        torch.set_num_threads(count)
        mine = leaves(tensors)
        y = run(mine, steps, impl="cpu")
        y.square().sum().backward()
        found.append([y, *(it.grad for it in mine if it.grad is not None)])
    torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_what_is_not_finite_stays_so() -> None:
    tensors, steps = draw("upsampled")
    tensors[0][0, 3, 5, 5] = torch.nan
    y = run(tensors, steps, impl="cpu")
    assert y[0].isnan().any()
    assert not y[1].isnan().any()


def test_the_registered_operations_are_sound() -> None:
    (x, base, *layers), steps = draw("strided")
    given = (x, base, layers, [1e-3, 1e-5], list(steps))
    checks = (
        "test_schema",
        "test_faketensor",
    )  # compilers see separate layers instead, and gradients are a Function's
    torch.library.opcheck(_lite_forward, given, test_utils=checks)
    _, pooled, bent = _forward(*given)
    back = (torch.randn(base.shape), pooled, bent, layers, [1e-3, 1e-5], list(x.shape), list(steps), True)
    torch.library.opcheck(_lite_backward, back, test_utils=checks)
    for one, other in zip(_lite_backward(*back), _backward(*back), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_counter_sees_the_operations_of_separate_layers(device: str) -> None:
    tensors, steps = draw("upsampled")
    mine = [it.detach().to(device).requires_grad_(it.requires_grad) for it in leaves(tensors)]
    with FlopCounterMode(display=False) as counter:
        run(mine, steps).sum().backward()
    of_a_pixel = 16 * 8 * 5 * 5 + 24 * 16
    assert counter.get_total_flops() == 3 * 2 * 2 * 7 * 7 * of_a_pixel  # forward, and twice that back


def test_other_types_take_the_reference() -> None:
    tensors, steps = draw("strided")
    wide = [it.double() for it in tensors]
    x, base, *layers = wide
    first, second = LiteLayer(*layers[:5], eps=1e-3), LiteLayer(*layers[5:], eps=1e-5)
    assert torch.equal(run(wide, steps), lite_branch_reference(x, base, first, second, steps))
    assert not any(it.takes(wide[0]) for it in implementations().values())


@pytest.mark.parametrize(
    ("place", "shape", "words"),
    [
        (2, (16, 8, 4, 4), "k odd"),
        (2, (16, 5, 5, 5), "a multiple of c"),
        (2, (8, 8, 5, 5), "weights"),
        (7, (24, 8, 1, 1), "weights"),
        (7, (24, 16, 3, 3), "weights"),
        (1, (2, 23, 14, 14), "weights"),
    ],
)
def test_shapes_that_do_not_go_together_are_refused(place: int, shape: tuple[int, ...], words: str) -> None:
    tensors, steps = draw("upsampled")
    tensors[place] = torch.zeros(shape)
    with pytest.raises(UserError, match=words):
        run(tensors, steps)


@pytest.mark.parametrize("steps", [LiteSteps(stride=0), LiteSteps(pool=-1), LiteSteps(pool=15)])
def test_steps_that_no_map_has_are_refused(steps: LiteSteps) -> None:
    tensors, _ = draw("upsampled")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match="steps"):
            run(tensors, steps)
