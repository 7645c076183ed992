"""A scan from straight above: a still picture for print, for documents, and for browsers that cannot turn one.

The car looks to the right, as on a map whose north is the car's left. Of points that fall on one another the highest is
seen; in a picture of mistakes, a mistake. The picture is made of pixels without a ground of its own, so that it lies on
light paper and on dark.

Shape legend: N points, K boxes, H W pixels.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int
from torch import Tensor

from multum.core import invalid
from multum.cost.units import Number
from multum.pointcloud.lidar import Boxes, Scan
from multum.report.class_palette import class_colours
from multum.report.figure import PIXELS_PER_INCH, WIDE_PIXELS, drawing_style, new_figure
from multum.report.palette import INK
from multum.report.scan_judgement import point_fates

if TYPE_CHECKING:
    import matplotlib.figure

PICTURE_COLUMNS = 620
"""Pixels of the picture along the car's heading."""
HEIGHT_SHARE = 0.62
"""The picture's height for its width."""
REACH_QUANTILE = 0.97
"""This share of the points lies nearer than the picture reaches."""
NO_CLASS_COLOUR = "#9a968d"
FATE_COLOURS = ("#a5a198", "#d4282e", "#c9c5bc")
"""Right, wrong, not judged."""


def birds_eye_plot(
    scan: Scan,
    classes: Sequence[str] = (),
    label_N: Int[Tensor, " N"] | None = None,
    *,
    reach_metres: Number | None = None,
) -> "matplotlib.figure.Figure":
    """Draw a scan from above in the colours of its classes, with its boxes.

    Args:
        scan: The points.
        classes: Names of the labels' classes; without any, colours tell the height.
        label_N: Labels to show; those of the scan when left out.
        reach_metres: How far ahead and behind the picture reaches; far enough for nearly all when left out.

    Returns:
        The figure, for `plot`.

    Raises:
        UserError: Labels that are not one for each point, or not among the classes.
        MissingExtraError: matplotlib is not installed.
    """
    label_N = scan.label_N if label_N is None else label_N
    if label_N is None or not classes:
        height_N = scan.xyz_N3[:, 2].cpu().double().numpy()
        low, high = np.quantile(height_N, [0.02, 0.98])
        shade_N = np.clip((height_N - low) / max(high - low, 1e-6), 0, 1)
        return _drawn(scan, ramp_colours(shade_N), np.argsort(height_N, kind="stable"), reach_metres)
    _check(scan, label_N, len(classes))
    colours = [*class_colours(classes), NO_CLASS_COLOUR]  # -1 is the last
    colour_N3 = np.array([_bytes_of(it) for it in colours], np.uint8)[label_N.clamp(min=-1).cpu().numpy()]
    order = np.lexsort((scan.xyz_N3[:, 2].cpu().numpy(), label_N.cpu().numpy() >= 0))
    return _drawn(scan, colour_N3, order, reach_metres)


def mistakes_plot(
    scan: Scan, told_N: Int[Tensor, " N"], *, reach_metres: Number | None = None
) -> "matplotlib.figure.Figure":
    """Draw from above which points of a labelled scan a prediction gets wrong.

    Args:
        scan: Points with their labels.
        told_N: The prediction.
        reach_metres: As for `birds_eye_plot`.

    Returns:
        The figure: right ones grey, wrong ones red, those that nobody labelled faint.

    Raises:
        UserError: The scan has no labels, or the prediction another length.
        MissingExtraError: matplotlib is not installed.
    """
    if scan.label_N is None:
        raise invalid("labels of the scan", "there, to judge a prediction by", None)
    _check(scan, told_N, None)
    fate_N = point_fates(scan.label_N, told_N).cpu().numpy()
    colour_N3 = np.array([_bytes_of(it) for it in FATE_COLOURS], np.uint8)[fate_N]
    order = np.argsort(np.array([1, 2, 0])[fate_N], kind="stable")  # mistakes last, on top
    return _drawn(scan, colour_N3, order, reach_metres)


RAMP = ("#4a3f8f", "#2f6fb0", "#1f9b8f", "#7db544", "#e0b92f")
"""From low to high, or from dim to bright: lightness rises all the way, so that grey eyes see it too."""


