"""What one call of `decode_attention` gives, and how many bytes of the cache it read. Legend as in `reference.py`."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multum.ops.bit_planes import PlaneRows, Rows


class DecodeResult(NamedTuple):
    """Attention of one query row per sequence, and what it took; a tuple, for one is made per layer and token."""

    context_BHD: Float[Tensor, "B H D"]
    """Mixed values of each head, in the queries' type."""
    importance_BC: Float[Tensor, "B C"]
    """Attention that each slot received, summed over the heads; 0 for slots that are not in use."""
    flat_BH: Bool[Tensor, "B H"]
    """Heads whose row was flat, so that it was computed once more with the LSBs."""
    value_rows_BG: Int[Tensor, "B G"]
    """Distinct value rows that the heads of a group read."""


def decode_bytes_read(
    result: DecodeResult,
    key: Rows,
    value: Rows,
    count_B: Int[Tensor, " B"],
    group_BH: Int[Tensor, "B H"] | None = None,
    *,
    whole_BC: Bool[Tensor, "B C"] | None = None,
) -> int:
    """Count the bytes of the cache that a call had to read: a row counts once for all heads of its group.

    Every group that some head reads costs its keys' MSBs and scales; the LSBs of all keys on top if any of its heads
    was flat, else those of the slots marked whole; the distinct value rows and their scales. Groups that no head reads
    cost nothing.

    Args:
        result: Of the call.
        key: Keys of the call.
        value: Values of the call.
        count_B: Slots in use.
        group_BH: As in the call.
        whole_BC: As in the call.

    >>> from multum.ops.decode_attention import decode_attention
    >>> key = PlaneRows.quantize(torch.randn(1, 2, 5, 64), 8)
    >>> value = PlaneRows.quantize(torch.randn(1, 2, 5, 64), 8, two_planes=False)
    >>> result = decode_attention(torch.randn(1, 2, 64), key, value, torch.tensor([5]))
    >>> decode_bytes_read(result, key, value, torch.tensor([5])) == 2 * 5 * (64 + 2 + 64 + 2)
    True
    """
    num_groups = result.value_rows_BG.shape[1]
    if group_BH is None:
        batch, heads = result.flat_BH.shape
        group_BH = default_groups(batch, heads, num_groups, device=result.flat_BH.device)
    reads_BHG = group_BH[:, :, None] == torch.arange(num_groups, device=group_BH.device)
    keys = int((reads_BHG.any(dim=1) * count_B[:, None]).sum())
    flat_BG = (reads_BHG & result.flat_BH[:, :, None]).any(dim=1)
    low_keys = int((flat_BG * count_B[:, None]).sum())
    if whole_BC is not None:
        used_BC = torch.arange(whole_BC.shape[1], device=count_B.device) < count_B[:, None]
        whole_B1 = (whole_BC & used_BC).sum(dim=1, keepdim=True)
        low_keys += int(((reads_BHG.any(dim=1) & ~flat_BG) * whole_B1).sum())
    msb_bytes = key.bytes_per_row(use_lsb=False)
    lsb_bytes = key.bytes_per_row(use_lsb=True) - msb_bytes if isinstance(key, PlaneRows) else 0
    value_bytes = int(result.value_rows_BG.sum()) * value.bytes_per_row(use_lsb=False)
    return keys * msb_bytes + low_keys * lsb_bytes + value_bytes


def default_groups(
    num_sequences: int, num_heads: int, num_groups: int, *, device: torch.device
) -> Int[Tensor, "B H"]:
    """Give the group that each head reads when as many heads as possible share one: `h // (H // G)`."""
    heads = torch.arange(num_heads, device=device) // (num_heads // num_groups)
    return heads.expand(num_sequences, num_heads)
