"""What a training makes small: the cross-entropy of points, and beside it perhaps the Lovász-Softmax loss.

The second stands for the mean IoU itself, in which a rare class weighs as much as a frequent one; cross-entropy weighs
every point alike.

Source: the Lovász-Softmax loss (Berman et al., CVPR 2018), section 2.2.
Differs from the paper: classes that no point of the batch is of are left out, as its code does by default.

Shape legend: N points, K classes.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from multum.pointcloud.lidar.scan import IGNORED


def segmentation_loss(
    score_NK: Float[Tensor, "N K"],
    label_N: Int[Tensor, " N"],
    *,
    label_smoothing: float = 0.0,
    lovasz: float = 0.0,
) -> Float[Tensor, ""]:
    """The mean cross-entropy of the points that are not IGNORED, and a part of the Lovász-Softmax loss.

    Args:
        score_NK: What the network says, before any softmax.
        label_N: Classes, or IGNORED.
        label_smoothing: Part of the target that is spread over all classes.
        lovasz: Weight of the second loss.

    Returns:
        The loss; 0 where no point has a class.

    >>> segmentation_loss(torch.zeros(2, 4), torch.tensor([3, -1]))
    tensor(1.3863)
    """
    known_N = label_N != IGNORED
    total = functional.cross_entropy(
        score_NK, label_N, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum"
    )
    loss = total / known_N.sum().clamp(min=1)
    if lovasz > 0:
        loss = loss + lovasz * lovasz_softmax(score_NK[known_N].softmax(dim=1), label_N[known_N])
    return loss


def lovasz_softmax(prob_NK: Float[Tensor, "N K"], label_N: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """The convex surrogate of one minus the mean IoU, over the classes that occur; 0 where there is no point.

    >>> lovasz_softmax(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
    tensor(0.7500)
    """
    losses = [
        _lovasz_of_class(prob_NK[:, label], label_N == label) for label in label_N.unique().tolist()
    ]  # sorted
    return torch.stack(losses).mean() if losses else prob_NK.sum() * 0.0


def _lovasz_of_class(prob_N: Tensor, is_class_N: Tensor) -> Tensor:
    error_N = torch.where(is_class_N, 1 - prob_N, prob_N)
    order_N = error_N.detach().argsort(descending=True, stable=True)
    return error_N[order_N] @ jaccard_gradient(is_class_N[order_N])


def jaccard_gradient(is_class_N: Tensor) -> Tensor:
    """How much the Jaccard loss grows when one more point, in this order, is told wrong.

    >>> jaccard_gradient(torch.tensor([True, False]))
    tensor([1., 0.])
    """
    truth_N = is_class_N.float()
    intersection_N = truth_N.sum() - truth_N.cumsum(dim=0)
    union_N = truth_N.sum() + (1 - truth_N).cumsum(dim=0)
    jaccard_N = 1 - intersection_N / union_N
    return torch.cat([jaccard_N[:1], jaccard_N[1:] - jaccard_N[:-1]])
