"""The training of a detector on scans with boxes: the same loop as everywhere, and it goes on where it was killed.

Source: SECOND (Yan et al., Sensors 2018), training.
Differs from the paper: no objects of other scans are pasted into a scan, no single box is moved on its own; AdamW with
the learning rate that is asked for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.detector import Detector
from multum.pointcloud.detector_config import DetectorConfig
from multum.pointcloud.lidar import AugmentationConfig, Scan
from multum.training import LoopConfig, train


@runtime_checkable
class Frames(Protocol):
    """Scans with boxes to be read one by one: `ScanSet`, `SyntheticStreets`, or what else has these two methods."""

    def __len__(self) -> int:
        """How many there are."""

    def read(self, index: int) -> Scan:
        """Read one of them."""


def train_detector(
    config: DetectorConfig,
    frames: Frames,
    loop: LoopConfig,
    folder: Path,
    *,
    augmentation: AugmentationConfig | None = None,
    device: str | torch.device = "cpu",
) -> Detector:
    """Train a fresh detector, or go on where a kill interrupted the same training.

    Every draw follows from the seed: weights, the order of scans, how they are varied.

    Args:
        config: What the detector is made of; labels of boxes are places in its `anchors`, or IGNORED.
        frames: What it learns from.
        loop: How long and how fast; batches of a few scans, for norms take their statistics from a batch.
        folder: Keeps the checkpoint and the metric log; a training that lies there is continued, and one that is
            complete there is only read.
        augmentation: How scans are varied; not at all when left alone. Mixing is refused: it has no partner here.
        device: Where it computes.

    Returns:
        The detector, in evaluation mode.

    Raises:
        UserError: A scan without boxes or with a label that is no class, a checkpoint of another training, or a loss
            that is not finite.
    """
    if augmentation is not None and augmentation.needs_partner:
        raise invalid("augmentation", "without mixing", "one that mixes scans", "set both probabilities to 0")
    with torch.random.fork_rng():
        torch.manual_seed(loop.seed)
        detector = Detector(config)
    detector.to(device).train()

    def loss_of(batch: Sequence[int], _: float) -> Tensor:
        scans = [_varied(frames.read(index), augmentation) for index in batch]
        return detector.loss(scans).total

    train(
        dict(detector.named_parameters()),
        loss_of,
        (1,) * len(frames),
        loop,
        folder,
        description="training the detector",
        statistics=dict(detector.named_buffers()),
    )
    return detector.eval()


def _varied(scan: Scan, augmentation: AugmentationConfig | None) -> Scan:
    """With torch's own generator, which a checkpoint brings back."""
    return scan if augmentation is None else augmentation.augment(scan, torch.default_generator)
