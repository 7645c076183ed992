"""Where things stand in a synthetic street: a road with junctions, traffic on it, blocks of ground on both sides.

Each side of the road is cut into blocks by the streets that cross it (some join on one side only). Traffic keeps to the
right.
"""

import math
from collections.abc import Callable

import torch

from multum.pointcloud.lidar.street import EXTENT, SyntheticStreet, SyntheticStreetBuilder
from multum.pointcloud.lidar.street_block import SyntheticBlock, fill_block
from multum.pointcloud.lidar.street_draws import draw_bicyclist, draw_car, draw_vehicle
from multum.pointcloud.lidar.street_things import SyntheticThing, slab

LANE = 3.2
"""Width of a lane, in metres; the sensor drives in the middle of the right one."""
CLEAR = 9.0
"""Nothing drives so close before or behind the sensor, in metres."""


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
                fill_block(builder, block, parking=fronts[side] > edge)
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


def _fill_lanes(builder: SyntheticStreetBuilder) -> None:
    """Cars and trucks in both lanes, bicyclists beside them."""
    for side in (1, -1):
        heading = 0.0 if side < 0 else math.pi
        for draw, gap, y in (
            (draw_vehicle, (12.0, 55.0), LANE / 2),
            (draw_bicyclist, (15.0, 130.0), LANE + 0.3),
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
            builder.put(draw_car(builder), x + side * lane * half / 2, side * distance, yaw=yaw)
