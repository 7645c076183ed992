"""The obviously right twin: softmax attention that also returns how much attention each key received.

Shape legend: B batch, H query heads, G key/value heads (H is a multiple of G), Q query rows, K keys, D head width.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def for_every_head(
    shared_BGKD: Float[Tensor, "B G K D"], query_BHQD: Float[Tensor, "B H Q D"]
) -> Float[Tensor, "B H K D"]:
    """Repeat what query heads share: head h reads group h // (H // G)."""
    num_heads, num_groups = query_BHQD.shape[1], shared_BGKD.shape[1]
    return (
        shared_BGKD if num_groups == num_heads else shared_BGKD.repeat_interleave(num_heads // num_groups, 1)
    )


def visible_keys(
    score_BHQK: Float[Tensor, "B H Q K"], key_mask_BK: Bool[Tensor, "B K"] | None, causal: bool
) -> Bool[Tensor, "_B 1 _Q K"] | None:
    """Which keys each row may attend to, with axes of size 1 where sentences or rows agree; None for all."""
    visible = None if key_mask_BK is None else key_mask_BK[:, None, None, :]
    if not causal:
        return visible
    num_rows, num_keys = score_BHQK.shape[2:]
    key_K = torch.arange(num_keys, device=score_BHQK.device)
    last_Q = torch.arange(num_rows, device=score_BHQK.device) + (num_keys - num_rows)
    past_11QK = (key_K <= last_Q[:, None])[None, None]
    return past_11QK if visible is None else visible & past_11QK


def attention_prob(
    query_BHQD: Float[Tensor, "B H Q D"],
    key_BGKD: Float[Tensor, "B G K D"],
    key_mask_BK: Bool[Tensor, "B K"] | None,
    query_mask_BQ: Bool[Tensor, "B Q"] | None,
    scale: float,
    causal: bool = False,
) -> Float[Tensor, "B H Q K"]:
    """Attention probabilities; rows that `query_mask_BQ` drops and rows that see no key are zero."""
    key_BHKD = for_every_head(key_BGKD, query_BHQD)
    score_BHQK = scale * (query_BHQD @ key_BHKD.transpose(-1, -2))
    visible = visible_keys(score_BHQK, key_mask_BK, causal)
    if visible is not None:
        blind = ~visible.any(dim=-1, keepdim=True)
        score_BHQK = score_BHQK.masked_fill(~visible, -torch.inf).masked_fill(blind, 0.0)
    prob_BHQK = score_BHQK.softmax(dim=-1)
    if visible is not None:
        prob_BHQK = prob_BHQK.masked_fill(~visible, 0.0)
    if query_mask_BQ is not None:
        prob_BHQK = prob_BHQK.masked_fill(~query_mask_BQ[:, None, :, None], 0.0)
    return prob_BHQK


def importance_attention_reference(
    query_BHQD: Float[Tensor, "B H Q D"],
    key_BGKD: Float[Tensor, "B G K D"],
    value_BGKD: Float[Tensor, "B G K D"],
    key_mask_BK: Bool[Tensor, "B K"] | None,
    query_mask_BQ: Bool[Tensor, "B Q"] | None,
    scale: float,
    *,
    causal: bool = False,
    importance_from: int = 0,
) -> tuple[Float[Tensor, "B H Q D"], Float[Tensor, "B H K"]]:
    """Context and importance, with every probability in memory; any floating dtype, importance at least in float32."""
    prob_BHQK = attention_prob(query_BHQD, key_BGKD, key_mask_BK, query_mask_BQ, scale, causal)
    value_BHKD = for_every_head(value_BGKD, query_BHQD)
    total_dtype = torch.promote_types(prob_BHQK.dtype, torch.float32)
    return prob_BHQK @ value_BHKD, prob_BHQK[:, :, importance_from:].sum(dim=2, dtype=total_dtype)


def importance_attention_backward(
    context_grad_BHQD: Float[Tensor, "B H Q D"],
    importance_grad_BHK: Float[Tensor, "B H K"],
    query_BHQD: Float[Tensor, "B H Q D"],
    key_BGKD: Float[Tensor, "B G K D"],
    value_BGKD: Float[Tensor, "B G K D"],
    key_mask_BK: Bool[Tensor, "B K"] | None,
    query_mask_BQ: Bool[Tensor, "B Q"] | None,
    scale: float,
    *,
    causal: bool = False,
    importance_from: int = 0,
) -> tuple[Float[Tensor, "B H Q D"], Float[Tensor, "B G K D"], Float[Tensor, "B G K D"]]:
    """Gradients of query, key and value; the probabilities are made again, so forward keeps none of them.

    With `dP = dO V^T + d_importance` (the latter for rows that add importance) the softmax gives
    `dS = P * (dP - sum_K(P * dP))`. A shared key or value gets the sum over the heads that read it.
    """
    num_heads, num_groups = query_BHQD.shape[1], key_BGKD.shape[1]
    key_BHKD, value_BHKD = (for_every_head(t, query_BHQD) for t in (key_BGKD, value_BGKD))
    prob_BHQK = attention_prob(query_BHQD, key_BGKD, key_mask_BK, query_mask_BQ, scale, causal)
    prob_grad_BHQK = context_grad_BHQD @ value_BHKD.transpose(-1, -2)
    prob_grad_BHQK[:, :, importance_from:] += importance_grad_BHK[:, :, None, :].to(prob_grad_BHQK.dtype)
    score_grad_BHQK = prob_BHQK * (prob_grad_BHQK - (prob_BHQK * prob_grad_BHQK).sum(dim=-1, keepdim=True))
    query_grad_BHQD = scale * (score_grad_BHQK @ key_BHKD)
    key_grad_BHKD = scale * (score_grad_BHQK.transpose(-1, -2) @ query_BHQD)
    value_grad_BHKD = prob_BHQK.transpose(-1, -2) @ context_grad_BHQD
    key_grad_BGKD, value_grad_BGKD = (
        t.unflatten(1, (num_groups, -1)).sum(dim=2) if num_groups != num_heads else t
        for t in (key_grad_BHKD, value_grad_BHKD)
    )
    return query_grad_BHQD, key_grad_BGKD, value_grad_BGKD
