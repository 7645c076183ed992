"""Which pictures to learn from, which to choose by, which to test on: every class in each, and the same in every run.

What is chosen by (a learning rate, the best epoch) may not be what is tested on, so there are three parts and not two.
Each class is shuffled by a generator of its own, from the seed and the class: one more class, or one more picture in
it, leaves the other classes' parts as they were.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from multum.core.errors import invalid
from multum.data.image_folder import ImageFolder
from multum.data.seeded_generator import seeded_generator


@dataclass(frozen=True, kw_only=True)
class ImageSplit:
    """Indices of pictures in three parts, ascending, none of them twice."""

    train: tuple[int, ...]
    """To learn from."""
    validation: tuple[int, ...]
    """To choose by."""
    test: tuple[int, ...]
    """To report."""


def split_images(folder: ImageFolder, *, validation: float = 0.1, test: float = 0.1, seed: int) -> ImageSplit:
    """Split a folder's pictures, class by class.

    A part that the folder has itself (`val/`, `test/`) is taken as it is, whatever the share asked for; one that it
    lacks is drawn from the pictures to learn from.

    Args:
        folder: The pictures.
        validation: Share of each class to choose by, in [0, 1); at least one picture unless 0.
        test: Share of each class to test on, likewise.
        seed: Seed of the draw.

    Returns:
        The parts.

    Raises:
        UserError: A share is out of range, or a class has too few pictures for one in each part.

    Example:
        >>> from pathlib import Path
        >>> folder = ImageFolder(classes=("a", "b"), paths=(Path(),) * 9, labels=(0,) * 6 + (1,) * 3)
        >>> split = split_images(folder, validation=0.2, test=0.2, seed=0)
        >>> len(split.train), len(split.validation), len(split.test)
        (5, 2, 2)
    """
    shares = {"validation": validation, "test": test}
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise invalid(name, "in [0, 1)", share, "it is a share of each class")
    chosen: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for label, name in enumerate(folder.classes):
        of_class = [index for index, other in enumerate(folder.labels) if other == label]
        given = {part: [i for i in of_class if folder.parts[i] == part] for part in set(folder.parts)}
        order = _shuffled(given.get("train", of_class), seed, name)
        wanted = {
            part: max(1, round(share * len(order)))
            for part, share in shares.items()
            if share and part not in given
        }
        for part, number in wanted.items():
            given[part], order = order[:number], order[number:]
        given["train"] = order
        empty = [part for part, indices in given.items() if not indices]
        if empty:
            remedy = "add pictures of it, or set the share of validation or test to 0"
            raise invalid(
                f"class {name}", "of at least one picture in each part", f"none for {empty[0]}", remedy
            )
        for part, indices in given.items():
            chosen[part] += indices
    return ImageSplit(**{part: tuple(sorted(indices)) for part, indices in chosen.items()})


def take_per_class(
    labels: Sequence[int], num_per_class: int, *, seed: int, among: Iterable[int] | None = None
) -> tuple[int, ...]:
    """Draw the same number of each class, as few-shot experiments do.

    With the same seed a smaller draw is part of a larger one, so that a curve over the number of pictures adds
    pictures and exchanges none.

    Args:
        labels: Class of every picture.
        num_per_class: How many to draw of each.
        seed: Seed of the draw.
        among: Indices to draw from; None for all.

    Returns:
        Indices, ascending.

    Raises:
        UserError: The number is below 1, or a class has fewer.

    Example:
        >>> few = take_per_class([0, 0, 1, 1, 1], 1, seed=0)
        >>> [[0, 0, 1, 1, 1][index] for index in few]
        [0, 1]
    """
    if num_per_class < 1:
        raise invalid("num_per_class", "at least 1", num_per_class)
    by_class: dict[int, list[int]] = {}
    for index in sorted(range(len(labels)) if among is None else among):
        by_class.setdefault(labels[index], []).append(index)
    drawn: list[int] = []
    for label in sorted(set(labels)):
        of_class = by_class.get(label, [])
        if len(of_class) < num_per_class:
            remedy = f"class {label} has only {len(of_class)} pictures to draw from"
            raise invalid("num_per_class", "at most what each class has", num_per_class, remedy)
        drawn += _shuffled(of_class, seed, label)[:num_per_class]
    return tuple(sorted(drawn))


def split_per_class(
    labels: Sequence[int],
    num_train: int,
    *,
    num_validation: int = 0,
    seed: int,
    among: Iterable[int] | None = None,
) -> ImageSplit:
    """Draw a number of pictures of each class to learn from; the rest is to test on.

    Args:
        labels: Class of every picture.
        num_train: How many of each class to learn from.
        num_validation: How many others of each class to choose by.
        seed: Seed of the draw.
        among: Indices to split; None for all.

    Returns:
        The parts; the rest may hold classes unequally.

    Raises:
        UserError: A number is out of range, or a class has nothing left to test on.
    """
    if num_train < 1 or num_validation < 0:
        raise invalid("num_train and num_validation", "at least 1 and 0", (num_train, num_validation))
    everything = set(range(len(labels)) if among is None else among)
    # one more than is kept, so that something is left to test on
    take_per_class(labels, num_train + num_validation + 1, seed=seed, among=everything)
    train = take_per_class(labels, num_train, seed=seed, among=everything)
    rest = everything - set(train)
    validation = take_per_class(labels, num_validation, seed=seed, among=rest) if num_validation else ()
    return ImageSplit(train=train, validation=validation, test=tuple(sorted(rest - set(validation))))


def _shuffled(indices: Sequence[int], seed: int, key: int | str) -> list[int]:
    """Shuffle, by a generator that belongs to the seed and the class."""
    generator = seeded_generator(seed, "split", key)
    weight = torch.rand(len(indices), generator=generator, dtype=torch.float64).tolist()
    return [index for _, index in sorted(zip(weight, indices, strict=True))]
