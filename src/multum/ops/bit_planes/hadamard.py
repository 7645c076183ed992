"""An orthonormal rotation that spreads a row's outliers over its channels before it is rounded."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from multum.core import invalid


def hadamard(
    width: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Float[Tensor, "D D"]:
    """Give the orthonormal, symmetric Hadamard matrix of a width.

    Queries and keys turned by the same matrix have the same products, and a mixture of turned values is the turned
    mixture: `(x @ H) @ H = x`. A width that is no power of two gets a block-diagonal matrix, one block for each
    power of two in it (80 = 64 + 16): outliers then spread inside their block only.

    Args:
        width: Channels of a head; a multiple of 4.
        dtype: Type of the matrix.
        device: Where it goes.

    Returns:
        One matrix for all who ask for the same: not to be written into.

    Raises:
        UserError: A width that is no positive multiple of 4.

    Not in the paper.

    >>> matrix = hadamard(80)
    >>> torch.allclose(matrix @ matrix, torch.eye(80), atol=1e-6)
    True
    """
    if width < 1 or width % 4:
        raise invalid("width", "a positive multiple of 4", width)
    return _hadamard(width, dtype, torch.device("cpu" if device is None else device))


@lru_cache(maxsize=16)
def _hadamard(width: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "D D"]:
    """Made once; nobody writes into it."""
    powers = [2**bit for bit in range(width.bit_length() - 1, -1, -1) if width & 2**bit]
    with torch.inference_mode(False):  # one that is made in inference mode could not be used outside
        matrix: Tensor = torch.block_diag(*(_power_of_two(power) for power in powers))
        return matrix.to(device=device, dtype=dtype)


def _power_of_two(width: int) -> Float[Tensor, "D D"]:
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while matrix.shape[0] < width:
        matrix = torch.cat([torch.cat([matrix, matrix], dim=1), torch.cat([matrix, -matrix], dim=1)])
    return matrix.mul(width**-0.5)
