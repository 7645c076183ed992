"""Boxes for tests: drawn ones, ones from plain numbers, and the area that two share, corner by corner."""

import math
from collections.abc import Sequence

import torch
from hypothesis import strategies as st

from multum.pointcloud.lidar import Boxes

Corner = tuple[float, float]


def boxes_of(rows: Sequence[Sequence[float]], labels: Sequence[int] | None = None) -> Boxes:
    """From rows of x, y, z, length, width, height, yaw."""
    row_K7 = torch.tensor(rows, dtype=torch.float64).reshape(-1, 7)
    return Boxes(
        centre_K3=row_K7[:, :3],
        size_K3=row_K7[:, 3:6],
        yaw_K=row_K7[:, 6],
        label_K=torch.tensor([0] * len(rows) if labels is None else labels, dtype=torch.int64),
    )


def some_boxes(min_size: int = 1, max_size: int = 4) -> st.SearchStrategy[Boxes]:
    """Boxes that often overlap; many with sides along the axes, or alike."""
    place = st.floats(-3, 3) | st.sampled_from([-1.0, 0.0, 1.0])
    edge = st.floats(0.1, 5) | st.sampled_from([1.0, 2.0])
    yaw = st.floats(-7, 7) | st.sampled_from([0.0, math.pi / 2, math.pi, -math.pi / 4])
    row = st.tuples(place, place, place, edge, edge, edge, yaw)
    return st.lists(row, min_size=min_size, max_size=max_size).map(boxes_of)


def naive_shared_area(first: Sequence[float], second: Sequence[float]) -> float:
    """Sutherland and Hodgman's way: the corners of one, cut by the sides of the other; from x, y, l, w, yaw."""
    corners = _corners(first)
    sides = _corners(second)
    for start, end in zip(sides, [*sides[1:], sides[0]], strict=True):
        corners = _cut(corners, start, end)
    pairs = zip(corners, [*corners[1:], *corners[:1]], strict=True)
    return abs(sum(x * other_y - other_x * y for (x, y), (other_x, other_y) in pairs)) / 2


def _corners(rectangle: Sequence[float]) -> list[Corner]:
    x, y, length, width, yaw = rectangle
    cos, sin = math.cos(yaw), math.sin(yaw)
    parts = [
        (length / 2, width / 2),
        (-length / 2, width / 2),
        (-length / 2, -width / 2),
        (length / 2, -width / 2),
    ]
    return [(x + cos * along - sin * across, y + sin * along + cos * across) for along, across in parts]


def _cut(corners: list[Corner], start: Corner, end: Corner) -> list[Corner]:
    """What lies to the left of a line."""
    kept = []
    for at, after in zip(corners, [*corners[1:], *corners[:1]], strict=True):
        here, there = _left_of(start, end, at), _left_of(start, end, after)
        if here >= 0:
            kept.append(at)
        if (here > 0 > there) or (here < 0 < there):
            part = here / (here - there)
            kept.append((at[0] + part * (after[0] - at[0]), at[1] + part * (after[1] - at[1])))
    return kept


def _left_of(start: Corner, end: Corner, at: Corner) -> float:
    return (end[0] - start[0]) * (at[1] - start[1]) - (end[1] - start[1]) * (at[0] - start[0])
