"""A page about one scan, and the run that writes it: `multum pointcloud view`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multum.core import Run, from_dict, require_module, to_dict
from multum.pointcloud.view_command import LabelledScan, ViewConfig, find_scan
from multum.report.blocks import Section, definitions, paragraph, section
from multum.report.number_text import plural
from multum.report.page import Page
from multum.report.rerun_file import write_rerun
from multum.report.scan_judgement import WRONG, class_iou, point_fates
from multum.report.scan_view import scan_view, tell_prediction

PAGE_FILE = "scan.html"
RERUN_FILE = "scan.rrd"


@dataclass(frozen=True, kw_only=True)
class JudgedPrediction:
    """How well a prediction knows a labelled scan."""

    name: str
    """What it is called."""
    right: float
    """Share of the labelled points that are right."""
    mean_iou: float
    """Mean over the classes that are there or were predicted."""


@dataclass(frozen=True, kw_only=True)
class ViewResult:
    """What was written."""

    page: str
    """The page's file."""
    rerun: str | None
    """The recording's; None where nobody wished for one."""
    scan: str
    """What the scan is called."""
    num_points: int
    """Its points."""
    num_boxes: int | None
    """Its boxes; None where nobody drew any."""
    num_labelled: int | None
    """Points whose class is known; None where there are no labels."""
    judged: tuple[JudgedPrediction, ...]
    """Predictions, as far as there are labels to judge them by."""


def write_view(
    config: ViewConfig, folder: Path, *, resume: bool = False, overwrite: bool = False
) -> ViewResult:
    """Write the page of a scan, and a recording for Rerun where that is wished for, into a run folder.

    Args:
        config: Which scan, and what is told of it.
        folder: The run's.
        resume: As for every run.
        overwrite: As for every run.

    Returns:
        What was written.

    Raises:
        UserError: The scan cannot be read (nothing is written then), or the folder not be used.
        MissingExtraError: What draws a page, or Rerun, is not installed.
    """
    require_module("matplotlib", "report")  # told before files are read, not after
    require_module("jinja2", "report")
    if config.rerun:
        require_module("rerun", "rerun")
    found = find_scan(config)
    with Run.open(folder, config, resume=resume, overwrite=overwrite, seed=config.seed) as run:
        if not run.finished:
            page = scan_page(found, to_dict(config), run.record["provenance"]).write(folder / PAGE_FILE)
            recording = _recording(found, folder) if config.rerun else None
            run.finish(to_dict(_result(found, page, recording)))
        return from_dict(ViewResult, run.result)


def scan_page(
    found: LabelledScan,
    config: Mapping[str, object] | None = None,
    provenance: Mapping[str, object] | None = None,
) -> Page:
    """Draw a scan with all that is told of it.

    Args:
        found: The scan.
        config: What the command was told.
        provenance: Where it was made, from `multum.core.provenance.provenance()`.

    Returns:
        The page.
    """
    scan = found.scan
    title = f"Scan {scan.name}".rstrip()
    page = Page(title, f"{plural(len(scan), 'point')}, seen by LiDAR.", provenance)
    page.add(section("The scan", paragraph(_tell(found)), scan_view(scan, found.classes, found.predictions)))
    return page.add(_making(config)) if config else page


def _tell(found: LabelledScan) -> str:
    scan, parts = found.scan, []
    if scan.boxes is not None:
        parts.append(f"{plural(len(scan.boxes), 'object stands', 'objects stand')} in boxes.")
    if scan.label_N is None or not found.classes:
        parts.append("Nobody labelled its points.")
        return " ".join(parts)
    num_there = len(scan.label_N[scan.label_N >= 0].unique())
    parts.append(f"{num_there} of {plural(len(found.classes), 'class', 'classes')} are in it.")
    for name, told_N in found.predictions.items():
        parts.append(tell_prediction(scan, name, told_N, len(found.classes)))
    return " ".join(parts)


def _making(config: Mapping[str, object]) -> Section:
    # a page names no folder of this machine
    told = {
        name: Path(value).name if name in {"scan", "labels"} and isinstance(value, str) else value
        for name, value in config.items()
        if value not in (None, False, [], ())
    }
    predictions = told.get("predictions")
    if isinstance(predictions, list | tuple):
        told["predictions"] = [Path(str(it)).name for it in predictions]
    return section("How it was made", definitions(told))


def _recording(found: LabelledScan, folder: Path) -> Path:
    return write_rerun(
        folder / RERUN_FILE,
        found.scan,
        found.classes,
        found.predictions,
        box_classes=found.box_classes,
    )


def _result(found: LabelledScan, page: Path, recording: Path | None) -> ViewResult:
    scan = found.scan
    truth_N = scan.label_N if found.classes else None
    judged = []
    for name, told_N in found.predictions.items() if truth_N is not None else ():
        assert truth_N is not None
        known, wrong = int((truth_N >= 0).sum()), int((point_fates(truth_N, told_N) == WRONG).sum())
        if known:
            mean = float(class_iou(truth_N, told_N, len(found.classes)).nanmean())
            judged.append(JudgedPrediction(name=name, right=1 - wrong / known, mean_iou=mean))
    return ViewResult(
        page=str(page),
        rerun=str(recording) if recording is not None else None,
        scan=scan.name,
        num_points=len(scan),
        num_boxes=len(scan.boxes) if scan.boxes is not None else None,
        num_labelled=int((truth_N >= 0).sum()) if truth_N is not None else None,
        judged=tuple(judged),
    )
