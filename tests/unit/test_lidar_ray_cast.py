"""Rays meet what they should: against closed forms, and against all pairs intersected in another way."""

import math

import numpy as np
import pytest

from multum.core import UserError
from multum.pointcloud.lidar.ray_cast import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    SyntheticSolids,
    nearest_hit,
    ray_directions,
)

SHAPES = (BOX, CYLINDER, ELLIPSOID)


def solids(
    *rows: tuple[int, tuple[float, float, float], tuple[float, float, float], float],
) -> SyntheticSolids:
    """From shape, centre, half size and heading of each."""
    return SyntheticSolids(
        shape_S=np.array([row[0] for row in rows], dtype=np.int64),
        centre_S3=np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 3),
        half_S3=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 3),
        yaw_S=np.array([row[3] for row in rows], dtype=np.float64),
    )


def random_solids(seed: int, count: int) -> SyntheticSolids:
    """Of all shapes and sizes, near and far; none holds the origin."""
    random = np.random.default_rng(seed)
    rows = []
    while len(rows) < count:
        centre = random.normal(0, 1, 3) * random.choice([6.0, 15.0, 30.0]) * (1, 1, 0.2)
        half = np.exp(random.normal(-0.3, 0.6, 3))
        yaw = random.uniform(-7, 7)
        local = [
            (math.cos(yaw) * centre[0] + math.sin(yaw) * centre[1]) / half[0],
            (math.cos(yaw) * centre[1] - math.sin(yaw) * centre[0]) / half[1],
            centre[2] / half[2],
        ]
        if max(map(abs, local)) > 1.2:
            rows.append((int(random.choice(SHAPES)), tuple(centre), tuple(half), yaw))
    return solids(*rows)


def distances_by_surface(world: SyntheticSolids, number: int, direction_R3: np.ndarray) -> np.ndarray:
    """The twin: the nearest point on any piece of surface of one solid; all rays, and nothing is scaled."""
    cos, sin = math.cos(world.yaw_S[number]), math.sin(world.yaw_S[number])
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    origin, direction = -turn @ world.centre_S3[number], direction_R3 @ turn.T
    half, shape = world.half_S3[number], world.shape_S[number]
    candidates = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for axis in range(3) if shape == BOX else (2,) if shape == CYLINDER else ():
            for sign in (-1, 1):
                t = (sign * half[axis] - origin[axis]) / direction[:, axis]
                point = origin + t[:, None] * direction
                others = [other for other in range(3) if other != axis]
                if shape == BOX:
                    on = (np.abs(point[:, others]) <= half[others]).all(axis=1)
                else:
                    on = (point[:, 0] / half[0]) ** 2 + (point[:, 1] / half[1]) ** 2 <= 1
                candidates.append(np.where(on & (t > 0), t, np.inf))
        if shape != BOX:
            weight = 1 / half**2 * ((1, 1, 0) if shape == CYLINDER else (1, 1, 1))
            a, b = (direction**2 * weight).sum(1), 2 * (direction * origin * weight).sum(1)
            c = (origin**2 * weight).sum() - 1
            for sign in (-1, 1):
                t = (-b + sign * np.sqrt(b**2 - 4 * a * c)) / (2 * a)
                on = np.abs(origin[2] + t * direction[:, 2]) <= half[2]
                candidates.append(np.where((on | (shape == ELLIPSOID)) & (t > 0), t, np.inf))
    return np.min(candidates, axis=0)


