"""What `multum pointcloud train` can be told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from multum.core import check_fields, invalid
from multum.pointcloud.lidar import AugmentationConfig, SyntheticSensor
from multum.pointcloud.segmentation.layout import Layout, LayoutWish
from multum.training import LearningRate

SYNTHETIC: Final = "synthetic"
"""The word for synthetic streets, in the place of a folder."""

DataWish = Literal["synthetic"] | Path
"""Synthetic streets, or a folder of scans."""

Network = Literal["spvcnn", "minkunet18", "minkunet34"]
"""Networks made by hand: with points, without, and without but deeper."""

PointsWish = Literal["raw", "rounded"]
"""Whether points keep where they lie in their voxel."""

Device = Literal["cpu", "cuda"]
"""Where it is computed."""

PAPER_RATE, PAPER_BATCH = 0.24, 16
"""Learning rate of the paper and the scans of a step that it belongs to, those of all devices together."""


@dataclass(frozen=True, kw_only=True)
class StreetsConfig:
    """Synthetic streets to learn from, to choose by and to judge by; each part is a world of its own.

    Raises:
        UserError: Fewer scans than one.
    """

    num_train: int = 32
    """Scans to learn from."""

    num_validation: int = 6
    """Scans to choose the epoch by."""

    num_test: int = 8
    """Scans to report on."""

    sensor: SyntheticSensor = field(default_factory=SyntheticSensor)
    """That looks around."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("num_train", "num_validation", "num_test"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """Teach a sparse network to tell the class of every point of a scan.

    Raises:
        UserError: A value outside its range.
    """

    data: DataWish
    """Folder of SemanticKITTI, of nuScenes with lidarseg, of a PandaSet drive as .npz frames, or of one's own scans
    with labels beside them; or the word synthetic. A folder of that name is given by its whole path."""

    layout: Layout | None = None
    """How the folder is laid out; recognized by what lies in it when left alone."""

    classes: tuple[str, ...] = ()
    """Names of the classes of one's own scans, in the order of their numbers; known elsewhere."""

    ignored_label: int | None = None
    """Number in the labels of one's own scans that stands for no class, beside -1."""

    num_columns: int | None = None
    """Numbers for each point of one's own .bin files; 4, or 5 for .pcd.bin, when left alone."""

    coarse: bool = False
    """Whether frames of PandaSet get 15 classes instead of 42."""

    streets: StreetsConfig = field(default_factory=StreetsConfig)
    """Scans of the synthetic streets."""

    num_train_frames: int = 13
    """Learn from so many first frames of a PandaSet drive and test on the rest: the same scene, and said so."""

    validation: float = 0.1
    """Share of the scans to choose the epoch by, in [0, 1), where the data set has no such part: whole scenes where it
    has scenes, the last frames to learn from in a PandaSet drive. With 0 the last epoch is taken."""

    test: float = 0.1
    """Share of the scans to report on, in [0, 1), where the data set has no such part. Where no test part has labels,
    the validation part is reported on, and said so."""

    network: Network = "spvcnn"
    """SPVCNN (voxels and points), MinkUNet-18 or MinkUNet-34 (voxels alone)."""

    channel_ratio: float = 0.5
    """Part of the full width; the paper has 0.5, 0.64 and 1."""

    network_file: Path | None = None
    """A released SPVNAS configuration to build instead of a network made by hand."""

    voxel_size: float = 0.05
    """Edge of a voxel, in metres."""

    points: PointsWish = "raw"
    """Whether points keep where they lie in their voxel, or are rounded to it, one for each voxel, with the class of
    most: what the paper's code sees."""

    max_voxels: int = 80_000
    """A scan with more voxels is cut in training to those nearest to one of its points, drawn each time."""

    num_epochs: int = 15
    """How often each scan is seen."""

    batch_size: int = 4
    """Scans of a step."""

    learning_rate: float | None = None
    """The largest rate, which falls to 0 along half a cosine; 0.24 for 16 scans of a step, and in proportion, when left
    alone."""

    warmup: float = 0.1
    """Part of the steps in which the rate rises in a line first, in [0, 1)."""

    momentum: float = 0.9
    """Nesterov's, in [0, 1)."""

    weight_decay: float = 1e-4
    """Pulls everything that trains towards 0; at least 0."""

    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    """How scans are varied in training."""

    label_smoothing: float = 0.0
    """Part of the target that is spread over all classes, in [0, 1)."""

    lovasz: float = 0.0
    """Weight of the Lovász-Softmax loss beside the cross-entropy; at least 0."""

    ema: float | None = None
    """Average weights and statistics over the steps, this part of the average kept in each, in (0, 1), and judge and
    keep the average; no average when left alone."""

    early_stop: int | None = None
    """Stop after so many epochs without progress on the validation part; never when left alone."""

    cache_bytes: int = 2**30
    """Bytes of scans that are kept in memory; 0 reads anew each time."""

    checkpoint_steps: int = 200
    """A checkpoint is written after so many steps, and after every epoch."""

    seed: int = 0
    """Of the synthetic worlds, the parts, the order, the variation, dropout and fresh weights."""

    device: Device = "cpu"
    """Where it is computed; a resumed training ends bit for bit as an undisturbed one on the CPU alone."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.data == Path(SYNTHETIC):  # JSON and the command line cannot tell them apart either
            object.__setattr__(self, "data", SYNTHETIC)
        _check_counts(self)
        _check_parts(self)
        _check_wishes(self)

    @property
    def is_synthetic(self) -> bool:
        """Whether the scans are of synthetic streets."""
        return self.data == SYNTHETIC

    @property
    def layout_wish(self) -> LayoutWish:
        """What was told about the folder."""
        return LayoutWish(
            layout=self.layout,
            classes=self.classes,
            ignored_label=self.ignored_label,
            num_columns=self.num_columns,
            coarse=self.coarse,
        )

    @property
    def rate(self) -> LearningRate:
        """The learning rate, step by step."""
        peak = self.learning_rate or PAPER_RATE * self.batch_size / PAPER_BATCH
        return LearningRate(peak=peak, warmup_part=self.warmup, decay="cosine")


def _check_counts(config: SegmentationConfig) -> None:
    for name in ("num_epochs", "batch_size", "max_voxels", "checkpoint_steps", "num_threads", "early_stop"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise invalid(name, "at least 1", value)
    if config.num_train_frames < 1:
        raise invalid("num_train_frames", "at least 1", config.num_train_frames)
    for name in ("weight_decay", "lovasz", "cache_bytes"):
        if getattr(config, name) < 0:
            raise invalid(name, "at least 0", getattr(config, name))
    for name in ("channel_ratio", "voxel_size", "learning_rate"):
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise invalid(name, "positive", value)


def _check_parts(config: SegmentationConfig) -> None:
    for name in ("validation", "test", "warmup", "momentum", "label_smoothing"):
        if not 0 <= getattr(config, name) < 1:
            raise invalid(name, "in [0, 1)", getattr(config, name))
    if config.ema is not None and not 0 < config.ema < 1:
        raise invalid("ema", "in (0, 1)", config.ema)


def _check_wishes(config: SegmentationConfig) -> None:
    """No wish is skipped in silence."""
    if config.is_synthetic and config.layout_wish != LayoutWish():
        names = "layout, classes, ignored_label, num_columns and coarse"
        raise invalid(names, "left out where the scans are synthetic", config.layout_wish)
    if not config.is_synthetic and config.streets != StreetsConfig():
        remedy = "its dials are those of synthetic scans: choose another recipe, or synthetic as data"
        raise invalid("streets", "left out where the scans are a folder's", config.streets, remedy)
