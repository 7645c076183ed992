"""The obviously right twin of the int8 linear layer, and the rounding of weights and activations.

Shape legend: M rows, I inputs, O outputs, R rows of either kind, W width of a row.
"""

import torch
from jaxtyping import Float, Int8
from torch import Tensor
from torch.nn import functional

LARGEST = 127
"""Codes go from -127 to 127: symmetric, so that zero is exact and no code lacks its negative."""

SMALLEST = 1e-30
"""A row whose largest number is below this counts as a row of zeros: 127 over it would overflow."""


def round_rows(number_RW: Float[Tensor, "R W"]) -> tuple[Int8[Tensor, "R W"], Float[Tensor, " R"]]:
    """Round every row to int8 with a scale of its own: `number ~ code * scale`, `scale = max |number| / 127`.

    Ties go to the even code. A row that holds a NaN or an infinity gets zeros and the scale NaN.

    >>> code, scale = round_rows(torch.tensor([[-2.0, 0.5, 1.0]]))
    >>> code.tolist(), round(scale.item() * 127, 6)
    ([[-127, 32, 64]], 2.0)
    """
    largest_R = number_RW.abs().amax(dim=1) if number_RW.shape[1] else number_RW.new_zeros(len(number_RW))
    usable_R = torch.isfinite(largest_R) & (largest_R >= SMALLEST)
    # a scalar over a tensor would be its reciprocal times the scalar, rounded twice
    factor_R = torch.where(usable_R, torch.full_like(largest_R, LARGEST) / largest_R, 0.0)
    code_RW = torch.where(usable_R[:, None], number_RW * factor_R[:, None], 0.0)
    code_RW = code_RW.round().clamp(-LARGEST, LARGEST).to(torch.int8)
    scale_R = torch.where(usable_R, largest_R / LARGEST, 0.0)
    return code_RW, torch.where(torch.isfinite(largest_R), scale_R, torch.nan)


def int8_linear_reference(
    inputs_MI: Float[Tensor, "M I"],
    weight_OI: Int8[Tensor, "O I"],
    scale_O: Float[Tensor, " O"],
    bias_O: Float[Tensor, " O"] | None,
    round_activations: bool,
) -> Float[Tensor, "M O"]:
    """The layer in plain torch, in the inputs' dtype; integer sums are exact because float64 holds them."""
    if not round_activations:
        weight = weight_OI.to(inputs_MI.dtype) * scale_O.to(inputs_MI.dtype)[:, None]
        return functional.linear(inputs_MI, weight, None if bias_O is None else bias_O.to(inputs_MI.dtype))
    wide = torch.promote_types(inputs_MI.dtype, torch.float32)
    code_MI, scale_M = round_rows(inputs_MI.to(wide))
    total_MO = (code_MI.double() @ weight_OI.double().T).to(wide)
    output_MO = total_MO * (scale_M[:, None] * scale_O.to(wide))
    return (output_MO if bias_O is None else output_MO + bias_O.to(wide)).to(inputs_MI.dtype)
