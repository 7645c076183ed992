"""How rows of a cache are changed before they are rounded: their mean is taken off, and they are turned.

Shape legend: B sequences, G groups, K rows, D channels of a row, H query heads.
"""

from dataclasses import dataclass
from functools import cached_property
from struct import Struct
from typing import Any

import torch
from jaxtyping import BFloat16, Float, Int
from torch import Tensor
from torch.nn import functional

from multum.ops.bit_planes.hadamard import hadamard

_FRAME = Struct("4q")
"""The C++ struct `Frame`: whether rows are turned, address (0 for none) and strides of the means."""


@dataclass(frozen=True, kw_only=True)
class RowFrame:
    """The way into a cache and out of it.

    >>> frame = RowFrame(mean_BG1D=torch.full((1, 1, 1, 4), 2.0, dtype=torch.bfloat16), turned=True)
    >>> rows = torch.randn(1, 1, 5, 4)
    >>> torch.allclose(frame.out_of(frame.into(rows)), rows, atol=1e-6)
    True
    """

    mean_BG1D: BFloat16[Tensor, "B G 1 D"] | None = None
    """What is taken off every row of a group; None: nothing. On the device of the rows."""
    turned: bool = False
    """Whether rows are then turned by the Hadamard matrix of their width."""

    def into(self, rows_BGKD: Float[Tensor, "B G K D"]) -> Float[Tensor, "B G K D"]:
        """Rows as they are rounded."""
        return self.turn(rows_BGKD if self.mean_BG1D is None else rows_BGKD - self.mean_BG1D)

    def out_of(self, rows_BGKD: Float[Tensor, "B G K D"]) -> Float[Tensor, "B G K D"]:
        """Rows as they were, in their own type: the other way."""
        back_BGKD = self.turn(rows_BGKD)
        return back_BGKD if self.mean_BG1D is None else (back_BGKD + self.mean_BG1D).to(rows_BGKD.dtype)

    def context_out_of(
        self, context_BHD: Float[Tensor, "B H D"], group_BH: Int[Tensor, "B H"] | None
    ) -> Float[Tensor, "B H D"]:
        """A mixture of such rows for every head, as it would be of the rows as they were.

        Args:
            context_BHD: Mixtures whose weights sum to 1, rows that are left out counted as the mean.
            group_BH: Group of each head; None: as many consecutive heads each.
        """
        back_BHD = self.turn(context_BHD)
        if self.mean_BG1D is None:
            return back_BHD
        mean_BGD = self.mean_BG1D[:, :, 0]
        if group_BH is None:
            mean_BHD = mean_BGD.repeat_interleave(context_BHD.shape[1] // mean_BGD.shape[1], dim=1)
        else:
            mean_BHD = mean_BGD[torch.arange(len(group_BH), device=group_BH.device)[:, None], group_BH]
        return (back_BHD + mean_BHD).to(context_BHD.dtype)  # float16 and the means' bfloat16 make float32

    def turn(self, rows: Float[Tensor, "*lead D"]) -> Float[Tensor, "*lead D"]:
        """Rows turned, which is undone by turning them again."""
        if not self.turned:
            return rows
        matrix_DD = hadamard(rows.shape[-1], dtype=rows.dtype, device=rows.device)
        return functional.linear(rows, matrix_DD)  # it is symmetric

    @cached_property
    def place(self) -> bytes | None:
        """The struct `Frame` for compiled kernels; None where they cannot read the means."""
        if self.mean_BG1D is None:
            return _FRAME.pack(self.turned, 0, 0, 0)
        sequence, group, _, channel = self.mean_BG1D.stride()
        if not self.mean_BG1D.is_cpu or channel != 1:
            return None
        return _FRAME.pack(self.turned, self.mean_BG1D.data_ptr(), sequence, group)

    def __getstate__(self) -> dict[str, Any]:  # not the address of the mean that was copied
        return {"mean_BG1D": self.mean_BG1D, "turned": self.turned}


PLAIN = RowFrame()
"""Rows as they come."""
