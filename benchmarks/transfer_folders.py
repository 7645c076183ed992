"""The pictures that transfer learning is measured on, each draw of them in a folder as a user would have it."""

import shutil
from dataclasses import replace
from pathlib import Path

from benchmarks.places import ROOT, data_folder
from benchmarks.registry import Setting
from multum.data import ImageFolder, ImageSplit, read_caltech, read_clothing, split_caltech, take_per_class
from multum.transfer.train_config import DataWish

TRIALS = ROOT / "runs" / "transfer_accuracy"
"""Run folders of the trainings, and pictures that were drawn; git ignores them."""
FEW_TRAIN, FEW_VALIDATION, FEW_TEST = 5, 5, 25
"""Pictures of each class of Caltech: to learn from, to choose by, and at most so many to test on."""
QUICK_PICTURES = 2


def digits_of(_seed: int, _setting: Setting) -> DataWish:
    """Scikit-learn's digits; the seed draws those that are learned from."""
    return "digits"


def caltech_of(seed: int, setting: Setting) -> DataWish:
    """A folder with the parts of a draw; no person's face is in two of them."""
    folder = read_caltech(data_folder("caltech101_subset"))
    split = split_caltech(folder, FEW_TRAIN, num_validation=FEW_VALIDATION, seed=seed)
    place = TRIALS / "pictures" / f"caltech24-{seed}{'-quick' if setting.quick else ''}"
    return copied(folder, replace(split, test=_at_most(folder, split.test, setting)), place)


def clothing_of(_seed: int, setting: Setting) -> DataWish:
    """The clothes in their published parts, the same for every seed."""
    source = data_folder("clothing_small")
    if not setting.quick:
        read_clothing(source)  # complete, as published
        return source
    folder = read_clothing(source)
    few = {
        part: take_per_class(
            folder.labels,
            QUICK_PICTURES,
            seed=0,
            among=[index for index, it in enumerate(folder.parts) if it == part],
        )
        for part in ("train", "validation", "test")
    }
    return copied(folder, ImageSplit(**few), TRIALS / "pictures" / "clothing-quick")


def _at_most(folder: ImageFolder, test: tuple[int, ...], setting: Setting) -> tuple[int, ...]:
    """Evenly spaced pictures of each class, so that no class outweighs the others."""
    most = QUICK_PICTURES if setting.quick else FEW_TEST
    kept: list[int] = []
    for label in range(len(folder.classes)):
        own = [index for index in test if folder.labels[index] == label]
        kept += [own[place * len(own) // min(most, len(own))] for place in range(min(most, len(own)))]
    return tuple(sorted(kept))


def copied(folder: ImageFolder, split: ImageSplit, place: Path) -> Path:
    """Copy pictures into a folder of parts and classes, whole or not at all; one that is there is taken."""
    if place.is_dir():
        return place
    unfinished = place.with_name(f"{place.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in ("train", "validation", "test"):
        for index in getattr(split, part):
            source = folder.paths[index]
            target = unfinished / part / folder.classes[folder.labels[index]] / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    unfinished.rename(place)
    return place
