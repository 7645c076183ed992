"""What a detector is made of: the range that it sees, its voxels, its sparse encoder, its network from above, anchors.

    points in range -> voxels -> stem, 3 x down (stride 8) -> heights side by side -> 2D network -> heads

Source: SECOND (Yan et al., Sensors 2018), the range, voxels and anchors for KITTI; the encoder: SPVNAS (ECCV 2020).
Differs from the paper: one network for all three classes, where the paper has one for cars and one for the others; the
range ends at 40 m to both sides and 3 m below the sensor for all of them.
"""

import math
from dataclasses import dataclass

from multum.core import check_fields, invalid
from multum.pointcloud.anchors import KITTI_ANCHORS, AnchorKind
from multum.pointcloud.unet_config import StageConfig, scaled_unet

NUM_STEPS = 3
"""Steps down, so that a cell seen from above is STRIDE voxels wide."""
STRIDE = 2**NUM_STEPS


@dataclass(frozen=True, kw_only=True)
class BirdStage:
    """Convolutions of the network from above, at one size of cells; each stage after the first halves them."""

    channels: int
    """That each convolution gives."""
    num_layers: int
    """Convolutions, at least 1."""


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """A one-stage detector; `scaled_detector` makes the usual ones.

    Raises:
        UserError: A number out of range, or a range that is no whole number of cells.
    """

    lowest: tuple[float, float, float] = (0.0, -40.0, -3.0)
    """Corner of the range that is seen: x, y, z in metres."""
    highest: tuple[float, float, float] = (70.4, 40.0, 1.0)
    """The opposite corner."""
    voxel_size: tuple[float, float, float] = (0.05, 0.05, 0.1)
    """Metres along x, y and z."""
    anchors: tuple[AnchorKind, ...] = KITTI_ANCHORS
    """Classes that are looked for; the label of a box is a place among them."""
    stem: int
    """Channels of both first convolutions."""
    down: tuple[StageConfig, ...]
    """Three stages of the sparse encoder."""
    point_branch: bool = True
    """Whether points keep features of their own beside the voxels: SPVCNN with, MinkUNet without."""
    bird: tuple[BirdStage, ...]
    """Stages of the network from above, at least one."""
    up_channels: int
    """Channels that each of them hands to the heads."""
    min_score: float = 0.1
    """Boxes that score less are not told, in [0, 1)."""
    num_candidates: int = 500
    """So many of the best boxes of a class go on to be compared with one another."""
    max_iou: float = 0.01
    """What two boxes of a class that are told may overlap seen from above, in [0, 1]."""

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.down) != NUM_STEPS or not all(it.blocks for it in self.down):
            raise invalid("down", "three stages, with a block at least", self.down)
        if not self.bird or not self.anchors:
            raise invalid("bird and anchors", "at least one each", (self.bird, self.anchors))
        counts = [self.stem, self.up_channels, self.num_candidates]
        counts += [number for it in self.bird for number in (it.channels, it.num_layers)]
        if min(counts) < 1:
            raise invalid("channels, layers and num_candidates", "at least 1", min(counts))
        if not 0 <= self.min_score < 1 or not 0 <= self.max_iou <= 1:
            raise invalid("min_score and max_iou", "in [0, 1]", (self.min_score, self.max_iou))
        _check_range(self)

    @property
    def num_voxels(self) -> tuple[int, int, int]:
        """Of the range, along x, y and z."""
        x, y, z = (
            round((high - low) / edge)
            for low, high, edge in zip(self.lowest, self.highest, self.voxel_size, strict=True)
        )
        return x, y, z

    @property
    def num_cells(self) -> tuple[int, int, int]:
        """Of the range at stride 8."""
        x, y, z = (count // STRIDE for count in self.num_voxels)
        return x, y, z

    @property
    def cell(self) -> tuple[float, float]:
        """Edges of a cell seen from above, in metres."""
        return STRIDE * self.voxel_size[0], STRIDE * self.voxel_size[1]


def scaled_detector(channel_ratio: float, *, point_branch: bool = True) -> DetectorConfig:
    """A detector for KITTI with all widths scaled alike and rounded down; at ratio 1 the encoder is SPVCNN's.

    Args:
        channel_ratio: Of the full width.
        point_branch: SPVCNN with, MinkUNet without.

    Raises:
        UserError: A ratio so small that no channel is left.

    >>> config = scaled_detector(0.5)
    >>> config.num_cells, [it.width for it in config.down]
    ((176, 200, 5), [16, 32, 64])
    """
    encoder = scaled_unet(channel_ratio, point_branch=point_branch)
    narrow, wide = (int(channel_ratio * width) for width in (128, 256))
    return DetectorConfig(
        stem=encoder.stem,
        down=encoder.down[:NUM_STEPS],
        point_branch=point_branch,
        bird=(BirdStage(channels=narrow, num_layers=4), BirdStage(channels=wide, num_layers=4)),
        up_channels=narrow,
    )


def _check_range(config: DetectorConfig) -> None:
    if not min(config.voxel_size) > 0:
        raise invalid("voxel_size", "positive, in metres", config.voxel_size)
    halved = 2 ** (len(config.bird) - 1)
    wanted = (STRIDE * halved, STRIDE * halved, STRIDE)
    for axis, low, high, edge, step in zip(
        "xyz", config.lowest, config.highest, config.voxel_size, wanted, strict=True
    ):
        count = (high - low) / edge
        if round(count) < step or round(count) % step or not math.isclose(count, round(count), rel_tol=1e-6):
            raise invalid(f"voxels along {axis}", f"a positive multiple of {step}", round(count, 3))
