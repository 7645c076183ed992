"""A set of scans reads by number, checks labels, and splits by part and name."""

from functools import partial

import pytest
import torch

from multum.core import UserError
from multum.pointcloud.lidar import Boxes, Scan, ScanSet, x_ahead_from_y_ahead


def load(labels: tuple[int, ...], name: str) -> Scan:
    boxes = Boxes(
        centre_K3=torch.zeros(1, 3),
        size_K3=torch.ones(1, 3),
        yaw_K=torch.zeros(1),
        label_K=torch.tensor(labels[:1]),
    )
    return Scan(
        xyz_N3=torch.zeros(len(labels), 3),
        intensity_N=torch.zeros(len(labels)),
        label_N=torch.tensor(labels),
        boxes=boxes,
        name=name,
    )


def some_set(labels: tuple[int, ...] = (0, 1, -1), num_box_classes: int = 2) -> ScanSet:
    return ScanSet(
        names=("a", "b", "c"),
        load=partial(load, labels),
        classes=("road", "car"),
        box_classes=("car", "cyclist")[:num_box_classes],
        parts=("train", "test", "train"),
        source="get it there",
    )


def test_scans_are_read_by_number() -> None:
    scans = some_set()
    assert len(scans) == 3
    assert [scans.read(index).name for index in range(3)] == ["a", "b", "c"]
    for wrong in (-1, 3):
        with pytest.raises(UserError, match=rf"index of a scan must be in \[0, 3\); got {wrong}"):
            scans.read(wrong)


def test_parts_and_selections_are_sets_themselves() -> None:
    scans = some_set()
    train = scans.part("train")
    assert (train.names, train.parts) == (("a", "c"), ("train", "train"))
    assert train.read(1).name == "c"
    assert scans.select(["c", "b"]).parts == ("train", "test")
    with pytest.raises(
        UserError, match="part must be one that the scans have; got 'tests'; did you mean test"
    ):
        scans.part("tests")
    with pytest.raises(UserError, match="name of a scan must be one of 3 in the set; got 'd'"):
        scans.select(["a", "d"])


@pytest.mark.parametrize("labels", [(0, 2), (-2, 0)])
def test_labels_out_of_range_are_refused(labels: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"labels of scan 'b' must be in \[0, 2\) or -1 for none"):
        some_set(labels).read(1)


def test_boxes_of_no_class_are_refused() -> None:
    with pytest.raises(UserError, match=r"labels of boxes of scan 'a' must be in \[0, 1\)"):
        some_set((1, 0), num_box_classes=1).read(0)


def test_sets_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="scans of a set must be at least one; got 0; get it there"):
        ScanSet(names=(), load=partial(load, (0,)), source="get it there")
    with pytest.raises(UserError, match="different from one another; got 'a'"):
        ScanSet(names=("a", "b", "a"), load=partial(load, (0,)))
    with pytest.raises(UserError, match="parts of scans must be 2, one for each scan; got 1"):
        ScanSet(names=("a", "b"), load=partial(load, (0,)), parts=("train",))


def test_a_set_travels_to_other_processes() -> None:
    import pickle

    assert pickle.loads(pickle.dumps(some_set())).read(0).name == "a"


def test_turning_the_axes_is_a_rotation() -> None:
    turned_33 = x_ahead_from_y_ahead(torch.eye(3))
    assert torch.equal(turned_33 @ turned_33.T, torch.eye(3))
    assert torch.linalg.det(turned_33).item() == pytest.approx(1.0)
    assert turned_33.tolist() == [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
