"""A convolution that trains, its norm and an activation as one layer: torch's numbers, and only its input is kept."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from multum.cost import measure
from multum.transfer import make_lean, make_stock


def pointwise() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(6, 10, 1, bias=False), nn.BatchNorm2d(10), nn.ReLU6())


def grouped() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(6, 9, 3, stride=2, padding=1, groups=3), nn.BatchNorm2d(9), nn.LeakyReLU(0.1)
    )


def dilated() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(6, 4, (3, 2), padding=(2, 1), dilation=(2, 1)), nn.BatchNorm2d(4, affine=False)
    )


def many() -> nn.Sequential:
    return nn.Sequential(
        *pointwise(), nn.Conv2d(10, 10, 5, padding=2, groups=10), nn.BatchNorm2d(10), nn.ReLU()
    )


NETS = {it.__name__: it for it in (pointwise, grouped, dilated, many)}


def draw(make: Callable[[], nn.Sequential], dtype: torch.dtype = torch.float64) -> nn.Sequential:
    net = make().to(dtype).eval()
    for it in net:
        if isinstance(it, nn.BatchNorm2d):
            assert it.running_mean is not None
            assert it.running_var is not None
            it.running_mean.normal_()
            it.running_var.uniform_(0.5, 2.0)
            if it.affine:
                nn.init.normal_(it.weight)
                nn.init.normal_(it.bias)
    return net


def gradients(net: nn.Module, x: Tensor, came: Tensor) -> list[Tensor]:
    wanted = [it for it in (x, *net.parameters()) if it.requires_grad]
    return list(torch.autograd.grad(net(x), wanted, came))


def kept(net: nn.Module, x: Tensor) -> int:
    return measure(net, x, mode="training", loss=torch.sum, latency=False).kept_bytes


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("frozen", ["nothing", "input", "norms", "shifts of convolutions"])
@pytest.mark.parametrize("kind", NETS)
def test_outputs_and_gradients_are_torchs(kind: str, frozen: str, channels_last: bool) -> None:
    net = draw(NETS[kind])
    x = torch.randn(3, 6, 9, 7, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x.requires_grad_(frozen != "input")
    for it in net:
        if isinstance(it, nn.BatchNorm2d) and frozen == "norms":
            it.requires_grad_(False)
        if isinstance(it, nn.Conv2d) and it.bias is not None and frozen == "shifts of convolutions":
            it.bias.requires_grad_(False)
    expected = net(x)
    came = torch.randn_like(expected)
    stock = gradients(net, x, came)
    make_lean(net)
    torch.testing.assert_close(net(x), expected)
    for mine, true in zip(gradients(net, x, came), stock, strict=True):
        torch.testing.assert_close(mine, true)


def test_of_three_inputs_one_is_kept_and_a_bit_of_each_output() -> None:
    net = draw(pointwise, torch.float32)
    x = torch.randn(4, 6, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    stock = kept(net, x)
    make_lean(net)
    ours = kept(net, x)
    inside, num_outputs = 4 * x.numel(), 10 * 4 * 16 * 16
    assert stock >= 2 * 4 * num_outputs
    assert ours <= inside + num_outputs // 8 + 1000
    make_stock(net)
    assert kept(net, x) == stock


def test_layers_are_layers_again_under_autocast() -> None:
    net = draw(pointwise, torch.float32)
    x = torch.randn(2, 6, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        expected = net(x)
    make_lean(net)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    found.float().sum().backward()
    assert all(it.grad is not None for it in net.parameters())
