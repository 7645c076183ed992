"""Networks with group norms and standardized weights, against formulas in float64; what a frozen one keeps."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from multum.core import UserError
from multum.transfer import WeightStandardizedConv2d, make_lean, make_stock, set_trained, to_group_norm
from multum.transfer.group_norm import num_groups, standardized
from small_cnns import foreign_residual, small_mobile


def by_formula(weight: Tensor) -> Tensor:
    """A filter at a time."""
    made = []
    for row in weight.flatten(1):
        centred = row - row.sum() / len(row)
        made.append(centred / ((centred @ centred / len(row)) ** 0.5 + 1e-5))
    return torch.stack(made).view(weight.shape)


def a_convolution(**options: object) -> WeightStandardizedConv2d:
    settings = {"kernel_size": 3, "stride": 2, "padding": 1, **options}
    conv = WeightStandardizedConv2d(4, 6, **settings).double()
    nn.init.normal_(conv.weight, 0.3, 0.2)
    return conv


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"groups": 2, "bias": False},
        {"dilation": 2, "kernel_size": (2, 3)},
        {"padding": "same", "stride": 1},
        {"padding_mode": "reflect"},
    ],
    ids=str,
)
def test_a_standardized_convolution_is_its_formula(options: dict[str, object], trained: bool) -> None:
    conv = a_convolution(**options)
    conv.weight.requires_grad_(trained)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64, requires_grad=True)
    plain = copy.deepcopy(conv)
    expected = plain._conv_forward(x, by_formula(plain.weight), plain.bias)
    found = conv(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradient = torch.randn_like(found)
    mine, theirs = (
        torch.autograd.grad(y, [x, *(it for it in net.parameters() if it.requires_grad)], gradient)
        for y, net in ((found, conv), (expected, plain))
    )
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_of_a_trained_weight_are_finite_differences(groups: int) -> None:
    conv = a_convolution(groups=groups, kernel_size=2)
    x = torch.randn(2, 4, 4, 3, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.func.functional_call(conv, {"weight": weight, "bias": bias}, (x,))

    assert conv.bias is not None
    assert torch.autograd.gradcheck(run, (x, conv.weight, conv.bias))


def test_a_constant_filter_becomes_zero_with_a_finite_gradient() -> None:
    weight = torch.full((2, 3, 3, 3), 0.7, requires_grad=True)
    found = standardized(weight)
    assert (found == 0).all()
    found.square().sum().backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_a_frozen_standardized_weight_is_never_kept() -> None:
    conv = a_convolution(kernel_size=5).requires_grad_(False)
    assert conv.bias is not None
    conv.bias.requires_grad_()
    kept: list[Tensor] = []
    x = torch.randn(2, 4, 12, 12, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda it: kept.append(it) or it, lambda it: it):
        conv(x)
    assert [it.data_ptr() for it in kept if it is not None] == [conv.weight.data_ptr()]
    conv.weight.requires_grad_()
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda it: kept.append(it) or it, lambda it: it):
        conv(x)
    assert sum(it.nbytes for it in kept) > x.nbytes + conv.weight.nbytes  # else the test sees nothing


@pytest.mark.parametrize(
    ("channels", "a_group", "groups"),
    [
        (8, 8, 1),
        (96, 8, 12),
        (24, 8, 3),
        (20, 8, 2),
        (27, 8, 3),
        (6, 8, 1),
        (13, 8, 1),
        (12, 4, 3),
        (1, 8, 1),
        (5, 1, 5),
    ],
)
def test_groups_divide_and_have_enough_channels(channels: int, a_group: int, groups: int) -> None:
    assert num_groups(channels, a_group) == groups
    fitting = [it for it in range(1, channels + 1) if channels % it == 0 and channels // it >= a_group]
    assert groups == max(fitting, default=1)


def functional_twin(net: nn.Module, x: Tensor) -> Tensor:
    """small_mobile with group norms, written out."""

    def layer(part: nn.Module, x: Tensor) -> Tensor:
        conv, norm = part.get_submodule("conv"), part.get_submodule("norm")
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.GroupNorm)
        assert isinstance(conv.padding, tuple)
        y = functional.conv2d(x, by_formula(conv.weight), None, conv.stride, conv.padding, 1, conv.groups)
        rows = y.reshape(len(y), norm.num_groups, -1)
        rows = (rows - rows.mean(2, keepdim=True)) / (
            rows.var(2, keepdim=True, correction=0) + norm.eps
        ).sqrt()
        y = rows.view(y.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]
        return y.clamp(0, 6) if hasattr(part, "act") else y

    x = layer(net.get_submodule("stem"), x)
    for block in net.get_submodule("blocks").children():
        y = layer(block.get_submodule("expand"), x) if len(block.get_submodule("expand")) else x
        y = layer(block.get_submodule("project"), layer(block.get_submodule("depthwise"), y))
        x = x + y if block.skip else y
    features = layer(net.get_submodule("last"), x).mean((2, 3))
    head = net.get_submodule("classifier")
    return features @ head.weight.T + head.bias


@pytest.mark.parametrize("what", ["bias", "norm+last", "full"])
def test_a_converted_network_is_its_formula_lean_or_not(what: str) -> None:
    net = small_mobile().double()
    scales = {name: it for name, it in net.named_parameters() if "norm" in name}
    report = to_group_norm(net)
    assert len(report.norms) == len(report.standardized) == 16
    assert report.plain == ()
    assert report.norms[0] == "stem.norm: 1 group of 8 channels"
    assert {name: it for name, it in net.named_parameters() if "norm" in name} == scales  # the same objects
    assert not list(net.buffers())
    set_trained(net, what, "classifier")
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    trained = [it for it in net.parameters() if it.requires_grad]
    expected = functional_twin(net, x)
    true = torch.autograd.grad(expected.square().sum(), trained)
    for make in (lambda _: None, make_lean, make_stock):
        make(net)
        found = net(x)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        for mine, other in zip(torch.autograd.grad(found.square().sum(), trained), true, strict=True):
            assert torch.dist(mine, other) <= 1e-9 * other.norm() + 1e-12


def test_a_lean_converted_network_has_no_stock_layers() -> None:
    net = small_mobile()
    to_group_norm(net)
    assert make_lean(net).stock_layers == ()
    assert isinstance(net.stem.conv, WeightStandardizedConv2d)
    make_stock(net)
    assert isinstance(net.stem.conv, WeightStandardizedConv2d)


def test_an_example_shows_what_feeds_a_norm() -> None:
    class Crossed(nn.Module):
        """Defined in another order than it runs in."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
            self.norm, self.other = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.second(self.norm(self.first(x)).relu())
            return self.other(out.relu())

    x = torch.randn(2, 3, 9, 9)
    assert to_group_norm(Crossed()).standardized == ("second",)  # only defined in front of it
    net = Crossed()
    net.norm.eval()
    report = to_group_norm(net, example=x)
    assert (report.standardized, report.plain) == (("first",), ("second",))
    assert (net.training, net.norm.training, net.other.training) == (True, False, True)
    assert not net.first._forward_hooks


