"""What a training of a network of scans found out, in plain values."""

from dataclasses import dataclass, replace

from multum.core import check_fields
from multum.pointcloud.segmentation.config import PointsWish


@dataclass(frozen=True, kw_only=True)
class SegmentationJudgement:
    """How right a network is on some scans."""

    mean_iou: float
    """Mean over the classes that occur, in [0, 1]."""
    accuracy: float
    """Part of the points told right, in [0, 1]."""
    loss: float
    """Mean cross-entropy of the points."""
    classes: tuple[str, ...]
    """Names of the classes."""
    class_iou: dict[str, float]
    """Intersection over union of each class that occurs."""
    confusion: tuple[tuple[int, ...], ...]
    """Points by class (rows) and by what they were taken for (columns), in the order of the classes."""
    num_scans: int
    """Scans that were judged."""
    num_points: int
    """Points of them, all of which the network was asked."""
    num_views: int
    """Turned copies of each scan that were asked."""
    macs_per_scan: float
    """Multiply-accumulates of a scan in all its views, the mean over the scans."""
    seconds_per_scan: float
    """From points to probabilities, the mean over the scans; of this machine as busy as it was."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def num_judged(self) -> int:
        """Points that have a class, and count."""
        return sum(map(sum, self.confusion))

    def timeless(self) -> "SegmentationJudgement":
        """The same without the time, which no two runs share."""
        return replace(self, seconds_per_scan=0.0)


@dataclass(frozen=True, kw_only=True)
class SegmentationResult:
    """What `train_segmentation` reports."""

    network: str
    """What was trained: its name and its share of the full width, or the file that tells it."""
    points: PointsWish
    """Whether points kept where they lie in their voxel."""
    voxel_size: float
    """Edge of a voxel, in metres."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the network's outputs."""
    num_parameters: int
    """Numbers that trained."""
    num_train: int
    """Scans to learn from."""
    num_validation: int
    """Scans to choose by."""
    num_epochs: int
    """Epochs that were run."""
    best_epoch: int
    """The epoch that was chosen, counted from 1."""
    stopped_early: bool
    """Whether epochs were saved because nothing got better."""
    validation_mean_iou: float | None
    """At the best epoch; None without a validation part."""
    judged_part: str
    """Which part is reported on: test, or validation where no test part has labels."""
    judged: SegmentationJudgement
    """How right the network is there, on all points."""
    notes: tuple[str, ...]
    """What a reader of these numbers must know, a sentence each."""
    fingerprint: str
    """Tells the scans of this training from others."""

    def __post_init__(self) -> None:
        check_fields(self)

    def timeless(self) -> "SegmentationResult":
        """The same without times, which no two runs share."""
        return replace(self, judged=self.judged.timeless())
