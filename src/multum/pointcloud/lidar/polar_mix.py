"""PolarMix: a sector of one scan takes the place of another's, and objects are pasted several times around the sensor.

A spinning sensor sees the world alike in every direction. So what it saw of one sector or of one object is as good a
measurement at another azimuth, at the same distance: no point is invented, and none changes its density.

Shape legend: N points, K boxes.

Source: PolarMix (NeurIPS 2022), section 3.
Differs from the paper: one mixed scan is made, not two. Boxes, which the paper has not, follow: in a swap by the
azimuth of their middles, in pasting where most of their points are of the classes pasted. As there, nothing is cleared
where an object is pasted.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.lidar.scan import Scan
from multum.pointcloud.lidar.scan_parts import join_scans, part_of_scan, points_in_boxes
from multum.pointcloud.lidar.scan_transforms import rotate

SECTOR_RADIANS = math.pi
"""Width of the sector that is swapped."""
NUM_COPIES = 3
"""An object is pasted so many times: once where it was, and then once in each of as many sectors but the last."""


def polar_mix(
    first: Scan,
    second: Scan,
    generator: torch.Generator,
    *,
    classes: Sequence[int],
    swap_probability: float = 0.5,
    paste_probability: float = 1.0,
    num_copies: int = NUM_COPIES,
) -> Scan:
    """Swap a sector of two scans, then paste objects of the second into the result.

    Args:
        first: The scan that is changed, in the frame of the sensor.
        second: The scan that gives; either may be empty.
        generator: Source of the draws; the same count of numbers is taken whatever comes out.
        classes: Labels of the points that are pasted.
        swap_probability: Of the swap.
        paste_probability: Of the pasting.
        num_copies: How often each object is pasted.

    Returns:
        Points of the first scan, then what came from the second. Boxes where both have them.

    Raises:
        UserError: A probability outside [0, 1]; nothing to paste though pasting is asked for (no classes, labels or
            copies); or one scan has labels and the other none.
    """
    for name, probability in (
        ("swap_probability", swap_probability),
        ("paste_probability", paste_probability),
    ):
        if not 0 <= probability <= 1:
            raise invalid(name, "in [0, 1]", probability)
    if num_copies < 1:
        raise invalid("num_copies", "at least 1", num_copies, "paste_probability=0 pastes nothing")
    if paste_probability > 0 and not classes:
        raise invalid("classes", "at least one label", tuple(classes), "paste_probability=0 pastes nothing")
    swap, start, paste = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    turns = draw_turns(num_copies, generator)
    mixed = first
    if swap < swap_probability:
        mixed = swap_sector(first, second, (2 * start - 1) * math.pi)
    if paste < paste_probability:
        objects = objects_of(second, classes)
        mixed = join_scans([mixed, *(rotate(objects, turn) for turn in turns)])
    return mixed


def draw_turns(num_copies: int, generator: torch.Generator) -> list[float]:
    """Draw the angles of the copies, in radians: 0, then one from each of `num_copies` equal sectors but the last.

    >>> len(draw_turns(3, torch.Generator()))
    3
    """
    draws = torch.rand(num_copies - 1, generator=generator, dtype=torch.float64).tolist()
    return [0.0, *(2 * math.pi * (sector + draw) / num_copies for sector, draw in enumerate(draws))]


def swap_sector(first: Scan, second: Scan, start_radians: float) -> Scan:
    """Put the sector of the second scan, from this azimuth anticlockwise, in the place of the first's.

    Raises:
        UserError: One scan has labels and the other none.
    """
    parts = []
    for scan, inside in ((first, False), (second, True)):
        point_N = _in_sector(scan.xyz_N3, start_radians) == inside
        box_K = None if scan.boxes is None else _in_sector(scan.boxes.centre_K3, start_radians) == inside
        parts.append(part_of_scan(scan, point_N, box_K))
    return join_scans(parts)


def objects_of(scan: Scan, classes: Sequence[int]) -> Scan:
    """The points of some classes, and the boxes most of whose points are theirs.

    Raises:
        UserError: A scan without labels.
    """
    if scan.label_N is None:
        remedy = "read a labelled scan, or paste nothing (paste_probability=0)"
        raise invalid(f"scan {scan.name!r}", "labelled, to tell its objects", None, remedy)
    chosen_N = torch.isin(scan.label_N, scan.label_N.new_tensor(list(classes)))
    box_K = None
    if scan.boxes is not None:
        held_KN = points_in_boxes(scan.xyz_N3, scan.boxes)
        box_K = 2 * (held_KN & chosen_N).sum(dim=1) > held_KN.sum(dim=1)
    return part_of_scan(scan, chosen_N, box_K)


def _in_sector(xyz_N3: Tensor, start_radians: float) -> Tensor:
    azimuth_N = torch.atan2(xyz_N3[:, 1], xyz_N3[:, 0]) - start_radians
    return torch.remainder(azimuth_N, 2 * math.pi) < SECTOR_RADIANS
