"""A synthetic street looks like a street, and is the same whenever it is made."""

import hashlib
import math

import numpy as np
import pytest
import torch

from multum.core import UserError
from multum.data import seeded_generator
from multum.pointcloud.lidar.ray_cast import nearest_hit, ray_directions
from multum.pointcloud.lidar.scan import Scan
from multum.pointcloud.lidar.street_layout import LANE, draw_synthetic_street
from multum.pointcloud.lidar.street_materials import (
    SYNTHETIC_CLASSES,
    SYNTHETIC_MATERIALS,
    SYNTHETIC_OBJECTS,
)
from multum.pointcloud.lidar.synthetic_sensor import SyntheticSensor, synthetic_scan
from multum.pointcloud.lidar.synthetic_streets import SyntheticStreets, synthetic_street

COARSE = SyntheticSensor(num_beams=32, num_azimuths=256)


def label(name: str) -> int:
    return SYNTHETIC_CLASSES.index(name)


def digest(scan: Scan) -> str:
    assert scan.label_N is not None
    assert scan.boxes is not None
    boxes = scan.boxes
    tensors = (scan.xyz_N3, scan.intensity_N, scan.label_N, boxes.centre_K3, boxes.size_K3, boxes.yaw_K)
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


@pytest.fixture(scope="module")
def scans() -> list[Scan]:
    return [synthetic_street(5, index) for index in range(8)]


def test_one_seed_gives_the_same_bits_with_any_number_of_threads() -> None:
    first = digest(synthetic_street(3, 1))
    torch.manual_seed(9)  # the global generator plays no part
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert digest(synthetic_street(3, 1)) == first
    finally:
        torch.set_num_threads(before)


def test_every_place_is_another() -> None:
    found = {digest(synthetic_street(seed, index, sensor=COARSE)) for seed in (0, 1) for index in (0, 1, 2)}
    assert len(found) == 6


def test_points_lie_on_what_their_rays_meet() -> None:
    """Without losses every ray has its place, so that each point can be held against its own surface."""
    sensor = SyntheticSensor(num_beams=32, num_azimuths=256, loss_at_distance=0.0, loss_at_grazing=0.0)
    street, (x, y, yaw) = draw_synthetic_street(seeded_generator(4))
    view = street.seen_from(x, y, sensor.height_metres, yaw)
    scan = synthetic_scan(view, sensor, seeded_generator(5))
    hits = nearest_hit(view.solids, sensor.elevations(), sensor.num_azimuths)
    seen = (hits.distance_R >= 1.5) & (hits.distance_R <= 80)
    direction = ray_directions(sensor.elevations(), sensor.num_azimuths)[seen]
    xyz = scan.xyz_N3.double().numpy()
    range_N = np.linalg.norm(xyz, axis=1)
    np.testing.assert_allclose(xyz / range_N[:, None], direction, atol=1e-6)
    assert scan.label_N is not None
    labels = scan.label_N.numpy()
    assert np.array_equal(labels, view.label_S[hits.solid_R[seen]])
    depth = np.array([SYNTHETIC_MATERIALS[name].depth for name in SYNTHETIC_CLASSES])[labels]
    error = range_N - hits.distance_R[seen]
    assert (error > -6 * 0.02).all()
    assert (error < 6 * (0.02 + depth)).all()
    hard = depth == 0
    assert abs(error[hard].std() - 0.02) < 0.001
    assert abs(error[hard].mean()) < 0.001


def test_the_road_is_flat_and_below_the_sensor(scans: list[Scan]) -> None:
    for scan in scans:
        height = scan.xyz_N3[scan.label_N == label("road"), 2]
        near = scan.xyz_N3[scan.label_N == label("road")].norm(dim=1) < 20
        assert (height[near] + 1.73).abs().max() < 0.05
        pavement = scan.xyz_N3[scan.label_N == label("sidewalk"), 2]
        assert -1.75 < pavement.min() < pavement.median() < -1.5


def test_points_thin_out_with_distance(scans: list[Scan]) -> None:
    distance = torch.cat([scan.xyz_N3.norm(dim=1) for scan in scans])
    count, edge = np.histogram(distance.numpy(), bins=[1.5, 10, 20, 40, 60, 80.5])
    density = count / (edge[1:] ** 2 - edge[:-1] ** 2)
    assert (np.diff(density) < 0).all()
    assert (np.diff(count) < 0).all()


def test_losses_grow_with_distance_and_flat_angles() -> None:
    whole = SyntheticSensor(loss_at_distance=0.0, loss_at_grazing=0.0)
    far = SyntheticSensor(loss_at_distance=1.0, loss_at_grazing=0.0)
    flat = SyntheticSensor(loss_at_distance=0.0, loss_at_grazing=1.0)
    kept = {}
    for name, sensor in (("whole", whole), ("far", far), ("flat", flat)):
        scan = synthetic_street(2, 0, sensor=sensor)
        distance = scan.xyz_N3.norm(dim=1)
        road = scan.label_N == label("road")
        kept[name] = torch.tensor([
            (distance < 10).sum(), (distance > 40).sum(), (road & (distance < 6)).sum(), (road & (distance > 15)).sum()
        ])  # fmt: skip
    far_near, far_far, _, _ = (kept["far"] / kept["whole"]).tolist()
    _, _, steep, shallow = (kept["flat"] / kept["whole"]).tolist()
    assert far_near > 0.98
    assert far_far < 0.7
    assert steep > shallow + 0.2


