"""The kernel for CUDA devices, in Triton. Shape legend as in `reference.py`; S splits of the slots.

Programs are blocks of slots of one group (scores: a key is read once for all heads of the group), rows of one head
(their largest probability, their values' threshold), and blocks of slots again (importance, mixed values). Sums over
blocks are made in a fixed order, without atomics, so that every run gives the same bits.
"""

from typing import Any, no_type_check

import torch
import triton  # type: ignore[import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor

from multum.ops.bit_planes import PlaneRows, Rows

BLOCK_SLOTS = 64
BLOCK_ROW = 512
SPLIT_SLOTS = 256
LOG2_E = 1.4426950408889634
TOP_BIT = 29
"""The highest bit of 1.0 in float32, counted from 0: no probability has a higher one."""


@no_type_check  # under the tests' shape checking Triton must still see the bare function
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _share(plane, channel, num_bytes, BITS: tl.constexpr, mask):
    """The digits of `BITS` bits of a sub-plane, channel by channel."""
    byte = tl.load(plane + (channel % num_bytes)[None, :], mask=mask, other=0).to(tl.int32)
    return (byte >> (BITS * (channel // num_bytes))[None, :]) & (2**BITS - 1)


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _numbers(first, low, slot, channel, first_c, low_c, width, inside, BITS: tl.constexpr, LOW: tl.constexpr):
    """Rows as float32 integers, or as the floats they are (BITS 0); zero outside."""
    mask = inside[:, None] & (channel[None, :] < width)
    row = first + slot[:, None] * first_c
    if BITS == 0:
        return tl.load(row + channel[None, :], mask=mask, other=0.0).to(tl.float32)
    half = width // 2
    v = tl.zeros([slot.shape[0], channel.shape[0]], tl.int32)
    if BITS >= 8:
        v = (tl.load(row + channel[None, :], mask=mask, other=0).to(tl.int32) ^ 128) - 128
        row += width
    if BITS == 12:
        v = v * 16 + _share(row, channel, half, 4, mask)
    if BITS < 8:
        v = (_share(row, channel, half, 4, mask) ^ 8) - 8
        row += half
    if BITS % 4 == 2:
        v = v * 4 + _share(row, channel, width // 4, 2, mask)
    if LOW:
        v = v * 16 + _share(low + slot[:, None] * low_c, channel, half, 4, mask)
    return tl.where(mask, v.to(tl.float32), 0.0)


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _score_kernel(
    query, first, low, scale, score, count, group, flat, whole,
    query_b, query_h, first_b, first_g, first_c, low_b, low_g, low_c, scale_b, scale_g, scale_c,
    whole_b, heads, groups, slots, width, factor,
    BITS: tl.constexpr, LOW: tl.constexpr, MIDDLE: tl.constexpr, WHOLE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    batch = (tl.program_id(1) // groups).to(tl.int64)
    own = (tl.program_id(1) % groups).to(tl.int64)
    slot = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    channel = tl.arange(0, BLOCK_D)
    inside = slot < tl.load(count + batch)
    wanted = 1
    if LOW:
        wanted = 0
        for head in range(heads):
            reads = tl.load(group + batch * heads + head) == own
            wanted += tl.where(reads, tl.load(flat + batch * heads + head).to(tl.int32), 0)
    if wanted > 0:
        place = first + batch * first_b + own * first_g
        lsb = low + batch * low_b + own * low_g
        key = _numbers(place, lsb, slot, channel, first_c, low_c, width, inside, BITS, LOW)
        if MIDDLE:
            rest = 8.0
            if WHOLE:
                marked = tl.load(whole + batch * whole_b + slot, mask=inside, other=0)[:, None] != 0
                reads_low = marked & (channel[None, :] < width)
                digits = _share(lsb + slot[:, None] * low_c, channel, width // 2, 4, reads_low)
                rest = tl.where(marked, digits.to(tl.float32), 8.0)
            key = tl.where(channel[None, :] < width, key * 16.0 + rest, 0.0)
        step = factor
        if BITS > 0:
            steps = scale + batch * scale_b + own * scale_g + slot * scale_c
            step = tl.load(steps, mask=inside, other=0.0).to(tl.float32) * factor
        for head in range(heads):
            reads = tl.load(group + batch * heads + head) == own
            if LOW:
                reads = reads & (tl.load(flat + batch * heads + head) != 0)
            if reads:
                at = query + batch * query_b + head * query_h + channel
                q = tl.load(at, mask=channel < width, other=0.0).to(tl.float32)
                dot = tl.sum(key * q[None, :], 1) * step
                dot = tl.where(inside, dot, -float("inf"))
                tl.store(score + (batch * heads + head) * slots + slot, dot, mask=slot < slots)


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _row_kernel(
    score, log_sum, flat, count, heads, slots, threshold, BLOCK: tl.constexpr, AGAIN: tl.constexpr
):
    """Log of each row's sum of exponentials; whether the row is flat, the first time."""
    row = tl.program_id(0).to(tl.int64)
    used = tl.load(count + row // heads)
    place = score + row * slots
    top = -float("inf")
    total = 0.0
    for start in range(0, slots, BLOCK):
        index = start + tl.arange(0, BLOCK)
        v = tl.load(place + index, mask=index < used, other=-float("inf"))
        new_top = tl.maximum(top, tl.max(v, 0))
        safe = tl.where(new_top == -float("inf"), 0.0, new_top)
        total = total * tl.exp2(top - safe) + tl.sum(tl.exp2(v - safe), 0)
        top = new_top
    alive = used > 0
    log = tl.where(alive, top + tl.log2(tl.where(alive, total, 1.0)), float("inf"))
    tl.store(log_sum + row, log)
    if not AGAIN:
        is_flat = alive & ((tl.exp2(top - log) < threshold) | (threshold >= 1.0))
        tl.store(flat + row, is_flat.to(tl.int8))


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _pattern(place, log, index, used):
    """Probabilities as integers of the same order; -1 beyond the slots in use."""
    v = tl.load(place + index, mask=index < used, other=-float("inf"))
    bits = tl.exp2(v - log).to(tl.int32, bitcast=True)
    return tl.where(index < used, bits, -1)


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _choose_kernel(
    score, log_sum, chosen, count, num_values, heads, slots, TOP: tl.constexpr, BLOCK: tl.constexpr
):
    """Mark the largest probabilities of a row: the least of them bit by bit, of equal ones the lower slots."""
    row = tl.program_id(0).to(tl.int64)
    used = tl.load(count + row // heads)
    keep = tl.minimum(tl.load(num_values + row // heads), used)
    place = score + row * slots
    log = tl.load(log_sum + row)
    least = 0
    for step in range(TOP + 1):
        candidate = least | (1 << (TOP - step))
        reach = 0
        for start in range(0, slots, BLOCK):
            bits = _pattern(place, log, start + tl.arange(0, BLOCK), used)
            reach += tl.sum((bits >= candidate).to(tl.int32), 0)
        least = tl.where(reach >= keep, candidate, least)
    above = 0
    for start in range(0, slots, BLOCK):
        above += tl.sum((_pattern(place, log, start + tl.arange(0, BLOCK), used) > least).to(tl.int32), 0)
    left = keep - above
    for start in range(0, slots, BLOCK):
        index = start + tl.arange(0, BLOCK)
        bits = _pattern(place, log, index, used)
        equal = (bits == least).to(tl.int32)
        first = (tl.cumsum(equal, 0) <= left) & (equal > 0)
        kept = ((bits > least) | first) & (keep > 0)
        tl.store(chosen + row * slots + index, kept.to(tl.int8), mask=index < slots)
        left -= tl.sum(equal, 0)


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _importance_kernel(score, log_sum, importance, count, heads, slots, BLOCK: tl.constexpr):
    batch = tl.program_id(1).to(tl.int64)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < tl.load(count + batch)
    received = tl.zeros([BLOCK], tl.float32)
    for head in range(heads):
        row = batch * heads + head
        v = tl.load(score + row * slots + index, mask=inside, other=-float("inf"))
        received += tl.where(inside, tl.exp2(v - tl.load(log_sum + row)), 0.0)
    tl.store(importance + batch * slots + index, received, mask=index < slots)


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _mix_kernel(
    score, log_sum, chosen, first, scale, part, count, group,
    first_b, first_g, first_c, scale_b, scale_g, scale_c,
    heads, slots, width, splits,
    BITS: tl.constexpr, CHOSEN: tl.constexpr, SPLIT: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(1).to(tl.int64)
    batch = row // heads
    own = tl.load(group + row).to(tl.int64)
    used = tl.load(count + batch)
    log = tl.load(log_sum + row)
    channel = tl.arange(0, BLOCK_D)
    mixed = tl.zeros([BLOCK_D], tl.float32)
    for start in range(0, SPLIT, BLOCK_C):
        slot = tl.program_id(0) * SPLIT + start + tl.arange(0, BLOCK_C)
        inside = slot < used
        if CHOSEN:
            inside = inside & (tl.load(chosen + row * slots + slot, mask=slot < slots, other=0) != 0)
        v = tl.load(score + row * slots + slot, mask=inside, other=-float("inf"))
        share = tl.where(inside, tl.exp2(v - log), 0.0)
        if BITS > 0:
            at = scale + batch * scale_b + own * scale_g + slot * scale_c
            share = share * tl.load(at, mask=inside, other=0.0).to(tl.float32)
        place = first + batch * first_b + own * first_g
        value = _numbers(place, place, slot, channel, first_c, 0, width, inside, BITS, False)
        mixed += tl.sum(share[:, None] * value, 0)
    tl.store(part + (row * splits + tl.program_id(0)) * width + channel, mixed, mask=channel < width)


def decode_attention_triton(
    query: Tensor,
    key: Rows,
    value: Rows,
    count: Tensor,
    group: Tensor | None,
    threshold: float,
    num_values: Tensor | None,
    scale: float,
    whole: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Context, importance, flat heads and value rows read, on a CUDA device (or in Triton's interpreter).

    A group or a count that is out of range is not looked for: the host would have to wait for the device.
    """
    batch, heads, width = query.shape
    query = query if query.stride(2) == 1 else query.contiguous()
    keys, values = _place(key), _place(value)
    groups, slots = keys["first"].shape[1:3]
    if group is None:
        group = (torch.arange(heads, device=query.device) // (heads // groups)).expand(batch, heads)
    group, count = group.long().contiguous(), count.long().contiguous()
    on: dict[str, Any] = {"device": query.device, "dtype": torch.float32}
    score, log_sum = torch.empty(batch, heads, slots, **on), torch.empty(batch, heads, **on)
    flat = torch.empty(batch, heads, dtype=torch.int8, device=query.device)
    importance, splits = torch.zeros(batch, slots, **on), triton.cdiv(slots, SPLIT_SLOTS)
    chosen: Tensor | None = None
    blocks: dict[str, Any] = {"BLOCK_C": BLOCK_SLOTS, "BLOCK_D": max(16, triton.next_power_of_2(width))}
    marks = flat if whole is None else whole.contiguous().view(torch.uint8)
    two_planes = isinstance(key, PlaneRows) and key.lsb is not None
    for low in (False, True) if threshold > 0.0 else (False,):
        _score_kernel[triton.cdiv(slots, BLOCK_SLOTS), batch * groups](
            query, keys["first"], keys["low"], keys["scale"], score, count, group, flat, marks,
            *query.stride()[:2], *keys["first_steps"], *keys["low_steps"], *keys["scale_steps"],
            slots, heads, groups, slots, width, scale * LOG2_E,
            BITS=keys["bits"], LOW=low, MIDDLE=two_planes and not low, WHOLE=whole is not None, **blocks,
        )  # fmt: skip
        _row_kernel[(batch * heads,)](
            score, log_sum, flat, count, heads, slots, threshold, BLOCK=BLOCK_ROW, AGAIN=low
        )
    _importance_kernel[triton.cdiv(slots, BLOCK_ROW), batch](
        score, log_sum, importance, count, heads, slots, BLOCK=BLOCK_ROW
    )
    if num_values is not None:
        chosen = torch.empty(batch, heads, slots, dtype=torch.int8, device=query.device)
        most = num_values.long().contiguous()
        _choose_kernel[(batch * heads,)](
            score, log_sum, chosen, count, most, heads, slots, TOP=TOP_BIT, BLOCK=BLOCK_ROW
        )
    part = torch.empty(batch, heads, splits, width, **on)
    _mix_kernel[splits, batch * heads](
        score, log_sum, flat if chosen is None else chosen, values["first"], values["scale"], part, count, group,
        *values["first_steps"], *values["scale_steps"], heads, slots, width, splits,
        BITS=values["bits"], CHOSEN=chosen is not None, SPLIT=SPLIT_SLOTS, **blocks,
    )  # fmt: skip
    value_rows = _rows_read(chosen, count, group, groups)
    return part.sum(dim=2).to(query.dtype), importance, flat.bool(), value_rows


def _rows_read(chosen: Tensor | None, count: Tensor, group: Tensor, groups: int) -> Tensor:
    """Distinct value rows by group."""
    reads = group[:, :, None] == torch.arange(groups, device=group.device)  # (B, H, G)
    if chosen is None:
        return reads.any(dim=1) * count[:, None]
    counts = [(chosen.bool() & reads[:, :, g, None]).any(dim=1).sum(dim=1) for g in range(groups)]
    return torch.stack(counts, dim=1)


def _place(rows: Rows) -> dict[str, Any]:
    """Tensors with contiguous last axes, and their strides in elements."""
    if not isinstance(rows, PlaneRows):
        floats = _whole(rows.rows)
        steps = floats.stride()[:3]
        return {
            "first": floats, "low": floats, "scale": floats, "bits": 0,
            "first_steps": steps, "low_steps": steps, "scale_steps": steps,
        }  # fmt: skip
    first, low, scale = _whole(rows.msb), rows.lsb, rows.scale
    low = first if low is None else _whole(low)
    return {
        "first": first, "low": low, "scale": scale, "bits": rows.msb_bits,
        "first_steps": first.stride()[:3], "low_steps": low.stride()[:3], "scale_steps": scale.stride(),
    }  # fmt: skip


def _whole(rows: Tensor) -> Tensor:
    return rows if rows.stride(3) == 1 else rows.contiguous()
