"""`multum pointcloud evaluate`, as a plain function: a trained network on scans that it has not learned from."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from multum.core import check_fields, invalid
from multum.pointcloud.lidar import IGNORED, Scan, ScanSet
from multum.pointcloud.segmentation.config import SYNTHETIC, DataWish, Device
from multum.pointcloud.segmentation.data import held_out, load_data
from multum.pointcloud.segmentation.judge import judge_scans
from multum.pointcloud.segmentation.layout import Layout, LayoutWish, known_by, open_scans
from multum.pointcloud.segmentation.result import SegmentationJudgement
from multum.pointcloud.segmentation.scan_reader import ScanReader
from multum.pointcloud.segmentation.train_command import load_segmenter, read_run


@dataclass(frozen=True, kw_only=True)
class EvaluateSegmentationConfig:
    """Judge a trained network: on what was held out of its own scans, or on others.

    Raises:
        UserError: A value outside its range.
    """

    run: Path
    """Folder of a finished run of `multum pointcloud train`."""

    data: DataWish
    """Folder of labelled scans, or the word synthetic for the streets that the run held out. Of the run's own scans
    only the part that it reported on counts. Of others the validation part does, or all where there is none."""

    layout: Layout | None = None
    """How the folder is laid out; recognized by what lies in it when left alone."""

    classes: tuple[str, ...] = ()
    """Names of the classes of one's own scans, in the order of their numbers; those of the run when left alone."""

    ignored_label: int | None = None
    """Number in the labels of one's own scans that stands for no class, beside -1."""

    num_columns: int | None = None
    """Numbers for each point of one's own .bin files; 4, or 5 for .pcd.bin, when left alone."""

    coarse: bool = False
    """Whether frames of PandaSet get 15 classes instead of 42."""

    num_views: int = 1
    """Turned copies of each scan that are asked and averaged; the paper has 5."""

    device: Device = "cpu"
    """Where it is computed."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.data == Path(SYNTHETIC):  # JSON and the command line cannot tell them apart either
            object.__setattr__(self, "data", SYNTHETIC)
        for name in ("num_views", "num_threads"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))
        if self.data == SYNTHETIC and self.layout_wish != LayoutWish():
            names = "layout, classes, ignored_label, num_columns and coarse"
            raise invalid(names, "left out where the scans are synthetic", self.layout_wish)

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


def evaluate_segmentation(config: EvaluateSegmentationConfig) -> SegmentationJudgement:
    """Judge a trained network, on all points.

    Args:
        config: The run and the scans.

    Raises:
        UserError: No finished run lies there; no labelled scans, broken ones, or ones of classes that the run does not
            know.
    """
    torch.set_num_threads(config.num_threads)
    segmenter = load_segmenter(config.run)
    segmenter.net.to(config.device)
    scans = in_order_of(segmenter.config.classes, _to_judge_by(config))
    return judge_scans(segmenter, ScanReader(scans), num_views=config.num_views)


def in_order_of(classes: tuple[str, ...], scans: ScanSet) -> ScanSet:
    """Number the classes of some scans as a network does.

    Raises:
        UserError: They have others, or none.
    """
    if scans.classes == classes:
        return scans
    strange = [name for name in scans.classes if name not in classes]
    if strange or not scans.classes:
        wanted = f"among those of the run, {', '.join(classes)}"
        raise invalid("classes of the scans", wanted, strange or "none", "judge scans of the same classes")
    number = torch.tensor([*(classes.index(name) for name in scans.classes), IGNORED])
    return replace(scans, classes=classes, load=partial(_renumbered, scans, number))


def _renumbered(scans: ScanSet, number: torch.Tensor, name: str) -> Scan:
    scan = scans.read(scans.names.index(name))
    return replace(scan, label_N=None if scan.label_N is None else number[scan.label_N])


def _to_judge_by(config: EvaluateSegmentationConfig) -> ScanSet:
    trained, result = read_run(config.run)
    if trained.data != config.data and SYNTHETIC in (trained.data, config.data):
        if isinstance(config.data, Path):
            return _others(config.data, config, result.classes)
        raise invalid("data", "a folder, for the run learned from no synthetic streets", config.data)
    if isinstance(config.data, Path) and config.data.resolve() != Path(trained.data).resolve():
        return _others(config.data, config, result.classes)
    if config.layout_wish not in (LayoutWish(), trained.layout_wish):
        raise invalid("options of the scans", "left out for those of the run", config.layout_wish)
    own = load_data(trained)
    if own.fingerprint != result.fingerprint:
        remedy = "what the run learned from cannot be told any more: judge it by other scans"
        raise invalid(f"scans in {config.data}", "those that the run saw", "others", remedy)
    return own.judged


def _others(place: Path, config: EvaluateSegmentationConfig, classes: tuple[str, ...]) -> ScanSet:
    return held_out(open_scans(place, known_by(classes, place, config.layout_wish)))
