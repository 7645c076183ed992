"""The configuration of a searched network as SPVNAS's authors released it, read into what this package builds.

Theirs tells the largest network's layers all over: entries of blocks beyond a stage's depth are there and mean nothing.
Most widths are told twice, so that a file that was edited by hand soon contradicts itself. It is refused then, with the
key that does not fit.

Source: SPVNAS (ECCV 2020), section 3.2 and its released code.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from multum.core import UserError, invalid, read_json
from multum.pointcloud.unet_config import NUM_STEPS, BlockConfig, StageConfig, UNetConfig

NUM_CONVOLUTIONS = 2
"""Of a residual block."""


def load_spvnas_config(path: Path, *, num_classes: int | None = None, in_channels: int = 4) -> UNetConfig:
    """Read a released configuration from its JSON file.

    Args:
        path: The file.
        num_classes: Classes of one's own in place of those of the file.
        in_channels: Features of a point, which the format leaves open.

    Raises:
        UserError: The file cannot be read, a key is missing, or numbers contradict one another.
    """
    told = read_json(path)
    if not isinstance(told, Mapping):
        raise invalid(f"file {path}", "one JSON object", type(told).__name__)
    try:
        config = read_spvnas_config(told, in_channels=in_channels)
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from problem
    return config if num_classes is None else replace(config, num_classes=num_classes)


def read_spvnas_config(told: Mapping[str, Any], *, in_channels: int = 4) -> UNetConfig:
    """Read a released configuration.

    Args:
        told: The JSON object.
        in_channels: Features of a point, which the format leaves open.

    Returns:
        The network, with the point branch.

    Raises:
        UserError: A key is missing, or numbers contradict one another; the message names the key.
    """
    widths = told.get("output_channels")
    wanted = f"{1 + 2 * NUM_STEPS} whole numbers above 0"
    if not isinstance(widths, list) or len(widths) != 1 + 2 * NUM_STEPS or not all(map(_is_width, widths)):
        raise invalid("output_channels", wanted, widths)
    _check_points(told, widths)
    stem, *outer = widths
    down = tuple(_stage(told, f"downsample.{i}", 0, outer[i]) for i in range(NUM_STEPS))
    skips = widths[NUM_STEPS - 1 :: -1]
    up = tuple(_stage(told, f"upsample.{i}", skips[i], outer[NUM_STEPS + i]) for i in range(NUM_STEPS))
    return UNetConfig(
        num_classes=_width(told, "num_classes"), in_channels=in_channels, stem=stem, down=down, up=up
    )


def _stage(told: Mapping[str, Any], key: str, skip: int, width: int) -> StageConfig:
    """A stage; `skip` is what is put beside its step, `width` what comes out."""
    transition = _width(told, f"{key}.transition")
    depth = _width(told, f"{key}.feature")
    blocks = tuple(_block(told, f"{key}.feature.layers.{place}", width) for place in range(depth))
    # a first block whose width stays needs no layer beside it, whatever the file tells of one
    beside = f"{key}.feature.layers.0.downsample"
    if transition + skip != width and beside in told and _width(told, beside) != width:
        raise invalid(beside, f"{width}, as in output_channels", told[beside])
    return StageConfig(transition=transition, blocks=blocks)


def _block(told: Mapping[str, Any], key: str, width: int) -> BlockConfig:
    depth = told.get(f"{key}.net", NUM_CONVOLUTIONS)
    if depth != NUM_CONVOLUTIONS:
        raise invalid(f"{key}.net", f"{NUM_CONVOLUTIONS} convolutions", depth)
    inner = _width(told, f"{key}.net.layers.0")
    outer = _width(told, f"{key}.net.layers.1")
    if outer != width:
        raise invalid(f"{key}.net.layers.1", f"{width}, as in output_channels", outer)
    return BlockConfig(inner=inner, outer=outer)


def _check_points(told: Mapping[str, Any], widths: list[int]) -> None:
    for place, level in enumerate((4, 6, 8)):
        key = f"point_transforms.{place}"
        if key in told and _width(told, key) != widths[level]:
            raise invalid(key, f"{widths[level]}, as in output_channels", told[key])


def _width(told: Mapping[str, Any], key: str) -> int:
    if key not in told:
        raise invalid(f"key {key}", "in the configuration", "nothing", "is this a file of SPVNAS?")
    value = told[key]
    if not _is_width(value):
        raise invalid(key, "a whole number above 0", value)
    return int(value)


def _is_width(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
