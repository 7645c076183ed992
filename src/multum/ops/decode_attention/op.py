"""The public function, its choice of implementation, its registration with torch. Shape legend as in `reference.py`.

Registered as `torch.ops.multum.decode_attention` over plain tensors, with a fake kernel and a FLOP formula.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from multum.core import invalid
from multum.ops.bit_planes import FloatRows, PlaneRows, Rows
from multum.ops.decode_attention import cpu, reference
from multum.ops.decode_attention.result import DecodeResult, default_groups
from multum.ops.dispatch import Implementation, choose, has_triton

Choice = Literal["auto", "reference", "cpu", "triton"]


def decode_attention(
    query_BHD: Float[Tensor, "B H D"],
    key: Rows,
    value: Rows,
    count_B: Int[Tensor, " B"],
    *,
    group_BH: Int[Tensor, "B H"] | None = None,
    threshold: float | None = None,
    num_values_B: Int[Tensor, " B"] | None = None,
    scale: float | None = None,
    impl: Choice = "auto",
    whole_BC: Bool[Tensor, "B C"] | None = None,
) -> DecodeResult:
    """Attend with one new query row per sequence to a cache, reading only the rows and bit planes it needs.

    Probabilities come from the keys' MSBs. A head whose largest probability is below `threshold` is computed once more
    with the LSBs. Of the values only the largest probabilities' rows are read. The attention that each slot receives is
    summed in the same pass.

    Args:
        query_BHD: One query row for each sequence and each head that is computed.
        key: Keys, axes (B, G, C, ...); the order of the slots has no meaning here.
        value: Values, of as many slots.
        count_B: Slots in use, the first so many of each sequence. A sequence without any gets zeros.
        group_BH: Group whose rows each head reads; None: `h // (H // G)`.
        threshold: In [0, 1]; None or 0: LSBs are never read; 1: always.
        num_values_B: Value rows that each head multiplies, not renormalised, of equal ones the lower slot; None: all.
        scale: Factor of the scores; default `D ** -0.5`.
        impl: `reference` (plain torch), `cpu` (compiled), `triton` (CUDA), or `auto`: the fastest that fits.
        whole_BC: Slots whose keys every head reads with both planes from the start; a flat row then reads the others'.

    Returns:
        Context in the queries' type; importance, summed over heads, in float32 (float64 for float64 queries); which
        heads were flat; how many value rows each group read.

    Raises:
        UserError: Shapes that do not fit, a threshold or whole rows for keys without LSBs, gradients asked for, or an
            implementation that does not take these tensors.

    Source: SpAtten (HPCA 2021), sections III-A, III-C, III-D.
    Differs from the paper: a flat row's keys are read once more by each group of heads that shares them, not by each
    head; queries are not rounded. Whole rows are not in the paper.

    >>> key = PlaneRows.quantize(torch.randn(1, 2, 5, 64), 8)
    >>> value = PlaneRows.quantize(torch.randn(1, 2, 5, 64), 8, two_planes=False)
    >>> result = decode_attention(torch.randn(1, 4, 64), key, value, torch.tensor([5]), threshold=0.1)
    >>> result.context_BHD.shape, round(result.importance_BC.sum().item(), 4)
    (torch.Size([1, 4, 64]), 4.0)
    """
    _check(query_BHD, key, value, count_B, group_BH, num_values_B)
    _check_whole(whole_BC, query_BHD, key)
    limit = checked_threshold(threshold, key)
    factor = query_BHD.shape[-1] ** -0.5 if scale is None else float(scale)
    options = count_B, group_BH, num_values_B, limit, factor, impl, *(() if whole_BC is None else (whole_BC,))
    if is_plain_call(query_BHD):
        outcome = _decode(query_BHD, key, value, *options)
    else:
        outcome = _decode_attention(query_BHD, *_parts(key), *_parts(value), *options)
    context, importance, flat, value_rows = outcome
    return DecodeResult(context_BHD=context, importance_BC=importance, flat_BH=flat, value_rows_BG=value_rows)


def implementations(key: Rows | None = None, value: Rows | None = None) -> dict[str, Implementation]:
    """What each fast path takes; `reference` takes everything. Rows of a type that a path does not read exclude it."""
    reads = all(cpu.takes(rows) for rows in (key, value) if rows is not None)
    return {
        "cpu": Implementation(
            device="cpu", dtypes=cpu.DTYPES if reads else (), available=lambda: cpu.library() is not None
        ),
        "triton": Implementation(device="cuda", dtypes=cpu.DTYPES, available=has_triton),
    }


def is_plain_call(query: Tensor) -> bool:
    """Whether nobody watches the dispatcher (compiler, exporter, FLOP counter): it costs as much as a small kernel."""
    if type(query) is not Tensor or query.is_meta or torch.compiler.is_compiling():
        return False
    return torch._C._len_torch_dispatch_stack() == 0


Parts = tuple[Tensor, Tensor | None, Tensor | None, int]


def _parts(rows: Rows) -> Parts:
    """First plane or floats, LSBs, scales, bits of the first plane (0 for floats)."""
    if isinstance(rows, PlaneRows):
        return rows.msb, rows.lsb, rows.scale, rows.msb_bits
    return rows.rows, None, None, 0


def _rows(first: Tensor, lsb: Tensor | None, scale: Tensor | None, bits: int, width: int) -> Rows:
    if scale is None:
        return FloatRows(rows=first)
    return PlaneRows(msb=first, lsb=lsb, scale=scale, msb_bits=bits, width=width)


def checked_threshold(threshold: float | None, key: Rows) -> float:
    """The threshold as the kernels take it, 0 for none."""
    if threshold is None or threshold == 0.0:
        return 0.0
    if not 0.0 <= threshold <= 1.0:
        raise invalid("threshold", "in [0, 1]", threshold, "it is compared with a probability")
    if not isinstance(key, PlaneRows) or key.lsb is None:
        raise invalid("threshold", "None for keys without a plane of LSBs", threshold)
    return float(threshold)


def _check_whole(whole: Tensor | None, query: Tensor, key: Rows) -> None:
    if whole is None:
        return
    if not isinstance(key, PlaneRows) or key.lsb is None:
        raise invalid("whole", "None for keys without a plane of LSBs", tuple(whole.shape))
    shape = key.msb.shape[0], key.msb.shape[2]
    if whole.shape != shape or whole.dtype is not torch.bool:
        got = f"{whole.dtype} of shape {tuple(whole.shape)}"
        raise invalid("whole", f"torch.bool of shape {shape}, a mark for each slot", got)
    if whole.device != query.device:
        raise invalid("the tensors", f"on {query.device} like the queries", str(whole.device))


def _check(
    query: Tensor, key: Rows, value: Rows, count: Tensor, group: Tensor | None, num_values: Tensor | None
) -> None:
    first = key.msb if isinstance(key, PlaneRows) else key.rows
    other = value.msb if isinstance(value, PlaneRows) else value.rows
    if query.dim() != 3 or first.dim() != 4 or other.dim() != 4 or first.shape[:3] != other.shape[:3]:
        shapes = tuple(query.shape), tuple(first.shape), tuple(other.shape)
        raise invalid("query, key, value", "of shape (B, H, D), (B, G, C, ...), (B, G, C, ...)", shapes)
    (batch, heads, width), (rows_batch, groups, _, _) = query.shape, first.shape
    if batch != rows_batch or not width == key.width == value.width:
        sizes = (batch, width), (rows_batch, key.width), (rows_batch, value.width)
        raise invalid("query, key and value", "equal in batch and width", sizes)
    if group is None and (groups == 0 or heads % groups):
        raise invalid("the heads", f"a multiple of the {groups} groups", heads, "or give group_BH")
    for name, integers, shape in (
        ("count", count, (batch,)),
        ("group", group, (batch, heads)),
        ("num_values", num_values, (batch,)),
    ):
        if integers is not None and (integers.shape != shape or integers.is_floating_point()):
            got = f"{integers.dtype} of shape {tuple(integers.shape)}"
            raise invalid(name, f"integers of shape {shape}", got)
    for tensor in (first, other, count, group, num_values):
        if tensor is not None and tensor.device != query.device:
            raise invalid("the tensors", f"on {query.device} like the queries", str(tensor.device))
    if torch.is_grad_enabled() and (query.requires_grad or first.requires_grad or other.requires_grad):
        remedy = "decode under torch.no_grad(), train with importance_attention"
        raise invalid("query, key and value", "without gradients", "requires_grad=True", remedy)


@torch.library.custom_op("multum::decode_attention", mutates_args=())
def _decode_attention(
    query: Tensor,
    key: Tensor,
    key_lsb: Tensor | None,
    key_scale: Tensor | None,
    key_bits: int,
    value: Tensor,
    value_lsb: Tensor | None,
    value_scale: Tensor | None,
    value_bits: int,
    count: Tensor,
    group: Tensor | None,
    num_values: Tensor | None,
    threshold: float,
    scale: float,
    impl: str,
    whole: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    width = query.shape[-1]
    keys = _rows(key, key_lsb, key_scale, key_bits, width)
    values = _rows(value, value_lsb, value_scale, value_bits, width)
    return _decode(query, keys, values, count, group, num_values, threshold, scale, impl, whole)


def _decode(
    query: Tensor,
    key: Rows,
    value: Rows,
    count: Tensor,
    group: Tensor | None,
    num_values: Tensor | None,
    threshold: float,
    scale: float,
    impl: str,
    whole: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # the choice is made in here, so that an exported program runs on any machine
    usual = (
        impl == "auto" and query.is_cpu and query.dtype in cpu.DTYPES and cpu.takes(key) and cpu.takes(value)
    )
    if not (usual and cpu.library() is not None):  # the list of all paths takes a while
        impl = choose(impl, query, implementations(key, value))
    if impl in {"auto", "cpu"}:
        return cpu.decode_attention_cpu(query, key, value, count, group, threshold, num_values, scale, whole)
    if impl == "triton":
        from multum.ops.decode_attention.triton import decode_attention_triton

        return decode_attention_triton(query, key, value, count, group, threshold, num_values, scale, whole)
    if group is None:
        num_groups = _parts(key)[0].shape[1]
        group = default_groups(query.shape[0], query.shape[1], num_groups, device=query.device)
    return reference.decode_attention_reference(
        query, key, value, count, group, threshold, num_values, scale, whole
    )


@_decode_attention.register_fake
def _fake(query: Tensor, key: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, heads, _width = query.shape
    importance_dtype = torch.promote_types(query.dtype, torch.float32)
    return (
        torch.empty_like(query, memory_format=torch.contiguous_format),
        query.new_empty(batch, key.shape[2], dtype=importance_dtype),
        query.new_empty(batch, heads, dtype=torch.bool),
        query.new_empty(batch, key.shape[1], dtype=torch.int64),
    )


@register_flop_formula(torch.ops.multum.decode_attention)  # type: ignore[untyped-decorator, unused-ignore]
def decode_attention_flops(
    query_shape: tuple[int, int, int], key_shape: tuple[int, int, int, int], *_: object, **__: object
) -> int:
    """Floating-point operations of both products over all slots: `4 B H C D`; how many are in use is not known here.

    >>> decode_attention_flops((1, 12, 64), (1, 12, 512, 64))
    1572864
    """
    batch, heads, width = query_shape
    return 4 * batch * heads * key_shape[2] * width
