"""The clothing pictures are read in their published parts, and another folder ends in a clear error."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image

from multum.core import UserError
from multum.data import CLOTHING_NUM_PICTURES, ImageBatches, TestTransform, read_clothing, split_images


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Two pictures of each class in each part."""
    for name, parts in CLOTHING_NUM_PICTURES.items():
        for part in parts:
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("L", (8, 8)).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def test_published_counts_add_up() -> None:
    total = Counter()
    for parts in CLOTHING_NUM_PICTURES.values():
        total.update(parts)
    assert total == {"train": 3068, "validation": 341, "test": 372}


def test_an_incomplete_copy_is_refused_unless_told(small: Path) -> None:
    with pytest.raises(
        UserError, match="train pictures of class dress must be 241, as published; got 2; get it with"
    ):
        read_clothing(small)
    found = read_clothing(small, require_complete=False)
    assert len(found) == 60
    assert found.classes == tuple(CLOTHING_NUM_PICTURES)


def test_errors_say_where_the_data_is(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"clothing folder must be an existing folder.*clothing-dataset-small"
    ):
        read_clothing(tmp_path)


def test_another_data_set_is_not_taken_for_clothes(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "train" / name / "1.png")
    with pytest.raises(UserError, match="of the ten published classes"):
        read_clothing(tmp_path, require_complete=False)


@pytest.mark.data
def test_real_pictures_are_complete_and_decode(data_folder: Path) -> None:
    found = read_clothing(data_folder / "clothing_small")
    split = split_images(found, seed=0)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [3068, 341, 372]
    batch = ImageBatches(found.paths, num_threads=2).load(split.test[::40], TestTransform(side=64))
    assert batch.shape == (10, 3, 64, 64)
    assert (batch.std(dim=(1, 2, 3)) > 0.05).all()
    assert torch.isfinite(batch).all()
