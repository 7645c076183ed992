"""What a sparse U-Net is made of: MinkUNet, SPVCNN and every sub-net of SPVNAS are one class with other numbers.

    stem        two convolutions of 3 x 3 x 3, stride 1
    4 x down    2 x 2 x 2 with stride 2, then residual blocks
    4 x up      2 x 2 x 2 transposed with stride 2, the features of the way down beside, then residual blocks
    points      touched behind the stem, at stride 16, at stride 4 and at stride 1 (with the point branch)

Source: SPVNAS (ECCV 2020), sections 3.2 and 4.1; MinkUNet: Choy et al. (CVPR 2019).
"""

from dataclasses import dataclass

from multum.core import check_fields, invalid

NUM_STEPS = 4
"""Steps down, and up."""
WIDTHS = (32, 32, 64, 128, 256, 256, 128, 96, 96)
"""Channels of the stem and of all stages, down then up, at full width."""


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """A residual block."""

    inner: int
    """Channels between its convolutions."""
    outer: int
    """Channels that come out."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A step down or up and the blocks behind it."""

    transition: int
    """Channels of the step itself."""
    blocks: tuple[BlockConfig, ...]
    """At least one."""

    @property
    def width(self) -> int:
        """Channels that come out."""
        return self.blocks[-1].outer


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """A sparse U-Net.

    Raises:
        UserError: A number below 1, another number of stages than four, or a stage without a block.
    """

    num_classes: int = 19
    """Numbers that it gives each point."""
    in_channels: int = 4
    """Features of a point: x, y, z and what came back of the light."""
    stem: int
    """Channels of the stem."""
    down: tuple[StageConfig, ...]
    """Four stages."""
    up: tuple[StageConfig, ...]
    """Four stages."""
    point_branch: bool = True
    """Whether points keep features of their own beside the voxels."""
    dropout: float = 0.3
    """Part of the features of voxels that is not seen in training where points are put into voxels again, in [0, 1)."""

    def __post_init__(self) -> None:
        check_fields(self)
        stages = (*self.down, *self.up)
        if len(self.down) != NUM_STEPS or len(self.up) != NUM_STEPS or not all(it.blocks for it in stages):
            raise invalid("down and up", "four stages each, with a block at least", (self.down, self.up))
        numbers = [self.num_classes, self.in_channels, self.stem, *(it.transition for it in stages)]
        numbers += [number for it in stages for block in it.blocks for number in (block.inner, block.outer)]
        if min(numbers) < 1:
            raise invalid("channels and classes", "at least 1", min(numbers))
        if not 0 <= self.dropout < 1:
            raise invalid("dropout", "in [0, 1)", self.dropout)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels behind the stem and each stage."""
        return (self.stem, *(it.width for it in (*self.down, *self.up)))


def scaled_unet(
    channel_ratio: float,
    *,
    point_branch: bool,
    num_classes: int = 19,
    in_channels: int = 4,
    down_blocks: tuple[int, ...] = (2, 2, 2, 2),
    up_blocks: tuple[int, ...] = (2, 2, 2, 2),
) -> UNetConfig:
    """The hand-made networks of the paper, all widths scaled alike and rounded down.

    Args:
        channel_ratio: Of the full width; the paper has 0.5, 0.64 and 1.
        point_branch: SPVCNN with, MinkUNet without.
        num_classes: Numbers that each point gets.
        in_channels: Features of a point.
        down_blocks: Blocks of the stages down: 2 each in MinkUNet-18 and the paper, 2, 3, 4, 6 in MinkUNet-34.
        up_blocks: Blocks of the stages up.

    Raises:
        UserError: A ratio so small that no channel is left.

    >>> scaled_unet(0.64, point_branch=True).widths
    (20, 20, 40, 81, 163, 163, 81, 61, 61)
    """
    stem, *widths = (int(channel_ratio * width) for width in WIDTHS)
    entering = (stem, *widths[: NUM_STEPS - 1])
    down = [
        _stage(transition, width, count)
        for transition, width, count in zip(entering, widths[:NUM_STEPS], down_blocks, strict=True)
    ]
    up = [_stage(width, width, count) for width, count in zip(widths[NUM_STEPS:], up_blocks, strict=True)]
    return UNetConfig(
        num_classes=num_classes,
        in_channels=in_channels,
        stem=stem,
        down=tuple(down),
        up=tuple(up),
        point_branch=point_branch,
    )


def _stage(transition: int, width: int, count: int) -> StageConfig:
    return StageConfig(transition=transition, blocks=(BlockConfig(inner=width, outer=width),) * count)
