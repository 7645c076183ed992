"""Inverted residual blocks: wide where it is cheap, narrow where the result is kept.

A 1x1 convolution makes the picture wide, a depthwise one looks around in every channel by itself, and another 1x1
makes it narrow again, without an activation, which would lose too much of a narrow signal. The residual connects the
narrow ends. All mobile networks here are a stem, such blocks, and at most one more 1x1 convolution.

Shape legend: B pictures, H and W height and width, I channels that come in, O channels that go out, C features.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018), section 3.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from multum.backbones.backbone import IMAGENET_SCALING, Backbone, InputScaling
from multum.backbones.convolution import LayerStyle, convolution
from multum.backbones.initialization import initialize
from multum.core import check_fields, invalid

STEM_KERNEL = 3
STEM_STRIDE = 2


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """One inverted residual block.

    Raises:
        UserError: A kernel that is not odd, another number below 1.
    """

    kernel: int
    """Height and width of the depthwise kernel, odd."""
    expansion: int
    """How many times wider the middle is than what comes in; 1: no first convolution."""
    width: int
    """Channels that go out."""
    stride: int = 1
    """Of the depthwise convolution."""
    shortcut: bool = True
    """Whether the input is added where it fits: with stride 1 and as many channels in as out."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise invalid("kernel", "odd and at least 1", self.kernel)
        for name in ("expansion", "width", "stride"):
            _check_positive(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """A network of inverted residual blocks.

    Raises:
        UserError: A width below 1, no block.
    """

    stem: int
    """Channels after the first convolution."""
    blocks: tuple[BlockShape, ...]
    """From the pictures to the features."""
    last: int | None
    """Channels after the last 1x1 convolution; None: there is none."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_positive("stem", self.stem)
        _check_positive("last", 1 if self.last is None else self.last)
        if not self.blocks:
            raise invalid("blocks", "at least one block", self.blocks)

    @property
    def num_features(self) -> int:
        """Channels that the classifier sees."""
        return self.blocks[-1].width if self.last is None else self.last


class InvertedResidual(nn.Module):
    """Expand, look around, project; plus the input where it fits.

    `expand` (empty where the expansion is 1), `depthwise` and `project` each hold a convolution `conv` and a norm
    `norm`, the first two an activation `act`; `skip` tells whether the input is added.

    Args:
        in_width: Channels that come in.
        shape: The block.
        style: What the network's layers have in common.
    """

    def __init__(self, in_width: int, shape: BlockShape, style: LayerStyle) -> None:
        super().__init__()
        middle = in_width * shape.expansion
        self.shape = shape
        self.skip = shape.shortcut and shape.stride == 1 and in_width == shape.width
        self.expand = convolution(in_width, middle, style) if shape.expansion > 1 else nn.Sequential()
        self.depthwise = convolution(
            middle, middle, style, kernel=shape.kernel, stride=shape.stride, groups=middle
        )
        self.project = convolution(middle, shape.width, style, active=False)

    def forward(self, narrow_BIHW: Float[Tensor, "B I H W"]) -> Float[Tensor, "B O h w"]:
        """Run the block."""
        out_BOhw: Tensor = self.project(self.depthwise(self.expand(narrow_BIHW)))
        return narrow_BIHW + out_BOhw if self.skip else out_BOhw


class MobileNet(Backbone):
    """A stem, inverted residual blocks, a last 1x1 convolution, pooling, a classifier.

    Attributes `stem`, `blocks`, `last` (empty where there is none), `pool`, `dropout` and `classifier`, in the order in
    which they run.

    Args:
        shape: The widths, kernels and strides.
        num_classes: Classes to tell apart.
        style: What the layers have in common.
        dropout: Part of the features that is dropped in training.
        scaling: What pixels in [0, 1] must go through first.
        resolution: Height and width that the network was published at.

    Raises:
        UserError: A value outside its range.
    """

    def __init__(
        self,
        shape: NetworkShape,
        num_classes: int,
        *,
        style: LayerStyle | None = None,
        dropout: float = 0.2,
        scaling: InputScaling = IMAGENET_SCALING,
        resolution: int = 224,
    ) -> None:
        super().__init__(scaling=scaling, resolution=resolution)
        style = style or LayerStyle()
        self.shape = shape
        self.stem = convolution(3, shape.stem, style, kernel=STEM_KERNEL, stride=STEM_STRIDE)
        in_widths = [shape.stem, *(block.width for block in shape.blocks)]
        self.blocks = nn.Sequential(
            *(
                InvertedResidual(width, block, style)
                for width, block in zip(in_widths[:-1], shape.blocks, strict=True)
            )
        )
        self.last = nn.Sequential() if shape.last is None else convolution(in_widths[-1], shape.last, style)
        self.add_head(shape.num_features, num_classes, dropout)
        initialize(self)

    def feature_map(self, images_B3HW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """The last features that still have a place in the picture."""
        features_BChw: Tensor = self.last(self.blocks(self.stem(images_B3HW)))
        return features_BChw


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise invalid(name, "at least 1", value)
