"""A spinning sensor that looks at a synthetic street: which rays come back, from where, and how bright.

The rays are spaced as those of Velodyne's HDL-64E, the sensor of KITTI: the upper half of the beams lies a third closer
than the lower one. What else a real sensor does (a turn takes time, beams are calibrated each on its own, light returns
twice) is left out.

Shape legend: E beams, A azimuths, R = E x A rays, N points, K boxes.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from multum.core import check_fields, invalid
from multum.pointcloud.lidar.ray_cast import SyntheticHits, nearest_hit, ray_directions
from multum.pointcloud.lidar.scan import Boxes, Scan
from multum.pointcloud.lidar.street import SyntheticStreet
from multum.pointcloud.lidar.street_materials import SYNTHETIC_CLASSES, SYNTHETIC_MATERIALS

LOWER_SPACING = 1.5
"""Angle between two beams of the lower half, where that of the upper one is 1."""


@dataclass(frozen=True, kw_only=True)
class SyntheticSensor:
    """The dials of a sensor that exists in the synthetic world only; it stands still while it turns.

    Raises:
        UserError: A dial is out of range.
    """

    num_beams: int = 64
    """Rays above one another."""
    num_azimuths: int = 1024
    """Rays in a turn."""
    elevation_degrees: tuple[float, float] = (-24.8, 2.0)
    """The lowest and the highest beam, from the horizon."""
    range_metres: tuple[float, float] = (1.5, 80.0)
    """What is nearer or farther is not seen."""
    range_noise_metres: float = 0.02
    """Standard deviation of a distance."""
    intensity_noise: float = 0.1
    """Standard deviation of an intensity, as a part of it."""
    loss_at_distance: float = 0.25
    """Part of the rays that is lost at the end of the range; it grows with the square of the distance."""
    loss_at_grazing: float = 0.3
    """Part of the rays that is lost where they touch a surface without meeting it, in addition."""
    height_metres: float = 1.73
    """Above the road."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("num_beams", "num_azimuths"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))
        if not -90 < self.elevation_degrees[0] <= self.elevation_degrees[1] < 90:
            raise invalid("elevation_degrees", "two ascending angles in (-90, 90)", self.elevation_degrees)
        if not 0 < self.range_metres[0] < self.range_metres[1]:
            raise invalid("range_metres", "two ascending distances above 0", self.range_metres)
        for name in ("range_noise_metres", "intensity_noise"):
            if getattr(self, name) < 0:
                raise invalid(name, "at least 0", getattr(self, name), "0 is a sensor without noise")
        for name in ("loss_at_distance", "loss_at_grazing"):
            if not 0 <= getattr(self, name) <= 1:
                raise invalid(name, "in [0, 1]", getattr(self, name), "0 loses none")
        if self.height_metres <= 0:
            raise invalid("height_metres", "above 0", self.height_metres)

    def elevations(self) -> Float64[np.ndarray, " E"]:
        """Angles of the beams, in radians, from the highest to the lowest.

        >>> np.degrees(SyntheticSensor(num_beams=4).elevations()).round(1).tolist()
        [2.0, -4.7, -14.8, -24.8]
        """
        low, high = map(math.radians, self.elevation_degrees)
        gap = np.where(np.arange(self.num_beams - 1) < self.num_beams // 2 - 1, 1.0, LOWER_SPACING)
        if self.num_beams == 1 or low == high:
            return np.full(self.num_beams, high)
        down_E: np.ndarray = np.concatenate([[0.0], np.cumsum(gap)]) / gap.sum()
        return high - (high - low) * down_E


def synthetic_scan(
    street: SyntheticStreet, sensor: SyntheticSensor, generator: torch.Generator, *, name: str = ""
) -> Scan:
    """Look around once in a synthetic street.

    Args:
        street: In the frame of the sensor (`SyntheticStreet.seen_from`).
        sensor: Its dials.
        generator: Source of noise and losses; the same count of numbers is taken whatever there is to see.
        name: Of the scan.

    Returns:
        Points beam by beam from the highest, with labels from SYNTHETIC_CLASSES; boxes of the objects from which at
        least one ray came back, with labels from SYNTHETIC_OBJECTS.
    """
    hits = nearest_hit(street.solids, sensor.elevations(), sensor.num_azimuths)
    count = len(hits.distance_R)
    noise_3R = torch.randn(3, count, generator=generator, dtype=torch.float64).numpy()
    lost_R = torch.rand(count, generator=generator, dtype=torch.float64).numpy() < _loss(sensor, hits)
    near, far = sensor.range_metres
    seen = np.flatnonzero((hits.distance_R >= near) & (hits.distance_R <= far) & ~lost_R)
    solid_N, noise_3N = hits.solid_R[seen], noise_3R[:, seen]
    label_N = street.label_S[solid_N]
    depth_N = np.array([SYNTHETIC_MATERIALS[name].depth for name in SYNTHETIC_CLASSES])[label_N]
    range_N = hits.distance_R[seen] + sensor.range_noise_metres * noise_3N[0] + depth_N * np.abs(noise_3N[1])
    xyz_N3 = ray_directions(sensor.elevations(), sensor.num_azimuths)[seen] * range_N[:, None]
    bright_N = street.albedo_S[solid_N] * hits.cosine_R[seen] * (1 + sensor.intensity_noise * noise_3N[2])
    return Scan(
        xyz_N3=torch.from_numpy(xyz_N3).float(),
        intensity_N=torch.from_numpy(np.clip(bright_N, 0, 1)).float(),
        label_N=torch.from_numpy(label_N),
        boxes=_seen_boxes(street, solid_N),
        name=name,
    )


def _loss(sensor: SyntheticSensor, hits: SyntheticHits) -> np.ndarray:
    """Probability that a ray does not come back; a steep power, for only very flat angles lose much."""
    share_R = np.minimum(hits.distance_R / sensor.range_metres[1], 1.0)
    lost_R = sensor.loss_at_distance * share_R**2 + sensor.loss_at_grazing * (1 - hits.cosine_R) ** 8
    return np.minimum(lost_R, 1.0)


def _seen_boxes(street: SyntheticStreet, solid_N: np.ndarray) -> Boxes:
    box_N = street.box_S[solid_N]
    seen = np.unique(box_N[box_N >= 0])
    return Boxes(
        centre_K3=torch.from_numpy(street.centre_K3[seen]).float(),
        size_K3=torch.from_numpy(street.size_K3[seen]).float(),
        yaw_K=torch.from_numpy(np.arctan2(np.sin(street.yaw_K[seen]), np.cos(street.yaw_K[seen]))).float(),
        label_K=torch.from_numpy(street.object_K[seen]),
    )
