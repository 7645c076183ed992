"""From scans to what a step of training sees: varied, cut to a number of voxels, put into voxels, with labels.

What is drawn for a scan depends on the seed, the epoch and the scan's name, and on nothing else: not on the batch that
it is in, nor on what was drawn before. So a training can be killed anywhere.

A scan that has too many voxels is cut to those nearest, seen from above, to one of its points. A random part of the
voxels, which the paper's code takes, would thin the scan out: a kernel would meet fewer neighbours in training than
it meets later.

Shape legend: N points, M voxels, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import invalid
from multum.data import seeded_generator
from multum.pointcloud.lidar import IGNORED, Scan
from multum.pointcloud.quantize import PointBatch, quantize
from multum.pointcloud.segmentation.config import PointsWish, SegmentationConfig
from multum.pointcloud.segmentation.scan_reader import ScanReader
from multum.pointcloud.unet_config import NUM_STEPS

STEP = (2, 2, 2)
NUM_FEATURES = 4
"""x, y, z in metres, and intensity."""


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """What a step sees."""

    batch: PointBatch
    """Points, or one for each voxel where they are rounded."""
    label_N: Int[Tensor, " N"]
    """Class of each, or IGNORED."""


def points_of(
    scans: Sequence[Scan], voxel_size: float, points: PointsWish, device: torch.device | str = "cpu"
) -> PointBatch:
    """Put scans into voxels; the points stay all there, and in their order.

    Args:
        scans: With their place and intensity as features.
        voxel_size: In metres.
        points: Whether they will be rounded: then a voxel reaches half its edge to either side of its middle, as in
            the paper's code, and else from its corner, as in its formula.
        device: Where to put them.
    """
    xyz = [scan.xyz_N3.to(device) for scan in scans]
    bright = [scan.intensity_N.to(device) for scan in scans]
    features = [torch.cat([xyz_N3, of_N[:, None]], dim=1) for xyz_N3, of_N in zip(xyz, bright, strict=True)]
    return quantize(xyz, features, voxel_size, rounding="round" if points == "rounded" else "floor")


def training_batch(
    reader: ScanReader, indices: Sequence[int], config: SegmentationConfig, epoch: int
) -> LabelledBatch:
    """What a step of training sees.

    Args:
        reader: Of the scans to learn from.
        indices: Which of them.
        config: The dials.
        epoch: Number of the epoch, from 0.

    Raises:
        UserError: As the reader; too few voxels at the coarsest level for a norm over them.
    """
    scans = [varied(reader, index, config, epoch) for index in indices]
    batch = points_of(scans, config.voxel_size, config.points, config.device)
    _check_coarsest(batch, scans, config.voxel_size)
    label_N = torch.cat([scan.label_N for scan in scans if scan.label_N is not None]).to(config.device)
    if config.points == "rounded":
        points = batch.points
        label_M = majority_label(label_N, points.row_N, len(points.finest), len(reader.scans.classes))
        return LabelledBatch(batch.rounded(), label_M)
    return LabelledBatch(batch, label_N)


def varied(reader: ScanReader, index: int, config: SegmentationConfig, epoch: int) -> Scan:
    """A scan as an epoch shows it: mixed, turned and scaled as asked for, and cut to the most voxels."""
    generator = seeded_generator(config.seed, "variation", epoch, reader.scans.names[index])
    partner = None
    if config.augmentation.needs_partner:
        others = max(1, len(reader) - 1)  # a scan that is alone is mixed with itself
        step = 1 + int(torch.randint(others, (), generator=generator))
        partner = reader.read((index + step) % len(reader))
    scan = config.augmentation.augment(reader.read(index), generator, partner)
    return cut(scan, config, generator)


def cut(scan: Scan, config: SegmentationConfig, generator: torch.Generator) -> Scan:
    """The points in the voxels nearest to a random point, seen from above; all where there are few enough voxels.

    Args:
        scan: A scan.
        config: Size of voxels, and the most of them.
        generator: Source of the draw.
    """
    points = points_of([scan], config.voxel_size, config.points).points
    voxel_M2 = points.finest.voxel_N4[:, 1:3].double()
    if len(voxel_M2) <= config.max_voxels:
        return scan
    around = points.row_N[torch.randint(len(scan), (), generator=generator)].long()
    distance_M = (voxel_M2 - voxel_M2[around]).square().sum(dim=1)
    kept_M = torch.zeros(len(voxel_M2), dtype=torch.bool)
    kept_M[distance_M.argsort(stable=True)[: config.max_voxels]] = True
    return scan.at(kept_M[points.row_N.long()])


def majority_label(
    label_N: Int[Tensor, " N"], row_N: Int[Tensor, " N"], num_voxels: int, num_classes: int
) -> Int[Tensor, " M"]:
    """The class that most points of each voxel have; the first of several, IGNORED where no point has one.

    >>> majority_label(torch.tensor([1, 1, 0, -1]), torch.tensor([0, 0, 0, 1]), 2, 2)
    tensor([ 1, -1])
    """
    known_N = label_N != IGNORED
    cell_N = row_N[known_N].long() * num_classes + label_N[known_N]
    count_MK = torch.bincount(cell_N, minlength=num_voxels * num_classes).view(num_voxels, num_classes)
    most_M, label_M = count_MK.max(dim=1)
    # of equal counts the first class wins, which max does not promise
    label_M = (count_MK == most_M[:, None]).int().argmax(dim=1) if len(label_M) else label_M
    return torch.where(most_M > 0, label_M, IGNORED)


def _check_coarsest(batch: PointBatch, scans: Sequence[Scan], voxel_size: float) -> None:
    """A norm over the voxels of a batch has nothing to divide by where there is but one."""
    level = batch.points.finest
    for _ in range(NUM_STEPS):
        level = batch.points.pyramid.coarser(level, STEP)
    if len(level) < 2:
        names = ", ".join(scan.name for scan in scans)
        coarse = voxel_size * 2**NUM_STEPS
        remedy = "norms need two in training: take smaller voxels or larger batches, or leave tiny scans out"
        raise invalid(
            f"voxels of {coarse:g} m in the step's scans ({names})", "at least 2", len(level), remedy
        )
