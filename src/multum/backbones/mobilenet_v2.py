"""MobileNetV2, at any width.

A multiplier scales the width of every layer, rounded to multiples of 8. The last convolution never gets narrower than
1280: small networks need its features most.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (CVPR 2018), table 2 and section 4.
"""

from multum.backbones.convolution import LayerStyle
from multum.backbones.inverted_residual import BlockShape, MobileNet, NetworkShape
from multum.backbones.rounding import round_width
from multum.core import invalid

STEM_WIDTH = 32
LAST_WIDTH = 1280

# expansion, width, number of blocks, stride of the first (table 2: t, c, n, s)
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2_shape(width: float = 1.0) -> NetworkShape:
    """The shape of MobileNetV2.

    Args:
        width: Multiplier of all widths; positive.

    Raises:
        UserError: A multiplier that is not positive.

    >>> mobilenet_v2_shape(1.4).stem, mobilenet_v2_shape(1.4).last, mobilenet_v2_shape(0.5).last
    (48, 1792, 1280)
    """
    if not width > 0:
        raise invalid("width", "positive", width, "1 is the published network")
    blocks = tuple(
        BlockShape(
            kernel=3,
            expansion=expansion,
            width=round_width(channels * width),
            stride=stride if index == 0 else 1,
        )
        for expansion, channels, num_blocks, stride in _STAGES
        for index in range(num_blocks)
    )
    last = round_width(LAST_WIDTH * max(1.0, width))
    return NetworkShape(stem=round_width(STEM_WIDTH * width), blocks=blocks, last=last)


def mobilenet_v2(
    num_classes: int = 1000, *, width: float = 1.0, dropout: float = 0.2, norm_eps: float = 1e-5
) -> MobileNet:
    """Build MobileNetV2 with fresh weights.

    Args:
        num_classes: Classes to tell apart.
        width: Multiplier of all widths; positive.
        dropout: Part of the features that is dropped in training.
        norm_eps: Added to variances under the root.

    Returns:
        The network.

    Raises:
        UserError: A value outside its range.
    """
    style = LayerStyle(norm_eps=norm_eps)
    return MobileNet(mobilenet_v2_shape(width), num_classes, style=style, dropout=dropout)
