"""Norms of samples against their formula in float64, by autograd; what they keep; how far they are off when told to."""

import copy
import math
from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from multum.core import UserError
from multum.cost.witness import kept_by_autograd
from multum.transfer import Keeps, LeanGroupNorm, LeanLayerNorm, gradient_error, make_lean, make_stock
from multum.transfer.norm_functions import group_norm, layer_norm

LeanNorm = LeanGroupNorm | LeanLayerNorm

CASES: dict[str, tuple[Callable[[], LeanNorm], tuple[int, ...]]] = {
    "groups": (lambda: LeanGroupNorm(3, 12), (2, 12, 5, 7)),
    "one_group": (lambda: LeanGroupNorm(1, 6, eps=0.1), (3, 6, 4, 1)),
    "a_group_a_channel": (lambda: LeanGroupNorm(5, 5), (1, 5, 3, 3)),
    "no_places": (lambda: LeanGroupNorm(2, 8), (4, 8)),
    "a_line": (lambda: LeanGroupNorm(2, 4), (2, 4, 9)),
    "rows": (lambda: LeanLayerNorm(11), (3, 2, 11)),
    "planes": (lambda: LeanLayerNorm((3, 5), eps=0.01), (2, 4, 3, 5)),
    "one_row": (lambda: LeanLayerNorm(7), (7,)),
}


def a_norm(case: str, parameters: str) -> tuple[LeanNorm, Tensor]:
    make, shape = CASES[case]
    norm = make().double()
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    nn.init.normal_(norm.bias)
    norm.weight.requires_grad_(parameters in ("trained", "scale"))
    norm.bias.requires_grad_(parameters in ("trained", "shift"))
    if parameters == "absent":
        norm.weight = norm.bias = None
    return norm, 3 * torch.randn(shape, dtype=torch.float64) + 1


