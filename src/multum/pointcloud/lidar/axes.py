"""One pair of axes for all sensors: x ahead, y to the left.

Shape legend: N points.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def x_ahead_from_y_ahead(xyz_N3: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
    """Turn points whose x goes to the right and y ahead, as in nuScenes and PandaSet, a quarter about z.

    Args:
        xyz_N3: Points with x to the right, y ahead, z up.

    Returns:
        The same places with x ahead, y to the left, z up.

    Example:
        >>> x_ahead_from_y_ahead(torch.tensor([[1.0, 5.0, 0.0]]))  # one metre to the right, five ahead
        tensor([[ 5., -1.,  0.]])
    """
    right_N, ahead_N, up_N = xyz_N3.unbind(dim=1)
    return torch.stack([ahead_N, -right_N, up_N], dim=1)
