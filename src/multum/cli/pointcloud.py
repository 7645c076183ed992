"""`multum pointcloud view SCAN`: a scan to be turned in the browser."""

from pathlib import Path

from multum.cli.verb import Outcome, RunFolder, RunVerb
from multum.core.config import to_dict
from multum.pointcloud.view_command import ViewConfig
from multum.report.scan_page import ViewResult, write_view


def _view(config: ViewConfig, folder: RunFolder) -> Outcome:
    result = write_view(config, folder.out, resume=folder.resume, overwrite=folder.overwrite)
    return Outcome(result=to_dict(result), text=viewed_text(result))


def viewed_text(result: ViewResult) -> str:
    """Tell what was written, and how good predictions are.

    Args:
        result: What `write_view` reports.
    """
    boxes = f", {result.num_boxes:,} boxes" if result.num_boxes is not None else ""
    labelled = f", {result.num_labelled:,} of them labelled" if result.num_labelled is not None else ""
    lines = [f"{result.scan}: {result.num_points:,} points{labelled}{boxes}"]
    lines += [f"{it.name}: {it.right:.1%} right, mean IoU {it.mean_iou:.1%}" for it in result.judged]
    lines.append(f"page: {result.page}")
    if result.rerun is not None:
        lines.append(f"recording: {result.rerun} (open it with: rerun {result.rerun})")
    return "\n".join(lines)


VIEW = RunVerb(options=ViewConfig, execute=_view, out=Path("runs/view"))
