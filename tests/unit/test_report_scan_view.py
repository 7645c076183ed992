"""A scan inside a page: its bytes say where its points are, its legend what is right, and foreign text stays text."""

import base64
import json
import re
import zlib
from html import unescape
from itertools import combinations

import numpy as np
import pytest
import torch

from multum.core import UserError
from multum.pointcloud.lidar import (
    PANDASET_CLASSES,
    PANDASET_COARSE,
    SEMANTIC_KITTI_CLASSES,
    SYNTHETIC_CLASSES,
    Boxes,
    Scan,
    SyntheticSensor,
    synthetic_street,
)
from multum.report import Page, plot, section
from multum.report.birds_eye import birds_eye_plot, mistakes_plot
from multum.report.class_palette import FIXED_COLOURS, class_colours, colour_distance
from multum.report.page import needed_files
from multum.report.scan_bytes import NO_CLASS, PackedPoints, pack_points
from multum.report.scan_judgement import class_iou, point_fates
from multum.report.scan_legend import scan_legend
from multum.report.scan_view import MOST_POINTS, scan_view, tell_prediction

NAMES = ("road", "<script>alert(1)</script>", "car")


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_scan(num_points: int = 200) -> Scan:
    xyz_N3 = torch.rand(num_points, 3, generator=draw(0)) * torch.tensor([90.0, 50.0, 6.0]) - 20
    label_N = torch.randint(-1, 3, (num_points,), generator=draw(1))
    boxes = Boxes(
        centre_K3=torch.tensor([[10.0, 2.0, 1.0]]),
        size_K3=torch.tensor([[4.0, 2.0, 1.5]]),
        yaw_K=torch.tensor([0.5]),
        label_K=torch.tensor([0]),
    )
    intensity_N = torch.rand(num_points, generator=draw(2))
    return Scan(xyz_N3=xyz_N3, intensity_N=intensity_N, label_N=label_N, boxes=boxes, name="<b>a & b</b>")


def some_prediction(num_points: int = 200, seed: int = 3) -> torch.Tensor:
    return torch.randint(0, 3, (num_points,), generator=draw(seed))


def unpacked(packed: PackedPoints) -> tuple[np.ndarray, np.ndarray]:
    """Points in metres and the other planes, read one number after the other."""
    raw, count = zlib.decompress(base64.b64decode(packed.text)), packed.num_points
    xyz_N3 = np.empty((count, 3))
    for axis in range(3):
        at, start = 0, 2 * axis * count
        for point in range(count):
            at = (at + raw[start + point] + 256 * raw[start + count + point]) % 65536
            steps = at - 65536 if at >= 32768 else at
            xyz_N3[point, axis] = packed.middle[axis] + steps * packed.step_metres
    return xyz_N3, np.frombuffer(raw[6 * count :], np.uint8).reshape(-1, count)


def test_bytes_say_where_points_are_within_half_a_step() -> None:
    scan, told = some_scan(), some_prediction()
    assert scan.label_N is not None
    packed = pack_points(scan.xyz_N3, scan.intensity_N, [scan.label_N, told])
    xyz_N3, planes = unpacked(packed)
    assert np.abs(xyz_N3 - scan.xyz_N3.numpy()).max() <= packed.step_metres / 2 + 1e-5
    assert packed.step_metres < 90 / 65_000
    expected = [NO_CLASS if label < 0 else label for label in scan.label_N.tolist()]
    assert planes[1].tolist() == expected
    assert planes[2].tolist() == told.tolist()
    order = np.argsort(scan.intensity_N.numpy())
    assert (np.diff(planes[0][order].astype(int)) >= 0).all(), "brighter is not dimmer"


@pytest.mark.parametrize(
    "points", [[[1.0, 2.0, 3.0]], [[5.0, 5.0, 5.0]] * 4, [[-1e4, 0.0, 0.0], [1e4, 0.0, 0.0]]]
)
def test_odd_scans_are_packed_too(points: list[list[float]]) -> None:
    xyz_N3 = torch.tensor(points)
    packed = pack_points(xyz_N3, torch.zeros(len(points)))
    assert np.abs(unpacked(packed)[0] - xyz_N3.numpy()).max() <= packed.step_metres


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises(UserError, match="points to show must be at least one"):
        pack_points(torch.zeros(0, 3), torch.zeros(0))
    with pytest.raises(UserError, match="labels to show must be below 250; got 250"):
        pack_points(torch.zeros(1, 3), torch.zeros(1), [torch.tensor([250])])


def iou_by_sets(truth: list[int], told: list[int], label: int) -> float:
    known = [point for point, it in enumerate(truth) if it >= 0]
    there = {point for point in known if truth[point] == label}
    predicted = {point for point in known if told[point] == label}
    return len(there & predicted) / len(there | predicted) if there | predicted else float("nan")


