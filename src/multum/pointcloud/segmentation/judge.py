"""What a network says of scans, and how right it is: every point is asked, whatever it was trained on.

Turned copies of a scan may be asked too: their probabilities are averaged, point by point. Of a point that is rounded
the voxel is asked that it lies in.

Shape legend: N points, K classes.
"""

import math
import time
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from multum.core import UserError, invalid, track
from multum.pointcloud.lidar import IGNORED, Scan, tta_views
from multum.pointcloud.segmentation.mean_iou import accuracy, class_iou, confusion_matrix, mean_iou
from multum.pointcloud.segmentation.model import Segmenter
from multum.pointcloud.segmentation.result import SegmentationJudgement
from multum.pointcloud.segmentation.samples import points_of
from multum.pointcloud.segmentation.scan_reader import ScanReader
from multum.pointcloud.unet_macs import PyramidSizes, unet_macs


@torch.no_grad()
def log_probabilities(segmenter: Segmenter, scan: Scan, num_views: int = 1) -> Float[Tensor, "N K"]:
    """Logarithms of how likely each class is, for all points of a scan in their order, on the CPU.

    Args:
        segmenter: In evaluation mode.
        scan: With at least one point.
        num_views: Turned copies that are asked, the scan itself the first.

    Raises:
        UserError: Fewer views than one, or no point.
    """
    if len(scan) == 0:
        raise invalid(f"points of scan {scan.name!r}", "at least one", 0, "leave the scan out")
    views = [_of_view(segmenter, view)[0] for view in tta_views(scan, num_views)]
    return _mean(views)


def judge_scans(
    segmenter: Segmenter, reader: ScanReader, *, num_views: int = 1, tell: str = "judging"
) -> SegmentationJudgement:
    """Hold what a network says of scans against what is true.

    Args:
        segmenter: In evaluation mode.
        reader: Of labelled scans.
        num_views: Turned copies that are asked.
        tell: What the progress bar says.

    Raises:
        UserError: As the reader; the network says what is no number; no point has a class.
    """
    num_classes = len(segmenter.config.classes)
    confusion_KK = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    loss_sum, seconds, num_points = 0.0, 0.0, 0
    sizes: list[PyramidSizes] = []
    for index in track(range(len(reader)), tell, len(reader)):
        scan = reader.read(index)
        assert scan.label_N is not None, "the reader refuses others"
        started = time.perf_counter()
        found = [_of_view(segmenter, view) for view in tta_views(scan, num_views)]
        log_NK = _mean([log for log, _ in found])
        seconds += time.perf_counter() - started
        _check_finite(log_NK, scan)
        confusion_KK += confusion_matrix(scan.label_N, log_NK.argmax(dim=1), num_classes)
        known_N = scan.label_N != IGNORED
        loss_sum -= float(log_NK[known_N].double().gather(1, scan.label_N[known_N, None].long()).sum())
        num_points += len(scan)
        sizes.append(found[0][1])
    return _judgement(
        segmenter, confusion_KK, sizes, loss_sum=loss_sum, num_points=num_points, num_views=num_views,
        seconds=seconds,
    )  # fmt: skip


def average_sizes(sizes: Sequence[PyramidSizes]) -> PyramidSizes:
    """The mean sizes of some scans."""
    count = len(sizes)
    return PyramidSizes(
        num_voxels=tuple(sum(some) / count for some in zip(*(it.num_voxels for it in sizes), strict=True)),
        num_pairs=tuple(sum(some) / count for some in zip(*(it.num_pairs for it in sizes), strict=True)),
    )


@torch.no_grad()
def _of_view(segmenter: Segmenter, scan: Scan) -> tuple[Tensor, PyramidSizes]:
    """Log probabilities of all points, and the sizes of what the network saw."""
    about = segmenter.config
    batch = points_of([scan], about.voxel_size, about.points, segmenter.device)
    if about.points == "rounded":
        score_NK = segmenter.net(batch.rounded())[batch.points.row_N.long()]
    else:
        score_NK = segmenter.net(batch)
    sizes = PyramidSizes.of(batch.points.finest, batch.points.pyramid)  # all of its maps are there
    return score_NK.float().log_softmax(dim=1).cpu(), sizes


def _mean(views: Sequence[Tensor]) -> Tensor:
    """Mean of probabilities that come as logarithms; of one view they are its own, bit for bit."""
    total_NK = views[0]
    for view_NK in views[1:]:
        total_NK = torch.logaddexp(total_NK, view_NK)
    return total_NK - math.log(len(views)) if len(views) > 1 else total_NK


def _check_finite(log_NK: Tensor, scan: Scan) -> None:
    if not bool(torch.isfinite(log_NK).all()):
        remedy = "its training diverged: try a lower learning_rate"
        raise UserError(f"what the network says of scan {scan.name!r} must be finite; it is not; {remedy}")


def _judgement(
    segmenter: Segmenter,
    confusion_KK: Tensor,
    sizes: Sequence[PyramidSizes],
    *,
    loss_sum: float,
    num_points: int,
    num_views: int,
    seconds: float,
) -> SegmentationJudgement:
    config, num_scans, num_judged = segmenter.config, len(sizes), int(confusion_KK.sum())
    per_scan = num_points / num_scans if config.points == "raw" else None
    iou = dict(zip(config.classes, class_iou(confusion_KK).tolist(), strict=True))
    return SegmentationJudgement(
        mean_iou=mean_iou(confusion_KK),
        accuracy=accuracy(confusion_KK),
        loss=loss_sum / num_judged,
        classes=config.classes,
        class_iou={name: value for name, value in iou.items() if not math.isnan(value)},
        confusion=tuple(map(tuple, confusion_KK.tolist())),
        num_scans=num_scans,
        num_points=num_points,
        num_views=num_views,
        macs_per_scan=num_views * unet_macs(config.network, average_sizes(sizes), per_scan),
        seconds_per_scan=seconds / num_scans,
    )
