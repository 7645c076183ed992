"""The mean row of a prompt, stored once and taken from every row before it is rounded.

What is left is smaller, so the same bits round it finer; and both means give themselves back for nothing. A key that
all rows share adds the same to every score of a query, which softmax does not see. A value that all rows share comes
out of any average unchanged, so that it is added to the context, once: value rows that a query leaves out then count as
the mean value instead of as zero.

Shape legend: B sequences, G stored key/value heads, Q rows of the first forward, D head width.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Centre:
    """The mean key and the mean value of each sequence's prompt.

    Held in bfloat16: whatever they were rounded to is what is taken off and added again.
    """

    key_BG1D: Float[Tensor, "B G 1 D"]
    """Mean key of the prompt's tokens."""
    value_BG1D: Float[Tensor, "B G 1 D"]
    """Mean value of the prompt's tokens."""

    def take_sequences(self, index_B: Int[Tensor, " b"]) -> "Centre":
        """Those of other sequences: reordered, repeated or dropped."""
        key, value = self.key_BG1D.index_select(0, index_B), self.value_BG1D.index_select(0, index_B)
        return Centre(key_BG1D=key, value_BG1D=value)


def centre_of(
    key_BGQD: Float[Tensor, "B G Q D"],
    value_BGQD: Float[Tensor, "B G Q D"],
    mask_BQ: Bool[Tensor, "B Q"],
) -> Centre:
    """Mean key and value over the real tokens of the first forward; zero for a sequence without any.

    >>> rows, mask = torch.tensor([[[[1.0], [3.0], [99.0]]]]), torch.tensor([[True, True, False]])
    >>> centre_of(rows, rows, mask).key_BG1D.item()
    2.0
    """
    weight_B1Q1 = mask_BQ[:, None, :, None].to(key_BGQD.dtype)
    total_B111 = weight_B1Q1.sum(dim=2, keepdim=True).clamp_min(1.0)
    means = ((rows * weight_B1Q1).sum(dim=2, keepdim=True) / total_B111 for rows in (key_BGQD, value_BGQD))
    key, value = (mean.to(torch.bfloat16) for mean in means)
    return Centre(key_BG1D=key, value_BG1D=value)
