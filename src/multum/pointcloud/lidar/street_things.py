"""What stands and moves in a synthetic street, each thing a handful of solids in its own frame.

The frame of a thing: x its heading, y to its left, z up, the origin on the ground below its middle. Sizes in metres.
"""

from dataclasses import dataclass
from typing import Literal

Shape = Literal["box", "cylinder", "ellipsoid"]


@dataclass(frozen=True)
class SyntheticPart:
    """One solid of a synthetic thing."""

    shape: Shape
    """What it is."""
    label: str
    """One of SYNTHETIC_CLASSES."""
    low: tuple[float, float, float]
    """Corner behind, to the right and below, of the box around it."""
    high: tuple[float, float, float]
    """The corner opposite."""
    paint: int = 0
    """Parts of a thing with the same number reflect alike."""


@dataclass(frozen=True, kw_only=True)
class SyntheticThing:
    """Solids that belong together in a synthetic street."""

    parts: tuple[SyntheticPart, ...]
    """What it consists of."""
    object_name: str | None = None
    """One of SYNTHETIC_OBJECTS where a box is drawn around it."""

    @property
    def box(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Lowest and highest corner of what holds all parts."""
        lows, highs = zip(*((part.low, part.high) for part in self.parts), strict=True)
        x_low, y_low, z_low = map(min, zip(*lows, strict=True))
        x_high, y_high, z_high = map(max, zip(*highs, strict=True))
        return (x_low, y_low, z_low), (x_high, y_high, z_high)


def part(
    shape: Shape,
    label: str,
    *,
    x: float = 0.0,
    y: float = 0.0,
    z: float = 0.0,
    size: tuple[float, float, float],
    paint: int = 0,
) -> SyntheticPart:
    """A solid of this length, width and height that stands at this place, z its lowest point."""
    length, width, height = size
    low = (x - length / 2, y - width / 2, z)
    return SyntheticPart(shape, label, low, (x + length / 2, y + width / 2, z + height), paint)


def slab(label: str, size: tuple[float, float, float]) -> SyntheticThing:
    """A block on the ground: a house, a fence, a hedge, a pavement.

    >>> slab("fence", (8.0, 0.1, 1.2)).box
    ((-4.0, -0.05, 0.0), (4.0, 0.05, 1.2))
    """
    return SyntheticThing(parts=(part("box", label, size=size),))


def car(length: float, width: float, height: float) -> SyntheticThing:
    """A body, a cabin behind the bonnet, four wheels."""
    waist, clearance = 0.55 * height, 0.2
    body = part("box", "car", z=clearance, size=(length, width, waist - clearance))
    cabin_size = (0.55 * length, 0.86 * width, height - waist)
    cabin = part("box", "car", x=-0.06 * length, z=waist, size=cabin_size, paint=1)
    wheels = _wheels("car", (-0.31 * length, 0.31 * length), width, diameter=0.62)
    return SyntheticThing(parts=(body, cabin, *wheels), object_name="Car")


def truck(length: float, width: float, height: float) -> SyntheticThing:
    """A cab, a load that is higher, and wheels below both."""
    cab_length = 2.1
    cab = part(
        "box", "truck", x=(length - cab_length) / 2, z=0.5, size=(cab_length, 0.96 * width, 0.66 * height)
    )
    load_size = (length - cab_length - 0.4, width, height - 1.0)
    load = part("box", "truck", x=-(cab_length + 0.4) / 2, z=1.0, size=load_size, paint=1)
    wheels = _wheels("truck", (-0.36 * length, 0.38 * length), width, diameter=1.0)
    chassis = part("box", "truck", z=0.6, size=(0.9 * length, 0.4 * width, 0.4), paint=2)
    return SyntheticThing(parts=(cab, load, chassis, *wheels), object_name="Truck")


def pedestrian(height: float) -> SyntheticThing:
    """Legs, a body and a head."""
    legs = part("cylinder", "person", size=(0.24, 0.3, 0.48 * height))
    body = part("ellipsoid", "person", z=0.42 * height, size=(0.3, 0.5, 0.46 * height), paint=1)
    head = part("ellipsoid", "person", z=0.86 * height, size=(0.2, 0.18, 0.14 * height), paint=2)
    return SyntheticThing(parts=(legs, body, head), object_name="Pedestrian")


def bicyclist(height: float) -> SyntheticThing:
    """Somebody on two wheels and a frame; all of it is one class, as in SemanticKITTI."""
    wheels = [part("box", "bicyclist", x=x, size=(0.62, 0.05, 0.66), paint=3) for x in (-0.55, 0.55)]
    frame = part("box", "bicyclist", z=0.35, size=(0.9, 0.05, 0.5), paint=3)
    handlebar = part("box", "bicyclist", x=0.42, z=0.95, size=(0.06, 0.56, 0.06), paint=3)
    legs = part("ellipsoid", "bicyclist", x=-0.05, z=0.3, size=(0.45, 0.34, 0.75))
    body = part("ellipsoid", "bicyclist", x=-0.05, z=0.88, size=(0.4, 0.48, height - 1.1), paint=1)
    head = part("ellipsoid", "bicyclist", x=0.1, z=height - 0.26, size=(0.22, 0.19, 0.26), paint=2)
    return SyntheticThing(parts=(*wheels, frame, handlebar, legs, body, head), object_name="Cyclist")


def tree(trunk_height: float, trunk_radius: float, crown: tuple[float, float, float]) -> SyntheticThing:
    """A trunk, and a crown of this size around its upper end."""
    trunk_size = (2 * trunk_radius, 2 * trunk_radius, trunk_height + 0.3 * crown[2])
    trunk = part("cylinder", "trunk", size=trunk_size)
    return SyntheticThing(parts=(trunk, part("ellipsoid", "vegetation", z=trunk_height, size=crown)))


def bush(length: float, width: float, height: float) -> SyntheticThing:
    """A crown without a trunk, the lower third in the ground."""
    return SyntheticThing(
        parts=(part("ellipsoid", "vegetation", z=-height / 2, size=(length, width, 1.5 * height)),)
    )


def pole(height: float, radius: float, arm: float) -> SyntheticThing:
    """A lamp post, with an arm of this length over the road."""
    post = part("cylinder", "pole", size=(2 * radius, 2 * radius, height))
    boom = part("box", "pole", x=arm / 2, z=height - 0.12, size=(arm, 0.08, 0.1))
    return SyntheticThing(parts=(post, boom))


def traffic_sign(height: float, width: float) -> SyntheticThing:
    """A thin post and a sheet on it that faces along x."""
    post = part("cylinder", "pole", size=(0.07, 0.07, height))
    sheet = part("box", "traffic-sign", x=0.06, z=height - width, size=(0.02, width, width), paint=1)
    return SyntheticThing(parts=(post, sheet))


def _wheels(label: str, axles: tuple[float, float], width: float, *, diameter: float) -> list[SyntheticPart]:
    sides = (-(width / 2 - 0.12), width / 2 - 0.12)
    size = (diameter, 0.22, diameter)
    return [part("box", label, x=x, y=y, size=size, paint=3) for x in axles for y in sides]
