"""Batches are what the single pictures are, however they were cached and by how many threads."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from multum.core import UserError
from multum.data import ImageBatches, TestTransform, TrainTransform, read_picture, shrink

TRAIN = TrainTransform(side=24, seed=3, brightness=0.2)
TEST = TestTransform(side=24)


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, ...]:
    """Twelve pictures of different sizes."""
    noise = np.random.default_rng(0)
    made = []
    for number in range(12):
        pixels = noise.integers(0, 256, (40 + number, 90 - 3 * number, 3), dtype=np.uint8)
        made.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(made[-1])
    return tuple(made)


def test_a_batch_is_its_pictures_in_order(paths: tuple[Path, ...]) -> None:
    batch = ImageBatches(paths, shorter_side=1000).load([7, 2, 7], TRAIN, epoch=4)
    expected = [TRAIN(read_picture(paths[index]), sample=index, epoch=4) for index in (7, 2, 7)]
    assert torch.equal(batch, torch.stack(expected))
    assert batch.is_contiguous()


@pytest.mark.parametrize("cache_bytes", [0, 20_000, 2**30])
@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_threads_and_cache_change_nothing(
    paths: tuple[Path, ...], cache_bytes: int, num_threads: int
) -> None:
    plain = ImageBatches(paths, shorter_side=32, cache_bytes=0)
    batches = ImageBatches(paths, shorter_side=32, cache_bytes=cache_bytes, num_threads=num_threads)
    for epoch in range(3):
        for indices in ([3, 1, 4, 1, 5], [9, 2, 6], list(range(12))):
            assert torch.equal(
                batches.load(indices, TRAIN, epoch=epoch), plain.load(indices, TRAIN, epoch=epoch)
            )
        assert torch.equal(batches.load([0, 11], TEST), plain.load([0, 11], TEST, epoch=epoch))
    assert batches.cached_bytes <= cache_bytes


def test_what_is_cached_is_shrunk_and_counted(paths: tuple[Path, ...]) -> None:
    batches = ImageBatches(paths, shorter_side=20)
    batches.load(range(12), TEST)
    sizes = [shrink(read_picture(path), 20).shape for path in paths]
    assert all(min(size[1:]) == 20 for size in sizes)
    assert batches.cached_bytes == sum(torch.Size(size).numel() for size in sizes)


def test_a_cached_picture_is_not_read_again(paths: tuple[Path, ...]) -> None:
    batches = ImageBatches(paths)
    before = batches.load([1], TRAIN)
    paths[1].unlink()
    assert torch.equal(batches.load([1], TRAIN), before)
    with pytest.raises(UserError, match=r"1\.png must be an existing file"):
        ImageBatches(paths).load([0, 1, 2], TRAIN)


@pytest.mark.parametrize("num_threads", [1, 3])
def test_damage_that_the_header_hides_is_told_when_it_is_decoded(
    paths: tuple[Path, ...], num_threads: int
) -> None:
    paths[5].write_bytes(paths[5].read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"picture .*5\.png must be whole and readable"):
        ImageBatches(paths, num_threads=num_threads).load([2, 5, 3], TEST)


def test_threads_end_with_the_batch(paths: tuple[Path, ...]) -> None:
    before = threading.active_count()
    ImageBatches(paths, num_threads=4).load(range(8), TEST)
    assert threading.active_count() == before


def test_pictures_in_memory_are_taken_and_not_counted(generator: torch.Generator) -> None:
    pictures = torch.randint(0, 256, (5, 3, 30, 30), dtype=torch.uint8, generator=generator)
    batches = ImageBatches(tuple(pictures))
    assert len(batches) == 5
    assert torch.equal(batches.load([4, 0], TEST), torch.stack([TEST(pictures[4]), TEST(pictures[0])]))
    assert batches.cached_bytes == 0


def test_shrinking_keeps_proportions_and_never_enlarges() -> None:
    picture = torch.zeros(3, 100, 231, dtype=torch.uint8)
    assert shrink(picture, 50).shape == (3, 50, 116)
    assert shrink(picture.mT, 50).shape == (3, 116, 50)
    assert shrink(picture, 100) is picture


@pytest.mark.parametrize("indices", [[], [12], [-1]])
def test_indices_out_of_range_are_refused(paths: tuple[Path, ...], indices: list[int]) -> None:
    with pytest.raises(
        UserError, match=r"indices must be at least one|index of a picture must be in \[0, 12\)"
    ):
        ImageBatches(paths).load(indices, TEST)


@pytest.mark.parametrize("dial", [{"shorter_side": 0}, {"cache_bytes": -1}, {"num_threads": 0}])
def test_sizes_out_of_range_are_refused(dial: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(dial))} must be at least"):
        ImageBatches((), **dial)
