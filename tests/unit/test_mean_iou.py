"""Intersection over union, against sets of points that are counted one by one."""

import math

import pytest
import torch

from multum.core import UserError
from multum.pointcloud.segmentation import accuracy, class_iou, confusion_matrix, mean_iou


def counted(truth: list[int], told: list[int], num_classes: int) -> list[float]:
    """IoU by sets: of the numbers of the points that are of a class, and of those told to be."""
    found = []
    for label in range(num_classes):
        there = {place for place, it in enumerate(truth) if it == label}
        said = {place for place, it in enumerate(told) if it == label and truth[place] != -1}
        found.append(len(there & said) / len(there | said) if there else math.nan)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_iou_is_that_of_sets_of_points(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    truth_N = torch.randint(-1, 4, (200,), generator=generator)  # class 4 of 5 never occurs
    told_N = torch.randint(0, 5, (200,), generator=generator)
    confusion_KK = confusion_matrix(truth_N, told_N, 5)
    expected = counted(truth_N.tolist(), told_N.tolist(), 5)
    assert class_iou(confusion_KK).tolist() == pytest.approx(expected, nan_ok=True)
    assert mean_iou(confusion_KK) == pytest.approx(sum(expected[:4]) / 4)
    right = sum(one == other for one, other in zip(truth_N.tolist(), told_N.tolist(), strict=True))
    assert accuracy(confusion_KK) == pytest.approx(right / int((truth_N >= 0).sum()))


def test_confusions_of_parts_add_up_to_that_of_the_whole() -> None:
    truth_N, told_N = torch.randint(-1, 3, (50,)), torch.randint(0, 3, (50,))
    parts = sum(
        confusion_matrix(truth, told, 3)
        for truth, told in zip(truth_N.split(20), told_N.split(20), strict=True)
    )
    assert torch.equal(torch.as_tensor(parts), confusion_matrix(truth_N, told_N, 3))


def test_an_absent_class_is_no_success_and_no_failure() -> None:
    truth_N = torch.tensor([0, 0, 1])
    assert mean_iou(confusion_matrix(truth_N, truth_N, 19)) == 1.0
    told_N = torch.tensor([0, 2, 1])  # told, but not there: it costs the class that it was taken from
    assert mean_iou(confusion_matrix(truth_N, told_N, 19)) == pytest.approx((1 / 2 + 1) / 2)


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(UserError, match=r"what was said must be 3 classes, one for each point; got 2"):
        confusion_matrix(torch.zeros(3).long(), torch.zeros(2).long(), 2)
    with pytest.raises(UserError, match=r"labels must be in \[0, 2\)"):
        confusion_matrix(torch.tensor([2]), torch.tensor([0]), 2)
    with pytest.raises(UserError, match="none of any"):
        mean_iou(confusion_matrix(torch.tensor([-1]), torch.tensor([0]), 2))
