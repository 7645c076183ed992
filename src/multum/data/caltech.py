"""Caltech-101, or the part of it that is here: objects in the middle of a picture, and few of each.

"Caltech 101" by Li, Andreeto, Ranzato and Perona, CC BY 4.0, doi:10.22002/D1.20086. The usual protocol learns from 15
or 30 pictures of each class and tests on the others; accuracy is averaged over classes, for they differ in size.

Its faces are of few people, one after the other, about twenty pictures of each. Drawn at random, every person would be
learned from and tested on. So here people are dealt out and not pictures: no person is on both sides. Where one person
ends and the next begins was read off the pictures; what was not clear counts as one person.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from multum.core.errors import invalid
from multum.data.image_folder import ImageFolder, read_image_folder
from multum.data.image_split import ImageSplit, take_per_class
from multum.data.seeded_generator import seeded_generator

CALTECH_NUM_PICTURES: dict[str, int] = {
    "bonsai": 128,
    "butterfly": 91,
    "chair": 62,
    "cup": 57,
    "dalmatian": 67,
    "elephant": 64,
    "Faces_easy": 435,
    "flamingo": 67,
    "grand_piano": 99,
    "hawksbill": 100,
    "helicopter": 88,
    "kangaroo": 86,
    "laptop": 81,
    "Leopards": 200,
    "lotus": 66,
    "Motorbikes": 798,
    "pizza": 53,
    "rooster": 49,
    "soccer_ball": 64,
    "starfish": 86,
    "stop_sign": 64,
    "sunflower": 85,
    "umbrella": 75,
    "watch": 239,
}
"""Pictures of each of the 24 classes that are read here, as published."""

CALTECH_SOURCE = (
    "get caltech-101.zip from https://data.caltech.edu/records/mzrjq-6wc02, unpack it and the archive inside, and give "
    "the folder 101_ObjectCategories"
)
"""Where a stranger gets the pictures, as the errors say it."""

FACES = "Faces_easy"
"""The class that is split by person."""

FIRST_OF_PERSON = (
    *(1, 22, 42, 47, 69, 90, 113, 133, 138, 159, 164, 169, 174, 194),
    *(215, 240, 262, 267, 286, 306, 326, 346, 366, 388, 393, 398, 418),
)
"""Number of the picture with which a person begins; 388 to 392, single people and drawings, count as one."""


def read_caltech(folder: Path, *, classes: Sequence[str] | None = None) -> ImageFolder:
    """Read the pictures of some classes; other sub-folders of the folder do not count.

    Args:
        folder: The folder with a sub-folder for each class.
        classes: Which ones; None takes the 24 of `CALTECH_NUM_PICTURES`.

    Returns:
        The pictures.

    Raises:
        UserError: The folder or a class is missing, a class has another number of pictures than published, or a file
            is broken.
    """
    if not folder.is_dir():
        raise invalid("Caltech-101 folder", "an existing folder", str(folder), CALTECH_SOURCE)
    names = tuple(CALTECH_NUM_PICTURES) if classes is None else tuple(classes)
    for name in names:
        if not (folder / name).is_dir():
            raise invalid("Caltech-101 folder", f"with a sub-folder {name}", str(folder), CALTECH_SOURCE)
    found = read_image_folder(folder, classes=names)
    count = Counter(found.classes[label] for label in found.labels)
    for name in names:
        expected = CALTECH_NUM_PICTURES.get(name, count[name])
        if count[name] != expected:
            raise invalid(
                f"pictures of class {name}", f"{expected}, as published", count[name], CALTECH_SOURCE
            )
    return found


def split_caltech(
    folder: ImageFolder, num_train: int = 30, *, num_validation: int = 0, seed: int
) -> ImageSplit:
    """Draw a number of pictures of each class to learn from, and test on the rest; faces by person.

    Half of the people are tested on, the others are learned from or, where there is a validation part, half of these
    chosen by.

    Args:
        folder: What `read_caltech` returned.
        num_train: How many of each class to learn from.
        num_validation: How many others of each class to choose by.
        seed: Seed of the draw.

    Returns:
        The parts; in the test part, classes are of different size. Further faces of people that are learned from or
        chosen by are in no part.

    Raises:
        UserError: A class has too few pictures.
    """
    part_of = _deal_people(folder, "validation" if num_validation else "train", seed)

    def may_be_in(part: str) -> set[int]:
        return {index for index in range(len(folder)) if part_of.get(index, part) == part}

    train = take_per_class(folder.labels, num_train, seed=seed, among=may_be_in("train"))
    free = may_be_in("validation") - set(train)
    validation = (
        take_per_class(folder.labels, num_validation, seed=seed, among=free) if num_validation else ()
    )
    test = tuple(sorted(may_be_in("test") - set(train) - set(validation)))
    left = {folder.labels[index] for index in test}
    for label, name in enumerate(folder.classes):
        if label not in left:
            remedy = f"class {name} has nothing left to test on"
            raise invalid(
                "num_train + num_validation", "below what a class has", num_train + num_validation, remedy
            )
    return ImageSplit(train=train, validation=validation, test=test)


def _deal_people(folder: ImageFolder, second: str, seed: int) -> dict[int, str]:
    """Say for each face in which part it may be: of four people two in test, one in train, one in `second`."""
    if FACES not in folder.classes:
        return {}
    face = folder.classes.index(FACES)
    person = {
        index: person_of(folder.paths[index].name) for index, it in enumerate(folder.labels) if it == face
    }
    order = torch.randperm(len(FIRST_OF_PERSON), generator=seeded_generator(seed, "people")).tolist()
    parts = ("test", "train", "test", second)
    return {index: parts[order[who] % len(parts)] for index, who in person.items()}


def person_of(name: str) -> int:
    """Tell which person, counted from 0, is on a picture of the class of faces.

    Example:
        >>> person_of("image_0021.jpg"), person_of("image_0022.jpg"), person_of("image_0435.jpg")
        (0, 1, 26)
    """
    number = int(Path(name).stem.rpartition("_")[2])
    return sum(first <= number for first in FIRST_OF_PERSON) - 1
