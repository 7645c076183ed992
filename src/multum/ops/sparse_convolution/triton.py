"""The kernels for CUDA devices, in Triton: two ways through the pairs, and the gradient of the weight.

`implicit`: a program owns a block of targets and of outputs, and goes over the offsets that its targets need; rows are
read through the table of neighbours (`kernel_map/neighbours.py`), nothing is stored in between. It multiplies zeros for
the neighbours that some rows of a block have and others have not, so a weight has to be finite.

`scatter`: offset by offset, a program owns a block of the offset's pairs: it gathers, multiplies, and adds to the rows
of the targets. No zeros are multiplied, but results are read and written at every offset.

A target occurs once at an offset, and offsets come in order: neither way needs atomics, and every run gives the same
bits. Sums are taken in float32 whatever the type. Which way, and with what blocks, is measured (`tuning.py`).

Shape legend as in `reference.py`; R rows of a table, S pieces of a sum.
"""

import math
from collections.abc import Callable
from typing import Any, no_type_check

import torch
import triton  # type: ignore[import-not-found, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor

from multum.ops.kernel_map import view_neighbours
from multum.ops.sparse_convolution.settings import Kind, Problem, Setting, precision_of
from multum.ops.sparse_convolution.tuning import choose_setting, measure_seconds

End = tuple[Tensor | None, Tensor | None, bool]
PIECE_PAIRS = 512
"""Pairs of an offset that are worth a piece of their own, on average, in the gradient of the weight."""
MOST_PIECES = 64
ENOUGH_PROGRAMS = 1024
"""Programs that keep a large device busy; more pieces are not made."""


@no_type_check  # under the tests' shape checking Triton must still see the bare function
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _load_rows(base, row, there, channel, width):
    """Rows by number, (rows, channels); zeros where there is none."""
    mask = there[:, None] & (channel < width)[None, :]
    return tl.load(base + row.to(tl.int64)[:, None] * width + channel[None, :], mask=mask, other=0.0)


@no_type_check
@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _load_weight(base, input_, output, inputs, outputs, weight_c, weight_o):
    mask = (input_ < inputs)[:, None] & (output < outputs)[None, :]
    return tl.load(base + input_[:, None] * weight_c + output[None, :] * weight_o, mask=mask, other=0.0)


