"""How a scan is varied for training; labels and boxes follow, and every draw comes from the generator given.

Re-trainings have shown that such recipes matter more for the accuracy than the search for a network does: two networks
are compared under the same one, or not at all.

Shape legend: N points.
"""

import math
from dataclasses import dataclass, replace

import torch

from multum.core import check_fields, invalid
from multum.pointcloud.lidar.laser_mix import INCLINATION_DEGREES, laser_mix
from multum.pointcloud.lidar.polar_mix import polar_mix
from multum.pointcloud.lidar.scan import Scan
from multum.pointcloud.lidar.scan_transforms import flip, rotate, scale, translate


def random_rotation(scan: Scan, generator: torch.Generator, *, max_degrees: float = 180.0) -> Scan:
    """Turn a scan about the vertical axis by an angle drawn evenly up to this, either way.

    Raises:
        UserError: An angle outside [0, 180].
    """
    if not 0 <= max_degrees <= 180:
        raise invalid("max_degrees", "in [0, 180]", max_degrees)
    return rotate(scan, math.radians(max_degrees) * _between(-1.0, 1.0, generator))


def random_scaling(
    scan: Scan, generator: torch.Generator, *, factors: tuple[float, float] = (0.95, 1.05)
) -> Scan:
    """Enlarge or shrink a scan by a factor drawn evenly between these.

    Raises:
        UserError: Factors that are not positive and ascending.
    """
    if not 0 < factors[0] <= factors[1] < math.inf:
        raise invalid("factors", "two ascending numbers above 0", factors)
    return scale(scan, _between(*factors, generator))


def random_flips(scan: Scan, generator: torch.Generator, *, probability: float = 0.5) -> Scan:
    """Mirror a scan along x, along y, along both or neither; each with this probability.

    Raises:
        UserError: A probability outside [0, 1].
    """
    _check_probability("probability", probability)
    along_x, along_y = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    scan = flip(scan, "x") if along_x < probability else scan
    return flip(scan, "y") if along_y < probability else scan


def random_translation(scan: Scan, generator: torch.Generator, *, std_metres: float = 0.1) -> Scan:
    """Move a scan by a normal draw with this standard deviation on each axis.

    Raises:
        UserError: A standard deviation below 0.
    """
    if not 0 <= std_metres < math.inf:
        raise invalid("std_metres", "at least 0", std_metres)
    x, y, z = (std_metres * torch.randn(3, generator=generator, dtype=torch.float64)).tolist()
    return translate(scan, (x, y, z))


def jitter_points(
    scan: Scan, generator: torch.Generator, *, std_metres: float = 0.01, clip_metres: float = 0.05
) -> Scan:
    """Move each point on its own by a normal draw on each axis, cut off at `clip_metres`; the boxes stay.

    Raises:
        UserError: A standard deviation or a limit below 0.
    """
    for name, value in (("std_metres", std_metres), ("clip_metres", clip_metres)):
        if not 0 <= value < math.inf:
            raise invalid(name, "at least 0", value)
    draw_N3 = torch.randn(len(scan), 3, generator=generator)
    offset_N3 = (std_metres * draw_N3).clamp(-clip_metres, clip_metres)
    return replace(scan, xyz_N3=scan.xyz_N3 + offset_N3.to(scan.xyz_N3))


def drop_points(scan: Scan, generator: torch.Generator, *, min_keep_ratio: float = 0.9) -> Scan:
    """Keep a part of the points, drawn evenly from [min_keep_ratio, 1], in their order; the boxes stay.

    At least one point stays where there was one.

    Raises:
        UserError: A ratio outside (0, 1].
    """
    if not 0 < min_keep_ratio <= 1:
        raise invalid("min_keep_ratio", "in (0, 1]", min_keep_ratio, "1 keeps everything")
    kept = math.ceil(_between(min_keep_ratio, 1.0, generator) * len(scan))
    order_N = torch.randperm(len(scan), generator=generator)
    return scan.at(order_N[:kept].sort().values.to(scan.xyz_N3.device))