def by_formula(norm: LeanNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and the normalized input in the shape of x."""
    if isinstance(norm, LeanGroupNorm):
        rows = x.reshape(len(x) * norm.num_groups, -1)
        parameter_shape = (1, -1, *[1] * (x.dim() - 2))
    else:
        rows = x.reshape(-1, math.prod(norm.normalized_shape))
        parameter_shape = norm.normalized_shape
    mean = rows.mean(1, keepdim=True)
    normal = ((rows - mean) / ((rows - mean).square().mean(1, keepdim=True) + norm.eps).sqrt()).view(x.shape)
    if norm.weight is None:
        return normal, normal
    return normal * norm.weight.view(parameter_shape) + norm.bias.view(parameter_shape), normal


def gradients(y: Tensor, norm: nn.Module, x: Tensor, gradient: Tensor) -> list[Tensor]:
    wanted = [it for it in (x, *norm.parameters()) if it.requires_grad]
    return list(torch.autograd.grad(y, wanted, gradient)) if wanted else []


@pytest.mark.parametrize("input_trains", [True, False], ids=["input_wants_gradient", "pictures"])
@pytest.mark.parametrize("parameters", ["trained", "scale", "shift", "frozen", "absent"])
@pytest.mark.parametrize("case", CASES)
def test_exact_norms_are_their_formula(case: str, parameters: str, input_trains: bool) -> None:
    norm, x = a_norm(case, parameters)
    x.requires_grad_(input_trains)
    expected, _ = by_formula(norm, x)
    found = norm(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert found.requires_grad == expected.requires_grad
    gradient = torch.randn_like(expected)
    for mine, true in zip(
        gradients(found, norm, x, gradient), gradients(expected, norm, x, gradient), strict=True
    ):
        torch.testing.assert_close(mine, true, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("parameters", ["trained", "frozen", "absent"])
@pytest.mark.parametrize("case", CASES)
def test_eight_bits_are_off_by_no_more_than_they_say(case: str, parameters: str) -> None:
    norm, x = a_norm(case, parameters)
    norm.keeps = "8bit"
    x.requires_grad_()
    expected, normal = by_formula(norm, x)
    gradient = torch.randn_like(expected)
    (of_normal,) = torch.autograd.grad(expected, normal, gradient, retain_graph=True)
    found = norm(x)
    true, mine = (gradients(it, norm, x, gradient) for it in (expected, found))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)  # forward rounds nothing
    count = len(x) * norm.num_groups if isinstance(norm, LeanGroupNorm) else -1
    size = x.numel() // count if count > 0 else math.prod(norm.normalized_shape)
    rows = [it.detach().reshape(-1, size) for it in (normal, x, expected)]
    half_step = rows[0].abs().amax(1) / 254
    pulled = of_normal.reshape(-1, size).norm(dim=1)
    deviation = (rows[1].var(1, correction=0) + norm.eps).sqrt()
    error = (mine[0] - true[0]).reshape(-1, size).norm(dim=1)
    bound = half_step * (2 + half_step) * pulled / deviation
    assert (error <= bound + 1e-12).all()
    assert error.max() > 0
    if parameters == "trained":
        off = (mine[1] - true[1]).abs()
        assert (off <= half_step.max() * gradient.abs().sum() + 1e-12).all()
        torch.testing.assert_close(mine[2], true[2])


@pytest.mark.parametrize("parameters", ["shift", "frozen", "absent"])
@pytest.mark.parametrize("case", CASES)
def test_keeping_nothing_counts_the_statistics_as_constants(case: str, parameters: str) -> None:
    norm, x = a_norm(case, parameters)
    norm.keeps = "nothing"
    x.requires_grad_()
    expected, normal = by_formula(norm, x)
    gradient = torch.randn_like(expected)
    grouped = x.detach().reshape(len(x) * norm.num_groups, -1) if isinstance(norm, LeanGroupNorm) else None
    rows = grouped if grouped is not None else x.detach().reshape(-1, math.prod(norm.normalized_shape))
    deviation = (rows.var(1, keepdim=True, correction=0) + norm.eps).sqrt()
    (of_normal,) = torch.autograd.grad(expected, normal, gradient, retain_graph=True)
    found = gradients(norm(x), norm, x, gradient)
    torch.testing.assert_close(found[0], (of_normal.reshape(rows.shape) / deviation).view(x.shape))
    if parameters == "shift":
        torch.testing.assert_close(found[1], gradients(expected, norm, x, gradient)[1])


@pytest.mark.parametrize("case", CASES)
def test_a_trained_scale_makes_nothing_exact(case: str) -> None:
    norm, x = a_norm(case, "trained")
    norm.keeps = "nothing"
    x.requires_grad_()
    expected, _ = by_formula(norm, x)
    gradient = torch.randn_like(expected)
    for mine, true in zip(
        gradients(norm(x), norm, x, gradient), gradients(expected, norm, x, gradient), strict=True
    ):
        torch.testing.assert_close(mine, true, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize(
    ("keeps", "parameters", "bytes_an_element"),
    [
        *(("exact", it, 4) for it in ("trained", "scale", "frozen", "absent")),
        *(("8bit", it, 1) for it in ("trained", "scale", "frozen", "absent")),
        *(("nothing", it, 0) for it in ("shift", "frozen", "absent")),
        ("nothing", "scale", 4),
    ],
)
def test_norms_keep_what_they_say(
    keeps: Keeps, parameters: str, bytes_an_element: int, channels_last: bool
) -> None:
    norm, _ = a_norm("groups", parameters)
    norm, x = norm.float(), torch.randn(4, 12, 16, 18)
    norm.keeps = keeps
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    y = norm(x)
    kept = kept_by_autograd(y, known=norm.parameters())
    statistics = 4 * (4 * 3) * 2
    assert bytes_an_element * x.numel() <= kept <= bytes_an_element * x.numel() + statistics
    assert y.stride() == x.stride()


@pytest.mark.parametrize("keeps", ["exact", "8bit", "nothing"])
@pytest.mark.parametrize("case", ["groups", "rows"])
def test_a_trained_shift_alone_keeps_nothing(case: str, keeps: Keeps) -> None:
    norm, x = a_norm(case, "shift")
    norm.keeps = keeps
    assert kept_by_autograd(norm(x), known=norm.parameters()) == 0


def test_layouts_give_the_same_gradients() -> None:
    for keeps in ("exact", "8bit", "nothing"):
        norm, x = a_norm("groups", "frozen")
        norm.keeps = cast("Keeps", keeps)
        gradient = torch.randn_like(x)
        found = []
        for layout in (torch.contiguous_format, torch.channels_last):
            placed = x.contiguous(memory_format=layout).requires_grad_()
            found.append(gradients(norm(placed), norm, placed, gradient)[0])
        torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


def test_a_group_of_equal_numbers_has_no_gradient_but_that_of_its_mean() -> None:
    x = torch.full((1, 4, 2, 2), 3.0, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn_like(x)
    found = [
        torch.autograd.grad(group_norm(x, 2, None, None, keeps=cast("Keeps", keeps)), x, gradient)[0]
        for keeps in ("exact", "8bit")
    ]
    torch.testing.assert_close(found[0], found[1])
    assert found[0].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("keeps", ["exact", "8bit", "nothing"])
def test_half_precision_is_close_to_double(keeps: Keeps, dtype: torch.dtype) -> None:
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    gradient = torch.randn_like(x)
    found = []
    for kind in (torch.float64, dtype):
        leaf = x.to(kind).requires_grad_()
        (of_x,) = torch.autograd.grad(group_norm(leaf, 2, None, None, keeps=keeps), leaf, gradient.to(kind))
        assert of_x.dtype == kind
        found.append(of_x.double())
    assert torch.dist(*found) / found[0].norm() < 0.02


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    x = torch.randn(2, 4, 3, 3, requires_grad=True)
    (once,) = torch.autograd.grad(group_norm(x, 2, None, None).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        once.sum().backward()


def test_layer_norm_as_a_function_is_the_layer() -> None:
    norm, x = a_norm("planes", "trained")
    torch.testing.assert_close(layer_norm(x, (3, 5), norm.weight, norm.bias, eps=0.01), norm(x))


def a_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2),
        nn.GroupNorm(3, 12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LayerNorm(12),
        nn.Dropout(0.3),
        nn.Linear(12, 5),
    )


def test_the_error_of_gradients_is_told() -> None:
    net = a_network().requires_grad_(False)
    for name, it in net.named_parameters():
        it.requires_grad_(name.endswith("bias"))
    example = torch.randn(4, 3, 12, 12)
    errors: dict[str, dict[str, float]] = {}
    for keeps in ("exact", "8bit", "nothing"):
        make_lean(net, norms=cast("Keeps", keeps))
        errors[keeps] = gradient_error(net, example)
        assert net[1].keeps == keeps
    trained = {name for name, it in net.named_parameters() if it.requires_grad}
    assert set(errors["exact"]) == trained
    assert max(errors["exact"].values()) == 0
    assert 0 < errors["8bit"]["1.bias"] < 0.02 < errors["nothing"]["1.bias"]
    assert errors["nothing"]["10.bias"] == errors["nothing"]["8.bias"] == 0  # nothing biased above them
    assert all(it.grad is None for it in net.parameters())


def test_an_error_needs_something_that_trains() -> None:
    with pytest.raises(UserError, match="of which something trains"):
        gradient_error(a_network().requires_grad_(False), torch.randn(1, 3, 12, 12))


def test_norms_become_lean_and_stock_again() -> None:
    net = a_network()
    before = copy.deepcopy(net)
    report = make_lean(net, norms="nothing")
    assert {"1", "4", "8"} <= set(report.lean_layers)
    assert not report.stock_layers
    assert [type(it) for it in (net[1], net[8])] == [LeanGroupNorm, LeanLayerNorm]
    make_stock(net)
    assert [(type(it), sorted(vars(it))) for it in net] == [(type(it), sorted(vars(it))) for it in before]
    make_lean(net)
    assert net[1].keeps == "exact"
