"""A block of a synthetic street: the ground between two junctions, and what stands on it.

A pavement with a kerb, and inside it grass with houses in two rows and fences or hedges before them, or a park; along
the kerb stand lamps, signs, trees and parked cars.
"""

import math
from dataclasses import dataclass

from multum.pointcloud.lidar.street import EXTENT, SyntheticStreetBuilder
from multum.pointcloud.lidar.street_draws import draw_bush, draw_car, draw_tree, draw_truck
from multum.pointcloud.lidar.street_things import SyntheticThing, pedestrian, pole, slab, traffic_sign

KERB, LAWN = 0.14, 0.18
"""Height of the pavement and of the grass above the road, in metres."""


@dataclass(frozen=True, kw_only=True)
class SyntheticBlock:
    """The ground between two junctions on one side of a synthetic street."""

    start: float
    """Where it begins, along the street."""
    stop: float
    """Where it ends."""
    front: float
    """Distance of the kerb from the middle of the street."""
    side: int
    """1 to the left, -1 to the right."""
    walk: float
    """Width of the pavement."""

    def put(
        self,
        builder: SyntheticStreetBuilder,
        thing: SyntheticThing,
        along: float,
        behind_kerb: float,
        *,
        z: float = 0.0,
        yaw: float = 0.0,
    ) -> None:
        """Place a thing; it heads against the street's x on the left side, so that its left is always the road's."""
        heading = yaw if self.side < 0 else yaw + math.pi
        builder.put(thing, along, self.side * (self.front + behind_kerb), z=z, yaw=heading)


def fill_block(builder: SyntheticStreetBuilder, block: SyntheticBlock, *, parking: bool) -> None:
    """Lay the ground of a block and put things on it.

    Args:
        builder: What takes them.
        block: Where.
        parking: Whether cars are parked along the kerb.
    """
    middle, length, depth = (block.start + block.stop) / 2, block.stop - block.start, 2 * EXTENT
    block.put(builder, slab("sidewalk", (length, depth, KERB)), middle, depth / 2)
    inner = length - 2 * block.walk
    block.put(builder, slab("terrain", (inner, depth, LAWN)), middle, block.walk + depth / 2)
    if builder.chance(0.3):
        _put_park(builder, block)
    else:
        _put_houses(builder, block, setback=block.walk + builder.between(0.0, 7.0))
        _put_houses(builder, block, setback=block.walk + builder.between(24.0, 32.0))
    _put_kerb_side(builder, block)
    _put_people(builder, block)
    if parking:
        _put_parked(builder, block)


def _put_houses(builder: SyntheticStreetBuilder, block: SyntheticBlock, *, setback: float) -> None:
    """A row of houses with gaps; in front of each a fence, a hedge or nothing, a tree or a bush."""
    along = block.start + block.walk + builder.between(0.3, 3.0)
    while (width := builder.between(7.0, 18.0)) < block.stop - block.walk - along:
        depth, height = builder.between(8.0, 13.0), builder.between(4.0, 13.0)
        middle = along + width / 2
        block.put(builder, slab("building", (width, depth, height)), middle, setback + depth / 2)
        roof = slab("building", (0.8 * width, 0.6 * depth, 0.2 * height))
        block.put(builder, roof, middle, setback + depth / 2, z=height)
        yard = setback - block.walk
        if 1.5 < yard < 10:
            _put_garden(builder, block, middle, width, yard)
        along += width + (builder.between(1.5, 7.0) if builder.chance(0.6) else 0.05)


def _put_park(builder: SyntheticStreetBuilder, block: SyntheticBlock) -> None:
    """Trees and bushes on the grass, farther from one another the farther they are from the street."""
    behind = block.walk + 2.0
    while behind < 40:
        along = block.start + block.walk + builder.between(1.0, 8.0)
        while along < block.stop - block.walk - 1:
            plant = draw_tree(builder) if builder.chance(0.5) else draw_bush(builder)
            block.put(builder, plant, along, behind + builder.between(-1.0, 1.0), z=LAWN)
            along += builder.between(3.0, 9.0)
        behind *= 1.5


def _put_garden(
    builder: SyntheticStreetBuilder, block: SyntheticBlock, middle: float, width: float, yard: float
) -> None:
    kind = builder.between(0.0, 1.0)
    height = builder.between(0.8, 1.7)
    if kind < 0.4:
        block.put(builder, slab("fence", (width - 1.2, 0.06, height)), middle, block.walk + 0.15, z=LAWN)
    elif kind < 0.6:
        block.put(builder, slab("vegetation", (width - 2, 0.7, height)), middle, block.walk + 0.5, z=LAWN)
    along = middle + builder.between(-0.4, 0.4) * width
    behind = block.walk + builder.between(1.0, yard - 0.3)
    if builder.chance(0.5):
        block.put(builder, draw_tree(builder), along, behind, z=LAWN)
    elif builder.chance(0.6):
        block.put(builder, draw_bush(builder), along, behind, z=LAWN)


def _put_kerb_side(builder: SyntheticStreetBuilder, block: SyntheticBlock) -> None:
    """Lamps, signs and trees between pavement and road, each in a place of its own."""
    trees = builder.chance(0.5)
    for along in (block.start + 1.2, block.stop - 1.2):
        if builder.chance(0.7):
            _put_sign(builder, block, along)
    along = block.start + builder.between(4.0, 9.0)
    while along < block.stop - 3:
        kind = builder.between(0.0, 1.0)
        if kind < 0.2:
            lamp = pole(builder.between(5.0, 8.0), builder.between(0.06, 0.11), builder.between(0.8, 1.8))
            block.put(builder, lamp, along, 0.4, z=KERB, yaw=math.pi / 2)
        elif kind < 0.3:
            _put_sign(builder, block, along)
        elif trees and kind < 0.75:
            block.put(builder, draw_tree(builder), along, 0.6, z=KERB)
        along += builder.between(4.0, 8.0)


def _put_sign(builder: SyntheticStreetBuilder, block: SyntheticBlock, along: float) -> None:
    """Most signs face the traffic on their side, which comes against their x."""
    yaw = math.pi + builder.between(-0.2, 0.2) + (math.pi / 2 if builder.chance(0.25) else 0.0)
    sign = traffic_sign(builder.between(2.3, 3.0), builder.between(0.5, 0.75))
    block.put(builder, sign, along, 0.35, z=KERB, yaw=yaw)


def _put_people(builder: SyntheticStreetBuilder, block: SyntheticBlock) -> None:
    """Few, alone or in pairs."""
    along = block.start + builder.between(2.0, 40.0)
    while along < block.stop - 2:
        behind = builder.between(1.0, block.walk - 0.4)
        yaw = builder.between(-0.3, 0.3) + (math.pi if builder.chance(0.5) else 0.0)
        block.put(builder, pedestrian(builder.between(1.5, 1.9)), along, behind, z=KERB, yaw=yaw)
        along += builder.between(0.9, 1.6) if builder.chance(0.3) else builder.between(8.0, 60.0)


def _put_parked(builder: SyntheticStreetBuilder, block: SyntheticBlock) -> None:
    density = builder.between(0.2, 0.9)
    along = block.start + 7.0
    while along < block.stop - 7:
        if builder.chance(density):
            vehicle = draw_truck(builder) if builder.chance(0.04) else draw_car(builder)
            behind = -1.15 + builder.between(-0.1, 0.1)
            block.put(builder, vehicle, along, behind, yaw=builder.between(-0.03, 0.03))
            along += 3.0 if vehicle.object_name == "Truck" else 0.0
        along += builder.between(5.6, 6.6)
