"""The JSON in which the authors of ProxylessNAS and MCUNet describe their networks.

It tells kernel, expansion, width and stride of every block, with much else that is the same in all of them: what is
not the same is refused, for it would be another network. A block that the search left out is told as a layer that gives
zero beside an identity; it is skipped here, and the others keep their number in the weights' names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multum.backbones.convolution import LayerStyle
from multum.backbones.inverted_residual import STEM_KERNEL, STEM_STRIDE, BlockShape, NetworkShape
from multum.core import UserError, check_fields, invalid, wrong_type

_PARTS = {"expand": "inverted_bottleneck", "depthwise": "depth_conv", "project": "point_linear"}
_OUTSIDE = {"stem": "first_conv", "last": "feature_mix_layer"}
_LAYERS = {"conv": "conv", "norm": "bn"}
_PLAIN = {"groups": 1, "dilation": 1, "bias": False, "use_bn": True, "act_func": "relu6"}


@dataclass(frozen=True, kw_only=True)
class PublishedNetwork:
    """What a JSON file tells of a network."""

    shape: NetworkShape
    """Widths, kernels and strides of the blocks that are there."""
    positions: tuple[int, ...]
    """Number of each of these among all blocks of the file."""
    style: LayerStyle
    """Eps and momentum of the norms."""
    num_classes: int
    """Classes that the published classifier tells apart."""
    resolution: int
    """Height and width of the pictures, in pixels."""

    def __post_init__(self) -> None:
        check_fields(self)

    def name_in_file(self, name: str) -> str:
        """What the published weights call a tensor of the network."""
        *path, kind = name.split(".")
        match path:
            case ["blocks", index, part, layer]:
                block = f"blocks.{self.positions[int(index)]}.mobile_inverted_conv"
                return f"{block}.{_PARTS[part]}.{_LAYERS[layer]}.{kind}"
            case ["classifier"]:
                return f"classifier.linear.{kind}"
            case _:
                part, layer = path
                return f"{_OUTSIDE[part]}.{_LAYERS[layer]}.{kind}"


def parse_network(description: object, source: str) -> PublishedNetwork:
    """Take in what a published JSON file tells of a network.

    Args:
        description: What the JSON holds.
        source: What the file is, as an error shall call it.

    Returns:
        The network.

    Raises:
        UserError: Something is missing, or is of a kind that these networks do not have.
    """
    network = _object(description, source)
    _expect(network, source, name="ProxylessNASNets")
    first, norm, classifier = (
        _object(network.get(key), f"{key} of {source}") for key in ("first_conv", "bn", "classifier")
    )
    _expect(
        first, f"first_conv of {source}", kernel_size=STEM_KERNEL, stride=STEM_STRIDE, in_channels=3, **_PLAIN
    )
    _expect(norm, f"bn of {source}", ws_eps=None)
    last = network.get("feature_mix_layer")
    if last is not None:
        _expect(last, f"feature_mix_layer of {source}", kernel_size=1, stride=1, **_PLAIN)
    blocks = {
        position: _block(part, f"block {position} of {source}")
        for position, part in enumerate(_array(network.get("blocks"), f"blocks of {source}"))
        if not _left_out(part)
    }
    try:
        return PublishedNetwork(
            shape=NetworkShape(
                stem=_number(first, "out_channels"),
                blocks=tuple(blocks.values()),
                last=None if last is None else _number(last, "out_channels"),
            ),
            positions=tuple(blocks),
            style=LayerStyle(norm_eps=_number(norm, "eps"), norm_momentum=_number(norm, "momentum")),
            num_classes=_number(classifier, "out_features"),
            resolution=_number(network, "resolution"),
        )
    except UserError as problem:
        raise UserError(f"{source} is not the description of a network: {problem}") from problem


def _block(part: object, where: str) -> BlockShape:
    block = _object(part, where)
    layer = _object(block.get("mobile_inverted_conv"), where)
    _expect(layer, where, name="MBInvertedConvLayer", act_func="relu6", use_se=False)
    try:
        shape = BlockShape(
            kernel=_number(layer, "kernel_size"),
            expansion=_number(layer, "expand_ratio"),
            width=_number(layer, "out_channels"),
            stride=_number(layer, "stride"),
            shortcut=block.get("shortcut") is not None,
        )
    except UserError as problem:
        raise UserError(f"{where} is not an inverted residual block: {problem}") from problem
    if shape.shortcut and (shape.stride > 1 or layer.get("in_channels") != shape.width):
        raise invalid(f"shortcut of {where}", "null where input and output differ in shape", "a shortcut")
    return shape


def _left_out(part: object) -> bool:
    """Whether a block gives zero beside an identity."""
    match part:
        case {"mobile_inverted_conv": {"name": "ZeroLayer"}, "shortcut": shortcut}:
            return shortcut is not None
        case _:
            return False


def _object(part: object, where: str) -> Mapping[str, Any]:
    if not isinstance(part, Mapping):
        raise wrong_type(where, "a JSON object", part)
    return part


def _array(part: object, where: str) -> list[Any]:
    if not isinstance(part, list):
        raise wrong_type(where, "a JSON array", part)
    return part


def _expect(part: object, where: str, **expected: object) -> None:
    """Refuse what these networks do not have; a key that is not there has its usual value."""
    for key, value in expected.items():
        found = _object(part, where).get(key, value)
        if found != value:
            raise invalid(f"{key} of {where}", repr(value), found, "other networks cannot be read")


def _number(part: Mapping[str, Any], key: str) -> Any:
    if isinstance(part.get(key), bool) or not isinstance(part.get(key), int | float):
        raise wrong_type(key, "a number", part.get(key))
    return part[key]
