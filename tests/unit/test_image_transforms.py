"""Variations and framings of a picture, against Pillow and against arithmetic written differently."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from multum.core import UserError
from multum.data import (
    TestTransform,
    TrainTransform,
    colour_jitter,
    horizontal_flip,
    normalize,
    random_resized_crop,
    resize,
    resize_and_centre_crop,
    unit,
)


@pytest.fixture
def picture(generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8, generator=generator)


def by_pillow(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(45, 60), (33, 17), (8, 200), (91, 121), (180, 300), (1, 1)])
@pytest.mark.parametrize("colours_last", [False, True])
def test_resizing_agrees_with_pillow_within_one_level(
    picture: torch.Tensor, size: tuple[int, int], colours_last: bool
) -> None:
    if colours_last:  # as they come from a decoder
        picture = picture.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    difference = resize(picture, *size).int() - by_pillow(picture, *size).int()
    assert difference.abs().max() <= 1
    assert difference.float().mean().abs() < 0.3


def test_resizing_floats_and_bytes_is_the_same_up_to_rounding(picture: torch.Tensor) -> None:
    exact = resize(picture.double(), 31, 57)
    assert (resize(picture, 31, 57) - exact).abs().max() <= 1.0


def test_the_middle_of_a_picture_is_framed(picture: torch.Tensor) -> None:
    framed = resize_and_centre_crop(picture, 56)
    whole = by_pillow(picture, 64, 85)
    assert framed.shape == (3, 56, 56)
    assert (framed.int() - whole[:, 4:60, 14:70].int()).abs().max() <= 1


@pytest.mark.parametrize("size", [(8, 4000), (4000, 8), (9, 9), (500, 700)])
@pytest.mark.parametrize("side", [1, 7, 64])
def test_any_shape_is_framed(size: tuple[int, int], side: int) -> None:
    picture = torch.full((3, *size), 77, dtype=torch.uint8)
    for keep in (1.0, 0.875, 0.01):
        if keep == 0.01 and side > 7:
            continue
        framed = resize_and_centre_crop(picture, side, keep=keep)
        assert framed.shape == (3, side, side)
        assert (framed == 77).all()


def test_a_strip_is_cut_before_it_is_resized() -> None:
    """Eight pixels by a million would otherwise become 64 by eight million."""
    strip = torch.zeros(3, 8, 1_000_000, dtype=torch.uint8)
    strip[:, :, 499_996:500_004] = 255
    assert (resize_and_centre_crop(strip, 56)[:, :, 4:-4] == 255).all()


def test_a_crop_of_everything_is_everything(picture: torch.Tensor, generator: torch.Generator) -> None:
    square = picture[:, :, :90]
    whole = random_resized_crop(square, 90, scale=(1.0, 1.0), ratio=(1.0, 1.0), generator=generator)
    assert torch.equal(whole, square)


def test_crops_have_the_areas_and_ratios_asked_for(generator: torch.Generator) -> None:
    """Where a coordinate is the value, the corners of a crop can be read off the result."""
    ramp = torch.stack(
        [torch.arange(400.0).expand(400, 400), torch.arange(400.0).view(-1, 1).expand(400, 400)]
    )
    areas, ratios, lefts = [], [], []
    for _ in range(400):
        crop = random_resized_crop(ramp, 100, generator=generator)
        width, height = (crop[0, 0, 60] - crop[0, 0, 40]) * 5, (crop[1, 60, 0] - crop[1, 40, 0]) * 5
        areas.append(float(width * height) / 400**2)
        ratios.append(float(width / height))
        lefts.append(float(crop[0].min()) / max(1.0, 400 - float(width)))
    assert 0.21 < min(areas) < 0.25
    assert 0.95 < max(areas) < 1.01
    # evenly distributed areas and logarithms u of ratios, as far as they fit: the area is at most exp(-|u|)
    u = np.log(4 / 3)
    expected = ((1 - np.exp(-2 * u)) / 2 - 0.22**2 * u) / 2 / (1 - np.exp(-u) - 0.22 * u)
    assert abs(np.mean(areas) - expected) < 0.03
    assert 0.74 < min(ratios) < 0.78
    assert 1.28 < max(ratios) < 1.35
    assert abs(np.mean(np.log(ratios))) < 0.03
    assert abs(np.mean(lefts) - 0.5) < 0.06


def test_what_no_crop_fits_into_gives_its_middle(generator: torch.Generator) -> None:
    wide = torch.zeros(1, 30, 3000)
    wide[:, :, 1480:1520] = 1
    assert (random_resized_crop(wide, 10, scale=(1.0, 1.0), generator=generator) > 0.9999).all()
    assert (random_resized_crop(wide.mT, 10, scale=(1.0, 1.0), generator=generator) > 0.9999).all()


def test_about_half_of_the_pictures_are_mirrored(generator: torch.Generator) -> None:
    picture = torch.arange(12).view(3, 2, 2)
    mirrored = sum(
        torch.equal(horizontal_flip(picture, generator=generator)[:, :, 0], picture[:, :, 1])
        for _ in range(400)
    )
    assert 160 < mirrored < 240
    assert torch.equal(horizontal_flip(picture, generator=generator, probability=0.0), picture)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_colours_change_as_pillow_changes_them(picture: torch.Tensor, name: str) -> None:
    """Which factor was drawn is searched for: one of Pillow's must fit."""
    enhance = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
    }[name]
    image = enhance(Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()))
    jittered = colour_jitter(unit(picture), **{name: 0.5}, generator=torch.Generator().manual_seed(4)) * 255
    best = min(
        float((torch.from_numpy(np.array(image.enhance(factor))).permute(2, 0, 1) - jittered).abs().mean())
        for factor in np.linspace(0.5, 1.5, 201)
    )
    assert best < 0.8
    assert (jittered - picture).abs().mean() > 3