def test_convolutions_that_feed_no_norm_stay() -> None:
    report = to_group_norm(foreign_residual())
    assert report.plain == ("stem", "layer1.short", "layer2.short")
    assert "layer2.bn1: 1 group of 10 channels" in report.norms


def test_filters_of_one_number_stay() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 1, groups=4), nn.BatchNorm2d(4))
    assert to_group_norm(net).plain == ("0",)


def test_a_shared_norm_stays_shared() -> None:
    norm = nn.BatchNorm2d(16, affine=False)
    net = nn.Sequential(nn.Conv2d(3, 16, 1), norm, nn.Conv2d(16, 16, 1), norm)
    to_group_norm(net)
    assert net[1] is net[3]
    assert isinstance(net[1], nn.GroupNorm)
    assert net[1].num_groups == 2
    assert not net[1].affine
    assert net(torch.randn(2, 3, 4, 4)).isfinite().all()


def test_what_cannot_be_converted_is_refused() -> None:
    net = small_mobile()
    make_lean(net)
    with pytest.raises(UserError, match="model must be one of torch's own layers"):
        to_group_norm(net)
    with pytest.raises(UserError, match=r"one with an nn\.BatchNorm2d in it"):
        to_group_norm(nn.Sequential(nn.Conv2d(3, 4, 1)))
    with pytest.raises(UserError, match="channels_per_group must be at least 1"):
        to_group_norm(stays := small_mobile(), 0)
    assert all(type(it) is not WeightStandardizedConv2d for it in stays.modules())
