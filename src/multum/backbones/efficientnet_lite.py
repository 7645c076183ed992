"""EfficientNet-Lite 0, 1 and 2: EfficientNet for devices that like few kinds of operations.

One small network was searched for, and larger ones are made from it by multiplying depth, width and picture size
together. The Lite family leaves the squeeze-and-excite blocks out, uses ReLU6, which survives eight bits, and scales
neither the stem nor the last convolution, nor how often the first and the last kind of block come. Its ImageNet
weights come by pip, inside packages of their own.

The weights were trained with TensorFlow's padding, so pictures are padded so here, at any size.

Differs from the paper: no block is dropped at random in training.

Source: Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019), table 1; the
changes and the multipliers of the Lite family are told in the README of TensorFlow's `efficientnet/lite`.
"""

import math
from dataclasses import dataclass

from multum.backbones.backbone import InputScaling
from multum.backbones.convolution import LayerStyle
from multum.backbones.efficientnet_weights import EfficientNetVariant, read_efficientnet_weights
from multum.backbones.inverted_residual import BlockShape, MobileNet, NetworkShape
from multum.backbones.rounding import round_width
from multum.backbones.weights import fill
from multum.core import invalid

NUM_IMAGENET_CLASSES = 1000
EFFICIENTNET_LITE_SCALING = InputScaling(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
"""From pixels in [0, 1] to about [-1, 1]."""

STEM_WIDTH = 32
LAST_WIDTH = 1280
_STYLE = LayerStyle(norm_eps=1e-3, norm_momentum=0.01, padding="tensorflow")

# expansion, kernel, width, number of blocks, stride of the first (table 1, stages 2 to 8)
_STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)


@dataclass(frozen=True, kw_only=True)
class _Multipliers:
    width: float
    depth: float
    resolution: int
    dropout: float


_VARIANTS: dict[EfficientNetVariant, _Multipliers] = {
    "lite0": _Multipliers(width=1.0, depth=1.0, resolution=224, dropout=0.2),
    "lite1": _Multipliers(width=1.0, depth=1.1, resolution=240, dropout=0.2),
    "lite2": _Multipliers(width=1.1, depth=1.2, resolution=260, dropout=0.3),
}


def efficientnet_lite_shape(variant: EfficientNetVariant) -> NetworkShape:
    """The shape of an EfficientNet-Lite.

    Raises:
        UserError: An unknown variant.

    >>> [len(efficientnet_lite_shape(variant).blocks) for variant in ("lite0", "lite1", "lite2")]
    [16, 21, 21]
    """
    scale = _multipliers(variant)
    blocks = tuple(
        BlockShape(
            kernel=kernel,
            expansion=expansion,
            width=round_width(width * scale.width),
            stride=stride if index == 0 else 1,
        )
        for stage, (expansion, kernel, width, num_blocks, stride) in enumerate(_STAGES)
        for index in range(_scaled_depth(stage, num_blocks, scale.depth))
    )
    return NetworkShape(stem=STEM_WIDTH, blocks=blocks, last=LAST_WIDTH)


def efficientnet_lite(
    variant: EfficientNetVariant,
    num_classes: int = NUM_IMAGENET_CLASSES,
    pretrained: bool = True,
    *,
    dropout: float | None = None,
) -> MobileNet:
    """Build an EfficientNet-Lite.

    Args:
        variant: "lite0", "lite1" or "lite2".
        num_classes: Classes to tell apart; if they are not ImageNet's 1000, the classifier is a fresh one.
        pretrained: Whether to fill in the ImageNet weights, from the package that holds them.
        dropout: Part of the features that is dropped in training; None: as published.

    Returns:
        The network, in training mode as every fresh module.

    Raises:
        UserError: A value outside its range, weights that do not fit.
        MissingExtraError: The package with the weights is not installed; the message says how to get it.
    """
    scale = _multipliers(variant)
    model = MobileNet(
        efficientnet_lite_shape(variant),
        NUM_IMAGENET_CLASSES if pretrained else num_classes,
        style=_STYLE,
        dropout=scale.dropout if dropout is None else dropout,
        scaling=EFFICIENTNET_LITE_SCALING,
        resolution=scale.resolution,
    )
    if pretrained:
        fill(model, read_efficientnet_weights(variant), name_in_file, source=f"the weights of {variant}")
        if num_classes != NUM_IMAGENET_CLASSES:
            model.replace_classifier(num_classes)
    return model


def name_in_file(name: str) -> str:
    """What the published weights call a tensor of the network.

    >>> name_in_file("blocks.3.expand.norm.weight"), name_in_file("classifier.bias")
    ('_blocks.3._bn0.weight', '_fc.bias')
    """
    *path, kind = name.split(".")
    match path:
        case ["blocks", index, part, layer]:
            return f"_blocks.{index}.{_IN_BLOCK[part, layer]}.{kind}"
        case _:
            return f"{_OUTSIDE[tuple(path)]}.{kind}"


_IN_BLOCK = {
    ("expand", "conv"): "_expand_conv",
    ("expand", "norm"): "_bn0",
    ("depthwise", "conv"): "_depthwise_conv",
    ("depthwise", "norm"): "_bn1",
    ("project", "conv"): "_project_conv",
    ("project", "norm"): "_bn2",
}
_OUTSIDE = {
    ("stem", "conv"): "_conv_stem",
    ("stem", "norm"): "_bn0",
    ("last", "conv"): "_conv_head",
    ("last", "norm"): "_bn1",
    ("classifier",): "_fc",
}


def _multipliers(variant: EfficientNetVariant) -> _Multipliers:
    if variant not in _VARIANTS:
        raise invalid("variant", f"one of {', '.join(_VARIANTS)}", variant)
    return _VARIANTS[variant]


def _scaled_depth(stage: int, num_blocks: int, depth: float) -> int:
    return num_blocks if stage in {0, len(_STAGES) - 1} else math.ceil(num_blocks * depth)