def test_no_jitter_leaves_the_picture(picture: torch.Tensor, generator: torch.Generator) -> None:
    assert torch.equal(colour_jitter(unit(picture), generator=generator), unit(picture))


def test_jitter_stays_between_black_and_white(picture: torch.Tensor, generator: torch.Generator) -> None:
    for _ in range(20):
        jittered = colour_jitter(
            unit(picture), brightness=3.0, contrast=3.0, saturation=3.0, generator=generator
        )
        assert 0 <= jittered.min() <= jittered.max() <= 1


def test_normalizing_bytes_and_floats(picture: torch.Tensor) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    found = normalize(picture, mean, std)
    for colour in range(3):
        expected = (picture[colour].double() / 255 - mean[colour]) / std[colour]
        assert torch.allclose(found[colour].double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(normalize(unit(picture), mean, std), found)


def test_draws_depend_on_seed_epoch_and_picture_only(picture: torch.Tensor) -> None:
    transform = TrainTransform(side=32, seed=5, brightness=0.2, contrast=0.2, saturation=0.2)
    first = transform(picture, sample=3, epoch=2)
    torch.rand(100)  # the global generator plays no part
    transform(picture, sample=9, epoch=2)
    assert torch.equal(transform(picture, sample=3, epoch=2), first)
    for other in (
        transform(picture, sample=4, epoch=2),
        transform(picture, sample=3, epoch=1),
        transform(picture, sample=2, epoch=3),
        replace(transform, seed=6)(picture, sample=3, epoch=2),
    ):
        assert not torch.equal(other, first)


def test_a_mirror_can_be_left_out() -> None:
    ramp = torch.arange(64).expand(3, 64, 64).to(torch.uint8)
    transform = TrainTransform(side=16, seed=0, flip=False)
    for sample in range(20):
        row = transform(ramp, sample=sample)[0, 0]
        assert (row.diff() >= 0).all()


def test_testing_takes_no_chances(picture: torch.Tensor) -> None:
    transform = TestTransform(side=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    first = transform(picture, sample=1, epoch=1)
    assert torch.equal(first, transform(picture))
    expected = resize_and_centre_crop(picture, 32).float() / 255
    assert torch.allclose(first, (expected - 0.5) / 0.25)


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"side": 0}, "side must be at least 1"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be above 0"),
        ({"scale": (0.0, 1.0)}, "scale must be two ascending"),
        ({"scale": (0.5, 1.1)}, "scale must be two ascending"),
        ({"ratio": (2.0, 1.0)}, "ratio must be two ascending"),
        ({"contrast": -0.1}, "contrast must be at least 0"),
    ],
)
def test_dials_out_of_range_are_refused(dials: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainTransform(**{"side": 8, "seed": 0, **dials})


def test_testing_refuses_to_keep_more_than_there_is() -> None:
    with pytest.raises(UserError, match=r"keep must be in \(0, 1\]"):
        TestTransform(side=8, keep=1.2)
