"""Layers over int8 weights compute exactly what the rounded weights say, forward and backward, and hold a quarter."""

import copy
import gc
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from multum.core import UserError
from multum.cost.witness import kept_by_autograd
from multum.transfer import (
    Int8Conv2d,
    Int8Linear,
    lean,
    make_lean,
    make_stock,
    set_trained,
    to_float,
    to_group_norm,
    to_int8,
)
from multum.transfer.lean_layers import LeanConv2d
from small_cnns import every_lean_layer, foreign_residual, small_mobile

NETS: dict[str, Callable[[], nn.Module]] = {
    "every_layer": every_lean_layer,
    "mobile": small_mobile,
    "foreign": foreign_residual,
}


def rounded(weight: Tensor) -> Tensor:
    """A filter at a time, 127 steps to its largest number, as float32 has it."""
    made = []
    for row in weight.float().flatten(1):
        step = row.abs().max() / 127
        made.append(torch.round(row.double() / step.double()) * step.double())
    return torch.stack(made).view(weight.shape).to(weight.dtype)


def train_shifts(net: nn.Module) -> None:
    """Every bias, of norms and of other layers."""
    for name, it in net.named_parameters():
        it.requires_grad_(name.endswith("bias"))


def own_bytes(net: nn.Module) -> int:
    return sum(it.nbytes for it in (*net.parameters(), *net.buffers()))


def round_in_place(net: nn.Module) -> None:
    with torch.no_grad():
        for it in net.modules():
            if isinstance(it, (nn.Conv2d, nn.Linear)) and not it.weight.requires_grad:
                it.weight.copy_(rounded(it.weight))