def ramp_colours(share_N: np.ndarray) -> np.ndarray:
    """Colours of shares in [0, 1] along `RAMP`, as bytes [N, 3].

    >>> ramp_colours(np.array([0.0, 1.0])).tolist() == [[74, 63, 143], [224, 185, 47]]
    True
    """
    stops = np.array([_bytes_of(it) for it in RAMP], float)
    places = np.linspace(0, 1, len(RAMP))
    parts = [np.interp(share_N, places, stops[:, part]) for part in range(3)]
    return np.stack(parts, axis=1).round().astype(np.uint8)


def _drawn(
    scan: Scan, colour_N3: np.ndarray, order: np.ndarray, reach_metres: Number | None
) -> "matplotlib.figure.Figure":
    xy_N2 = scan.xyz_N3[:, :2].cpu().double().numpy()
    if reach_metres is not None and not reach_metres > 0:
        raise invalid("reach_metres", "positive", reach_metres)
    farthest = float(np.quantile(np.linalg.norm(xy_N2, axis=1), REACH_QUANTILE))
    reach = max(farthest, 1.0) if reach_metres is None else float(reach_metres)
    picture = _raster(xy_N2[order], colour_N3[order], reach)
    figure, axes = new_figure(WIDE_PIXELS * HEIGHT_SHARE + 30)
    with drawing_style():
        side = reach * HEIGHT_SHARE
        axes.imshow(picture, extent=(-reach, reach, -side, side), interpolation="none", aspect="equal")
        for corners in _box_corners(scan.boxes) if scan.boxes is not None else []:
            axes.plot(corners[:, 0], corners[:, 1], color=INK, linewidth=0.7)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-side, side)
        axes.grid(visible=False)
        axes.set_title("metres to the left, over metres ahead", fontsize=12)
        axes.tick_params(left=True, length=3)
    assert figure.dpi == PIXELS_PER_INCH
    return figure


def _raster(xy_N2: np.ndarray, colour_N3: np.ndarray, reach: float) -> np.ndarray:
    """Put points into pixels, each over two by two; the last one stays."""
    width, height = PICTURE_COLUMNS, round(PICTURE_COLUMNS * HEIGHT_SHARE)
    per_metre = width / (2 * reach)
    column_N = np.floor(width / 2 + xy_N2[:, 0] * per_metre).astype(np.int64)
    row_N = np.floor(height / 2 - xy_N2[:, 1] * per_metre).astype(np.int64)
    picture = np.zeros((height, width, 4), np.uint8)
    inside_N = (column_N >= 0) & (column_N < width - 1) & (row_N >= 0) & (row_N < height - 1)
    column_N, row_N, colour_N3 = column_N[inside_N], row_N[inside_N], colour_N3[inside_N]
    for down, right in ((1, 1), (1, 0), (0, 1), (0, 0)):
        picture[row_N + down, column_N + right, :3] = colour_N3
        picture[row_N + down, column_N + right, 3] = 255
    return picture


def _box_corners(boxes: Boxes) -> np.ndarray:
    """The line around each box and from its middle through its front: [K, 7, 2]."""
    around = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1], [1, 1], [1, 0], [0, 0]]) / 2
    size_K2, yaw_K = boxes.size_K3[:, :2].cpu().double().numpy(), boxes.yaw_K.cpu().double().numpy()
    ahead, left = (around[None] * size_K2[:, None]).transpose(2, 0, 1)
    cos, sin = np.cos(yaw_K)[:, None], np.sin(yaw_K)[:, None]
    turned: np.ndarray = np.stack([cos * ahead - sin * left, sin * ahead + cos * left], axis=-1)
    turned += boxes.centre_K3[:, None, :2].cpu().double().numpy()
    return turned


def _check(scan: Scan, label_N: Tensor, num_classes: int | None) -> None:
    if len(label_N) != len(scan):
        raise invalid("labels", f"{len(scan)}, one for each point", len(label_N))
    if num_classes is not None and len(label_N) and int(label_N.max()) >= num_classes:
        raise invalid("labels", f"below {num_classes}, the number of classes", int(label_N.max()))


def _bytes_of(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
