"""Classes of the synthetic streets and what their surfaces do to light.

The names of the classes are SemanticKITTI's, those of the objects KITTI's, so that a table of results reads the same.
The surfaces are plausible and not measured: no number here comes from a real sensor.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SyntheticMaterial:
    """The surface of a class in a synthetic street."""

    albedo: tuple[float, float]
    """Darkest and brightest share of the light that comes back when it is met squarely; each thing draws its own."""
    depth: float = 0.0
    """How far light goes in, in metres (leaves have gaps): the size of a normal draw with this standard deviation."""


SYNTHETIC_MATERIALS = {
    "car": SyntheticMaterial(albedo=(0.08, 0.9)),
    "truck": SyntheticMaterial(albedo=(0.2, 0.9)),
    "person": SyntheticMaterial(albedo=(0.15, 0.7)),
    "bicyclist": SyntheticMaterial(albedo=(0.15, 0.7)),
    "road": SyntheticMaterial(albedo=(0.12, 0.2)),
    "sidewalk": SyntheticMaterial(albedo=(0.25, 0.4)),
    "building": SyntheticMaterial(albedo=(0.25, 0.7)),
    "fence": SyntheticMaterial(albedo=(0.3, 0.6)),
    "vegetation": SyntheticMaterial(albedo=(0.35, 0.6), depth=0.15),
    "trunk": SyntheticMaterial(albedo=(0.2, 0.35), depth=0.01),
    "terrain": SyntheticMaterial(albedo=(0.35, 0.5), depth=0.03),
    "pole": SyntheticMaterial(albedo=(0.3, 0.5)),
    "traffic-sign": SyntheticMaterial(albedo=(0.9, 1.0)),
}
"""What each class is made of."""

SYNTHETIC_CLASSES = tuple(SYNTHETIC_MATERIALS)
"""Names of the classes of points; a label is a place in this tuple."""

SYNTHETIC_OBJECTS = ("Car", "Pedestrian", "Cyclist", "Truck")
"""Names of the classes of boxes; a box's label is a place in this tuple."""
