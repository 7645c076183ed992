"""How KITTI's laser scanner, its cameras and its pictures lie to one another, in one frame of the detection data set.

Boxes were drawn in the frame of the rectified camera: x to the right, y down, z ahead. Two small turns lie between it
and the scanner, so the directions do not just swap names: half a degree is half a metre at sixty.

Shape legend: M points; 3 are x, y, z.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multum.core import invalid, read_text

_NUM_NUMBERS = {"P2": 12, "R0_rect": 9, "Tr_velo_to_cam": 12}


@dataclass(frozen=True, kw_only=True)
class KittiCalibration:
    """The two maps that boxes need, both in float64.

    >>> swap_44 = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]).double()
    >>> project_34 = torch.eye(3, 4, dtype=torch.float64)
    >>> calibration = KittiCalibration(camera_from_lidar_44=swap_44, image_from_camera_34=project_34)
    >>> calibration.to_camera(torch.tensor([[10.0, 2.0, -1.0]])).tolist()
    [[-2.0, 1.0, 10.0]]
    """

    camera_from_lidar_44: Float[Tensor, "4 4"]
    """Scanner to rectified camera; a rotation and a shift in metres."""

    image_from_camera_34: Float[Tensor, "3 4"]
    """Rectified camera to the left colour picture, in pixels, up to the third coordinate."""

    def to_camera(self, xyz_M3: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Bring points from the scanner's frame to the rectified camera's, in metres, as float64."""
        return _moved(self.camera_from_lidar_44, xyz_M3)

    def to_lidar(self, xyz_M3: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Bring points from the rectified camera's frame to the scanner's, in metres, as float64."""
        return _moved(torch.linalg.inv(self.camera_from_lidar_44), xyz_M3)

    def in_picture(
        self, xyz_M3: Float[Tensor, "M 3"], size: tuple[int, int] = (1242, 375)
    ) -> Bool[Tensor, " M"]:
        """Tell which points of the scanner are in the camera's picture: only there were objects labelled.

        Args:
            xyz_M3: Points in the scanner's frame.
            size: Width and height of the picture in pixels; they differ by a few from drive to drive.

        Returns:
            True for each point in front of the camera whose pixel exists.
        """
        camera_M3 = self.to_camera(xyz_M3)
        ahead_M = camera_M3[:, 2] > 0
        pixel_M3 = camera_M3 @ self.image_from_camera_34[:, :3].T + self.image_from_camera_34[:, 3]
        column_M, row_M = (pixel_M3[:, :2] / pixel_M3[:, 2:]).unbind(dim=1)
        return ahead_M & (column_M >= 0) & (column_M < size[0]) & (row_M >= 0) & (row_M < size[1])


def read_kitti_calibration(path: Path) -> KittiCalibration:
    """Read a file of calibration.

    Args:
        path: Text with a line for each of P2, R0_rect, Tr_velo_to_cam (and others): its name, a colon, its numbers.

    Returns:
        The maps.

    Raises:
        UserError: Not readable, or a line is missing or has other than the right number of numbers.
    """
    lines = dict(line.split(":", 1) for line in read_text(path).splitlines() if ":" in line)
    found = {key: _numbers(path, key, lines.get(key, "")) for key in _NUM_NUMBERS}
    rectify_44, rigid_44 = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    rectify_44[:3, :3] = found["R0_rect"].reshape(3, 3)
    rigid_44[:3] = found["Tr_velo_to_cam"].reshape(3, 4)
    return KittiCalibration(
        camera_from_lidar_44=rectify_44 @ rigid_44, image_from_camera_34=found["P2"].reshape(3, 4)
    )


def _numbers(path: Path, key: str, text: str) -> Tensor:
    count = _NUM_NUMBERS[key]
    try:
        numbers = torch.tensor([float(word) for word in text.split()], dtype=torch.float64)
    except ValueError as problem:
        raise invalid(f"{key} in {path}", f"{count} numbers", text.strip()) from problem
    if len(numbers) != count or not bool(torch.isfinite(numbers).all()):
        raise invalid(f"{key} in {path}", f"{count} numbers", text.strip() or "no such line")
    return numbers


def _moved(map_44: Tensor, xyz_M3: Tensor) -> Tensor:
    return xyz_M3.double() @ map_44[:3, :3].T + map_44[:3, 3]
