"""Crops stay inside any picture, and any draw can be repeated on its own."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from multum.data import (
    TrainTransform,
    draw_crop,
    random_resized_crop,
    resize_and_centre_crop,
    seeded_generator,
)

SIDE = st.one_of(st.integers(1, 40), st.integers(1, 100_000))


@st.composite
def ranges(draw: st.DrawFn, low: float, high: float) -> tuple[float, float]:
    first, second = draw(st.floats(low, high)), draw(st.floats(low, high))
    return min(first, second), max(first, second)


@given(SIDE, SIDE, ranges(1e-4, 1.0), ranges(0.05, 20.0), st.integers(0, 2**32))
def test_crops_lie_inside(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], seed: int
) -> None:
    top, left, part_height, part_width = draw_crop(height, width, scale, ratio, seeded_generator(seed))
    assert part_height >= 1
    assert part_width >= 1
    assert 0 <= top <= height - part_height
    assert 0 <= left <= width - part_width


@given(st.integers(100, 2000), st.integers(100, 2000), st.integers(0, 2**32))
def test_crops_have_about_the_area_and_ratio_asked_for(height: int, width: int, seed: int) -> None:
    _, _, part_height, part_width = draw_crop(
        height, width, (0.22, 1.0), (3 / 4, 4 / 3), seeded_generator(seed)
    )
    assert 3 / 4 - 0.03 <= part_width / part_height <= 4 / 3 + 0.03
    part = part_height * part_width / (height * width)
    could_not_fit = max(height, width) > 2 * min(height, width)
    assert 0.21 <= part <= 1 or could_not_fit


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.floats(0.2, 1.0), st.integers(0, 2**32))
def test_a_picture_of_one_colour_stays_it(height: int, width: int, side: int, keep: float, seed: int) -> None:
    picture = torch.full((3, height, width), 201, dtype=torch.uint8)
    for square in (
        random_resized_crop(picture, side, generator=seeded_generator(seed)),
        resize_and_centre_crop(picture, side, keep=keep),
    ):
        assert square.shape == (3, side, side)
        assert (square == 201).all()


@given(
    st.integers(-(2**40), 2**40),
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 100)), min_size=1, max_size=6, unique=True),
    st.randoms(use_true_random=False),
)
def test_a_draw_is_the_same_in_any_order(seed: int, draws: list[tuple[int, int]], random) -> None:
    transform = TrainTransform(side=6, seed=seed, brightness=0.3, contrast=0.3, saturation=0.3)
    picture = torch.rand(3, 9, 14, generator=seeded_generator(seed, "a picture"))
    forwards = {draw: transform(picture, sample=draw[0], epoch=draw[1]) for draw in draws}
    random.shuffle(draws)
    for sample, epoch in draws:
        assert torch.equal(transform(picture, sample=sample, epoch=epoch), forwards[sample, epoch])
    assert len({tuple(square.flatten().tolist()) for square in forwards.values()}) == len(draws)
