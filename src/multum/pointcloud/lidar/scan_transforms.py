"""A scan turned, scaled, mirrored and moved; its boxes follow, so that what lay in a box still does.

Labels, intensities and the order of the points stay. An empty scan comes back empty.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.lidar.scan import Scan


def rotate(scan: Scan, radians: float) -> Scan:
    """Turn a scan about the vertical axis through the sensor, anticlockwise from above.

    Raises:
        UserError: An angle that is not finite.

    Example:
        >>> scan = Scan(xyz_N3=torch.tensor([[2.0, 0, 1]]), intensity_N=torch.ones(1))
        >>> rotate(scan, math.pi / 2).xyz_N3.round().tolist()
        [[0.0, 2.0, 1.0]]
    """
    if not math.isfinite(radians):
        raise invalid("radians", "finite", radians)
    cos, sin = math.cos(radians), math.sin(radians)

    def turn(xyz_N3: Tensor) -> Tensor:
        x_N, y_N, z_N = xyz_N3.unbind(dim=1)
        return torch.stack([cos * x_N - sin * y_N, sin * x_N + cos * y_N, z_N], dim=1)

    return _transformed(scan, turn, yaw=lambda yaw_K: yaw_K + radians)


def scale(scan: Scan, factor: float) -> Scan:
    """Enlarge a scan about the sensor, objects included.

    Raises:
        UserError: A factor that is not positive.

    Example:
        >>> scale(Scan(xyz_N3=torch.ones(1, 3), intensity_N=torch.ones(1)), 2.0).xyz_N3.tolist()
        [[2.0, 2.0, 2.0]]
    """
    if not 0 < factor < math.inf:
        raise invalid("factor", "positive", factor)
    return _transformed(scan, lambda xyz_N3: xyz_N3 * factor, size=factor)


def flip(scan: Scan, axis: Literal["x", "y"]) -> Scan:
    """Mirror a scan: `x` swaps ahead and behind, `y` swaps left and right.

    Raises:
        UserError: Another axis.

    Example:
        >>> flip(Scan(xyz_N3=torch.ones(1, 3), intensity_N=torch.ones(1)), "y").xyz_N3.tolist()
        [[1.0, -1.0, 1.0]]
    """
    if axis not in ("x", "y"):
        raise invalid("axis", "x or y", axis, "a scan is never turned upside down")
    sign = (-1.0, 1.0, 1.0) if axis == "x" else (1.0, -1.0, 1.0)
    half_turn = math.pi if axis == "x" else 0.0
    return _transformed(
        scan, lambda xyz_N3: xyz_N3 * xyz_N3.new_tensor(sign), yaw=lambda yaw_K: half_turn - yaw_K
    )


def translate(scan: Scan, offset_metres: tuple[float, float, float]) -> Scan:
    """Move a scan.

    Raises:
        UserError: An offset that is not finite.

    Example:
        >>> translate(Scan(xyz_N3=torch.ones(1, 3), intensity_N=torch.ones(1)), (0.0, 0.5, 2.0)).xyz_N3.tolist()
        [[1.0, 1.5, 3.0]]
    """
    if not all(map(math.isfinite, offset_metres)):
        raise invalid("offset_metres", "finite", offset_metres)
    return _transformed(scan, lambda xyz_N3: xyz_N3 + xyz_N3.new_tensor(offset_metres))


def tta_views(scan: Scan, num_views: int = 5) -> list[Scan]:
    """Turned copies of a scan for test-time augmentation: the first as it is, then in equal steps around.

    The points keep their order, so what a network says of them can be averaged.

    Args:
        scan: What is judged.
        num_views: How many.

    Raises:
        UserError: Fewer views than one.

    Example:
        >>> scan = Scan(xyz_N3=torch.tensor([[1.0, 0, 0]]), intensity_N=torch.ones(1))
        >>> [view.xyz_N3[0, :2].round().abs().tolist() for view in tta_views(scan, 2)]
        [[1.0, 0.0], [1.0, 0.0]]
    """
    if num_views < 1:
        raise invalid("num_views", "at least 1", num_views, "1 is the scan alone")
    return [scan, *(rotate(scan, 2 * math.pi * view / num_views) for view in range(1, num_views))]


def _transformed(
    scan: Scan,
    move: Callable[[Tensor], Tensor],
    *,
    yaw: Callable[[Tensor], Tensor] = lambda yaw_K: yaw_K,
    size: float = 1.0,
) -> Scan:
    """Move points and middles of boxes, and bring the headings of boxes into [-pi, pi]."""
    boxes = scan.boxes
    if boxes is not None:
        yaw_K = yaw(boxes.yaw_K)
        boxes = replace(
            boxes,
            centre_K3=move(boxes.centre_K3),
            size_K3=boxes.size_K3 * size,
            yaw_K=torch.atan2(torch.sin(yaw_K), torch.cos(yaw_K)),
        )
    return replace(scan, xyz_N3=move(scan.xyz_N3), boxes=boxes)
