"""The obviously right twin: softmax attention that also returns how much attention each key received.

Shape legend: B batch, H heads, Q query rows, K keys, D head width.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def attention_prob(
    query_BHQD: Float[Tensor, "B H Q D"],
    key_BHKD: Float[Tensor, "B H K D"],
    key_mask_BK: Bool[Tensor, "B K"] | None,
    query_mask_BQ: Bool[Tensor, "B Q"] | None,
    scale: float,
) -> Float[Tensor, "B H Q K"]:
    """Attention probabilities; rows that `query_mask_BQ` drops and rows without any key are zero."""
    score_BHQK = scale * (query_BHQD @ key_BHKD.transpose(-1, -2))
    if key_mask_BK is not None:
        score_BHQK = score_BHQK.masked_fill(~key_mask_BK[:, None, None, :], -torch.inf)
        nothing_B = ~key_mask_BK.any(dim=-1)
        score_BHQK = score_BHQK.masked_fill(nothing_B[:, None, None, None], 0.0)
    prob_BHQK = score_BHQK.softmax(dim=-1)
    if key_mask_BK is not None:
        prob_BHQK = prob_BHQK.masked_fill(~key_mask_BK[:, None, None, :], 0.0)
    if query_mask_BQ is not None:
        prob_BHQK = prob_BHQK.masked_fill(~query_mask_BQ[:, None, :, None], 0.0)
    return prob_BHQK


def importance_attention_reference(
    query_BHQD: Float[Tensor, "B H Q D"],
    key_BHKD: Float[Tensor, "B H K D"],
    value_BHKD: Float[Tensor, "B H K D"],
    key_mask_BK: Bool[Tensor, "B K"] | None,
    query_mask_BQ: Bool[Tensor, "B Q"] | None,
    scale: float,
) -> tuple[Float[Tensor, "B H Q D"], Float[Tensor, "B H K"]]:
    """Context and importance, with every probability in memory; any floating dtype, importance at least in float32."""
    prob_BHQK = attention_prob(query_BHQD, key_BHKD, key_mask_BK, query_mask_BQ, scale)
    total_dtype = torch.promote_types(prob_BHQK.dtype, torch.float32)
    return prob_BHQK @ value_BHKD, prob_BHQK.sum(dim=2, dtype=total_dtype)


def importance_attention_backward(
    context_grad_BHQD: Float[Tensor, "B H Q D"],
    importance_grad_BHK: Float[Tensor, "B H K"],
    query_BHQD: Float[Tensor, "B H Q D"],
    key_BHKD: Float[Tensor, "B H K D"],
    value_BHKD: Float[Tensor, "B H K D"],
    key_mask_BK: Bool[Tensor, "B K"] | None,
    query_mask_BQ: Bool[Tensor, "B Q"] | None,
    scale: float,
) -> tuple[Float[Tensor, "B H Q D"], Float[Tensor, "B H K D"], Float[Tensor, "B H K D"]]:
    """Gradients of query, key and value; the probabilities are made again, so forward keeps none of them.

    With `dP = dO V^T + d_importance` the softmax gives `dS = P * (dP - sum_K(P * dP))`.
    """
    prob_BHQK = attention_prob(query_BHQD, key_BHKD, key_mask_BK, query_mask_BQ, scale)
    prob_grad_BHQK = context_grad_BHQD @ value_BHKD.transpose(-1, -2)
    prob_grad_BHQK = prob_grad_BHQK + importance_grad_BHK[:, :, None, :].to(prob_grad_BHQK.dtype)
    score_grad_BHQK = prob_BHQK * (prob_grad_BHQK - (prob_BHQK * prob_grad_BHQK).sum(dim=-1, keepdim=True))
    query_grad_BHQD = scale * (score_grad_BHQK @ key_BHKD)
    key_grad_BHKD = scale * (score_grad_BHQK.transpose(-1, -2) @ query_BHQD)
    return query_grad_BHQD, key_grad_BHKD, prob_BHQK.transpose(-1, -2) @ context_grad_BHQD
