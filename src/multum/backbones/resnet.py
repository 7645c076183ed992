"""ResNets: what networks were before they had to fit into a phone, and what everything is compared with.

Two 3x3 convolutions, or a 3x3 between two 1x1, learn what is to be added to the input. Where the picture gets smaller
or wider, the input goes through a 1x1 convolution so that it still fits.

Differs from the paper: in a bottleneck block the 3x3 convolution takes the stride, not the first 1x1, which would throw
three quarters of the places away unseen. All published weights of today do so.

Shape legend: B pictures, H and W height and width, I channels that come in, O channels that go out, C features.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition" (CVPR 2016), table 1.
"""

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn

from multum.backbones.backbone import IMAGENET_SCALING, Backbone, InputScaling
from multum.backbones.convolution import LayerStyle, convolution
from multum.backbones.initialization import initialize
from multum.core import invalid

ResNetDepth = Literal[18, 34, 50]
"""Layers with weights on the way from pictures to scores."""

BOTTLENECK = 4
"""How many times wider a bottleneck block is at its ends than in its middle."""

# number of blocks in each of the four stages (table 1)
_NUM_BLOCKS: dict[int, tuple[int, ...]] = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
_WIDTHS = (64, 128, 256, 512)
_STYLE = LayerStyle(activation="relu")


class ResidualBlock(nn.Module):
    """What `branch` learnt plus the input; `shortcut` is empty where the input fits as it is.

    Args:
        in_width: Channels that come in.
        width: Channels in the middle.
        stride: Of the 3x3 convolution.
        bottleneck: Whether two 1x1 convolutions enclose one 3x3, instead of two 3x3.
    """

    def __init__(self, in_width: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        self.out_width = width * BOTTLENECK if bottleneck else width
        if bottleneck:
            self.branch = nn.Sequential(
                convolution(in_width, width, _STYLE),
                convolution(width, width, _STYLE, kernel=3, stride=stride),
                convolution(width, self.out_width, _STYLE, active=False),
            )
        else:
            self.branch = nn.Sequential(
                convolution(in_width, width, _STYLE, kernel=3, stride=stride),
                convolution(width, width, _STYLE, kernel=3, active=False),
            )
        fits = stride == 1 and in_width == self.out_width
        self.shortcut = (
            nn.Sequential()
            if fits
            else convolution(in_width, self.out_width, _STYLE, stride=stride, active=False)
        )
        self.act = nn.ReLU()

    def forward(self, input_BIHW: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Run the block."""
        out_BOhw: Tensor = self.act(self.shortcut(input_BIHW) + self.branch(input_BIHW))
        return out_BOhw


class ResNet(Backbone):
    """A stem, residual blocks, pooling, a classifier.

    Args:
        depth: 18, 34 (two 3x3 convolutions a block) or 50 (bottleneck blocks).
        num_classes: Classes to tell apart.
        dropout: Part of the features that is dropped in training.
        scaling: What pixels in [0, 1] must go through first.
        resolution: Height and width that the network was published at.

    Raises:
        UserError: A value outside its range.
    """

    def __init__(
        self,
        depth: ResNetDepth,
        num_classes: int = 1000,
        *,
        dropout: float = 0.0,
        scaling: InputScaling = IMAGENET_SCALING,
        resolution: int = 224,
    ) -> None:
        super().__init__(scaling=scaling, resolution=resolution)
        if depth not in _NUM_BLOCKS:
            raise invalid("depth", f"one of {', '.join(map(str, get_args(ResNetDepth)))}", depth)
        self.stem = convolution(3, _WIDTHS[0], _STYLE, kernel=7, stride=2)
        self.stem.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        blocks: list[ResidualBlock] = []
        for stage, (width, num_blocks) in enumerate(zip(_WIDTHS, _NUM_BLOCKS[depth], strict=True)):
            for index in range(num_blocks):
                in_width = blocks[-1].out_width if blocks else _WIDTHS[0]
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(ResidualBlock(in_width, width, stride, bottleneck=depth == 50))
        self.blocks = nn.Sequential(*blocks)
        self.add_head(blocks[-1].out_width, num_classes, dropout)
        initialize(self)

    def feature_map(self, images_B3HW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """The last features that still have a place in the picture."""
        features_BChw: Tensor = self.blocks(self.stem(images_B3HW))
        return features_BChw
