"""Where things stand in a synthetic street: a road with junctions, and blocks of houses on both sides of it.

Each side of the road is cut into blocks by the streets that cross it (some join on one side only). A block is a
pavement with a kerb, and inside it grass with houses in two rows and fences or hedges before them, or a park; along the
kerb stand lamps, signs, trees and cars. Traffic keeps to the right.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from multum.pointcloud.lidar.street import SyntheticStreet, SyntheticStreetBuilder
from multum.pointcloud.lidar.street_things import (
    SyntheticThing,
    bicyclist,
    bush,
    car,
    pedestrian,
    pole,
    slab,
    traffic_sign,
    tree,
    truck,
)

EXTENT = 95.0
"""The street goes so far ahead and behind, in metres: beyond what the sensor sees."""
LANE = 3.2
"""Width of a lane, in metres; the sensor drives in the middle of the right one."""
KERB, LAWN = 0.14, 0.18
"""Height of the pavement and of the grass above the road, in metres."""
CLEAR = 9.0
"""Nothing drives so close before or behind the sensor, in metres."""


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


def draw_synthetic_street(generator: torch.Generator) -> tuple[SyntheticStreet, tuple[float, float, float]]:
    """Draw a synthetic street, and where the sensor's car is in it.

    Args:
        generator: Source of all draws.

    Returns:
        The street, in its own frame, and x, y and heading of the car.
    """
    builder = SyntheticStreetBuilder(generator)
    edge = LANE + builder.between(0.6, 1.2)
    fronts = {side: edge + 2.2 * builder.chance(0.7) for side in (1, -1)}
    builder.put(slab("road", (4 * EXTENT, 4 * EXTENT, 1.0)), 0.0, 0.0, z=-1.0)
    junctions = _draw_junctions(builder)
    for side in (1, -1):
        walk = builder.between(2.0, 3.6)
        ends = [
            -EXTENT,
            *(x for x, half, at in junctions if side in at for x in (x - half, x + half)),
            EXTENT,
        ]
        for start, stop in zip(ends[::2], ends[1::2], strict=True):
            if stop - start > 8:
                block = SyntheticBlock(start=start, stop=stop, front=fronts[side], side=side, walk=walk)
                _fill_block(builder, block, parking=fronts[side] > edge)
    _fill_lanes(builder)
    for x, half, sides in junctions:
        for side in sides:
            _fill_cross_street(builder, x, half, side, fronts[side])
    heading = builder.between(-0.04, 0.04)
    return builder.build(), (0.0, -LANE / 2 + builder.between(-0.2, 0.2), heading)


def _draw_junctions(builder: SyntheticStreetBuilder) -> list[tuple[float, float, tuple[int, ...]]]:
    """Places along the street, half widths and sides of the streets that cross it."""
    junctions: list[tuple[float, float, tuple[int, ...]]] = []
    x = -EXTENT + builder.between(5.0, 50.0)
    while x < EXTENT - 8:
        sides = tuple(side for side in (1, -1) if builder.chance(0.75))
        junctions.append((x, builder.between(3.0, 4.5), sides))
        x += builder.between(40.0, 80.0)
    return junctions


def _fill_block(builder: SyntheticStreetBuilder, block: SyntheticBlock, *, parking: bool) -> None:
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
            plant = _draw_tree(builder) if builder.chance(0.5) else _draw_bush(builder)
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
        block.put(builder, _draw_tree(builder), along, behind, z=LAWN)
    elif builder.chance(0.6):
        block.put(builder, _draw_bush(builder), along, behind, z=LAWN)


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
            block.put(builder, _draw_tree(builder), along, 0.6, z=KERB)
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
            vehicle = _draw_truck(builder) if builder.chance(0.04) else _draw_car(builder)
            behind = -1.15 + builder.between(-0.1, 0.1)
            block.put(builder, vehicle, along, behind, yaw=builder.between(-0.03, 0.03))
            along += 3.0 if vehicle.object_name == "Truck" else 0.0
        along += builder.between(5.6, 6.6)


def _fill_lanes(builder: SyntheticStreetBuilder) -> None:
    """Cars and trucks in both lanes, bicyclists beside them."""
    for side in (1, -1):
        heading = 0.0 if side < 0 else math.pi
        for draw, gap, y in (
            (_draw_vehicle, (12.0, 55.0), LANE / 2),
            (_draw_bicyclist, (15.0, 130.0), LANE + 0.3),
        ):
            _fill_lane(builder, draw, gap, side * y, heading)


def _fill_lane(
    builder: SyntheticStreetBuilder,
    draw: Callable[[SyntheticStreetBuilder], SyntheticThing],
    gap: tuple[float, float],
    y: float,
    heading: float,
) -> None:
    x = -EXTENT + builder.between(0.0, gap[1])
    while x < EXTENT:
        thing = draw(builder)
        if abs(x) > CLEAR or abs(y + LANE / 2) > 1.5:
            builder.put(
                thing, x, y + builder.between(-0.12, 0.12), yaw=heading + builder.between(-0.03, 0.03)
            )
        x += builder.between(*gap)


def _fill_cross_street(
    builder: SyntheticStreetBuilder, x: float, half: float, side: int, front: float
) -> None:
    """Cars that wait at the junction or have left it."""
    for lane, probability in ((1, 0.6), (-1, 0.5)):
        if builder.chance(probability):
            distance = front + builder.between(4.0, 35.0)
            yaw = side * lane * math.pi / 2
            builder.put(_draw_car(builder), x + side * lane * half / 2, side * distance, yaw=yaw)


def _draw_vehicle(builder: SyntheticStreetBuilder) -> SyntheticThing:
    return _draw_truck(builder) if builder.chance(0.12) else _draw_car(builder)


def _draw_car(builder: SyntheticStreetBuilder) -> SyntheticThing:
    return car(builder.between(3.6, 4.9), builder.between(1.65, 1.95), builder.between(1.4, 1.8))


def _draw_truck(builder: SyntheticStreetBuilder) -> SyntheticThing:
    return truck(builder.between(6.0, 9.0), builder.between(2.2, 2.5), builder.between(2.8, 3.7))


def _draw_bicyclist(builder: SyntheticStreetBuilder) -> SyntheticThing:
    return bicyclist(builder.between(1.65, 1.9))


def _draw_tree(builder: SyntheticStreetBuilder) -> SyntheticThing:
    spread = builder.between(2.0, 4.2)
    crown = (spread, spread * builder.between(0.85, 1.15), builder.between(2.2, 4.5))
    return tree(builder.between(1.7, 2.8), builder.between(0.09, 0.24), crown)


def _draw_bush(builder: SyntheticStreetBuilder) -> SyntheticThing:
    return bush(builder.between(0.8, 2.6), builder.between(0.8, 2.0), builder.between(0.5, 2.0))
