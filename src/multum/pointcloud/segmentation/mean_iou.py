"""How right a labelling is, class by class: intersection over union, and its mean over the classes that occur.

Counted once for all scans: points by class and by what they were taken for. A class that none of the points is of has
no IoU; the paper's code counts it as 1, which flatters where many are missing.

Shape legend: N points, K classes; rows of KK are what is true, columns what was said.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.lidar.scan import IGNORED


def confusion_matrix(
    truth_N: Int[Tensor, " N"], told_N: Int[Tensor, " _"], num_classes: int
) -> Int[Tensor, "K K"]:
    """Count points by class and by what they were taken for.

    Args:
        truth_N: Classes; points that are IGNORED count nowhere.
        told_N: What was said, a class for each point.
        num_classes: How many classes there are.

    Returns:
        Counts, int64.

    Raises:
        UserError: Another number of points, or no class.

    >>> confusion_matrix(torch.tensor([0, 0, 1, -1]), torch.tensor([0, 1, 1, 1]), 2)
    tensor([[1, 1],
            [0, 1]])
    """
    if len(truth_N) != len(told_N):
        raise invalid("what was said", f"{len(truth_N)} classes, one for each point", len(told_N))
    known_N = truth_N != IGNORED
    truth_N, told_N = truth_N[known_N].long(), told_N[known_N].long()
    for what, label_N in (("labels", truth_N), ("what was said", told_N)):
        if len(label_N) and not 0 <= int(label_N.min()) <= int(label_N.max()) < num_classes:
            raise invalid(what, f"in [0, {num_classes})", (int(label_N.min()), int(label_N.max())))
    cell_N = truth_N * num_classes + told_N
    return torch.bincount(cell_N, minlength=num_classes**2).view(num_classes, num_classes)


def class_iou(confusion_KK: Int[Tensor, "K K"]) -> Float[Tensor, " K"]:
    """Intersection over union of each class, in [0, 1], float64; NaN for a class that none of the points is of.

    >>> class_iou(torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0]]))
    tensor([0.5000, 0.5000,    nan], dtype=torch.float64)
    """
    there_K, told_K, both_K = confusion_KK.sum(dim=1), confusion_KK.sum(dim=0), confusion_KK.diagonal()
    iou_K = both_K.double() / (there_K + told_K - both_K).clamp(min=1)
    return torch.where(there_K > 0, iou_K, float("nan"))


def mean_iou(confusion_KK: Int[Tensor, "K K"]) -> float:
    """The mean IoU over the classes that occur, in [0, 1].

    Raises:
        UserError: No point has a class.

    >>> mean_iou(torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0]]))
    0.5
    """
    if int(confusion_KK.sum()) == 0:
        raise invalid("points to judge by", "of at least one class", "none of any")
    return float(class_iou(confusion_KK).nanmean())


def accuracy(confusion_KK: Int[Tensor, "K K"]) -> float:
    """Part of the points that were told right, in [0, 1].

    >>> accuracy(torch.tensor([[3, 1], [0, 0]]))
    0.75
    """
    return float(confusion_KK.diagonal().sum()) / max(1, int(confusion_KK.sum()))
