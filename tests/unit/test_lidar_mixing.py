"""LaserMix and PolarMix take each point from where they say, and boxes follow."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from multum.core import UserError
from multum.data import seeded_generator
from multum.pointcloud.lidar import (
    SYNTHETIC_CLASSES,
    SYNTHETIC_OBJECTS,
    Scan,
    SyntheticSensor,
    laser_mix,
    points_in_boxes,
    polar_mix,
    rotate,
    synthetic_street,
)
from multum.pointcloud.lidar.polar_mix import draw_turns, objects_of, swap_sector

SENSOR = SyntheticSensor(num_beams=32, num_azimuths=256)
CAR, PERSON = SYNTHETIC_CLASSES.index("car"), SYNTHETIC_CLASSES.index("person")


def numbered(seed: int, start: int) -> Scan:
    """A street whose intensities are the numbers of its points, so that a point can be told in a mix."""
    scan = synthetic_street(seed, sensor=SENSOR)
    return replace(scan, intensity_N=start + torch.arange(len(scan)).float())


@pytest.fixture(scope="module")
def first() -> Scan:
    return numbered(1, 0)


@pytest.fixture(scope="module")
def second() -> Scan:
    return numbered(2, 100_000)


def empty(scan: Scan) -> Scan:
    return scan.at(torch.zeros(len(scan), dtype=torch.bool))


def inclination(scan: Scan) -> np.ndarray:
    xyz = scan.xyz_N3.double().numpy()
    return np.degrees(np.arcsin(xyz[:, 2] / np.linalg.norm(xyz, axis=1)))


def test_areas_of_a_laser_mix_alternate(first: Scan, second: Scan) -> None:
    numbers, lowest = set(), set()
    for seed in range(40):
        mixed = laser_mix(first, second, seeded_generator(seed))
        mark = mixed.intensity_N.numpy() >= 100_000
        for number in (3, 4, 5, 6):
            share = np.clip((inclination(mixed) + 25) / 28, 0, 1 - 1e-9) * number
            clear = np.abs(share - share.round()) > 1e-5  # not on a border
            parity = np.floor(share[clear]) % 2
            if (parity == mark[clear]).all() or (parity != mark[clear]).all():
                numbers.add(number)
                lowest.add(bool(mark[np.argmin(share)]))
                break
        else:
            raise AssertionError("areas of no number alternate")
    assert numbers == {3, 4, 5, 6}
    assert lowest == {False, True}


def test_a_laser_mix_and_its_opposite_hold_every_point_once(first: Scan, second: Scan) -> None:
    for seed in range(5):
        mixed = laser_mix(first, second, seeded_generator(seed))
        opposite = laser_mix(second, first, seeded_generator(seed))
        found = torch.cat([mixed.intensity_N, opposite.intensity_N]).sort().values
        assert torch.equal(found, torch.cat([first.intensity_N, second.intensity_N]))
        own = mixed.intensity_N[mixed.intensity_N < 100_000].long()
        assert torch.equal(mixed.xyz_N3[: len(own)], first.xyz_N3[own])
        assert torch.equal(mixed.label_N[: len(own)], first.label_N[own])
        assert mixed.boxes is not None
        assert opposite.boxes is not None
        assert first.boxes is not None
        assert second.boxes is not None
        assert len(mixed.boxes) + len(opposite.boxes) == len(first.boxes) + len(second.boxes)


def test_boxes_of_a_laser_mix_follow_their_middles(first: Scan, second: Scan) -> None:
    generator = torch.Generator().manual_seed(0)
    mixed = laser_mix(first, second, generator, num_areas=(2,), inclination_degrees=(-40.0, -2.0))
    assert mixed.boxes is not None
    low = math.degrees(torch.asin(mixed.xyz_N3[0, 2] / mixed.xyz_N3[0].norm())) < -21
    for scan, mine in ((first, low), (second, not low)):
        assert scan.boxes is not None
        angle = torch.atan2(scan.boxes.centre_K3[:, 2], scan.boxes.centre_K3[:, :2].norm(dim=1)).rad2deg()
        kept = {tuple(row) for row in mixed.boxes.centre_K3.tolist()}
        for centre, lies_low in zip(scan.boxes.centre_K3.tolist(), (angle < -21).tolist(), strict=True):
            assert (tuple(centre) in kept) == (lies_low == mine)


def test_either_scan_of_a_mix_may_be_empty(first: Scan) -> None:
    nothing = empty(first)
    for mixed in (
        laser_mix(first, nothing, torch.Generator().manual_seed(0)),
        laser_mix(nothing, first, torch.Generator().manual_seed(0)),
    ):
        assert 0 < len(mixed) < len(first)
    assert len(laser_mix(nothing, nothing, torch.Generator())) == 0
    unchanged = polar_mix(first, nothing, torch.Generator(), classes=(CAR,), swap_probability=0.0)
    assert torch.equal(unchanged.xyz_N3, first.xyz_N3)
    pasted = polar_mix(nothing, first, torch.Generator(), classes=(CAR,), swap_probability=0.0)
    assert len(pasted) == 3 * int((first.label_N == CAR).sum())


def test_pasting_keeps_the_counts_of_what_is_pasted(first: Scan, second: Scan) -> None:
    mixed = polar_mix(
        first, second, torch.Generator().manual_seed(0), classes=(CAR, PERSON), swap_probability=0.0
    )
    bins = len(SYNTHETIC_CLASSES)
    before, given = (torch.bincount(scan.label_N, minlength=bins) for scan in (first, second))
    expected = before.clone()
    for label in (CAR, PERSON):
        expected[label] += 3 * given[label]
    assert torch.equal(torch.bincount(mixed.label_N, minlength=bins), expected)
    assert torch.equal(mixed.xyz_N3[: len(first)], first.xyz_N3)


def test_pasted_objects_keep_distance_height_and_intensity(first: Scan, second: Scan) -> None:
    mixed = polar_mix(first, second, torch.Generator().manual_seed(0), classes=(CAR,), swap_probability=0.0)
    cars = second.at(second.label_N == CAR)
    turns = []
    for copy in range(3):
        at = len(first) + copy * len(cars)
        part = mixed.at(torch.arange(at, at + len(cars)))
        assert torch.equal(part.intensity_N, cars.intensity_N)
        assert torch.equal(part.xyz_N3[:, 2], cars.xyz_N3[:, 2])
        assert torch.allclose(part.xyz_N3.norm(dim=1), cars.xyz_N3.norm(dim=1))
        turn = torch.atan2(part.xyz_N3[0, 1], part.xyz_N3[0, 0]) - torch.atan2(*cars.xyz_N3[0, [1, 0]])
        turns.append(turn.item() % (2 * math.pi))
    assert turns[0] == 0
    assert 0 <= turns[1] <= 2 * math.pi / 3 <= turns[2] <= 4 * math.pi / 3


def test_pasted_boxes_hold_their_pasted_points(first: Scan, second: Scan) -> None:
    mixed = polar_mix(first, second, torch.Generator().manual_seed(1), classes=(CAR,), swap_probability=0.0)
    assert mixed.boxes is not None
    assert first.boxes is not None
    assert second.boxes is not None
    is_car = second.boxes.label_K == SYNTHETIC_OBJECTS.index("Car")
    pasted = torch.arange(len(first.boxes), len(mixed.boxes))
    assert 0 < len(pasted) <= 3 * int(is_car.sum())
    assert (mixed.boxes.label_K[pasted] == SYNTHETIC_OBJECTS.index("Car")).all()
    points = mixed.xyz_N3[len(first) :]
    held = points_in_boxes(points, mixed.boxes, margin_metres=0.15)[pasted]
    assert held.any(dim=0).float().mean() > 0.97  # a car of a few noisy points may have lost its box
    assert held.any(dim=1).all()


def test_turns_fall_into_a_sector_each() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = np.array([draw_turns(4, generator) for _ in range(200)])
    assert (drawn[:, 0] == 0).all()
    assert (np.floor(drawn[:, 1:] / (math.pi / 2)) == [0, 1, 2]).all()
    assert drawn[:, 1].min() < 0.1
    assert drawn[:, 3].max() > 1.5 * math.pi - 0.1
    assert draw_turns(1, generator) == [0.0]


@pytest.mark.parametrize("start", [-math.pi, -1.0, 0.0, 2.5])
def test_a_sector_comes_from_the_second_scan(first: Scan, second: Scan, start: float) -> None:
    mixed = swap_sector(first, second, start)
    # turned so that the sector is the half to the left, a point tells by its y where it must be from
    turned = rotate(mixed, -start)
    clear = turned.xyz_N3[:, 1].abs() > 1e-4
    assert torch.equal((turned.xyz_N3[:, 1] > 0)[clear], (mixed.intensity_N >= 100_000)[clear])
    assert len(mixed) == len(set(mixed.intensity_N.tolist()))
    back = swap_sector(second, first, start)
    assert len(mixed) + len(back) == len(first) + len(second)
    assert mixed.boxes is not None
    assert first.boxes is not None
    assert second.boxes is not None
    own, other = ({tuple(c) for c in scan.boxes.centre_K3.tolist()} for scan in (first, second))
    for centre, y in zip(
        mixed.boxes.centre_K3.tolist(), rotate(mixed, -start).boxes.centre_K3[:, 1], strict=True
    ):
        assert tuple(centre) in (other if y > 0 else own)


def test_half_of_the_polar_mixes_swap(first: Scan, second: Scan) -> None:
    few = [scan.at(torch.arange(0, len(scan), 100)) for scan in (first, second)]
    generator = torch.Generator().manual_seed(0)
    swapped = 0
    for _ in range(300):
        mixed = polar_mix(*few, generator, classes=(PERSON,), paste_probability=0.0)
        swapped += not torch.equal(mixed.intensity_N, few[0].intensity_N)
    assert 120 < swapped < 180


def test_objects_of_an_unlabelled_scan_are_refused(first: Scan) -> None:
    bare = replace(first, label_N=None)
    with pytest.raises(UserError, match=r"scan 'synthetic-1-0' must be labelled, to tell its objects; got"):
        objects_of(bare, (CAR,))
    generator = torch.Generator()
    swapped = polar_mix(bare, bare, generator, classes=(), paste_probability=0.0, swap_probability=1.0)
    assert swapped.label_N is None
    with pytest.raises(UserError, match="labelled scans of those to join must be none or all 2; got 1"):
        laser_mix(first, bare, generator)


def test_boxes_are_left_out_where_one_scan_has_none(first: Scan, second: Scan) -> None:
    bare = replace(second, boxes=None)
    assert laser_mix(first, bare, torch.Generator()).boxes is None
    assert polar_mix(first, bare, torch.Generator(), classes=(CAR,)).boxes is None


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"swap_probability": 1.5}, r"swap_probability must be in \[0, 1\]"),
        ({"paste_probability": -0.1}, r"paste_probability must be in \[0, 1\]"),
        ({"num_copies": 0}, "num_copies must be at least 1"),
        ({"classes": ()}, "classes must be at least one label"),
    ],
)
def test_a_polar_mix_out_of_range_is_refused(first: Scan, dials: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        polar_mix(first, first, torch.Generator(), **{"classes": (CAR,), **dials})


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"num_areas": ()}, "num_areas must be numbers of at least 1"),
        ({"num_areas": (3, 0)}, "num_areas must be numbers of at least 1"),
        ({"inclination_degrees": (3.0, -25.0)}, "inclination_degrees must be two ascending"),
    ],
)
def test_a_laser_mix_out_of_range_is_refused(first: Scan, dials: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        laser_mix(first, first, torch.Generator(), **dials)