def test_every_class_occurs_and_small_ones_are_rare(scans: list[Scan]) -> None:
    labels = torch.cat([scan.label_N for scan in scans if scan.label_N is not None])
    share = torch.bincount(labels, minlength=len(SYNTHETIC_CLASSES)) / len(labels)
    assert (share > 0).all()
    for rare in ("person", "pole", "traffic-sign", "bicyclist"):
        assert share[label(rare)] < 0.02
    for common in ("road", "building", "sidewalk", "car"):
        assert share[label(common)] > 0.04


def test_intensity_says_a_little(scans: list[Scan]) -> None:
    scan = scans[0]
    assert scan.intensity_N.min() >= 0
    assert scan.intensity_N.max() <= 1
    mean = {name: scan.intensity_N[scan.label_N == label(name)].mean() for name in ("road", "building")}
    assert mean["building"] > 2 * mean["road"]


def test_boxes_hold_the_points_of_their_objects(scans: list[Scan]) -> None:
    names = {"car": "Car", "truck": "Truck", "person": "Pedestrian", "bicyclist": "Cyclist"}
    for scan in scans:
        assert scan.boxes is not None
        assert scan.label_N is not None
        boxes = scan.boxes
        for name, object_name in names.items():
            points = scan.xyz_N3[scan.label_N == label(name)]
            held = torch.zeros(len(points), dtype=torch.bool)
            for k in torch.nonzero(boxes.label_K == SYNTHETIC_OBJECTS.index(object_name)).flatten():
                x, y, z = (points - boxes.centre_K3[k]).T
                cos, sin = math.cos(boxes.yaw_K[k]), math.sin(boxes.yaw_K[k])
                local = torch.stack([cos * x + sin * y, cos * y - sin * x, z], dim=1).abs()
                inside = (local <= boxes.size_K3[k] / 2 + 0.1).all(dim=1)
                assert inside.any(), "a box without a point"
                held |= inside
            assert held.all()


def test_nothing_stands_where_the_sensor_drives(scans: list[Scan]) -> None:
    for scan in scans:
        ahead = (scan.xyz_N3[:, 1].abs() < 0.9) & (scan.xyz_N3[:, 0].abs() < 4)
        assert (scan.label_N[ahead] == label("road")).all()


def test_things_do_not_drive_through_one_another() -> None:
    for seed in range(20):
        street, _ = draw_synthetic_street(seeded_generator(seed))
        radius = np.minimum(street.size_K3[:, 0], street.size_K3[:, 1]) / 2  # of a disc that lies inside
        apart = np.linalg.norm(street.centre_K3[:, None, :2] - street.centre_K3[None, :, :2], axis=-1)
        apart[np.diag_indices(len(apart))] = np.inf
        assert (apart > radius[:, None] + radius[None] - 0.05).all()


def test_a_street_is_seen_from_the_right_lane() -> None:
    _, (x, y, yaw) = draw_synthetic_street(seeded_generator(1))
    assert x == 0
    assert -LANE < y < 0
    assert abs(yaw) < 0.05


def test_the_beams_are_those_of_the_sensor() -> None:
    elevation = np.degrees(SyntheticSensor().elevations())
    assert len(elevation) == 64
    assert (elevation[0], elevation[-1]) == pytest.approx((2.0, -24.8))
    assert -np.diff(elevation)[:31] == pytest.approx(0.34, abs=0.01)
    assert -np.diff(elevation)[31:] == pytest.approx(0.51, abs=0.01)
    assert SyntheticSensor(num_beams=1).elevations() == pytest.approx(math.radians(2))
    assert np.degrees(SyntheticSensor(num_beams=2).elevations()) == pytest.approx([2.0, -24.8])


def test_streets_are_a_data_set() -> None:
    streets = SyntheticStreets(num_scans=2, seed=6, sensor=COARSE)
    assert len(streets) == 2
    assert digest(streets.read(1)) == digest(synthetic_street(6, 1, sensor=COARSE))
    assert streets.classes == SYNTHETIC_CLASSES
    assert streets.object_classes == SYNTHETIC_OBJECTS
    for index in (-1, 2):
        with pytest.raises(UserError, match=r"index must be in \[0, 2\)"):
            streets.read(index)
    with pytest.raises(UserError, match="num_scans must be at least 1"):
        SyntheticStreets(num_scans=0)


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"num_beams": 0}, "num_beams must be at least 1"),
        ({"num_azimuths": 0}, "num_azimuths must be at least 1"),
        ({"elevation_degrees": (3.0, 2.0)}, "elevation_degrees must be two ascending"),
        ({"elevation_degrees": (-90.0, 2.0)}, "elevation_degrees must be two ascending"),
        ({"range_metres": (0.0, 80.0)}, "range_metres must be two ascending"),
        ({"range_noise_metres": -0.1}, "range_noise_metres must be at least 0"),
        ({"intensity_noise": -0.1}, "intensity_noise must be at least 0"),
        ({"intensity_noise": math.nan}, "intensity_noise must be finite"),
        ({"loss_at_distance": 1.1}, r"loss_at_distance must be in \[0, 1\]"),
        ({"loss_at_grazing": -0.1}, r"loss_at_grazing must be in \[0, 1\]"),
        ({"height_metres": 0.0}, "height_metres must be above 0"),
    ],
)
def test_dials_out_of_range_are_refused(dials: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SyntheticSensor(**dials)
