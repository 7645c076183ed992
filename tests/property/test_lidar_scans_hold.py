"""What holds for any scan that is moved or mixed, and for any world that rays are sent into."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from multum.data import seeded_generator
from multum.pointcloud.lidar import (
    AugmentationConfig,
    Boxes,
    Scan,
    laser_mix,
    points_in_boxes,
    polar_mix,
    rotate,
    scale,
)
from multum.pointcloud.lidar.laser_mix import inclination_area
from multum.pointcloud.lidar.ray_cast import SyntheticSolids, nearest_hit

SEED = st.integers(0, 2**32)


@st.composite
def scans(draw: st.DrawFn, start: int = 0) -> Scan:
    """Numbered points, a part of them in boxes; perhaps none."""
    count, num_boxes = draw(st.integers(0, 40)), draw(st.integers(0, 4))
    generator = seeded_generator(draw(SEED), "scan")
    boxes = Boxes(
        centre_K3=torch.randn(num_boxes, 3, generator=generator) * 8,
        size_K3=torch.rand(num_boxes, 3, generator=generator) * 5 + 0.5,
        yaw_K=torch.rand(num_boxes, generator=generator) * 20 - 10,
        label_K=torch.randint(0, 3, (num_boxes,), generator=generator),
    )
    return Scan(
        xyz_N3=torch.randn(count, 3, generator=generator) * 8,
        intensity_N=start + torch.arange(count).float(),
        label_N=torch.randint(0, 4, (count,), generator=generator),
        boxes=boxes,
    )


@given(scans(), st.floats(-100.0, 100.0), st.floats(0.1, 10.0))
def test_points_stay_in_their_boxes(scan: Scan, radians: float, factor: float) -> None:
    moved = scale(rotate(scan, radians), factor)
    assert scan.boxes is not None
    assert moved.boxes is not None
    inner = points_in_boxes(scan.xyz_N3, scan.boxes, margin_metres=-1e-3)
    outer = points_in_boxes(scan.xyz_N3, scan.boxes, margin_metres=1e-3)
    held = points_in_boxes(moved.xyz_N3, moved.boxes)
    assert (held | ~inner).all()
    assert (outer | ~held).all()


@given(scans(), scans(start=1000), SEED, st.integers(1, 9))
def test_a_laser_mix_takes_whole_areas(first: Scan, second: Scan, seed: int, number: int) -> None:
    span = (-35.0, 20.0)
    mixed = laser_mix(first, second, seeded_generator(seed), num_areas=(number,), inclination_degrees=span)
    mark, area = mixed.intensity_N >= 1000, inclination_area(mixed.xyz_N3, number, span)
    assert len(set(zip(mark.tolist(), (area % 2).tolist(), strict=True))) <= 2
    assert not (mark & (area % 2 == 0)).any() or not (~mark & (area % 2 == 0)).any()
    assert not (mark & (area % 2 == 1)).any() or not (~mark & (area % 2 == 1)).any()
    assert len(set(mixed.intensity_N.tolist())) == len(mixed)
    opposite = laser_mix(second, first, seeded_generator(seed), num_areas=(number,), inclination_degrees=span)
    assert len(mixed) + len(opposite) == len(first) + len(second)


@given(scans(), scans(start=1000), SEED, st.integers(1, 5))
def test_a_polar_mix_pastes_each_object_as_often_as_asked(
    first: Scan, second: Scan, seed: int, copies: int
) -> None:
    mixed = polar_mix(
        first, second, seeded_generator(seed), classes=(1, 3), swap_probability=0.0, num_copies=copies
    )
    assert first.label_N is not None
    assert second.label_N is not None
    assert mixed.label_N is not None
    before, given_, after = (
        torch.bincount(scan, minlength=4) for scan in (first.label_N, second.label_N, mixed.label_N)
    )
    assert torch.equal(after, before + copies * given_ * torch.tensor([0, 1, 0, 1]))


@given(scans(), scans(start=1000), SEED)
def test_any_scan_can_be_varied_and_repeated(scan: Scan, partner: Scan, seed: int) -> None:
    config = AugmentationConfig(
        flip_probability=0.5,
        translation_std_metres=0.3,
        jitter_std_metres=0.01,
        min_keep_ratio=0.5,
        laser_mix_probability=0.4,
        polar_mix_probability=0.4,
        polar_mix_classes=(1,),
    )
    one, two = (config.augment(scan, seeded_generator(seed), partner=partner) for _ in range(2))
    assert torch.equal(one.xyz_N3, two.xyz_N3)
    assert torch.isfinite(one.xyz_N3).all()
    assert one.label_N is not None
    assert len(one.label_N) == len(one)


@given(SEED, st.integers(1, 8), st.integers(1, 40), st.integers(1, 12))
def test_more_solids_never_let_a_ray_go_farther(seed: int, count: int, azimuths: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    solids = SyntheticSolids(
        shape_S=random.integers(0, 3, count),
        centre_S3=random.normal(0, 6, (count, 3)),
        half_S3=random.uniform(0.05, 3, (count, 3)),
        yaw_S=random.uniform(-math.pi, math.pi, count),
    )
    elevation = np.linspace(1.4, -1.4, rows)
    whole = nearest_hit(solids, elevation, azimuths).distance_R
    alone = [
        nearest_hit(
            SyntheticSolids(
                shape_S=solids.shape_S[k : k + 1],
                centre_S3=solids.centre_S3[k : k + 1],
                half_S3=solids.half_S3[k : k + 1],
                yaw_S=solids.yaw_S[k : k + 1],
            ),
            elevation,
            azimuths,
        ).distance_R
        for k in range(count)
    ]
    assert np.array_equal(whole, np.min(alone, axis=0))
