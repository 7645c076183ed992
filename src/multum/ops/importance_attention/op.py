"""The public function, its choice of implementation, its registration with torch. Shape legend as in `reference.py`.

Registered as `torch.ops.multum.importance_attention` with a fake kernel, an autograd formula and a FLOP formula, so
that torch.compile, torch.export and FLOP counters see one operation with known cost.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from multum.core import invalid
from multum.ops.dispatch import Implementation, choose
from multum.ops.importance_attention import cpu, reference

Choice = Literal["auto", "reference", "cpu", "triton"]


def importance_attention(
    query_BHQD: Float[Tensor, "B H Q D"],
    key_BHKD: Float[Tensor, "B H K D"],
    value_BHKD: Float[Tensor, "B H K D"],
    *,
    key_mask_BK: Bool[Tensor, "B K"] | None = None,
    query_mask_BQ: Bool[Tensor, "B Q"] | None = None,
    scale: float | None = None,
    impl: Choice = "auto",
) -> tuple[Float[Tensor, "B H Q D"], Float[Tensor, "B H K"]]:
    """Softmax attention that also sums the attention each key receives (SpAtten, Alg. 2).

    `importance[b, h, k] = sum over query rows q of prob[b, h, q, k]`, in the same pass as the context. A fast path
    never stores the probabilities.

    Args:
        query_BHQD: Queries; last axis contiguous for the fast paths (others are copied).
        key_BHKD: Keys, as many heads as the queries.
        value_BHKD: Values.
        key_mask_BK: True for keys that may be attended to; None for all. A dropped key gets importance 0.
        query_mask_BQ: True for rows that count; None for all. A dropped row's context is 0 and adds no importance.
        scale: Factor of the scores; default `D ** -0.5`.
        impl: `reference` (plain torch), `cpu` (compiled, float32), `triton` (CUDA), or `auto`: the fastest that
            takes these tensors.

    Returns:
        Context (B, H, Q, D) in the queries' dtype, and importance (B, H, K) in float32 (float64 for float64 inputs).
        Importance of one head sums to the kept rows. Differentiable in query, key and value through both.

    Raises:
        UserError: Shapes that do not fit, or an implementation that does not take these tensors.

    Source: SpAtten (HPCA 2021), section III-A and Algorithm 2.
    Differs from the paper: the sum over heads is left to the caller, who may weigh them; rows of padding add nothing.

    >>> q = torch.randn(1, 2, 5, 8)
    >>> context, importance = importance_attention(q, q, q)
    >>> bool(torch.allclose(importance.sum(dim=-1), torch.tensor(5.0)))
    True
    """
    _check(query_BHQD, key_BHKD, value_BHKD, key_mask_BK, query_mask_BQ)
    factor = query_BHQD.shape[-1] ** -0.5 if scale is None else float(scale)
    arguments = query_BHQD, key_BHKD, value_BHKD, key_mask_BK, query_mask_BQ, factor, impl
    result: tuple[Tensor, Tensor] = _importance_attention(*arguments)
    return result


def implementations() -> dict[str, Implementation]:
    """What each fast path takes; `reference` takes everything."""
    return {
        "cpu": Implementation(
            device="cpu", dtypes=(torch.float32,), available=lambda: cpu.library() is not None
        ),
        "triton": Implementation(
            device="cuda", dtypes=(torch.float32, torch.bfloat16, torch.float16), available=has_triton
        ),
    }


def has_triton() -> bool:
    """Whether Triton can be imported."""
    from importlib.util import find_spec

    return find_spec("triton") is not None


def _check(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None, query_mask: Tensor | None
) -> None:
    if query.dim() != 4 or key.shape != value.shape or key.dim() != 4:
        shapes = tuple(query.shape), tuple(key.shape), tuple(value.shape)
        raise invalid("query, key, value", "of shape (B, H, Q, D), (B, H, K, D), (B, H, K, D)", shapes)
    if (query.shape[0], query.shape[1], query.shape[3]) != (key.shape[0], key.shape[1], key.shape[3]):
        sizes = tuple(query.shape), tuple(key.shape)
        raise invalid("query and key", "equal in batch, heads and width", sizes)
    if len({(t.dtype, t.device) for t in (query, key, value)}) > 1:
        kinds = tuple(f"{t.dtype} on {t.device}" for t in (query, key, value))
        raise invalid("query, key, value", "of one dtype on one device", kinds)
    for name, mask, length in (
        ("key_mask", key_mask, key.shape[2]),
        ("query_mask", query_mask, query.shape[2]),
    ):
        wanted = (torch.bool, (query.shape[0], length), query.device)
        if mask is not None and (mask.dtype, tuple(mask.shape), mask.device) != wanted:
            got = f"{mask.dtype} of shape {tuple(mask.shape)} on {mask.device}"
            raise invalid(name, f"boolean of shape {wanted[1]} on {query.device}", got)


@torch.library.custom_op("multum::importance_attention", mutates_args=())
def _importance_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    query_mask: Tensor | None,
    scale: float,
    impl: str,
) -> tuple[Tensor, Tensor]:
    impl = choose(impl, query, implementations())  # in here, so that an exported program runs on any machine
    if impl == "cpu":
        return cpu.importance_attention_cpu(query, key, value, key_mask, query_mask, scale)
    if impl == "triton":
        from multum.ops.importance_attention.triton import importance_attention_triton

        return importance_attention_triton(query, key, value, key_mask, query_mask, scale)
    context, importance = reference.importance_attention_reference(
        query, key, value, key_mask, query_mask, scale
    )
    return context.transpose(1, 2).contiguous().transpose(1, 2), importance


@_importance_attention.register_fake
def _fake(
    query: Tensor,
    key: Tensor,
    value: Tensor,  # noqa: ARG001 - the signature of the operator
    key_mask: Tensor | None,  # noqa: ARG001
    query_mask: Tensor | None,  # noqa: ARG001
    scale: float,  # noqa: ARG001
    impl: str,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    batch, heads, rows, width = query.shape
    context = query.new_empty(batch, rows, heads, width).transpose(1, 2)
    importance_dtype = torch.promote_types(query.dtype, torch.float32)
    return context, query.new_empty(batch, heads, key.shape[2], dtype=importance_dtype)


def _save_for_backward(
    ctx: torch.autograd.function.FunctionCtx,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, float, str],
    output: tuple[Tensor, Tensor],  # noqa: ARG001 - torch passes it by name
) -> None:
    ctx.save_for_backward(*inputs[:5])  # type: ignore[arg-type] # None is allowed, its stub forgets
    ctx.scale = inputs[5]  # type: ignore[attr-defined]


def _backward(
    ctx: torch.autograd.function.BackwardCFunction, context_grad: Tensor, importance_grad: Tensor
) -> tuple[Tensor | None, ...]:
    saved: tuple[Tensor, ...] = ctx.saved_tensors
    query, key, value, key_mask, query_mask = saved
    grads = reference.importance_attention_backward(
        context_grad,
        importance_grad,
        query,
        key,
        value,
        key_mask,
        query_mask,
        ctx.scale,  # type: ignore[attr-defined]
    )
    return (*grads, None, None, None, None)


_importance_attention.register_autograd(_backward, setup_context=_save_for_backward)


@register_flop_formula(torch.ops.multum.importance_attention)  # type: ignore[untyped-decorator, unused-ignore]
def importance_attention_flops(
    query_shape: tuple[int, int, int, int],
    key_shape: tuple[int, int, int, int],
    *_: object,
    **__: object,
) -> int:
    """Floating-point operations of both products: `4 B H Q K D` (masked keys are counted as in a dense model).

    >>> importance_attention_flops((1, 12, 384, 64), (1, 12, 384, 64), None)
    452984832
    """
    batch, heads, rows, width = query_shape
    return 4 * batch * heads * rows * key_shape[2] * width
