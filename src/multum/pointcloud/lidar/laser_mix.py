"""LaserMix: a scan whose beams come from two scans by turns, area by area of inclination.

Where a class is found depends much on the inclination of the beam, and little on the rest of the scene. So areas of
inclination can be exchanged between scans, and each stays plausible at its place while its surroundings change.

Shape legend: N points, K boxes.

Source: LaserMix (CVPR 2023), section 3.
Differs from the paper: one of the two mixed scans is made, a coin says which; areas are cut by inclination alone, never
by azimuth; labels are the given ones, no teacher guesses them. Boxes, which the paper has not, follow the areas of
their middles.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.lidar.scan import Scan
from multum.pointcloud.lidar.scan_parts import join_scans, part_of_scan

NUM_AREAS = (3, 4, 5, 6)
"""So many areas, one of these numbers by lot."""
INCLINATION_DEGREES = (-25.0, 3.0)
"""Lowest and highest beam of KITTI's sensor, rounded outwards."""


def laser_mix(
    first: Scan,
    second: Scan,
    generator: torch.Generator,
    *,
    num_areas: Sequence[int] = NUM_AREAS,
    inclination_degrees: tuple[float, float] = INCLINATION_DEGREES,
) -> Scan:
    """Take areas of inclination from two scans by turns.

    Args:
        first: A scan, in the frame of the sensor.
        second: Another one; either may be empty.
        generator: Source of the draws: the number of areas, and which scan gives the lowest one.
        num_areas: The numbers to draw from, each at least 1.
        inclination_degrees: Of the lowest and the highest beam; what lies outside belongs to the area next to it.

    Returns:
        Points of the first scan, then of the second. Boxes where both have them; an object that reaches over the border
        of two areas loses a part of its points and keeps its box.

    Raises:
        UserError: A number or range that makes no areas, or one scan has labels and the other none.
    """
    if not num_areas or min(num_areas) < 1:
        raise invalid("num_areas", "numbers of at least 1", tuple(num_areas))
    low, high = inclination_degrees
    if not -90 <= low < high <= 90:
        raise invalid("inclination_degrees", "two ascending angles in [-90, 90]", inclination_degrees)
    choice, turn = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    number = num_areas[int(choice * len(num_areas))]
    parity = int(turn * 2)
    parts = []
    for scan, mine in ((first, parity), (second, 1 - parity)):
        point_N = inclination_area(scan.xyz_N3, number, inclination_degrees) % 2 == mine
        box_K = None
        if scan.boxes is not None:
            box_K = inclination_area(scan.boxes.centre_K3, number, inclination_degrees) % 2 == mine
        parts.append(part_of_scan(scan, point_N, box_K))
    return join_scans(parts)


def inclination_area(
    xyz_N3: Float[Tensor, "N 3"], num_areas: int, inclination_degrees: tuple[float, float]
) -> Int[Tensor, " N"]:
    """Number of the area of inclination in which each point lies, 0 the lowest.

    >>> inclination_area(torch.tensor([[9.0, 0, -9], [9, 0, 0.1], [0, 9, 9]]), 2, (-30.0, 30.0)).tolist()
    [0, 1, 1]
    """
    low, high = map(math.radians, inclination_degrees)
    inclination_N = torch.atan2(xyz_N3[:, 2], torch.hypot(xyz_N3[:, 0], xyz_N3[:, 1]))
    area_N = torch.floor((inclination_N - low) / (high - low) * num_areas)
    return area_N.clamp(0, num_areas - 1).long()