@dataclass(frozen=True, kw_only=True)
class AugmentationConfig:
    """How scans are varied. As it stands it turns and scales, the recipe of SPVNAS; the rest is off.

    Raises:
        UserError: A dial is out of range.

    Example:
        >>> scan = Scan(xyz_N3=torch.tensor([[3.0, 4.0, 0.0]]), intensity_N=torch.ones(1))
        >>> turned = AugmentationConfig(scale=(1.0, 1.0)).augment(scan, torch.Generator())
        >>> round(turned.xyz_N3.norm().item(), 3)
        5.0
    """

    rotation_degrees: float = 180.0
    """Largest turn about the vertical axis, either way."""
    scale: tuple[float, float] = (0.95, 1.05)
    """Smallest and largest factor."""
    flip_probability: float = 0.0
    """Of a mirror along x, and of one along y."""
    translation_std_metres: float = 0.0
    """Standard deviation of the move of the whole, on each axis."""
    jitter_std_metres: float = 0.0
    """Standard deviation of the move of each point, on each axis."""
    jitter_clip_metres: float = 0.05
    """No point moves farther than this on an axis."""
    min_keep_ratio: float = 1.0
    """Smallest part of the points that stays."""
    laser_mix_probability: float = 0.0
    """Of LaserMix with a partner."""
    inclination_degrees: tuple[float, float] = INCLINATION_DEGREES
    """Lowest and highest beam of the sensor, for LaserMix."""
    polar_mix_probability: float = 0.0
    """Of PolarMix with a partner; no scan goes through both, so that the two add up to 1 at most."""
    polar_mix_classes: tuple[int, ...] = ()
    """Labels of the points that PolarMix pastes."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("flip_probability", "laser_mix_probability", "polar_mix_probability"):
            _check_probability(name, getattr(self, name))
        if self.laser_mix_probability + self.polar_mix_probability > 1:
            total = self.laser_mix_probability + self.polar_mix_probability
            raise invalid("laser_mix_probability + polar_mix_probability", "at most 1", total)
        if not 0 <= self.rotation_degrees <= 180:
            raise invalid("rotation_degrees", "in [0, 180]", self.rotation_degrees)
        if not 0 < self.scale[0] <= self.scale[1]:
            raise invalid("scale", "two ascending numbers above 0", self.scale)
        for name in ("translation_std_metres", "jitter_std_metres", "jitter_clip_metres"):
            if getattr(self, name) < 0:
                raise invalid(name, "at least 0", getattr(self, name), "0 leaves the points")
        if not 0 < self.min_keep_ratio <= 1:
            raise invalid("min_keep_ratio", "in (0, 1]", self.min_keep_ratio, "1 keeps everything")
        if not -90 <= self.inclination_degrees[0] < self.inclination_degrees[1] <= 90:
            what = "two ascending angles in [-90, 90]"
            raise invalid("inclination_degrees", what, self.inclination_degrees)
        if self.polar_mix_probability > 0 and not self.polar_mix_classes:
            raise invalid("polar_mix_classes", "at least one label", (), "or leave PolarMix out")

    @property
    def needs_partner(self) -> bool:
        """Whether `augment` asks for a second scan."""
        return self.laser_mix_probability + self.polar_mix_probability > 0

    def augment(self, scan: Scan, generator: torch.Generator, partner: Scan | None = None) -> Scan:
        """Vary a scan: mix it in the frame of the sensor, then drop points, turn, scale, mirror, move and jitter.

        Args:
            scan: A scan, in the frame of the sensor.
            generator: Source of all draws.
            partner: Another scan of the same classes, to mix with.

        Raises:
            UserError: Mixing is asked for and there is no partner, or the two cannot be mixed.
        """
        scan = self._mix(scan, generator, partner)
        if self.min_keep_ratio < 1:
            scan = drop_points(scan, generator, min_keep_ratio=self.min_keep_ratio)
        scan = random_rotation(scan, generator, max_degrees=self.rotation_degrees)
        scan = random_scaling(scan, generator, factors=self.scale)
        if self.flip_probability > 0:
            scan = random_flips(scan, generator, probability=self.flip_probability)
        if self.translation_std_metres > 0:
            scan = random_translation(scan, generator, std_metres=self.translation_std_metres)
        if self.jitter_std_metres > 0:
            dials = {"std_metres": self.jitter_std_metres, "clip_metres": self.jitter_clip_metres}
            scan = jitter_points(scan, generator, **dials)
        return scan

    def _mix(self, scan: Scan, generator: torch.Generator, partner: Scan | None) -> Scan:
        if not self.needs_partner:
            return scan
        if partner is None:
            raise invalid(
                "partner", "a scan, for mixing is asked for", None, "or set both probabilities to 0"
            )
        draw = _between(0.0, 1.0, generator)
        if draw < self.laser_mix_probability:
            return laser_mix(scan, partner, generator, inclination_degrees=self.inclination_degrees)
        if draw < self.laser_mix_probability + self.polar_mix_probability:
            return polar_mix(scan, partner, generator, classes=self.polar_mix_classes)
        return scan


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise invalid(name, "in [0, 1]", value)
