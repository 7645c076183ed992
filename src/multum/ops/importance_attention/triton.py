"""The kernel for CUDA devices, in Triton: two passes, no probability ever in memory. Shape legend as in `reference.py`.

Pass 1 is online-softmax attention that also writes each row's log-sum-exp. Pass 2 walks the other way: one program
owns a block of keys of one head, makes every row's probability again from the log-sum-exp and adds them up in a
fixed order, so that the importance needs no atomics and is the same in every run. When causal, pass 1 stops at the
last key that its rows see, and pass 2 starts at the first row that sees its keys.
"""

from typing import Any, no_type_check

import torch
import triton  # type: ignore[import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, unused-ignore]
from jaxtyping import Bool, Float
from torch import Tensor

BLOCK_ROWS = 64
BLOCK_KEYS = 64
LOG2_E = 1.4426950408889634


@no_type_check  # under the tests' shape checking Triton must still see the bare function
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _load_rows(base, row, width_index, stride, rows, width):
    inside = (row[:, None] < rows) & (width_index[None, :] < width)
    return tl.load(base + row[:, None] * stride + width_index[None, :], mask=inside, other=0.0)


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _context_kernel(
    query, key, value, context, log_sum, key_mask, query_mask,
    query_b, query_h, query_l, key_b, key_h, key_l, value_b, value_h, value_l, context_b, context_h, context_l,
    heads, shared_by, rows, keys, width, scale,
    CAUSAL: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1) // heads
    head = tl.program_id(1) % heads
    row = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    channel = tl.arange(0, BLOCK_D)
    q = _load_rows(query + batch * query_b + head * query_h, row, channel, query_l, rows, width)
    key += batch * key_b + head // shared_by * key_h
    value += batch * value_b + head // shared_by * value_h
    top = tl.full([BLOCK_Q], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK_Q], tl.float32)
    mixed = tl.zeros([BLOCK_Q, BLOCK_D], tl.float32)
    end = keys
    if CAUSAL:
        end = tl.maximum(tl.minimum(keys, keys - rows + (tl.program_id(0) + 1) * BLOCK_Q), 0)
    for first in range(0, end, BLOCK_K):
        index = first + tl.arange(0, BLOCK_K)
        kept = tl.load(key_mask + batch * keys + index, mask=index < keys, other=0) != 0
        k = _load_rows(key, index, channel, key_l, keys, width)
        score = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        score = tl.where(kept[None, :], score, -float("inf"))
        if CAUSAL:
            score = tl.where(index[None, :] <= keys - rows + row[:, None], score, -float("inf"))
        new_top = tl.maximum(top, tl.max(score, 1))
        safe_top = tl.where(new_top == -float("inf"), 0.0, new_top)
        share = tl.exp2(score - safe_top[:, None])
        shrink = tl.exp2(top - safe_top)
        v = _load_rows(value, index, channel, value_l, keys, width)
        mixed = mixed * shrink[:, None] + tl.dot(share.to(v.dtype), v, input_precision="ieee")
        total = total * shrink + tl.sum(share, 1)
        top = new_top
    row_kept = tl.load(query_mask + batch * rows + row, mask=row < rows, other=0) != 0
    alive = row_kept & (total != 0.0)
    mixed = tl.where(alive[:, None], mixed / tl.where(alive, total, 1.0)[:, None], 0.0)
    inside = (row[:, None] < rows) & (channel[None, :] < width)
    target = context + batch * context_b + head * context_h + row[:, None] * context_l + channel[None, :]
    tl.store(target, mixed.to(context.dtype.element_ty), mask=inside)
    finite_top = tl.where(top == -float("inf"), 0.0, top)
    log = tl.where(alive, finite_top + tl.log2(tl.where(alive, total, 1.0)), float("inf"))
    tl.store(log_sum + tl.program_id(1) * rows + row, log, mask=row < rows)


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _importance_kernel(
    query, key, log_sum, importance, key_mask,
    query_b, query_h, query_l, key_b, key_h, key_l,
    heads, shared_by, rows, keys, width, scale, importance_from,
    CAUSAL: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1) // heads
    head = tl.program_id(1) % heads
    index = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    channel = tl.arange(0, BLOCK_D)
    kept = tl.load(key_mask + batch * keys + index, mask=index < keys, other=0) != 0
    received = tl.zeros([BLOCK_K], tl.float32)
    k = _load_rows(key + batch * key_b + head // shared_by * key_h, index, channel, key_l, keys, width)
    begin = importance_from
    if CAUSAL:
        begin = tl.maximum(begin, tl.program_id(0) * BLOCK_K - (keys - rows))
    for first in range(begin, rows, BLOCK_Q):
        row = first + tl.arange(0, BLOCK_Q)
        q = _load_rows(query + batch * query_b + head * query_h, row, channel, query_l, rows, width)
        log = tl.load(log_sum + tl.program_id(1) * rows + row, mask=row < rows, other=float("inf"))
        score = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        share = tl.exp2(score - log[:, None])
        if CAUSAL:
            share = tl.where(index[None, :] <= keys - rows + row[:, None], share, 0.0)
        received += tl.sum(share, 0)
    received = tl.where(kept, received, 0.0)
    tl.store(importance + tl.program_id(1) * keys + index, received, mask=index < keys)


def importance_attention_triton(
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
    """Context and importance on a CUDA device (or in Triton's interpreter); float32, bfloat16 or float16."""
    query, key, value = (
        t if t.stride(-1) == 1 else t.contiguous() for t in (query_BHQD, key_BGKD, value_BGKD)
    )
    num_batch, num_heads, num_rows, width = query.shape
    num_keys = key.shape[2]
    device = query.device
    context = torch.empty(num_batch, num_rows, num_heads, width, dtype=query.dtype, device=device).transpose(
        1, 2
    )
    log_sum = torch.empty(num_batch * num_heads, num_rows, dtype=torch.float32, device=device)
    importance = torch.empty(num_batch, num_heads, num_keys, dtype=torch.float32, device=device)
    key_mask = _as_bytes(key_mask_BK, (num_batch, num_keys), device)
    query_mask = _as_bytes(query_mask_BQ, (num_batch, num_rows), device)
    shared_by = num_heads // max(1, key.shape[1])
    sizes = (num_heads, shared_by, num_rows, num_keys, width, scale * LOG2_E)
    blocks: dict[str, Any] = {
        "CAUSAL": causal,
        "BLOCK_Q": BLOCK_ROWS,
        "BLOCK_K": BLOCK_KEYS,
        "BLOCK_D": max(16, triton.next_power_of_2(width)),
    }
    row_grid = (triton.cdiv(num_rows, BLOCK_ROWS), num_batch * num_heads)
    steps = [t.stride()[:3] for t in (query, key, value, context)]
    _context_kernel[row_grid](
        query, key, value, context, log_sum, key_mask, query_mask,
        *steps[0], *steps[1], *steps[2], *steps[3], *sizes, **blocks,
    )  # fmt: skip
    key_grid = (triton.cdiv(num_keys, BLOCK_KEYS), num_batch * num_heads)
    _importance_kernel[key_grid](
        query, key, log_sum, importance, key_mask, *steps[0], *steps[1], *sizes, importance_from, **blocks
    )  # fmt: skip
    return context, importance


def _as_bytes(mask: Tensor | None, shape: tuple[int, int], device: torch.device) -> Tensor:
    if mask is None:
        return torch.ones(shape, dtype=torch.uint8, device=device)
    return mask.contiguous().view(torch.uint8)