@no_type_check
@triton.jit(do_not_specialize=["offsets"])  # type: ignore[untyped-decorator, unused-ignore]
def _implicit_kernel(
    x, weight, bias, base, y, target, source, needed, count,
    rows, offsets, inputs, outputs, weight_k, weight_c, weight_o,
    BIAS: tl.constexpr, BASE: tl.constexpr, RELU: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_O: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    panels = tl.cdiv(outputs, BLOCK_O)
    block = tl.program_id(0) // panels
    place = block * BLOCK_M + tl.arange(0, BLOCK_M)
    output = tl.program_id(0) % panels * BLOCK_O + tl.arange(0, BLOCK_O)
    steps = tl.cdiv(inputs, BLOCK_C)
    total = tl.zeros([BLOCK_M, BLOCK_O], tl.float32)
    for step in range(tl.load(count + block) * steps):
        offset = tl.load(needed + block * offsets + step // steps).to(tl.int64)
        row = tl.load(source + offset * rows + place)
        channel = step % steps * BLOCK_C + tl.arange(0, BLOCK_C)
        part = _load_rows(x, row, row >= 0, channel, inputs)
        matrix = _load_weight(
            weight + offset * weight_k, channel, output, inputs, outputs, weight_c, weight_o
        )
        total = tl.dot(part, matrix, total, input_precision=PRECISION)
    row = tl.load(target + place)
    inside = (row >= 0)[:, None] & (output < outputs)[None, :]
    at = row.to(tl.int64)[:, None] * outputs + output[None, :]
    if BIAS:
        total += tl.load(bias + output, mask=output < outputs, other=0.0).to(tl.float32)[None, :]
    if BASE:
        total += tl.load(base + at, mask=inside, other=0.0).to(tl.float32)
    if RELU:
        total = tl.where(total < 0.0, 0.0, total)  # a NaN stays one
    tl.store(y + at, total.to(y.dtype.element_ty), mask=inside)


@no_type_check
@triton.jit(do_not_specialize=["offset", "blocks"])  # type: ignore[untyped-decorator, unused-ignore]
def _scatter_kernel(
    x, weight, y, source, target, starts, offset, blocks, inputs, outputs, weight_k, weight_c, weight_o,
    BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_O: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    panels = tl.cdiv(outputs, BLOCK_O)
    starts += offset.to(tl.int64) * (blocks + 1)
    weight += offset.to(tl.int64) * weight_k
    first = tl.load(starts) + tl.program_id(0) // panels * BLOCK_M
    last = tl.load(starts + blocks)
    if first < last:
        pair = first + tl.arange(0, BLOCK_M)
        there = pair < last
        output = tl.program_id(0) % panels * BLOCK_O + tl.arange(0, BLOCK_O)
        row = tl.load(source + pair, mask=there, other=0)
        total = tl.zeros([BLOCK_M, BLOCK_O], tl.float32)
        for begin in range(0, inputs, BLOCK_C):
            channel = begin + tl.arange(0, BLOCK_C)
            part = _load_rows(x, row, there, channel, inputs)
            matrix = _load_weight(weight, channel, output, inputs, outputs, weight_c, weight_o)
            total = tl.dot(part, matrix, total, input_precision=PRECISION)
        goes_to = tl.load(target + pair, mask=there, other=0).to(tl.int64)
        inside = there[:, None] & (output < outputs)[None, :]
        at = y + goes_to[:, None] * outputs + output[None, :]
        tl.store(at, tl.load(at, mask=inside, other=0.0) + total, mask=inside)


@no_type_check
@triton.jit(do_not_specialize=["blocks", "offsets", "pieces"])  # type: ignore[untyped-decorator, unused-ignore]
def _weight_kernel(
    x, gradient, part, source, target, starts, blocks, offsets, inputs, outputs, pieces,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_O: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    panels = tl.cdiv(outputs, BLOCK_O)
    tiles = panels * tl.cdiv(inputs, BLOCK_C)
    offset = (tl.program_id(0) // tiles).to(tl.int64)
    input_ = tl.program_id(0) % tiles // panels * BLOCK_C + tl.arange(0, BLOCK_C)
    output = tl.program_id(0) % panels * BLOCK_O + tl.arange(0, BLOCK_O)
    first = tl.load(starts + offset * (blocks + 1))
    last = tl.load(starts + offset * (blocks + 1) + blocks)
    length = tl.cdiv(tl.cdiv(last - first, pieces), BLOCK_P) * BLOCK_P
    begin = first + tl.program_id(1) * length
    end = tl.minimum(begin + length, last)
    total = tl.zeros([BLOCK_C, BLOCK_O], tl.float32)
    for start in range(begin, end, BLOCK_P):
        pair = start + tl.arange(0, BLOCK_P)
        there = pair < end
        read = _load_rows(x, tl.load(source + pair, mask=there, other=0), there, input_, inputs)
        written = _load_rows(gradient, tl.load(target + pair, mask=there, other=0), there, output, outputs)
        total = tl.dot(tl.trans(read), written, total, input_precision=PRECISION)
    base = part + (tl.program_id(1) * offsets + offset) * inputs * outputs
    inside = (input_ < inputs)[:, None] & (output < outputs)[None, :]
    at = base + input_.to(tl.int64)[:, None] * outputs + output[None, :]
    tl.store(at, total.to(part.dtype.element_ty), mask=inside)


def convolve(
    x_NC: Tensor,
    weight_KCO: Tensor,
    lists: tuple[Tensor, Tensor, Tensor],
    num_targets: int,
    table: Tensor | None,
    setting: Setting | None = None,
    end: End = (None, None, False),
) -> Tensor:
    """Outputs, on a CUDA device (or in Triton's interpreter).

    Args:
        x_NC: Float32, bfloat16 or float16.
        weight_KCO: Of the same type, in any order in memory.
        lists: Source, target and starts of a kernel map.
        num_targets: Rows that are written.
        table: The map's `neighbours`; None: offset by offset.
        setting: None: the one that was measured to be the fastest for such a problem.
        end: Bias and base, which are added last, and whether a ReLU comes behind.
    """
    x_NC = x_NC.contiguous()
    outputs = weight_KCO.shape[2]
    if not num_targets * outputs * lists[0].numel():
        y_MO = _begin(x_NC, num_targets, outputs, end)
        return (y_MO.relu_() if end[2] else y_MO).to(x_NC.dtype)
    problem = _problem("forward", x_NC, outputs, lists, num_targets, has_table=table is not None)

    def run(it: Setting) -> Tensor:
        if it.dataflow == "implicit":
            assert table is not None, "the setting asks for a table that is not there"
            return _implicit(x_NC, weight_KCO, table, num_targets, end, it)
        return _scatter(x_NC, weight_KCO, lists, num_targets, end, it)

    return run(setting or choose_setting(problem, _timer(run)))


def _implicit(
    x_NC: Tensor, weight_KCO: Tensor, table: Tensor, num_targets: int, end: End, setting: Setting
) -> Tensor:
    num_offsets, inputs, outputs = weight_KCO.shape
    near, rows = view_neighbours(table, num_targets, num_offsets), setting.block_rows
    y_MO = x_NC.new_empty(num_targets, outputs)
    bias_O, base_MO = (x_NC if it is None else it.contiguous() for it in end[:2])
    num_blocks = triton.cdiv(num_targets, rows)
    _implicit_kernel[(num_blocks * triton.cdiv(outputs, setting.block_outputs),)](
        x_NC, weight_KCO, bias_O, base_MO, y_MO, near.row_R, near.source_KR, near.offset_BK[rows], near.count_B[rows],
        len(near.row_R), num_offsets, inputs, outputs, *weight_KCO.stride(),
        BIAS=end[0] is not None, BASE=end[1] is not None, RELU=end[2], BLOCK_M=rows, **_blocks(setting, x_NC),
    )  # fmt: skip
    return y_MO


def _scatter(
    x_NC: Tensor,
    weight_KCO: Tensor,
    lists: tuple[Tensor, Tensor, Tensor],
    num_targets: int,
    end: End,
    setting: Setting,
) -> Tensor:
    source_P, target_P, starts_KB = lists
    _, inputs, outputs = weight_KCO.shape
    y_MO = _begin(x_NC, num_targets, outputs, end)
    most = min(len(x_NC), num_targets)  # pairs of an offset; how many there are the device alone knows
    grid = (triton.cdiv(most, setting.block_rows) * triton.cdiv(outputs, setting.block_outputs),)
    for offset in range(len(starts_KB)):
        _scatter_kernel[grid](
            x_NC, weight_KCO, y_MO, source_P, target_P, starts_KB, offset, starts_KB.shape[1] - 1,
            inputs, outputs, *weight_KCO.stride(), BLOCK_M=setting.block_rows, **_blocks(setting, x_NC),
        )  # fmt: skip
    return (y_MO.relu_() if end[2] else y_MO).to(x_NC.dtype)


def _begin(x_NC: Tensor, num_targets: int, outputs: int, end: End) -> Tensor:
    """What sums are added to, in float32."""
    bias_O, base_MO, _ = end
    y_MO = x_NC.new_zeros(num_targets, outputs, dtype=torch.float32)
    for it in (base_MO, bias_O):
        if it is not None:
            y_MO += it
    return y_MO


def weight_gradient(
    x_NC: Tensor,
    gradient_MO: Tensor,
    lists: tuple[Tensor, Tensor, Tensor],
    setting: Setting | None = None,
) -> Tensor:
    """The gradient of the weight, (K, C, O), as `convolve` takes its tensors.

    An offset's pairs are summed in their order, in pieces where there are many: their number depends on sizes alone.
    """
    x_NC, gradient_MO = x_NC.contiguous(), gradient_MO.contiguous()
    num_offsets, inputs, outputs = len(lists[2]), x_NC.shape[1], gradient_MO.shape[1]
    if not inputs * outputs * lists[0].numel():
        return x_NC.new_zeros(num_offsets, inputs, outputs)
    problem = _problem("weight", x_NC, outputs, lists, len(gradient_MO), has_table=False)

    def run(it: Setting) -> Tensor:
        return _weight(x_NC, gradient_MO, lists, it)

    return run(setting or choose_setting(problem, _timer(run)))


def _weight(
    x_NC: Tensor, gradient_MO: Tensor, lists: tuple[Tensor, Tensor, Tensor], setting: Setting
) -> Tensor:
    source_P, target_P, starts_KB = lists
    num_offsets, inputs, outputs = len(starts_KB), x_NC.shape[1], gradient_MO.shape[1]
    pieces = num_pieces(len(source_P), num_offsets, inputs, outputs)
    kind = x_NC.dtype if pieces == 1 else torch.float32
    part_SKCO = x_NC.new_empty(pieces, num_offsets, inputs, outputs, dtype=kind)
    tiles = triton.cdiv(inputs, setting.block_inputs) * triton.cdiv(outputs, setting.block_outputs)
    _weight_kernel[num_offsets * tiles, pieces](
        x_NC, gradient_MO, part_SKCO, source_P, target_P, starts_KB, starts_KB.shape[1] - 1,
        num_offsets, inputs, outputs, pieces, BLOCK_P=setting.block_rows, **_blocks(setting, x_NC),
    )  # fmt: skip
    return part_SKCO[0] if pieces == 1 else part_SKCO.sum(dim=0).to(x_NC.dtype)


def num_pieces(num_pairs: int, num_offsets: int, inputs: int, outputs: int) -> int:
    """Pieces that the pairs of an offset are summed in."""
    programs = num_offsets * -(-inputs // 64) * -(-outputs // 64)
    worth = num_pairs // (num_offsets * PIECE_PAIRS)
    return max(1, min(worth, MOST_PIECES, -(-ENOUGH_PROGRAMS // programs)))


def _problem(
    kind: Kind,
    x_NC: Tensor,
    outputs: int,
    lists: tuple[Tensor, Tensor, Tensor],
    num_targets: int,
    *,
    has_table: bool,
) -> Problem:
    return Problem(
        kind=kind,
        dtype=x_NC.dtype,
        device=x_NC.device,
        num_offsets=len(lists[2]),
        inputs=x_NC.shape[1],
        outputs=outputs,
        num_targets=num_targets,
        num_pairs=len(lists[0]),
        has_table=has_table,
    )


def _timer(run: Callable[[Setting], Tensor]) -> Callable[[Setting], float]:
    """Times settings; those that the device has no room for take forever."""

    def seconds(setting: Setting) -> float:
        try:
            run(setting)  # compiles
        except triton.OutOfResources:
            return math.inf
        return measure_seconds(lambda: run(setting))

    return seconds


def _blocks(setting: Setting, x_NC: Tensor) -> dict[str, Any]:
    return {
        "BLOCK_C": setting.block_inputs,
        "BLOCK_O": setting.block_outputs,
        "PRECISION": precision_of(x_NC.dtype),
        "num_warps": setting.num_warps,
        "num_stages": setting.num_stages,
    }
