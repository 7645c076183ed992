"""Multiply-accumulates of a sparse U-Net: they depend on what it sees, through the sizes of its kernel maps.

    3 x 3 x 3, stride 1     pairs of the level, the middle included, x channels in x channels out
    2 x 2 x 2, down or up   voxels of the finer level x channels in x channels out
    1 x 1 x 1               voxels of the level x channels in x channels out
    points                  points x channels in x channels out; the paper counts one point for each finest voxel

Norms, sorting, means and interpolation count nothing, as in the paper.

Source: SPVNAS (ECCV 2020), section 4.1, and the released kernel-map statistics of one scan.
"""

from dataclasses import dataclass

from multum.pointcloud.unet import point_widths
from multum.pointcloud.unet_config import NUM_STEPS, BlockConfig, StageConfig, UNetConfig
from multum.pointcloud.voxel_pyramid import VoxelLevel, VoxelPyramid

SIZE = (3, 3, 3)
STEP = (2, 2, 2)


@dataclass(frozen=True, kw_only=True)
class PyramidSizes:
    """How many voxels and pairs there are at strides 1, 2, 4, 8 and 16; averages where they are of several scans."""

    num_voxels: tuple[float, ...]
    """Voxels of each level."""
    num_pairs: tuple[float, ...]
    """Pairs of a 3 x 3 x 3 kernel at each level, the middle included."""

    @staticmethod
    def of(finest: VoxelLevel, pyramid: VoxelPyramid) -> "PyramidSizes":
        """Count those of some voxels."""
        levels = [finest]
        for _ in range(NUM_STEPS):
            levels.append(pyramid.coarser(levels[-1], STEP))
        return PyramidSizes(
            num_voxels=tuple(float(len(it)) for it in levels),
            num_pairs=tuple(float(pyramid.kernel_map(it, it, SIZE).num_pairs) for it in levels),
        )


def unet_macs(config: UNetConfig, sizes: PyramidSizes, num_points: float | None = None) -> float:
    """Count a network's multiply-accumulates.

    Args:
        config: The network.
        sizes: Of what it sees.
        num_points: Points that are classified; as many as finest voxels when left alone, as the paper counts.

    >>> from multum.pointcloud.unet_config import scaled_unet
    >>> scan = PyramidSizes(
    ...     num_voxels=(91852.0, 60236.0, 31883.0, 14454.0, 5908.0),
    ...     num_pairs=(345532.0, 365218.0, 238211.0, 122064.0, 54656.0),
    ... )
    >>> round(unet_macs(scaled_unet(1.0, point_branch=True), scan) / 1e9, 1)
    120.4
    """
    voxels, pairs, widths = sizes.num_voxels, sizes.num_pairs, config.widths
    points = voxels[0] if num_points is None else num_points
    total = pairs[0] * config.stem * (config.in_channels + config.stem)
    for place, stage in enumerate(config.down):
        total += voxels[place] * widths[place] * stage.transition
        total += _blocks(stage, stage.transition, pairs[place + 1], voxels[place + 1])
    for place, stage in enumerate(config.up):
        level = NUM_STEPS - 1 - place
        total += voxels[level] * widths[NUM_STEPS + place] * stage.transition
        total += _blocks(stage, stage.transition + widths[level], pairs[level], voxels[level])
    if config.point_branch:
        total += points * sum(one * other for one, other in point_widths(config))
    return total + (points if config.point_branch else voxels[0]) * widths[-1] * config.num_classes


def _blocks(stage: StageConfig, width: int, pairs: float, voxels: float) -> float:
    total = 0.0
    for block in stage.blocks:
        total += _block(block, width, pairs, voxels)
        width = block.outer
    return total


def _block(block: BlockConfig, width: int, pairs: float, voxels: float) -> float:
    skip = voxels * width * block.outer if width != block.outer else 0.0
    return pairs * block.inner * (width + block.outer) + skip
