"""A merged network computes what the adapted one computes, with fewer layers and no more products."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from multum.backbones import ResNet
from multum.cost import measure
from multum.transfer import LiteResidual, adapt, merge, remaining_norms, to_group_norm, to_int8
from multum.transfer.modes import Mode
from small_cnns import every_lean_layer, foreign_residual, settle_norms, small_mobile

PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)


def small_resnet() -> nn.Module:
    return settle_norms(ResNet(18, 4))


NETS: dict[str, Callable[[], nn.Module]] = {
    "every_layer": every_lean_layer,
    "mobile": small_mobile,
    "foreign": foreign_residual,
    "resnet": small_resnet,
}
STAYING = {"every_layer": ("5: BatchNorm2d",)}
"""Behind a pool."""


def speak(model: nn.Module) -> nn.Module:
    """Let lite residuals say something."""
    for module in model.modules():
        if isinstance(module, LiteResidual):
            settle_norms(module)
    return model


def adapted_net(net: str, mode: Mode) -> nn.Module:
    model = NETS[net]()
    blocks = ["1", "2"] if net == "every_layer" else None
    if net == "resnet":
        blocks = ["blocks.0", "blocks.2", "blocks.7"]
    adapt(model, mode, example=PICTURES, num_classes=3, blocks=blocks, lite_start="scale")
    return speak(model)


def num_layers(model: nn.Module, *kinds: type[nn.Module]) -> int:
    return sum(
        isinstance(it, kinds or nn.Module) and not isinstance(it, nn.Identity) for it in model.modules()
    )


@pytest.mark.parametrize("mode", ["bias", "lite+bias"])
@pytest.mark.parametrize("net", NETS)
def test_it_computes_the_same_in_fewer_layers(net: str, mode: Mode) -> None:
    model = adapted_net(net, mode).double()
    before = {name: it.clone() for name, it in model.state_dict().items()}
    merged = merge(model)
    with torch.no_grad():
        expected = model.eval()(PICTURES.double())
        torch.testing.assert_close(merged(PICTURES.double()), expected, rtol=1e-10, atol=1e-10)
        found = merge(model.float())(PICTURES)
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
    assert remaining_norms(merged) == STAYING.get(net, ())
    assert num_layers(merged) == num_layers(model) - num_layers(model, *NORMS) + len(remaining_norms(merged))
    assert num_layers(merged, LiteResidual) == num_layers(model, LiteResidual)
    assert all(torch.equal(it, before[name].to(it.dtype)) for name, it in model.state_dict().items())
    assert not any(it.requires_grad for it in merged.parameters())
    assert not any(it.training for it in merged.modules())


@pytest.mark.parametrize("net", NETS)
def test_a_trained_shift_costs_nothing(net: str) -> None:
    model = NETS[net]()
    plain, merged = (measure(it, PICTURES, latency=False) for it in (model, merge(model)))
    assert merged.macs <= plain.macs
    assert len([it for it in merged.layers if it.macs]) <= len([it for it in plain.layers if it.macs])
    assert merged.num_parameters < plain.num_parameters
    adapt(model, "bias")
    assert measure(merge(model), PICTURES, latency=False).macs == merged.macs


def test_only_torchs_own_layers_are_left() -> None:
    model = adapted_net("mobile", "lite+bias")
    kinds = {type(it) for it in merge(model).modules() if not list(it.children())}
    assert all(it.__module__.startswith("torch.nn.") for it in kinds)


def test_weights_in_int8_become_floats() -> None:
    model = adapted_net("mobile", "lite+bias")
    to_int8(model)
    merged = merge(model)
    expected = model.eval()(PICTURES)
    torch.testing.assert_close(merged(PICTURES), expected, rtol=1e-5, atol=1e-5)
    assert remaining_norms(merged) == ()
    assert all(it.dtype == torch.float32 for it in merged.state_dict().values())


def test_group_norms_stay_and_are_named() -> None:
    model = foreign_residual()
    to_group_norm(model)
    adapt(model, "bias")
    merged = merge(model)
    torch.testing.assert_close(merged(PICTURES), model(PICTURES), rtol=1e-5, atol=1e-5)
    assert remaining_norms(merged) == (
        "layer1.bn1: GroupNorm",
        "layer1.bn2: GroupNorm",
        "layer2.bn1: GroupNorm",
        "layer2.bn2: GroupNorm",
    )


class Odd(nn.Module):
    """A convolution and a norm that must not be folded, for the reason that is given."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3, track_running_stats=reason != "no_statistics")
        self.inner = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
        if reason == "shared":
            self.again = self.conv
        if reason == "watched":
            self.norm.register_forward_pre_hook(lambda _, given: (given[0] * 2,))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        match self.reason:
            case "output_used":
                y = self.norm(y) + y
            case "norm_twice":
                y = self.norm(self.norm(y))
            case "conv_twice":
                y = self.norm(self.conv(y))
            case "conv_elsewhere":
                y = self.norm(y) + self.conv(x.abs())
            case "weight_read":
                y = self.norm(y) * self.conv.weight.mean()
            case "other_norm":
                y = self.norm(y.relu())
            case "depends_on_numbers":
                y = self.norm(y) if float(x.sum()) > 0 else self.norm(-y)
            case _:
                y = self.norm(y)
        out: torch.Tensor = self.inner(y)
        return out


@pytest.mark.parametrize(
    "reason",
    [
        "output_used",
        "norm_twice",
        "conv_twice",
        "conv_elsewhere",
        "weight_read",
        "other_norm",
        "depends_on_numbers",
        "shared",
        "watched",
        "no_statistics",
    ],
)
def test_what_cannot_be_folded_stays_and_what_can_is(reason: str) -> None:
    model = settle_odd(Odd(reason))
    merged = merge(model)
    assert remaining_norms(merged) == ("norm: BatchNorm2d",)
    torch.testing.assert_close(merged(PICTURES), model.eval()(PICTURES), rtol=1e-5, atol=1e-5)


def settle_odd(model: Odd) -> Odd:
    settle_norms(model.inner)
    if model.norm.running_mean is not None:
        settle_norms(model.norm)
    return model


def test_without_a_reason_both_are_folded() -> None:
    model = settle_odd(Odd("none"))
    merged = merge(model)
    assert remaining_norms(merged) == ()
    torch.testing.assert_close(merged(PICTURES), model.eval()(PICTURES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4, affine=False)),
        (nn.Conv3d(2, 4, 3, groups=2, bias=False), nn.BatchNorm3d(4)),
        (nn.Conv2d(2, 4, 3, padding_mode="circular", padding=1), nn.BatchNorm2d(4)),
    ],
    ids=["1d", "3d", "circular"],
)
def test_convolutions_of_other_kinds(layers: tuple[nn.Module, nn.Module]) -> None:
    conv, norm = copy.deepcopy(layers)
    norm.get_buffer("running_mean").normal_()
    norm.get_buffer("running_var").uniform_(0.5, 2)
    net = nn.Sequential(conv, norm).eval()
    sides = {3: 1, 4: 2, 5: 3}[conv.get_parameter("weight").dim()]
    x = torch.randn(2, 2, *[6] * sides)
    merged = merge(net)
    assert isinstance(merged.get_submodule("1"), nn.Identity)
    torch.testing.assert_close(merged(x), net(x), rtol=1e-5, atol=1e-5)