def test_iou_is_that_of_sets_of_points() -> None:
    truth_N, told_N = some_scan().label_N, torch.randint(-1, 3, (200,), generator=draw(5))
    assert truth_N is not None
    expected = [iou_by_sets(truth_N.tolist(), told_N.tolist(), label) for label in range(4)]
    np.testing.assert_allclose(class_iou(truth_N, told_N, 4).numpy(), expected)
    assert np.isnan(expected[3])


def test_the_legend_tells_points_and_iou_of_every_class_that_is_there() -> None:
    truth_N, told_N = torch.tensor([0, 0, 0, 1, 1, -1]), torch.tensor([0, 0, 1, 1, 1, 1])
    html = str(scan_legend(("road", "car", "tram"), truth_N, {"after": told_N}))
    cells = re.sub(r"<[^>]+>", "|", html)
    text = re.sub(r"\|+", "|", cells)
    assert "|Class|Points|IoU, after|" in text
    assert "|road|3|66.7\u202f%|" in text
    assert "|car|2|66.7\u202f%|" in text
    assert "|All, mean IoU|5|66.7\u202f%|" in text
    assert "tram" not in text
    for name in ("road", "car"):
        assert f"--colour:{FIXED_COLOURS[name]}" in html


def test_without_truth_the_legend_counts_what_was_predicted() -> None:
    html = str(scan_legend(("road", "car"), None, {"net": torch.tensor([0, 1, 1])}))
    assert "Points, net" in html
    assert "IoU" not in html


def test_fates_are_right_wrong_and_not_judged() -> None:
    truth_N, told_N = torch.tensor([0, 1, -1, 2]), torch.tensor([0, 0, -1, -1])
    assert point_fates(truth_N, told_N).tolist() == [0, 1, 2, 1]


def facts_of(html: str) -> dict[str, object]:
    found = re.search(r'data-facts="([^"]*)"', html)
    assert found is not None
    facts: dict[str, object] = json.loads(unescape(found[1]))
    return facts


def test_the_block_offers_a_view_for_everything_that_is_told() -> None:
    told = {"before": some_prediction(), "after": some_prediction(seed=4)}
    facts = facts_of(str(scan_view(some_scan(), NAMES, told)))
    views = facts["views"]
    assert isinstance(views, list)
    named = ["Truth", "Before", "After", "Mistakes, before", "Mistakes, after", "Height", "Intensity"]
    assert [view["name"] for view in views] == named
    assert facts["start"] == [0, 4], "the truth, and what is wrong in the end"
    assert facts["boxes"] == [[10.0, 2.0, 1.0, 4.0, 2.0, 1.5, 0.5]]
    assert facts["points"] == 200
    bare = Scan(xyz_N3=some_scan().xyz_N3, intensity_N=some_scan().intensity_N)
    assert [view["name"] for view in facts_of(str(scan_view(bare)))["views"]] == ["Height", "Intensity"]


def test_foreign_text_stays_text() -> None:
    html = str(scan_view(some_scan(), NAMES, {'</script>"x': some_prediction()}, caption="<i>it</i>"))
    assert "<script>" not in html
    assert "</script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<b>a" not in html
    assert "<i>it" not in html
    assert needed_files([section("One", 'data-needs="page"')]) == []


def test_a_page_carries_the_viewer_only_where_a_block_needs_it() -> None:
    plain = Page("A").add(section("One", "text")).to_html()
    block = scan_view(some_scan(), NAMES)
    turning = Page("A").add(section("One", block)).to_html()
    assert (plain.count("<script>"), turning.count("<script>")) == (1, 2)
    assert (plain.count("'sha256-"), turning.count("'sha256-")) == (1, 2)
    assert "webgl" not in plain
    twice = Page("A").add(section("One", block))
    assert twice.to_html() == turning, "the same bytes each time"


def test_many_points_are_thinned_evenly_and_said_so() -> None:
    num_points = MOST_POINTS + 1
    scan = Scan(xyz_N3=torch.rand(num_points, 3, generator=draw(0)), intensity_N=torch.zeros(num_points))
    html = str(scan_view(scan, caption="Dense."))
    assert facts_of(html)["points"] == num_points // 2 + 1
    assert f"{num_points // 2 + 1:,} of {num_points:,} points are shown" in html


