"""A synthetic street: things at their places, as solids with classes, and boxes around what moves.

The frame of a street: x along it, y to the left, z up from the road; `seen_from` turns it into a sensor's. The world is
our own invention. It stands in for data where there is none, in tests and demonstrations, and says nothing about real
traffic.

Shape legend: S solids, K boxes.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64, Int64

from multum.pointcloud.lidar.ray_cast import BOX, CYLINDER, ELLIPSOID, SyntheticSolids
from multum.pointcloud.lidar.street_materials import (
    SYNTHETIC_CLASSES,
    SYNTHETIC_MATERIALS,
    SYNTHETIC_OBJECTS,
)
from multum.pointcloud.lidar.street_things import SyntheticPart, SyntheticThing

EXTENT = 95.0
"""A street goes so far ahead and behind, in metres: beyond what a sensor sees."""

_SHAPES = {"box": BOX, "cylinder": CYLINDER, "ellipsoid": ELLIPSOID}


@dataclass(frozen=True, kw_only=True)
class SyntheticStreet:
    """Everything that stands in a synthetic street."""

    solids: SyntheticSolids
    """Their shapes and places."""
    label_S: Int64[np.ndarray, " S"]
    """Places in SYNTHETIC_CLASSES."""
    albedo_S: Float64[np.ndarray, " S"]
    """Shares of the light that come back when it is met squarely."""
    box_S: Int64[np.ndarray, " S"]
    """Number of the box that a solid belongs to, or -1."""
    centre_K3: Float64[np.ndarray, "K 3"]
    """Middles of the boxes, in metres."""
    size_K3: Float64[np.ndarray, "K 3"]
    """Length, width and height of the boxes, in metres."""
    yaw_K: Float64[np.ndarray, " K"]
    """Headings of the boxes, in radians."""
    object_K: Int64[np.ndarray, " K"]
    """Places in SYNTHETIC_OBJECTS."""

    def seen_from(self, x: float, y: float, z: float, yaw: float) -> "SyntheticStreet":
        """The same street in the frame of a sensor at this place, with this heading."""
        solids = replace(
            self.solids,
            centre_S3=_moved(self.solids.centre_S3, (x, y, z), yaw),
            yaw_S=self.solids.yaw_S - yaw,
        )
        centre_K3 = _moved(self.centre_K3, (x, y, z), yaw)
        return replace(self, solids=solids, centre_K3=centre_K3, yaw_K=self.yaw_K - yaw)


class SyntheticStreetBuilder:
    """Collects the things of a synthetic street, and draws how each of them reflects.

    Args:
        generator: Source of the draws.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._shapes: list[tuple[int, int, int]] = []  # shape, label, box
        self._places: list[list[float]] = []  # centre, half, yaw, albedo
        self._objects: list[int] = []
        self._boxes: list[list[float]] = []  # centre, size, yaw

    def between(self, low: float, high: float) -> float:
        """Draw evenly."""
        draw = torch.rand((), generator=self._generator, dtype=torch.float64).item()
        return low + (high - low) * draw

    def chance(self, probability: float) -> bool:
        """Draw yes or no."""
        return self.between(0.0, 1.0) < probability

    def put(self, thing: SyntheticThing, x: float, y: float, *, z: float = 0.0, yaw: float = 0.0) -> None:
        """Place a thing, with this heading in radians."""
        box = -1
        if thing.object_name is not None:
            box = len(self._boxes)
            middle, half = _middle_and_half(*thing.box)
            self._boxes.append([*_placed(middle, x, y, z, yaw), *(2 * size for size in half), yaw])
            self._objects.append(SYNTHETIC_OBJECTS.index(thing.object_name))
        draws: dict[tuple[str, int], float] = {}
        for part in thing.parts:
            look = (part.label, part.paint)
            if look not in draws:
                draws[look] = self.between(*SYNTHETIC_MATERIALS[part.label].albedo)
            self._put_part(part, (x, y, z, yaw), draws[look], box)

    def build(self) -> SyntheticStreet:
        """The street so far."""
        shape_S, label_S, box_S = np.array(self._shapes, dtype=np.int64).reshape(-1, 3).T
        place_S8 = np.array(self._places, dtype=np.float64).reshape(-1, 8)
        box_K7 = np.array(self._boxes, dtype=np.float64).reshape(-1, 7)
        return SyntheticStreet(
            solids=SyntheticSolids(
                shape_S=shape_S,
                centre_S3=place_S8[:, :3],
                half_S3=place_S8[:, 3:6],
                yaw_S=place_S8[:, 6],
            ),
            label_S=label_S,
            albedo_S=place_S8[:, 7],
            box_S=box_S,
            centre_K3=box_K7[:, :3],
            size_K3=box_K7[:, 3:6],
            yaw_K=box_K7[:, 6],
            object_K=np.array(self._objects, dtype=np.int64),
        )

    def _put_part(
        self, part: SyntheticPart, place: tuple[float, float, float, float], albedo: float, box: int
    ) -> None:
        middle, half = _middle_and_half(part.low, part.high)
        self._shapes.append((_SHAPES[part.shape], SYNTHETIC_CLASSES.index(part.label), box))
        self._places.append([*_placed(middle, *place), *half, place[3], albedo])


def _middle_and_half(
    low: tuple[float, float, float], high: tuple[float, float, float]
) -> tuple[list[float], list[float]]:
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    return middle, [(b - a) / 2 for a, b in zip(low, high, strict=True)]


def _placed(point: list[float], x: float, y: float, z: float, yaw: float) -> list[float]:
    cos, sin = math.cos(yaw), math.sin(yaw)
    return [x + cos * point[0] - sin * point[1], y + sin * point[0] + cos * point[1], z + point[2]]


def _moved(point_N3: np.ndarray, origin: tuple[float, float, float], yaw: float) -> np.ndarray:
    """Points in a frame that begins at the origin given and is turned by yaw."""
    x_N, y_N, z_N = (point_N3 - np.array(origin)).T
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.stack([cos * x_N + sin * y_N, cos * y_N - sin * x_N, z_N], axis=1)
