"""Things of a synthetic street in sizes by lot, all drawn evenly from a range."""

from multum.pointcloud.lidar.street import SyntheticStreetBuilder
from multum.pointcloud.lidar.street_things import SyntheticThing, bicyclist, bush, car, tree, truck


def draw_vehicle(builder: SyntheticStreetBuilder) -> SyntheticThing:
    """A car, or now and then a truck."""
    return draw_truck(builder) if builder.chance(0.12) else draw_car(builder)


def draw_car(builder: SyntheticStreetBuilder) -> SyntheticThing:
    """A car of any common size."""
    return car(builder.between(3.6, 4.9), builder.between(1.65, 1.95), builder.between(1.4, 1.8))


def draw_truck(builder: SyntheticStreetBuilder) -> SyntheticThing:
    """A truck, longer and higher than any car."""
    return truck(builder.between(6.0, 9.0), builder.between(2.2, 2.5), builder.between(2.8, 3.7))


def draw_bicyclist(builder: SyntheticStreetBuilder) -> SyntheticThing:
    """A grown bicyclist."""
    return bicyclist(builder.between(1.65, 1.9))


def draw_tree(builder: SyntheticStreetBuilder) -> SyntheticThing:
    """A tree of a street or a garden."""
    spread = builder.between(2.0, 4.2)
    crown = (spread, spread * builder.between(0.85, 1.15), builder.between(2.2, 4.5))
    return tree(builder.between(1.7, 2.8), builder.between(0.09, 0.24), crown)


def draw_bush(builder: SyntheticStreetBuilder) -> SyntheticThing:
    """A bush, up to the height of a person."""
    return bush(builder.between(0.8, 2.6), builder.between(0.8, 2.0), builder.between(0.5, 2.0))
