"""Parts hold every class, never share a picture, and are the same in every run."""

from collections import Counter
from pathlib import Path

import pytest

from multum.core import UserError
from multum.data import ImageFolder, ImageSplit, split_images, split_per_class, take_per_class


def folder_of(*sizes: int, parts: tuple[str, ...] = ()) -> ImageFolder:
    labels = tuple(label for label, size in enumerate(sizes) for _ in range(size))
    names = tuple(f"class {label}" for label in range(len(sizes)))
    paths = tuple(Path(f"{index}.png") for index in range(len(labels)))
    return ImageFolder(classes=names, paths=paths, labels=labels, parts=parts)


def counts(indices: tuple[int, ...], labels: tuple[int, ...]) -> list[int]:
    count = Counter(labels[index] for index in indices)
    return [count[label] for label in sorted(set(labels))]


def check_partition(split: ImageSplit, num_pictures: int) -> None:
    together = (*split.train, *split.validation, *split.test)
    assert sorted(together) == list(range(num_pictures))
    assert all(list(part) == sorted(part) for part in (split.train, split.validation, split.test))


def test_every_class_is_split_by_the_same_shares() -> None:
    folder = folder_of(100, 50, 3)
    split = split_images(folder, validation=0.1, test=0.2, seed=0)
    check_partition(split, 153)
    assert counts(split.train, folder.labels) == [70, 35, 1]
    assert counts(split.validation, folder.labels) == [10, 5, 1]
    assert counts(split.test, folder.labels) == [20, 10, 1]


def test_the_seed_decides_and_nothing_else() -> None:
    folder = folder_of(40, 40)
    assert split_images(folder, seed=1) == split_images(folder, seed=1)
    assert split_images(folder, seed=1) != split_images(folder, seed=2)


def test_one_more_class_leaves_the_others_as_they_were() -> None:
    few, more = split_images(folder_of(30, 20), seed=0), split_images(folder_of(30, 20, 10), seed=0)
    assert few.test == tuple(index for index in more.test if index < 50)


def test_a_part_that_is_not_wanted_stays_empty() -> None:
    split = split_images(folder_of(2, 2), validation=0.0, test=0.1, seed=0)
    assert split.validation == ()
    assert len(split.train) == len(split.test) == 2


def test_a_class_too_small_is_named() -> None:
    with pytest.raises(
        UserError, match=r"class class 1 must be of at least one picture in each part.*none for train"
    ):
        split_images(folder_of(5, 2), seed=0)


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5])
def test_shares_lie_between_none_and_all(share: float) -> None:
    with pytest.raises(UserError, match=r"test must be in \[0, 1\)"):
        split_images(folder_of(5, 5), test=share, seed=0)


def test_parts_of_the_folder_are_kept_and_missing_ones_drawn_from_training() -> None:
    parts = ("train",) * 10 + ("test",) * 3
    labels = (0, 1) * 5 + (0, 0, 1)
    paths = tuple(Path(str(index)) for index in range(13))
    folder = ImageFolder(classes=("a", "b"), paths=paths, labels=labels, parts=parts)
    split = split_images(folder, validation=0.2, test=0.5, seed=0)
    check_partition(split, 13)
    assert split.test == (10, 11, 12)
    assert counts(split.validation, labels) == [1, 1]
    no_class_b = ImageFolder(classes=("a", "b"), paths=paths[:12], labels=labels[:12], parts=parts[:12])
    with pytest.raises(UserError, match=r"class b .*none for test"):
        split_images(no_class_b, seed=0)


def test_a_smaller_draw_is_part_of_a_larger_one() -> None:
    labels = folder_of(30, 20).labels
    draws = [set(take_per_class(labels, number, seed=3)) for number in (1, 5, 20)]
    assert draws[0] < draws[1] < draws[2]
    assert counts(tuple(draws[1]), labels) == [5, 5]


def test_draws_stay_among_what_is_offered() -> None:
    labels = folder_of(30, 20).labels
    among = range(10, 40)
    assert set(take_per_class(labels, 10, seed=0, among=among)) <= set(among)
    with pytest.raises(UserError, match="got 11; class 1 has only 10 pictures"):
        take_per_class(labels, 11, seed=0, among=among)
    with pytest.raises(UserError, match="num_per_class must be at least 1"):
        take_per_class(labels, 0, seed=0)


def test_the_rest_is_to_test_on() -> None:
    labels = folder_of(30, 20).labels
    split = split_per_class(labels, 10, num_validation=4, seed=0)
    check_partition(split, 50)
    assert counts(split.train, labels) == [10, 10]
    assert counts(split.validation, labels) == [4, 4]
    assert counts(split.test, labels) == [16, 6]
    with pytest.raises(UserError, match="class 1 has only 20 pictures"):
        split_per_class(labels, 20, seed=0)
    with pytest.raises(UserError, match="at least 1 and 0"):
        split_per_class(labels, 0, seed=0)
