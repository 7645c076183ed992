"""How right a labelling of points is: point by point, and class by class.

Shape legend: N points, C classes.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid

RIGHT, WRONG, UNJUDGED = 0, 1, 2
"""Fates of a point: its class was found, another one was told, or nobody knows its class."""


def point_fates(truth_N: Int[Tensor, " N"], told_N: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """Tell the fate of every point.

    Args:
        truth_N: Classes; negative where nobody knows.
        told_N: What was predicted; negative, no class, is wrong wherever the class is known.

    Returns:
        RIGHT, WRONG or UNJUDGED.

    >>> point_fates(torch.tensor([0, 1, -1]), torch.tensor([0, 0, 0]))
    tensor([0, 1, 2])
    """
    fate_N = torch.where(truth_N == told_N, RIGHT, WRONG)
    return torch.where(truth_N < 0, UNJUDGED, fate_N)


def class_iou(truth_N: Int[Tensor, " N"], told_N: Int[Tensor, " N"], num_classes: int) -> Float[Tensor, " C"]:
    """Intersection over union of every class, over the points whose class is known.

    Args:
        truth_N: Classes; negative where nobody knows.
        told_N: What was predicted; negative where no class was.
        num_classes: How many classes there are.

    Returns:
        In [0, 1], float64; NaN for a class that is neither there nor predicted.

    Raises:
        UserError: The labellings differ in length.

    >>> class_iou(torch.tensor([0, 0, 1, -1]), torch.tensor([0, 1, 1, 1]), 3)
    tensor([0.5000, 0.5000,    nan], dtype=torch.float64)
    """
    if len(truth_N) != len(told_N):
        raise invalid("a prediction", f"{len(truth_N)} labels long, as the truth is", len(told_N))
    known_N = truth_N >= 0
    truth, told = truth_N[known_N], told_N[known_N]
    there_C = torch.bincount(truth, minlength=num_classes)
    told_C = torch.bincount(told[told >= 0], minlength=num_classes)
    both_C = torch.bincount(truth[truth == told], minlength=num_classes)
    return both_C.double() / (there_C + told_C - both_C)
