"""Average precision, counted by hand; and what KITTI counts."""

import pytest
import torch

from multum.core import UserError
from multum.pointcloud.average_precision import Truth, average_precision, kitti_truth
from multum.pointcloud.detections import Detections
from multum.pointcloud.lidar import IGNORED, KittiObjects
from small_boxes import boxes_of


def row(place: float) -> list[float]:
    """Far enough from those of other places."""
    return [10 * place, 0, 0, 4, 2, 1.5, 0.3]


def truth(*places: float, counted: list[bool] | None = None) -> Truth:
    wanted = [True] * len(places) if counted is None else counted
    return Truth(boxes_of([row(it) for it in places]), torch.tensor(wanted, dtype=torch.bool))


def found(**scores: float) -> Detections:
    """Boxes by their places, `at_3=0.9`, and those whose place has an `x` in a void."""
    places = [float(name.removeprefix("at_").replace("x", "100")) for name in scores]
    return Detections(boxes_of([row(it) for it in places]), torch.tensor(list(scores.values())))


def judged(one: Detections, there: Truth, min_iou: float = 0.7) -> float:
    return average_precision([one], [there], min_iou=min_iou)


def test_all_found_is_one_and_nothing_found_is_zero() -> None:
    assert judged(found(at_1=0.9, at_2=0.8), truth(1, 2)) == 1
    assert judged(found(), truth(1, 2)) == 0
    assert judged(found(at_x=0.9), truth(1, 2)) == 0


def test_half_found_is_half() -> None:
    assert judged(found(at_1=0.9), truth(1, 2)) == pytest.approx(0.5)


def test_a_mistake_costs_what_comes_below_it() -> None:
    # right, wrong, right of two: precision 1 up to a recall of 1/2, then 2/3
    assert judged(found(at_1=0.9, at_x=0.8, at_2=0.7), truth(1, 2)) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert judged(found(at_1=0.9, at_2=0.7, at_x=0.6), truth(1, 2)) == 1, (
        "below the last object it costs nothing"
    )


def test_the_best_precision_at_as_much_recall_or_more_counts() -> None:
    # wrong, right, right, of two: precision 0, 1/2, 2/3
    assert judged(found(at_x=0.9, at_1=0.8, at_2=0.7), truth(1, 2)) == pytest.approx(2 / 3)


def test_recall_is_read_at_forty_points() -> None:
    # one of three: points 1/40 to 13/40 are reached
    assert judged(found(at_1=0.9), truth(1, 2, 3)) == pytest.approx(13 / 40)


def test_an_object_found_twice_is_a_mistake() -> None:
    twice = Detections(boxes_of([row(1), row(1), row(2)]), torch.tensor([0.9, 0.8, 0.7]))
    assert judged(twice, truth(1, 2)) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_what_does_not_count_is_forgiven() -> None:
    assert judged(found(at_5=0.99, at_1=0.9), truth(1, 5, counted=[True, False])) == 1
    with pytest.raises(UserError, match="objects that count must be at least one"):
        judged(found(at_5=0.99), truth(5, counted=[False]))


def test_equal_scores_come_all_or_none() -> None:
    for one in (found(at_x=0.5, at_1=0.5), found(at_1=0.5, at_x=0.5)):
        assert judged(one, truth(1)) == pytest.approx(0.5)


def test_scores_of_all_scans_stand_in_one_row() -> None:
    parts = [found(at_1=0.9), found(at_x=0.8, at_1=0.7)]
    expected = 0.5 + 0.5 * 2 / 3
    assert average_precision(parts, [truth(1), truth(1)], min_iou=0.7) == pytest.approx(expected)


def test_a_box_at_the_wrong_height_is_right_only_from_above() -> None:
    raised = Detections(boxes_of([[10, 0, 1.0, 4, 2, 1.5, 0.3]]), torch.tensor([0.9]))
    assert average_precision([raised], [truth(1)], min_iou=0.7, view="above") == 1
    assert average_precision([raised], [truth(1)], min_iou=0.7) == 0


def test_a_box_takes_the_object_that_it_overlaps_most() -> None:
    there = Truth(boxes_of([[0, 0, 0, 4, 2, 1, 0], [0.6, 0, 0, 4, 2, 1, 0]]), torch.ones(2, dtype=torch.bool))
    both = Detections(boxes_of([[0.6, 0, 0, 4, 2, 1, 0], [0, 0, 0, 4, 2, 1, 0]]), torch.tensor([0.9, 0.8]))
    assert judged(both, there, min_iou=0.6) == 1


def objects() -> KittiObjects:
    return KittiObjects(
        boxes=boxes_of([row(it) for it in range(5)], [0, 0, IGNORED, IGNORED, 1]),
        kinds=("Car", "Car", "Van", "Truck", "Pedestrian"),
        difficulty_K=torch.tensor([0, 2, 0, 0, IGNORED]),
        image_box_K4=torch.zeros(5, 4),
    )


@pytest.mark.parametrize(
    ("level", "counted"), [(0, [True, False, False]), (1, [True, False, False]), (2, [True, True, False])]
)
def test_harder_cars_and_vans_are_forgiven_and_trucks_are_not(level: int, counted: list[bool]) -> None:
    there = kitti_truth(objects(), 0, level)
    assert there.boxes.centre_K3[:, 0].tolist() == [0, 10, 20]
    assert there.is_counted_L.tolist() == counted
    assert kitti_truth(objects(), 1, level).is_counted_L.tolist() == [False]
    assert len(kitti_truth(objects(), 2, level).boxes) == 0


def test_wrong_wishes_are_named() -> None:
    with pytest.raises(UserError, match="found and truths must be of as many scans"):
        average_precision([], [truth(1)], min_iou=0.7)
    with pytest.raises(UserError, match=r"min_iou must be in \(0, 1\]"):
        judged(found(), truth(1), min_iou=0.0)
    with pytest.raises(UserError, match=r"level must be in \[0, 3\): easy, moderate, hard; got 3"):
        kitti_truth(objects(), 0, 3)
    with pytest.raises(UserError, match="label must be in"):
        kitti_truth(objects(), 7, 0)
    with pytest.raises(UserError, match="scores must be of 1 boxes"):
        Detections(boxes_of([row(1)]), torch.zeros(2))
    with pytest.raises(UserError, match="is_counted must be of 1 boxes"):
        Truth(boxes_of([row(1)]), torch.zeros(2, dtype=torch.bool))
