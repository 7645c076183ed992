"""Recipes of `multum pointcloud`."""

from dataclasses import replace
from pathlib import Path

from multum.pointcloud.lidar import SyntheticSensor
from multum.pointcloud.segmentation import SegmentationConfig, StreetsConfig


def street() -> SegmentationConfig:
    """Synthetic streets, seen by a coarse sensor: a whole training in about a minute on one core.

    Command: `multum pointcloud train synthetic --recipe street`.
    Paper: none; the streets are invented, and a number here compares two methods and says nothing about real ones.
    Expected: mean IoU 50 % on the test part, 90 % of its points right, in 52 s of processor time; one run, one thread
    of a server with AVX-512. People and signs are too few points: their IoU is 0. A shorter training by cross-entropy
    alone (24 scans, 8 epochs) came to 37 % in 33 s; what the loss and what the length adds was not told apart.
    """
    sensor = SyntheticSensor(num_beams=32, num_azimuths=256)
    return SegmentationConfig(
        data="synthetic",
        streets=StreetsConfig(num_train=32, num_validation=4, num_test=8, sensor=sensor),
        channel_ratio=0.25,
        voxel_size=0.2,
        num_epochs=10,
        batch_size=2,
        learning_rate=0.1,
        lovasz=1.0,
    )


def semantic_kitti_spvcnn() -> SegmentationConfig:
    """SPVCNN at full width on SemanticKITTI, with the paper's dials; for a device with 24 GB or more.

    Command: `multum pointcloud train semantic-kitti --recipe semantic_kitti_spvcnn --device cuda`.
    Paper: SPVCNN, validation mIoU 63.8 at 118.6 GMACs and 21.8 M parameters.
    Expected: not measured yet; the rate is the paper's for 16 scans of a step, here for 4.
    """
    return SegmentationConfig(
        data=Path("semantic-kitti"),
        network="spvcnn",
        channel_ratio=1.0,
        points="rounded",
        voxel_size=0.05,
        num_epochs=15,
        batch_size=4,
    )


def semantic_kitti_spvcnn_half() -> SegmentationConfig:
    """The same at half the width.

    Command: `multum pointcloud train semantic-kitti --recipe semantic_kitti_spvcnn_half --device cuda`.
    Paper: SPVCNN, validation mIoU 60.7 at 30.0 GMACs and 5.5 M parameters.
    Expected: not measured yet.
    """
    return replace(semantic_kitti_spvcnn(), channel_ratio=0.5)


def semantic_kitti_minkunet() -> SegmentationConfig:
    """MinkUNet-18 at full width on SemanticKITTI: the same without points, what SPVCNN has to beat.

    Command: `multum pointcloud train semantic-kitti --recipe semantic_kitti_minkunet --device cuda`.
    Paper: MinkUNet, validation mIoU 61.1 at 113.9 GMACs and 21.7 M parameters.
    Expected: not measured yet.
    """
    return replace(semantic_kitti_spvcnn(), network="minkunet18")


def semantic_kitti_minkunet_half() -> SegmentationConfig:
    """The same at half the width.

    Command: `multum pointcloud train semantic-kitti --recipe semantic_kitti_minkunet_half --device cuda`.
    Paper: MinkUNet, validation mIoU 58.9 at 28.5 GMACs and 5.4 M parameters.
    Expected: not measured yet.
    """
    return replace(semantic_kitti_minkunet(), channel_ratio=0.5)


def nuscenes() -> SegmentationConfig:
    """SPVCNN at half width on nuScenes-lidarseg: fewer points, so larger voxels; whole scenes are held out.

    Command: `multum pointcloud train nuscenes --recipe nuscenes --device cuda`.
    Paper: none; it has no row for these data.
    Expected: not measured yet.
    """
    return SegmentationConfig(data=Path("nuscenes"), voxel_size=0.1, num_epochs=15, batch_size=4)


def pandaset() -> SegmentationConfig:
    """One drive of PandaSet in 15 classes: the first 13 frames to learn from, the rest to test on, the same scene.

    Command: `multum pointcloud train pandaset --recipe pandaset`.
    Paper: none; a same-scene number says how well a street is remembered, not how well another one is known.
    Expected: not measured yet.
    """
    return SegmentationConfig(
        data=Path("pandaset"),
        coarse=True,
        validation=0.0,
        channel_ratio=0.5,
        voxel_size=0.1,
        num_epochs=30,
        batch_size=2,
        max_voxels=40_000,
    )
