"""What each mode trains, where lite residuals go, and what is refused."""

from typing import Any

import pytest
import torch
from torch import nn

from multum.core import UserError
from multum.transfer import MODES, LeanGroupNorm, LiteResidual, adapt, find_places
from multum.transfer.modes import Mode
from small_cnns import foreign_residual, small_mobile

PICTURES = torch.randn(2, 3, 64, 64)


def kinds_of(model: nn.Module, names: tuple[str, ...]) -> set[str]:
    """`scale`, `shift`, `weight`, `bias` of what trains, apart from the classifier and lite residuals."""
    found = set()
    for name in names:
        path, _, own = name.rpartition(".")
        if path == "classifier" or ".lite." in name:
            continue
        is_norm = isinstance(model.get_submodule(path), nn.BatchNorm2d)
        found.add({"weight": "scale", "bias": "shift"}[own] if is_norm else own)
    return found


@pytest.mark.parametrize(
    ("mode", "trained"),
    [
        ("last", set()),
        ("norm+last", {"scale", "shift"}),
        ("bias", {"shift"}),
        ("lite", set()),
        ("lite+bias", {"shift"}),
        ("full", {"scale", "shift", "weight"}),
    ],
)
def test_a_mode_trains_what_it_says(mode: Mode, trained: set[str]) -> None:
    model = small_mobile()
    adapted = adapt(model, mode, example=PICTURES, num_classes=3)
    assert kinds_of(model, adapted.trained) == trained
    assert {"classifier.weight", "classifier.bias"} <= set(adapted.trained)
    assert any(".lite." in name for name in adapted.trained) == ("lite" in mode)
    assert adapted.num_trained + adapted.num_frozen == sum(it.numel() for it in model.parameters())
    assert model(PICTURES).shape == (2, 3)


def test_the_last_shift_of_a_lite_residual_stays_frozen() -> None:
    model = small_mobile()
    adapt(model, "lite+bias", example=PICTURES)
    for module in model.modules():
        if isinstance(module, LiteResidual):
            assert isinstance(module.last_norm.bias, nn.Parameter)
            assert not module.last_norm.bias.requires_grad
            assert module.last_norm.weight.requires_grad


@pytest.mark.parametrize("mode", MODES)
def test_at_first_the_network_says_what_it_said(mode: Mode) -> None:
    model = small_mobile().double().eval()
    expected = model(x := torch.randn(2, 3, 50, 41, dtype=torch.float64))
    adapt(model, mode, example=x)
    torch.testing.assert_close(model(x), expected)


def test_every_block_with_an_expansion_gets_a_lite_residual() -> None:
    places = find_places(small_mobile(), PICTURES)
    assert [(it.path, it.in_channels, it.out_channels, it.stride, it.map_size) for it in places] == [
        ("blocks.1", 8, 12, 2, 32),
        ("blocks.2", 12, 12, 1, 16),
        ("blocks.3", 12, 16, 2, 16),
        ("blocks.4", 16, 16, 1, 8),
    ]


@pytest.mark.parametrize(
    ("map_size", "kernel", "pooled"),
    [(14, 5, 7), (10, 5, 5), (9, 3, 4), (4, 3, 2), (3, 1, 1), (2, 1, 1), (1, 1, 1)],
)
def test_kernels_follow_the_pooled_map(map_size: int, kernel: int, pooled: int) -> None:
    lite = LiteResidual(6, 4, map_size=map_size)
    assert lite.depth[0].kernel_size == (kernel, kernel)
    x = torch.randn(2, 6, map_size, map_size)
    assert lite.reduce(x).shape[-1] == pooled
    assert lite(x, torch.zeros(2, 4, map_size, map_size)).shape == (2, 4, map_size, map_size)


def test_odd_channels_are_one_group() -> None:
    assert LiteResidual(7, 4, map_size=16).depth[0].groups == 1
    assert LiteResidual(8, 4, map_size=16).depth[0].groups == 2


def test_a_foreign_residual_network_gets_them_too() -> None:
    model = foreign_residual()
    adapted = adapt(model, "lite+bias", example=PICTURES)
    assert [it.path for it in adapted.lite_places] == ["layer1", "layer2"]
    assert adapted.classifier == "fc"
    assert adapted.lean.stock_layers == ("act: Hardswish",)
    model(PICTURES).sum().backward()
    named = dict(model.named_parameters())
    assert all(named[name].grad is not None for name in adapted.trained)


def test_lite_residuals_learn_after_a_step() -> None:
    model = small_mobile()
    adapted = adapt(model, "lite", example=PICTURES)
    named = dict(model.named_parameters())
    optimizer = torch.optim.SGD([named[name] for name in adapted.trained], lr=0.1)
    for _ in range(2):  # in the first step only the scale that is 0 moves
        optimizer.zero_grad()
        model(PICTURES).square().sum().backward()
        optimizer.step()
    moved = [it.grad for name, it in named.items() if ".lite.depth.0" in name]
    assert all(it is not None and it.abs().sum() > 0 for it in moved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "lite"}, "example must be a batch of pictures"),
        ({"mode": "bias", "num_classes": 1}, "num_classes must be at least 2; got 1"),
        (
            {"mode": "bias", "num_classes": 3, "classifier": "blocks"},
            "classifier must be the path of an nn.Linear",
        ),
        ({"mode": "lite", "example": PICTURES, "blocks": ["nowhere"]}, "blocks must be paths of blocks"),
    ],
)
def test_misfits_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        adapt(small_mobile(), **options)


def test_a_network_without_a_linear_layer_or_blocks_is_refused() -> None:
    with pytest.raises(UserError, match=r"model must be one with an nn\.Linear at its end"):
        adapt(nn.Sequential(nn.Conv2d(3, 3, 1)), "bias")
    with pytest.raises(UserError, match="blocks must be paths of blocks"):
        adapt(nn.Sequential(nn.Flatten(), nn.Linear(12288, 2)), "lite", example=PICTURES)


@pytest.mark.parametrize("mode", MODES)
def test_group_norms_are_the_papers_everywhere(mode: Mode) -> None:
    model = small_mobile()
    adapted = adapt(model, mode, example=PICTURES, norms="group", keeps="8bit")
    norms = [it for it in model.modules() if isinstance(it, nn.GroupNorm)]
    assert not any(isinstance(it, nn.BatchNorm2d) for it in model.modules())
    assert all(8 <= it.num_channels // it.num_groups < 16 for it in norms)
    assert all(isinstance(it, LeanGroupNorm) and it.keeps == "8bit" for it in norms)
    model(PICTURES).sum().backward()
    named = dict(model.named_parameters())
    assert all(named[name].grad is not None for name in adapted.trained)
