"""Caltech-101 is read with its published counts, and no person is both learned from and tested on."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from multum.core import UserError
from multum.data import (
    CALTECH_NUM_PICTURES,
    ImageFolder,
    ImageSplit,
    person_of,
    read_caltech,
    read_picture,
    split_caltech,
)
from multum.data.caltech import FACES, FIRST_OF_PERSON


def as_published() -> ImageFolder:
    """All names of the data set, without the pictures."""
    names = tuple(CALTECH_NUM_PICTURES)
    pairs = [
        (Path(name) / f"image_{number:04}.jpg", label)
        for label, name in enumerate(names)
        for number in range(1, CALTECH_NUM_PICTURES[name] + 1)
    ]
    paths, labels = zip(*pairs, strict=True)
    return ImageFolder(classes=names, paths=paths, labels=labels)


def people(folder: ImageFolder, indices: tuple[int, ...]) -> set[int]:
    faces = [folder.paths[index] for index in indices if folder.paths[index].parent.name == FACES]
    return {person_of(path.name) for path in faces}


def counts(folder: ImageFolder, indices: tuple[int, ...]) -> dict[str, int]:
    return Counter(folder.classes[folder.labels[index]] for index in indices)


def check_apart(folder: ImageFolder, split: ImageSplit) -> None:
    parts = (split.train, split.validation, split.test)
    assert sum(map(len, parts)) == len(set().union(*parts))
    groups = [people(folder, part) for part in parts]
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_people_come_one_after_the_other() -> None:
    sizes = [following - first for first, following in pairwise((*FIRST_OF_PERSON, 436))]
    assert len(sizes) == 27
    assert sum(sizes) == CALTECH_NUM_PICTURES[FACES]
    assert min(sizes) == 5
    assert max(sizes) == 25
    assert [person_of(f"image_{number:04}.jpg") for number in FIRST_OF_PERSON] == list(range(27))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_validation", [0, 10])
def test_no_person_is_on_both_sides(seed: int, num_validation: int) -> None:
    folder = as_published()
    split = split_caltech(folder, 30, num_validation=num_validation, seed=seed)
    check_apart(folder, split)
    assert set(counts(folder, split.train).values()) == {30}
    assert set(counts(folder, split.validation).values()) == ({num_validation} if num_validation else set())
    tested = counts(folder, split.test)
    for name, number in CALTECH_NUM_PICTURES.items():
        if name != FACES:
            assert tested[name] == number - 30 - num_validation
    assert 100 < tested[FACES] < 335
    assert len(people(folder, split.test)) == 14
    assert split == split_caltech(folder, 30, num_validation=num_validation, seed=seed)


def test_without_faces_the_rest_is_tested() -> None:
    folder = as_published()
    chairs = [index for index, path in enumerate(folder.paths) if path.parent.name in {"chair", "cup"}]
    paths = tuple(folder.paths[index] for index in chairs)
    labels = tuple(int(path.parent.name == "cup") for path in paths)
    split = split_caltech(ImageFolder(classes=("chair", "cup"), paths=paths, labels=labels), 15, seed=0)
    assert len(split.train) == 30
    assert len(split.test) == 62 + 57 - 30


def test_too_many_to_learn_from_are_refused() -> None:
    with pytest.raises(UserError, match="got 50; class 17 has only 49 pictures"):
        split_caltech(as_published(), 50, seed=0)
    with pytest.raises(UserError, match="got 49; class rooster has nothing left to test on"):
        split_caltech(as_published(), 49, seed=0)


def test_errors_say_where_the_data_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Caltech-101 folder must be an existing folder.*caltech-101\.zip"):
        read_caltech(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"with a sub-folder bonsai.*caltech-101\.zip"):
        read_caltech(tmp_path)


@pytest.mark.data
def test_real_pictures_are_complete(data_folder: Path) -> None:
    found = read_caltech(data_folder / "caltech101_subset")
    expected = as_published()
    assert found.classes == expected.classes
    assert [path.relative_to(data_folder / "caltech101_subset") for path in found.paths] == list(
        expected.paths
    )
    assert split_caltech(found, seed=0) == split_caltech(expected, seed=0)
    assert {read_picture(path).shape[0] for path in found.paths[:: len(found) // 20]} == {3}


@pytest.mark.data
def test_a_copy_with_a_picture_missing_is_refused(data_folder: Path, tmp_path: Path) -> None:
    for name in ("chair", "cup"):
        (tmp_path / name).mkdir()
        for path in sorted((data_folder / "caltech101_subset" / name).iterdir())[1:]:
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="pictures of class chair must be 62, as published; got 61"):
        read_caltech(tmp_path, classes=("chair", "cup"))