@pytest.mark.parametrize("when", ["stock", "lean before", "lean after"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("net", NETS)
def test_outputs_and_gradients_are_those_of_the_rounded_weights(
    net: str, channels_last: bool, when: str
) -> None:
    ours = NETS[net]().double().eval()
    train_shifts(ours)
    reference = copy.deepcopy(ours)
    round_in_place(reference)
    if channels_last:
        ours.to(memory_format=torch.channels_last)
    if when == "lean before":
        make_lean(ours)
    report = to_int8(ours, everything=True)
    assert not report.float_layers
    if when == "lean after":
        make_lean(ours)
    x = torch.randn(3, 3, 29, 32, dtype=torch.float64)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    leaf = x.clone(memory_format=layout).requires_grad_()
    true_leaf = x.clone().requires_grad_()
    expected, found = reference(true_leaf), ours(leaf)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    gradient = torch.randn_like(expected)
    expected.backward(gradient)
    found.backward(gradient)
    torch.testing.assert_close(leaf.grad, true_leaf.grad, rtol=1e-8, atol=1e-9)
    true = dict(reference.named_parameters())
    trained = [(name, it) for name, it in ours.named_parameters() if it.requires_grad]
    assert len(trained) == sum(it.requires_grad for it in true.values())
    for name, it in trained:
        torch.testing.assert_close(it.grad, true[name].grad, rtol=1e-8, atol=1e-9, msg=name)


@pytest.mark.parametrize("net", NETS)
def test_weights_are_off_by_half_a_step_and_take_a_quarter(net: str) -> None:
    ours = NETS[net]().requires_grad_(False)
    exact = copy.deepcopy(ours)
    before = own_bytes(ours)
    report = to_int8(ours, everything=True)
    assert before - own_bytes(ours) == report.float_bytes - report.int8_bytes
    outputs = sum(len(it.weight) for it in exact.modules() if isinstance(it, (nn.Conv2d, nn.Linear)))
    assert report.int8_bytes == report.float_bytes // 4 + 4 * outputs
    assert not [name for name, _ in ours.named_parameters() if "conv" in name and "weight" in name]
    for path in report.int8_layers:
        layer, true = ours.get_submodule(path), exact.get_submodule(path).weight
        assert isinstance(layer, (Int8Conv2d, Int8Linear))
        assert layer.weight_int8.dtype == torch.int8
        step = layer.weight_scale.view(-1, *[1] * (true.dim() - 1))
        assert ((layer.weight - true).abs() <= step * 0.5001).all()


def test_few_weights_that_hurt_stay_in_float() -> None:
    net = small_mobile()
    set_trained(net, "bias", "classifier")
    report = to_int8(net)
    reasons = dict(it.split(": ", 1) for it in report.float_layers)
    assert reasons.pop("classifier") == "its weight trains"
    assert reasons.pop("stem.conv").startswith("it sees pictures")
    assert reasons
    for path, why in reasons.items():
        layer = net.get_submodule(path)
        assert isinstance(layer, nn.Conv2d)
        assert layer.groups == layer.in_channels > 1
        assert why.startswith("it is depthwise")
    assert all("depthwise" not in it for it in report.int8_layers)
    assert not to_int8(net, everything=True).float_layers[1:], "what was left can follow"


@pytest.mark.parametrize("make", [lambda _: None, make_lean], ids=["by itself", "fused"])
def test_no_float_weight_outlives_its_layer(make: Callable[[nn.Module], object]) -> None:
    net = every_lean_layer()
    train_shifts(net)
    shapes = {it.weight.shape for it in net.modules() if isinstance(it, (nn.Conv2d, nn.Linear))}
    to_int8(net, everything=True)
    make(net)
    y = net(torch.randn(2, 3, 32, 32))

    def alive() -> list[Tensor]:
        tensors = (it for it in gc.get_objects() if type(it) is Tensor)
        return [it for it in tensors if it.shape in shapes and it.is_floating_point()]

    assert not alive()
    assert y.grad_fn is not None
    held = net[0][0].weight
    assert alive()  # else the test sees nothing
    del held


def test_trained_shifts_keep_a_bit_and_scales() -> None:
    net = small_mobile()
    set_trained(net, "bias", "classifier")
    to_int8(net, everything=True)
    make_lean(net)
    bent: list[int] = []
    for module in net.modules():
        if isinstance(module, nn.ReLU6):
            module.register_forward_hook(lambda _, __, y: bent.append(y.numel()))
    with torch.no_grad():
        stock = copy.deepcopy(net)
        to_float(stock)
        make_stock(stock)
        stock.eval()(torch.randn(4, 3, 32, 32))
    y = net(torch.randn(4, 3, 32, 32))
    kept = kept_by_autograd(y, known=(*net.parameters(), *net.buffers()))
    scales = 4 * sum(it.num_features for it in net.modules() if isinstance(it, nn.BatchNorm2d))
    features = 4 * 4 * 32
    assert sum(bent) / 8 <= kept <= sum(bent) / 8 + scales + features + 2048


def test_what_trains_stays_in_float_and_is_named() -> None:
    net = small_mobile()
    set_trained(net, "last", "classifier")
    assert to_int8(net, everything=True).float_layers == ("classifier: its weight trains",)
    assert isinstance(net.classifier.weight, nn.Parameter)
    assert to_int8(net, everything=True).int8_layers == ()  # those that are in int8 already are no news
    odd = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        type("Own", (nn.Linear,), {})(4, 4),
    ).requires_grad_(False)
    assert to_int8(odd, everything=True).float_layers == (
        "0: its padding is same",
        "1: its padding is reflect",
        "2: a Own has a forward of its own",
    )


def test_float_again_is_the_rounded_network() -> None:
    net = small_mobile().double().eval()
    train_shifts(net)
    names, order = set(net.state_dict()), [name for name, _ in net.named_parameters()]
    exact = copy.deepcopy(net)
    paths = to_int8(net, everything=True).int8_layers
    expected = net(x := torch.randn(2, 3, 32, 32, dtype=torch.float64))
    assert to_float(net) == paths
    assert isinstance(net.stem.conv, LeanConv2d)
    assert set(net.state_dict()) == names
    assert [name for name, _ in net.named_parameters()] == order
    torch.testing.assert_close(net(x), expected, rtol=1e-12, atol=1e-12)
    make_stock(net)
    assert [type(it) for it in net.modules()] == [type(it) for it in exact.modules()]
    torch.testing.assert_close(net.eval()(x), expected, rtol=1e-10, atol=1e-10)
    assert to_int8(net, everything=True).int8_layers == paths
    torch.testing.assert_close(net(x), expected, rtol=1e-7, atol=1e-7)  # rounded again: the same codes


def test_a_state_goes_into_another_int8_network_and_copies_are_whole() -> None:
    nets = [foreign_residual().requires_grad_(False).eval() for _ in range(2)]
    for it in nets:
        to_int8(it, everything=True)
    x = torch.randn(2, 3, 16, 16)
    copied = copy.deepcopy(nets[0])
    nets[1].load_state_dict(nets[0].state_dict())
    for other in (copied, nets[1]):
        torch.testing.assert_close(other(x), nets[0](x), rtol=0, atol=0)
    assert copied.stem.weight_int8.data_ptr() != nets[0].stem.weight_int8.data_ptr()
    with pytest.raises(RuntimeError, match="weight_int8"):
        nets[0].load_state_dict(foreign_residual().state_dict())


def test_types_and_layouts_travel() -> None:
    net = foreign_residual().requires_grad_(False).eval().to(memory_format=torch.channels_last)
    to_int8(net, everything=True)
    codes = net.layer1.conv1.weight_int8
    assert codes.is_contiguous(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 16, 16)
    expected = net(x)
    found = net.double()(x.double())
    assert net.layer1.conv1.weight_int8.dtype == torch.int8
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-4)
    assert net.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_a_standardized_convolution_is_rounded_as_it_is_used() -> None:
    net = small_mobile().eval()
    to_group_norm(net)
    net.requires_grad_(False)
    expected = net(x := torch.randn(2, 3, 32, 32))
    paths = to_int8(net, everything=True).int8_layers
    assert "stem.conv" in paths
    assert isinstance(net.stem.conv, Int8Conv2d)
    assert torch.dist(net(x), expected) < 0.1 * expected.norm()


def test_stock_layers_hold_no_codes() -> None:
    net = small_mobile().requires_grad_(False)
    make_lean(net)
    to_int8(net, everything=True)
    kinds = [type(it) for it in net.modules()]
    with pytest.raises(UserError, match=r"the weight of stem\.conv must be in float.*to_float"):
        make_stock(net)
    assert [type(it) for it in net.modules()] == kinds
    with pytest.raises(UserError, match="to_float"), lean(net):
        pass
    to_float(net)
    make_stock(net)


def test_numbers_that_are_not_finite_are_refused_before_anything_changes() -> None:
    net = small_mobile().requires_grad_(False)
    net.classifier.weight[0, 0] = torch.inf
    with pytest.raises(UserError, match="the weight of classifier must be finite"):
        to_int8(net, everything=True)
    assert isinstance(net.stem.conv.weight, nn.Parameter)
