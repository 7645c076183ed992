"""Scans are varied as asked, labels and boxes follow, and what cannot be done is refused."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from jaxtyping import TypeCheckError

from multum.core import UserError, from_dict, to_dict
from multum.data import seeded_generator
from multum.pointcloud.lidar import (
    AugmentationConfig,
    Boxes,
    Scan,
    SyntheticSensor,
    boxes_at,
    drop_points,
    flip,
    jitter_points,
    join_scans,
    points_in_boxes,
    random_flips,
    random_rotation,
    random_scaling,
    random_translation,
    rotate,
    scale,
    synthetic_street,
    translate,
    tta_views,
)

Change = Callable[[Scan, torch.Generator], Scan]
RIGID: dict[str, Change] = {
    "rotation": random_rotation,
    "flips": random_flips,
    "translation": lambda scan, generator: random_translation(scan, generator, std_metres=2.0),
}
ALL: dict[str, Change] = {
    **RIGID,
    "scaling": random_scaling,
    "jitter": jitter_points,
    "drop": drop_points,
    "all": AugmentationConfig(
        flip_probability=0.5, translation_std_metres=0.2, jitter_std_metres=0.01, min_keep_ratio=0.8
    ).augment,
}
EMPTY = Scan(
    xyz_N3=torch.zeros(0, 3),
    intensity_N=torch.zeros(0),
    label_N=torch.zeros(0, dtype=torch.int64),
    boxes=Boxes(
        centre_K3=torch.zeros(0, 3),
        size_K3=torch.ones(0, 3),
        yaw_K=torch.zeros(0),
        label_K=torch.zeros(0, dtype=torch.int64),
    ),
)


@pytest.fixture(scope="module")
def street() -> Scan:
    return synthetic_street(1, sensor=SyntheticSensor(num_beams=24, num_azimuths=256))


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def bare(scan: Scan) -> Scan:
    return replace(scan, label_N=None, boxes=None)


@pytest.mark.parametrize("name", RIGID)
def test_distances_between_points_stay(street: Scan, generator: torch.Generator, name: str) -> None:
    few = street.at(torch.arange(0, len(street), 50))
    before = torch.cdist(few.xyz_N3.double(), few.xyz_N3.double())
    moved = RIGID[name](few, generator)
    after = torch.cdist(moved.xyz_N3.double(), moved.xyz_N3.double())
    assert torch.allclose(before, after, atol=1e-4)


@pytest.mark.parametrize("name", ["rotation", "flips", "translation", "scaling"])
def test_boxes_move_with_their_points(street: Scan, name: str) -> None:
    assert street.boxes is not None
    held = points_in_boxes(street.xyz_N3, street.boxes)
    assert held.any(dim=1).sum() > 5
    for seed in range(6):
        moved = ALL[name](street, seeded_generator(seed))
        assert moved.boxes is not None
        inside = points_in_boxes(moved.xyz_N3, moved.boxes, margin_metres=1e-4)
        assert (inside | ~held).all(), "a point fell out of its box"
        tight = points_in_boxes(moved.xyz_N3, moved.boxes, margin_metres=-1e-4)
        assert (held | ~tight).all(), "a point fell into a box"
        assert moved.boxes.yaw_K.abs().max() <= math.pi + 1e-6
        assert moved.label_N is street.label_N
        assert torch.equal(moved.boxes.label_K, street.boxes.label_K)


@pytest.mark.parametrize("name", ALL)
def test_a_generator_says_all_and_the_scan_given_stays(street: Scan, name: str) -> None:
    before = street.xyz_N3.clone()
    first, again, *others = (ALL[name](street, seeded_generator(seed)) for seed in (1, 1, 2, 3, 4, 5, 6))
    assert torch.equal(first.xyz_N3, again.xyz_N3)
    assert not all(torch.equal(first.xyz_N3, other.xyz_N3) for other in others)
    assert torch.equal(street.xyz_N3, before)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("scan", [EMPTY, bare(EMPTY)], ids=["labelled", "bare"])
def test_an_empty_scan_comes_back_empty(generator: torch.Generator, name: str, scan: Scan) -> None:
    assert len(ALL[name](scan, generator)) == 0


@pytest.mark.parametrize("name", ALL)
def test_one_point_stays_one_point(generator: torch.Generator, name: str) -> None:
    one = Scan(xyz_N3=torch.ones(1, 3), intensity_N=torch.ones(1), label_N=torch.tensor([4]))
    changed = ALL[name](one, generator)
    assert len(changed) == 1
    assert changed.label_N is not None
    assert changed.label_N.tolist() == [4]


def test_a_quarter_turn_is_anticlockwise() -> None:
    scan = Scan(xyz_N3=torch.tensor([[3.0, 0.0, -1.0]]), intensity_N=torch.ones(1))
    assert torch.allclose(rotate(scan, math.pi / 2).xyz_N3, torch.tensor([[0.0, 3.0, -1.0]]), atol=1e-6)


def test_mirrors_swap_sides_and_headings(street: Scan) -> None:
    assert street.boxes is not None
    for axis, sign in (("x", (-1.0, 1.0, 1.0)), ("y", (1.0, -1.0, 1.0))):
        mirrored = flip(street, axis)
        assert torch.equal(mirrored.xyz_N3, street.xyz_N3 * torch.tensor(sign))
        assert mirrored.boxes is not None
        heading = torch.stack([mirrored.boxes.yaw_K.cos(), mirrored.boxes.yaw_K.sin()], dim=1)
        expected = torch.stack([street.boxes.yaw_K.cos(), street.boxes.yaw_K.sin()], dim=1)
        assert torch.allclose(heading, expected * torch.tensor(sign[:2]), atol=1e-6)
    with pytest.raises((UserError, TypeCheckError), match="axis"):  # the second where jaxtyping watches
        flip(street, "z")


def test_each_mirror_is_drawn_half_of_the_time() -> None:
    scan = Scan(xyz_N3=torch.ones(1, 3), intensity_N=torch.ones(1))
    generator = torch.Generator().manual_seed(0)
    found = [tuple(random_flips(scan, generator).xyz_N3[0, :2].tolist()) for _ in range(800)]
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        assert 150 < found.count(signs) < 250
    assert torch.equal(random_flips(scan, generator, probability=0.0).xyz_N3, scan.xyz_N3)


def test_rotations_go_all_around_and_no_farther_than_asked() -> None:
    scan = Scan(xyz_N3=torch.tensor([[1.0, 0.0, 0.0]]), intensity_N=torch.ones(1))
    generator = torch.Generator().manual_seed(0)
    whole = torch.stack([random_rotation(scan, generator).xyz_N3[0] for _ in range(800)])
    assert whole.mean(dim=0).abs().max() < 0.1
    narrow = torch.stack([random_rotation(scan, generator, max_degrees=30.0).xyz_N3[0] for _ in range(400)])
    angle = torch.atan2(narrow[:, 1], narrow[:, 0]).rad2deg()
    assert -30.001 <= angle.min() < -28
    assert 28 < angle.max() <= 30.001


def test_scaling_scales_points_and_boxes(street: Scan, generator: torch.Generator) -> None:
    assert street.boxes is not None
    factors = set()
    for _ in range(200):
        scaled = random_scaling(street.at(torch.arange(1)), generator)
        assert scaled.boxes is not None
        ratio = scaled.xyz_N3 / street.xyz_N3[:1]
        assert torch.allclose(ratio, ratio[0, 0].expand(1, 3))
        assert torch.allclose(scaled.boxes.size_K3 / street.boxes.size_K3, ratio[0, 0])
        factors.add(float(ratio[0, 0]))
    assert 0.9499 < min(factors) < 0.955
    assert 1.045 < max(factors) < 1.0501


def test_jitter_is_normal_and_cut_off(street: Scan, generator: torch.Generator) -> None:
    moved = jitter_points(street, generator, std_metres=0.02, clip_metres=0.03)
    offset = moved.xyz_N3 - street.xyz_N3
    assert offset.abs().max() < 0.03 + 1e-5
    assert 0.015 < offset.std() < 0.02
    assert moved.boxes is street.boxes


def test_dropping_keeps_order_and_at_least_the_part_asked_for(
    street: Scan, generator: torch.Generator
) -> None:
    numbered = replace(street, intensity_N=torch.arange(len(street)).float())
    kept = set()
    for _ in range(30):
        part = drop_points(numbered, generator, min_keep_ratio=0.6)
        assert (part.intensity_N.diff() > 0).all()
        assert torch.equal(part.xyz_N3, street.xyz_N3[part.intensity_N.long()])
        kept.add(len(part) / len(street))
    assert 0.6 <= min(kept) < 0.7
    assert 0.9 < max(kept) <= 1
    assert torch.equal(drop_points(street, generator, min_keep_ratio=1.0).xyz_N3, street.xyz_N3)


def test_views_go_around_in_equal_steps(street: Scan) -> None:
    views = tta_views(street)
    assert len(views) == 5
    assert views[0] is street
    azimuth = [torch.atan2(view.xyz_N3[0, 1], view.xyz_N3[0, 0]).item() for view in views]
    steps = [(b - a) % (2 * math.pi) for a, b in pairwise(azimuth)]
    assert steps == pytest.approx([2 * math.pi / 5] * 4, abs=1e-5)
    assert len(tta_views(street, 1)) == 1
    with pytest.raises(UserError, match="num_views must be at least 1"):
        tta_views(street, 0)


def test_what_is_switched_off_changes_nothing(street: Scan, generator: torch.Generator) -> None:
    off = AugmentationConfig(rotation_degrees=0.0, scale=(1.0, 1.0))
    assert torch.equal(off.augment(street, generator).xyz_N3, street.xyz_N3)


def test_a_configuration_goes_through_json() -> None:
    config = AugmentationConfig(polar_mix_probability=0.5, polar_mix_classes=(2, 3))
    assert from_dict(AugmentationConfig, to_dict(config)) == config
    assert config.needs_partner
    assert not AugmentationConfig().needs_partner


def test_mixing_asks_for_a_partner(street: Scan, generator: torch.Generator) -> None:
    with pytest.raises(UserError, match="partner must be a scan"):
        AugmentationConfig(laser_mix_probability=0.1).augment(street, generator)


def test_one_mix_at_most_is_drawn_as_often_as_asked(street: Scan, generator: torch.Generator) -> None:
    config = AugmentationConfig(laser_mix_probability=0.5, polar_mix_probability=0.25, polar_mix_classes=(0,))
    few = street.at(torch.arange(0, len(street), 40))
    marks = [replace(few, intensity_N=torch.full((len(few),), mark)) for mark in (0.0, 1.0)]
    plain = laser = polar = 0
    for _ in range(300):
        mixed = config.augment(marks[0], generator, partner=marks[1])
        own = int((mixed.intensity_N == 0).sum())
        plain += own == len(few) == len(mixed)
        polar += len(mixed) > len(few)  # cars are pasted
        laser += own < len(few) == len(mixed)
    assert plain + laser + polar == 300
    assert 50 < plain < 100
    assert 120 < laser < 180


def test_joining_keeps_what_all_parts_have(street: Scan) -> None:
    assert street.boxes is not None
    both = join_scans([street, street])
    assert len(both) == 2 * len(street)
    assert both.boxes is not None
    assert len(both.boxes) == 2 * len(street.boxes)
    assert both.name == f"{street.name}+{street.name}"
    assert join_scans([street, replace(street, boxes=None)]).boxes is None
    with pytest.raises(UserError, match="labelled scans of those to join must be none or all 2; got 1"):
        join_scans([street, bare(street)])
    with pytest.raises(UserError, match="scans must be at least one"):
        join_scans([])


def test_boxes_can_be_picked(street: Scan) -> None:
    assert street.boxes is not None
    picked = boxes_at(street.boxes, torch.tensor([2, 0]))
    assert torch.equal(picked.centre_K3, street.boxes.centre_K3[[2, 0]])
    assert torch.equal(picked.yaw_K, street.boxes.yaw_K[[2, 0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scan, g: random_rotation(scan, g, max_degrees=181.0), r"max_degrees must be in \[0, 180\]"),
        (lambda scan, g: random_scaling(scan, g, factors=(1.1, 1.0)), "factors must be two ascending"),
        (lambda scan, g: random_flips(scan, g, probability=1.5), r"probability must be in \[0, 1\]"),
        (lambda scan, g: random_translation(scan, g, std_metres=-1.0), "std_metres must be at least 0"),
        (lambda scan, g: jitter_points(scan, g, clip_metres=-1.0), "clip_metres must be at least 0"),
        (lambda scan, g: jitter_points(scan, g, std_metres=math.nan), "std_metres must be at least 0"),
        (lambda scan, g: drop_points(scan, g, min_keep_ratio=0.0), r"min_keep_ratio must be in \(0, 1\]"),
        (lambda scan, g: rotate(scan, math.inf), "radians must be finite"),
        (lambda scan, g: scale(scan, 0.0), "factor must be positive"),
        (lambda scan, g: translate(scan, (0.0, math.nan, 0.0)), "offset_metres must be finite"),
    ],
)
def test_arguments_out_of_range_are_refused(
    street: Scan, generator: torch.Generator, change: Change, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        change(street, generator)


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"rotation_degrees": 200.0}, "rotation_degrees must be in"),
        ({"scale": (0.0, 1.0)}, "scale must be two ascending"),
        ({"flip_probability": 1.1}, r"flip_probability must be in \[0, 1\]"),
        ({"translation_std_metres": -0.1}, "translation_std_metres must be at least 0"),
        ({"jitter_std_metres": -0.1}, "jitter_std_metres must be at least 0"),
        ({"jitter_clip_metres": -0.1}, "jitter_clip_metres must be at least 0"),
        ({"min_keep_ratio": 0.0}, r"min_keep_ratio must be in \(0, 1\]"),
        ({"laser_mix_probability": -0.1}, r"laser_mix_probability must be in \[0, 1\]"),
        ({"inclination_degrees": (3.0, 3.0)}, "inclination_degrees must be two ascending"),
        ({"polar_mix_probability": 0.5}, "polar_mix_classes must be at least one label"),
        (
            {"laser_mix_probability": 0.6, "polar_mix_probability": 0.6, "polar_mix_classes": (0,)},
            "laser_mix_probability \\+ polar_mix_probability must be at most 1",
        ),
    ],
)
def test_dials_out_of_range_are_refused(dials: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        AugmentationConfig(**dials)
