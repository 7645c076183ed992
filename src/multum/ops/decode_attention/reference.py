"""The obviously right twin: one new query row per sequence over a cache of quantized rows.

Shape legend: B sequences, H query heads that are computed, G groups of heads that share keys and values, C slots of the
cache, D head width.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multum.core import invalid
from multum.ops.bit_planes import PlaneRows, Rows

Outcome = tuple[Float[Tensor, "B H D"], Float[Tensor, "B C"], Bool[Tensor, "B H"], Int[Tensor, "B G"]]
"""Context, importance, flat heads, value rows read: the fields of `DecodeResult`."""


def decode_attention_reference(
    query_BHD: Float[Tensor, "B H D"],
    key: Rows,
    value: Rows,
    count_B: Int[Tensor, " B"],
    group_BH: Int[Tensor, "B H"],
    threshold: float,
    num_values_B: Int[Tensor, " B"] | None,
    scale: float,
    whole_BC: Bool[Tensor, "B C"] | None = None,
) -> Outcome:
    """Context, importance, flat heads and value rows read, with everything dequantized and in memory.

    Computes in float32, or float64 for float64 queries. Of equal probabilities the lower slot's value row is used.
    """
    dtype = torch.promote_types(query_BHD.dtype, torch.float32)
    _check_range(key, count_B, group_BH)
    query_BHD_wide, num_slots = query_BHD.to(dtype), key.dequantize(dtype=dtype).shape[2]
    used_BC = torch.arange(num_slots, device=count_B.device) < count_B[:, None]
    first_BGCD = key.dequantize(use_lsb=False, dtype=dtype)
    if whole_BC is not None:
        first_BGCD = torch.where(whole_BC[:, None, :, None], key.dequantize(dtype=dtype), first_BGCD)
    prob_BHC = _prob(query_BHD_wide, first_BGCD, used_BC, group_BH, scale)
    flat_BH = (
        (prob_BHC.amax(dim=2) < threshold) if num_slots else torch.zeros_like(group_BH, dtype=torch.bool)
    )
    if threshold >= 1.0:
        flat_BH = torch.ones_like(flat_BH)
    flat_BH = flat_BH & (count_B > 0)[:, None]
    if threshold > 0.0:
        exact_BHC = _prob(query_BHD_wide, key.dequantize(use_lsb=True, dtype=dtype), used_BC, group_BH, scale)
        prob_BHC = torch.where(flat_BH[:, :, None], exact_BHC, prob_BHC)
    chosen_BHC = _largest(prob_BHC, num_values_B) & used_BC[:, None, :]
    share_BHC = torch.where(chosen_BHC, prob_BHC, 0.0)
    value_BHCD = _of_heads(value.dequantize(dtype=dtype), group_BH)
    value_BHCD = torch.where(used_BC[:, None, :, None], value_BHCD, 0.0)  # unused slots may hold anything
    context_BHD = (share_BHC[:, :, None, :] @ value_BHCD).squeeze(2)
    groups = range(key.dequantize(dtype=dtype).shape[1])
    read_BG = [(chosen_BHC & (group_BH == group)[:, :, None]).any(dim=1).sum(dim=1) for group in groups]
    return context_BHD.to(query_BHD.dtype), prob_BHC.sum(dim=1), flat_BH, torch.stack(read_BG, dim=1)


def _check_range(key: Rows, count_B: Int[Tensor, " B"], group_BH: Int[Tensor, "B H"]) -> None:
    num_groups, num_slots = (key.msb if isinstance(key, PlaneRows) else key.rows).shape[1:3]
    sound_B = (count_B >= 0) & (count_B <= num_slots)
    sound_BH = (group_BH >= 0) & (group_BH < num_groups)
    if not bool(sound_B.all() & sound_BH.all()):
        limits = f"in 0..{num_slots} and in 0..{num_groups - 1}"
        raise invalid("count and group", limits, (count_B, group_BH))


def _of_heads(rows_BGCD: Float[Tensor, "B G C D"], group_BH: Int[Tensor, "B H"]) -> Float[Tensor, "B H C D"]:
    batch = torch.arange(group_BH.shape[0], device=group_BH.device)
    return rows_BGCD[batch[:, None], group_BH]


def _prob(
    query_BHD: Float[Tensor, "B H D"],
    key_BGCD: Float[Tensor, "B G C D"],
    used_BC: Bool[Tensor, "B C"],
    group_BH: Int[Tensor, "B H"],
    scale: float,
) -> Float[Tensor, "B H C"]:
    """Probabilities over the slots in use; all zero for a sequence without any."""
    score_BHC = scale * (_of_heads(key_BGCD, group_BH) @ query_BHD[:, :, :, None]).squeeze(3)
    score_BHC = score_BHC.masked_fill(~used_BC[:, None, :], -torch.inf)
    empty_B11 = ~used_BC.any(dim=1)[:, None, None]
    return score_BHC.masked_fill(empty_B11, 0.0).softmax(dim=2).masked_fill(~used_BC[:, None, :], 0.0)


def _largest(
    prob_BHC: Float[Tensor, "B H C"], num_values_B: Int[Tensor, " B"] | None
) -> Bool[Tensor, "B H C"]:
    """The so many largest probabilities of each head; of equal ones the lower slot comes first."""
    if num_values_B is None:
        return torch.ones_like(prob_BHC, dtype=torch.bool)
    order_BHC = prob_BHC.argsort(dim=2, descending=True, stable=True)
    rank_BHC = order_BHC.argsort(dim=2)
    return rank_BHC < num_values_B[:, None, None]
