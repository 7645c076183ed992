"""Small networks of every lean layer, with norms whose statistics say something."""

from collections import OrderedDict

import torch
from torch import nn

from multum.backbones import BlockShape, LayerStyle, MobileNet, NetworkShape


def settle_norms(model: nn.Module) -> nn.Module:
    """Give all norms of batches statistics, scales and shifts as a trained network has them."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    return model


def every_lean_layer() -> nn.Sequential:
    """Convolutions of all sorts, with and without shift, norm and activation; pools; a linear layer."""

    def conv(*sizes: int, groups: int = 1, bias: bool = False) -> nn.Conv2d:
        inputs, outputs, kernel, stride = sizes
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias)

    net = nn.Sequential(
        nn.Sequential(conv(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU6(inplace=True)),
        nn.Sequential(conv(16, 48, 1, 1), nn.BatchNorm2d(48), nn.ReLU()),
        nn.Sequential(conv(48, 48, 5, 2, groups=48, bias=True), nn.BatchNorm2d(48), nn.LeakyReLU(0.2)),
        nn.Sequential(conv(48, 24, 1, 1), nn.BatchNorm2d(24)),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.BatchNorm2d(24),
        nn.LeakyReLU(0.1),
        nn.Sequential(conv(24, 40, 3, 1, groups=2, bias=True), nn.ReLU6()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(40, 12),
        nn.ReLU(),
        nn.Linear(12, 5),
    )
    settle_norms(net)
    return net


def small_mobile(num_classes: int = 10, style: LayerStyle | None = None) -> MobileNet:
    """Five inverted residuals, the first without an expansion, two with a skip."""
    blocks = (
        BlockShape(kernel=3, expansion=1, width=8),
        BlockShape(kernel=3, expansion=3, width=12, stride=2),
        BlockShape(kernel=5, expansion=3, width=12),
        BlockShape(kernel=3, expansion=6, width=16, stride=2),
        BlockShape(kernel=3, expansion=2, width=16),
    )
    net = MobileNet(NetworkShape(stem=8, blocks=blocks, last=32), num_classes, style=style, dropout=0.0)
    settle_norms(net)
    return net


def bordered_mobile() -> MobileNet:
    """The same where strides have borders of their own, wider on one side than on the other."""
    return small_mobile(style=LayerStyle(padding="tensorflow"))


class BasicBlock(nn.Module):
    """A residual block of two convolutions, with its layers as attributes, as many networks have them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        result: torch.Tensor = self.relu(out + self.short(x))
        return result


def foreign_residual() -> nn.Sequential:
    """A residual network that is none of ours."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(3, 6, 3, 1, 1),
        layer1=BasicBlock(6, 8, 2),
        layer2=BasicBlock(8, 10, 1),
        act=nn.Hardswish(),
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        fc=nn.Linear(10, 7),
    )
    net = nn.Sequential(layers)
    settle_norms(net)
    return net
