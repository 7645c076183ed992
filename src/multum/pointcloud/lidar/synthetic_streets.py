"""Synthetic streets as a data set: labelled scans for whoever has none, each made from a seed in a moment.

The world is invented (`street_layout`), and so is what is learned from it: a number measured here compares two methods
here, and says nothing about real scans.
"""

from dataclasses import dataclass, field

from multum.core import invalid
from multum.data import seeded_generator
from multum.pointcloud.lidar.scan import Scan
from multum.pointcloud.lidar.street_layout import draw_synthetic_street
from multum.pointcloud.lidar.street_materials import SYNTHETIC_CLASSES, SYNTHETIC_OBJECTS
from multum.pointcloud.lidar.synthetic_sensor import SyntheticSensor, synthetic_scan


def synthetic_street(seed: int, index: int = 0, *, sensor: SyntheticSensor | None = None) -> Scan:
    """Make one synthetic scan; bit for bit the same for the same arguments, with any number of threads.

    Args:
        seed: Of a world.
        index: Of a place in it; each has its own street.
        sensor: That looks around; None is one like KITTI's.

    Returns:
        Points with labels from SYNTHETIC_CLASSES, and boxes with labels from SYNTHETIC_OBJECTS.

    Example:
        >>> scan = synthetic_street(0, sensor=SyntheticSensor(num_beams=16, num_azimuths=128))
        >>> scan.label_N is not None and scan.name
        'synthetic-0-0'
    """
    sensor = SyntheticSensor() if sensor is None else sensor
    street, (x, y, yaw) = draw_synthetic_street(seeded_generator(seed, "synthetic street", index))
    noise = seeded_generator(seed, "synthetic sensor", index)
    view = street.seen_from(x, y, sensor.height_metres, yaw)
    return synthetic_scan(view, sensor, noise, name=f"synthetic-{seed}-{index}")


@dataclass(frozen=True, kw_only=True)
class SyntheticStreets:
    """A data set of synthetic scans, each made when it is read.

    Raises:
        UserError: Fewer scans than one.

    Example:
        >>> streets = SyntheticStreets(num_scans=3, seed=7, sensor=SyntheticSensor(num_azimuths=64))
        >>> len(streets), streets.read(2).name
        (3, 'synthetic-7-2')
    """

    num_scans: int
    """How many."""
    seed: int = 0
    """Of the world; another one for scans to test on."""
    sensor: SyntheticSensor = field(default_factory=SyntheticSensor)
    """That looks around."""

    def __post_init__(self) -> None:
        if self.num_scans < 1:
            raise invalid("num_scans", "at least 1", self.num_scans)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of points, in the order of the labels."""
        return SYNTHETIC_CLASSES

    @property
    def object_classes(self) -> tuple[str, ...]:
        """Names of the classes of boxes, in the order of their labels."""
        return SYNTHETIC_OBJECTS

    def __len__(self) -> int:
        return self.num_scans

    def read(self, index: int) -> Scan:
        """Make one scan.

        Args:
            index: From 0; places beyond the last are refused.

        Raises:
            UserError: There is no such scan.
        """
        if not 0 <= index < self.num_scans:
            raise invalid("index", f"in [0, {self.num_scans})", index)
        return synthetic_street(self.seed, index, sensor=self.sensor)
