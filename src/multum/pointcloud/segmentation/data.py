"""Which scans are learned from, chosen by and reported on, whatever data set they are of.

Scans of one scene are almost alike, so that a share is drawn of whole scenes where the data set has any. Where it has
none, as in a drive of PandaSet, what is learned is tested on the same scene, and every result says so.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from multum.core import invalid
from multum.data import seeded_generator
from multum.pointcloud.lidar import (
    SYNTHETIC_CLASSES,
    SYNTHETIC_OBJECTS,
    ScanSet,
    SyntheticSensor,
    synthetic_street,
    time_split,
)
from multum.pointcloud.segmentation.config import SegmentationConfig
from multum.pointcloud.segmentation.layout import open_scans, recognize

SAME_SCENE = "same scene: frames of one drive, the first learned from and the last tested on"
CHOSEN_BY = "the epoch was chosen on the very scans that are reported on, for no test part has labels"


@dataclass(frozen=True, kw_only=True)
class SegmentationData:
    """Scans in three parts, all of the same classes.

    Raises:
        UserError: Nothing to learn from or to judge by, or fewer classes than two.
    """

    train: ScanSet
    """To learn from."""
    validation: ScanSet | None
    """To choose the epoch by."""
    test: ScanSet | None
    """To report on."""
    notes: tuple[str, ...] = ()
    """What a reader of the results must know, a sentence each."""

    def __post_init__(self) -> None:
        if len(self.train.classes) < 2:
            remedy = "put labels beside the scans, and name their classes"
            raise invalid("classes of the scans", "at least two", self.train.classes, remedy)
        if self.validation is None and self.test is None:
            remedy = "set validation or test to the share that is held out"
            raise invalid("scans to judge by", "at least one", "none", remedy)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.train.classes

    @property
    def judged(self) -> ScanSet:
        """What is reported on: the test part, or else the validation part."""
        found = self.test or self.validation
        assert found is not None, "checked when it was made"
        return found

    @property
    def fingerprint(self) -> str:
        """Tells these scans from others, by their names, parts and classes."""
        parts = [it.names if it is not None else () for it in (self.train, self.validation, self.test)]
        text = json.dumps([self.classes, *parts])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_data(config: SegmentationConfig) -> SegmentationData:
    """Find the scans of a configuration; none is read.

    Raises:
        UserError: As the reader of its kind; too few scans for the parts.
    """
    if config.is_synthetic:
        return _synthetic(config)
    assert not isinstance(config.data, str), "no synthetic streets here"
    scans = open_scans(config.data, config.layout_wish)
    layout = config.layout or recognize(config.data)
    if layout == "semantic-kitti":
        return _of_parts(scans)
    if layout == "pandaset":
        return _of_a_drive(scans, config)
    return _drawn(scans, config)


def held_out(scans: ScanSet) -> ScanSet:
    """Of scans that nothing was learned from, those to judge by: a labelled part, or all where there are no parts."""
    return scans.part("validation") if "validation" in scans.parts else scans


def synthetic_scans(world: int, count: int, sensor: SyntheticSensor) -> ScanSet:
    """Scans of one synthetic world as a set."""
    names = {f"synthetic-{world}-{index}": index for index in range(count)}
    return ScanSet(
        names=tuple(names),
        load=lambda name: synthetic_street(world, names[name], sensor=sensor),
        classes=SYNTHETIC_CLASSES,
        box_classes=SYNTHETIC_OBJECTS,
    )


def _synthetic(config: SegmentationConfig) -> SegmentationData:
    wish = config.streets
    counts = (wish.num_train, wish.num_validation, wish.num_test)
    train, validation, test = (
        synthetic_scans(3 * config.seed + place, count, wish.sensor) for place, count in enumerate(counts)
    )
    notes = ("synthetic scans: a number here compares two methods, and says nothing about real streets",)
    return SegmentationData(train=train, validation=validation, test=test, notes=notes)


def _of_parts(scans: ScanSet) -> SegmentationData:
    """The published parts; the test part has no labels."""
    return SegmentationData(
        train=scans.part("train"), validation=scans.part("validation"), test=None, notes=(CHOSEN_BY,)
    )


def _of_a_drive(frames: ScanSet, config: SegmentationConfig) -> SegmentationData:
    first, rest = time_split(frames, config.num_train_frames)
    num_validation = _number(config.validation, len(first))
    if num_validation == 0:
        return SegmentationData(train=first, validation=None, test=rest, notes=(SAME_SCENE,))
    if num_validation == len(first):
        raise invalid("num_train_frames", "at least 2 with a validation part", len(first), "or validation 0")
    train, validation = time_split(first, len(first) - num_validation)
    return SegmentationData(train=train, validation=validation, test=rest, notes=(SAME_SCENE,))


def _drawn(scans: ScanSet, config: SegmentationConfig) -> SegmentationData:
    """Shares of the scenes; a scan that is in no scene is one of its own."""
    scenes = list(dict.fromkeys(map(_scene, scans.names)))
    generator = seeded_generator(config.seed, "scan parts")
    shuffled = [scenes[place] for place in torch.randperm(len(scenes), generator=generator).tolist()]
    num_validation, num_test = (_number(share, len(scenes)) for share in (config.validation, config.test))
    if num_validation + num_test >= len(scenes):
        wanted = f"more than the {num_validation + num_test} that are held out"
        raise invalid("scans (or scenes)", wanted, len(scenes), "lower validation and test, or add scans")
    chosen = {
        "test": shuffled[:num_test],
        "validation": shuffled[num_test : num_test + num_validation],
        "train": shuffled[num_test + num_validation :],
    }
    parts = {part: _of_scenes(scans, some) for part, some in chosen.items()}
    train = parts["train"]
    assert train is not None, "some are left"
    notes = () if parts["test"] is not None or parts["validation"] is None else (CHOSEN_BY,)
    return SegmentationData(train=train, validation=parts["validation"], test=parts["test"], notes=notes)


def _number(share: float, count: int) -> int:
    return max(1, round(share * count)) if share else 0


def _scene(name: str) -> str:
    return name.rpartition("/")[0] or name


def _of_scenes(scans: ScanSet, scenes: Sequence[str]) -> ScanSet | None:
    wanted = set(scenes)
    names = [name for name in scans.names if _scene(name) in wanted]
    return scans.select(names) if names else None