@pytest.mark.parametrize(
    ("classes", "told", "message"),
    [
        (
            NAMES,
            {"net": torch.zeros(3, dtype=torch.int64)},
            "labels 'net' must be 200, one for each point; got 3",
        ),
        (NAMES, {"net": torch.full((200,), 3)}, "labels 'net' must be below 3"),
        (NAMES, {"truth": torch.zeros(200, dtype=torch.int64)}, "name of a prediction must be another"),
        ((), {"net": torch.zeros(200, dtype=torch.int64)}, "classes must be the names of what was predicted"),
        (("road",), {}, "labels 'truth' must be below 1"),
        (tuple(map(str, range(251))), {}, "classes must be at most 250"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    classes: tuple[str, ...], told: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        scan_view(some_scan(), classes, told)


def test_a_prediction_is_judged_in_a_sentence() -> None:
    xyz_N3, label_N = torch.zeros(4, 3), torch.tensor([0, 0, 1, -1])
    scan = Scan(xyz_N3=xyz_N3, intensity_N=torch.zeros(4), label_N=label_N)
    told = torch.tensor([0, 1, 1, 1])
    assert tell_prediction(scan, "net", told, 2) == "net: 66.7 % of 3 labelled points right, mean IoU 50.0 %."
    none = Scan(xyz_N3=xyz_N3, intensity_N=torch.zeros(4), label_N=torch.full((4,), -1))
    assert "nothing can be judged" in tell_prediction(none, "net", told, 2)
    unlabelled = Scan(xyz_N3=xyz_N3, intensity_N=torch.zeros(4))
    with pytest.raises(UserError, match="to judge a prediction by"):
        tell_prediction(unlabelled, "net", told, 2)
    with pytest.raises(UserError, match="to judge a prediction by"):
        mistakes_plot(unlabelled, told)


def test_a_picture_from_above_has_points_where_they_are() -> None:
    xyz_N3 = torch.tensor([[10.0, 5.0, 0.0], [10.0, 5.0, 2.0], [-10.0, -5.0, 0.0]])
    scan = Scan(xyz_N3=xyz_N3, intensity_N=torch.zeros(3), label_N=torch.tensor([0, 1, -1]))
    figure = birds_eye_plot(scan, ("road", "car"), reach_metres=20)
    picture = np.asarray(figure.axes[0].images[0].get_array())
    height, width = picture.shape[:2]
    ahead = picture[: height // 2, width // 2 :].reshape(-1, 4)
    behind = picture[height // 2 :, : width // 2].reshape(-1, 4)
    other = [picture[: height // 2, : width // 2], picture[height // 2 :, width // 2 :]]
    car = [int(FIXED_COLOURS["car"][place : place + 2], 16) for place in (1, 3, 5)]
    assert {tuple(it) for it in ahead.tolist() if it[3]} == {(*car, 255)}, "the higher point is seen"
    assert int((behind[:, 3] > 0).sum()) == 4
    assert all(not part[..., 3].any() for part in other)
    assert "<image" in str(plot(figure, "From above.", "Two points."))


def test_mistakes_lie_on_top() -> None:
    scan = Scan(
        xyz_N3=torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 9.0]]),
        intensity_N=torch.zeros(2),
        label_N=torch.tensor([0, 0]),
    )
    picture = np.asarray(
        mistakes_plot(scan, torch.tensor([1, 0]), reach_metres=5).axes[0].images[0].get_array()
    )
    assert {tuple(it) for it in picture.reshape(-1, 4).tolist() if it[3]} == {(212, 40, 46, 255)}


def test_a_scan_without_labels_is_coloured_by_height() -> None:
    scan = synthetic_street(0, sensor=SyntheticSensor(num_beams=8, num_azimuths=64))
    picture = np.asarray(birds_eye_plot(scan).axes[0].images[0].get_array())
    assert len({tuple(it) for it in picture.reshape(-1, 4).tolist()}) > 5
    with pytest.raises(UserError, match="reach_metres must be positive"):
        birds_eye_plot(scan, reach_metres=0)
    with pytest.raises(UserError, match="labels must be below 2"):
        birds_eye_plot(scan, ("road", "car"))


def test_one_name_has_one_colour() -> None:
    kitti = dict(zip(SEMANTIC_KITTI_CLASSES, class_colours(SEMANTIC_KITTI_CLASSES), strict=True))
    assert kitti == FIXED_COLOURS
    for name, colour in zip(SYNTHETIC_CLASSES, class_colours(SYNTHETIC_CLASSES), strict=True):
        assert colour == kitti[name]
    coarse = dict(zip(PANDASET_COARSE, class_colours(tuple(PANDASET_COARSE)), strict=True))
    assert coarse["car"] == kitti["car"]
    assert coarse["pedestrian"] == kitti["person"]


@pytest.mark.parametrize(
    ("names", "least"),
    [(SEMANTIC_KITTI_CLASSES, 0.07), (tuple(PANDASET_COARSE), 0.02), (PANDASET_CLASSES, 0.004)],
)
def test_colours_differ_for_every_eye(names: tuple[str, ...], least: float) -> None:
    colours = class_colours(names)
    assert colours == class_colours(names)
    assert min(colour_distance(one, other) for one, other in combinations(colours, 2)) > least


def test_black_and_white_are_farthest_and_red_and_green_near_for_some() -> None:
    assert colour_distance("#000000", "#ffffff") == pytest.approx(1, abs=1e-3)
    assert colour_distance("#c00000", "#0000c0") > colour_distance("#a05000", "#607000")