@pytest.mark.parametrize("seed", range(6))
def test_the_nearest_hit_is_that_of_all_pairs(seed: int) -> None:
    world = random_solids(seed, 60)
    elevation = np.radians(np.linspace(25, -30, 23))
    hits = nearest_hit(world, elevation, 150)
    direction = ray_directions(elevation, 150)
    every = np.stack([distances_by_surface(world, number, direction) for number in range(len(world))])
    nearest = every.min(axis=0)
    assert np.array_equal(np.isinf(hits.distance_R), np.isinf(nearest))
    seen = np.isfinite(nearest)
    assert 0.1 < seen.mean() < 1
    np.testing.assert_allclose(hits.distance_R[seen], nearest[seen], rtol=1e-9)
    assert np.array_equal(hits.solid_R[seen], every.argmin(axis=0)[seen])
    assert (hits.solid_R[~seen] == -1).all()
    assert len(set(hits.solid_R.tolist())) > 20


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cosine_is_that_of_the_surface_around_the_point(shape: int) -> None:
    """The normal by finite differences: three rays close to one another span the surface."""
    world = solids((shape, (6.0, 2.0, -0.7), (1.5, 0.8, 1.1), 0.6))
    elevation = np.radians(np.linspace(15, -25, 31))
    hits = nearest_hit(world, elevation, 400)
    step = 1e-6
    right = nearest_hit(
        SyntheticSolids(
            shape_S=world.shape_S,
            yaw_S=world.yaw_S - step,
            half_S3=world.half_S3,
            centre_S3=world.centre_S3
            @ np.array(
                [[math.cos(step), -math.sin(step), 0], [math.sin(step), math.cos(step), 0], [0, 0, 1]]
            ),
        ),
        elevation,
        400,
    )
    down = nearest_hit(world, elevation - step, 400)
    direction = ray_directions(elevation, 400)
    # a surface r(azimuth, elevation) met at r: tan of the angle = |gradient of log r| over the sphere
    with np.errstate(invalid="ignore"):
        along = (np.log(right.distance_R) - np.log(hits.distance_R)) / step / np.hypot(*direction[:, :2].T)
        across = (np.log(down.distance_R) - np.log(hits.distance_R)) / step
    expected = 1 / np.sqrt(1 + along**2 + across**2)
    smooth = np.isfinite(expected) & (expected > 0.02)  # elsewhere a neighbour fell off an edge
    assert smooth.sum() > 150
    np.testing.assert_allclose(hits.cosine_R[smooth], expected[smooth], atol=2e-4)


def test_a_box_ahead_is_met_at_its_front() -> None:
    hits = nearest_hit(solids((BOX, (10.0, 0.0, 0.0), (2.0, 3.0, 1.0), 0.0)), np.zeros(1), 4)
    assert hits.distance_R[0] == 8
    assert hits.cosine_R[0] == 1
    assert hits.solid_R.tolist() == [0, -1, -1, -1]


def test_the_ground_is_met_where_the_tangent_says() -> None:
    elevation = np.radians([1.0, -3.0, -20.0])
    ground = solids((BOX, (0.0, 0.0, -2.23), (500.0, 500.0, 0.5), 0.3))
    hits = nearest_hit(ground, elevation, 7)
    expected = np.repeat([np.inf, *(1.73 / np.sin(-elevation[1:]))], 7)
    np.testing.assert_allclose(hits.distance_R, expected)
    np.testing.assert_allclose(hits.cosine_R[7:], np.repeat(np.sin(-elevation[1:]), 7))


def test_of_two_at_one_distance_the_first_is_told() -> None:
    twice = (BOX, (5.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0)
    assert nearest_hit(solids(twice, twice), np.zeros(1), 1).solid_R.tolist() == [0]


def test_what_holds_the_sensor_is_not_seen() -> None:
    around = (ELLIPSOID, (0.5, 0.0, 0.0), (2.0, 2.0, 2.0), 0.0)
    wall = (BOX, (9.0, 0.0, 0.0), (1.0, 9.0, 9.0), 0.0)
    hits = nearest_hit(solids(around, wall), np.zeros(1), 2)
    assert hits.distance_R.tolist() == [8, np.inf]


def test_an_empty_world_sends_nothing_back() -> None:
    hits = nearest_hit(solids(), np.zeros(3), 5)
    assert np.isinf(hits.distance_R).all()
    assert (hits.solid_R == -1).all()


def test_flat_solids_are_refused() -> None:
    with pytest.raises(UserError, match="half sizes of solids must be positive"):
        solids((BOX, (5.0, 0.0, 0.0), (1.0, 0.0, 1.0), 0.0))
