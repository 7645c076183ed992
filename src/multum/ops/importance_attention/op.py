"""The public function, its choice of implementation, its registration with torch. Shape legend as in `reference.py`.

Registered as `torch.ops.multum.importance_attention` with a fake kernel, an autograd formula and a FLOP formula, so
that torch.compile, torch.export and FLOP counters see one operation with known cost.
"""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from multum.core import invalid
from multum.ops.dispatch import Implementation, choose, has_triton
from multum.ops.importance_attention import cpu, reference

Choice = Literal["auto", "reference", "cpu", "triton"]


def importance_attention(
    query_BHQD: Float[Tensor, "B H Q D"],
    key_BGKD: Float[Tensor, "B G K D"],
    value_BGKD: Float[Tensor, "B G K D"],
    *,
    key_mask_BK: Bool[Tensor, "B K"] | None = None,
    query_mask_BQ: Bool[Tensor, "B Q"] | None = None,
    scale: float | None = None,
    causal: bool = False,
    importance_from: int = 0,
    impl: Choice = "auto",
) -> tuple[Float[Tensor, "B H Q D"], Float[Tensor, "B H K"]]:
    """Softmax attention that also sums the attention each key receives (SpAtten, Alg. 2).

    `importance[b, h, k] = sum over query rows q of prob[b, h, q, k]`, in the same pass as the context. A fast path
    never stores the probabilities.

    Args:
        query_BHQD: Queries; last axis contiguous for the fast paths (others are copied).
        key_BGKD: Keys of G heads; G divides H, and query head h reads key head h // (H // G).
        value_BGKD: Values, shaped like the keys.
        key_mask_BK: True for keys that may be attended to; None for all. A dropped key gets importance 0.
        query_mask_BQ: True for rows that count; None for all. A dropped row's context is 0 and adds no importance.
        scale: Factor of the scores; default `D ** -0.5`.
        causal: Row q sees only keys k <= K - Q + q: the rows are the last Q of K positions, so that a prompt can be
            read in chunks. A row that sees no key (left padding) has context 0. The fast paths skip the rest.
        importance_from: First query row that adds importance; the context of all rows is computed.
        impl: `reference` (plain torch), `cpu` (compiled, float32), `triton` (CUDA), or `auto`: the fastest that
            takes these tensors.

    Returns:
        Context (B, H, Q, D) in the queries' dtype, and importance (B, H, K) in float32 (float64 for float64 inputs).
        Importance of one head sums to its rows that add some. Differentiable in query, key and value through both.

    Raises:
        UserError: Shapes that do not fit, or an implementation that does not take these tensors.

    Scores must be finite. A row with a NaN or +infinite score among the keys it sees has a context of NaN, and the
    importance of all keys of its head becomes NaN if the row adds any. A score of -infinity does the same in the
    compiled path; elsewhere it is a probability of 0. Dropping keys is the mask's business.

    Source: SpAtten (HPCA 2021), section III-A and Algorithm 2.
    Differs from the paper: the sum over heads is left to the caller, who may weigh them; rows of padding add nothing.

    >>> q = torch.randn(1, 2, 5, 8)
    >>> context, importance = importance_attention(q, q, q)
    >>> bool(torch.allclose(importance.sum(dim=-1), torch.tensor(5.0)))
    True
    """
    _check(query_BHQD, key_BGKD, value_BGKD, key_mask_BK, query_mask_BQ)
    num_rows, width = query_BHQD.shape[2:]
    if not 0 <= importance_from <= num_rows:
        raise invalid("importance_from", f"from 0 to the {num_rows} query rows", importance_from)
    factor = width**-0.5 if scale is None else float(scale)
    arguments = query_BHQD, key_BGKD, value_BGKD, key_mask_BK, query_mask_BQ, factor, impl
    result: tuple[Tensor, Tensor] = _importance_attention(
        *arguments, causal=causal, importance_from=importance_from
    )
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


def _check(
    query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None, query_mask: Tensor | None
) -> None:
    if query.dim() != 4 or key.shape != value.shape or key.dim() != 4:
        shapes = tuple(query.shape), tuple(key.shape), tuple(value.shape)
        raise invalid("query, key, value", "of shape (B, H, Q, D), (B, G, K, D), (B, G, K, D)", shapes)
    if (query.shape[0], query.shape[3]) != (key.shape[0], key.shape[3]):
        raise invalid("query and key", "equal in batch and width", (tuple(query.shape), tuple(key.shape)))
    heads, groups = query.shape[1], key.shape[1]
    if heads != groups and (groups == 0 or heads % groups != 0):
        raise invalid("the number of query heads", f"a multiple of the {groups} key heads", heads)
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
    *,
    causal: bool = False,
    importance_from: int = 0,
) -> tuple[Tensor, Tensor]:
    impl = choose(impl, query, implementations())  # in here, so that an exported program runs on any machine
    if impl == "cpu":
        return cpu.importance_attention_cpu(
            query, key, value, key_mask, query_mask, scale, causal=causal, importance_from=importance_from
        )
    if impl == "triton":
        from multum.ops.importance_attention.triton import importance_attention_triton

        return importance_attention_triton(
            query, key, value, key_mask, query_mask, scale, causal=causal, importance_from=importance_from
        )
    context, importance = reference.importance_attention_reference(
        query, key, value, key_mask, query_mask, scale, causal=causal, importance_from=importance_from
    )
    return context.transpose(1, 2).contiguous().transpose(1, 2), importance


@_importance_attention.register_fake
def _fake(
    query: Tensor,
    key: Tensor,
    *_: object,
    causal: bool = False,  # noqa: ARG001 - the signature of the operator
    importance_from: int = 0,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    batch, heads, rows, width = query.shape
    context = query.new_empty(batch, rows, heads, width).transpose(1, 2)
    importance_dtype = torch.promote_types(query.dtype, torch.float32)
    return context, query.new_empty(batch, heads, key.shape[2], dtype=importance_dtype)


def _save_for_backward(
    ctx: torch.autograd.function.FunctionCtx,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, float, str],
    keyword_only_inputs: dict[str, Any],
    output: tuple[Tensor, Tensor],  # noqa: ARG001 - torch passes it by name
) -> None:
    ctx.save_for_backward(*inputs[:5])  # type: ignore[arg-type] # None is allowed, its stub forgets
    ctx.scale, ctx.options = inputs[5], keyword_only_inputs  # type: ignore[attr-defined]


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
        **ctx.options,  # type: ignore[attr-defined]
    )
    return (*grads, None, None, None, None)


_importance_attention.register_autograd(_backward, setup_context=_save_for_backward)


@register_flop_formula(torch.ops.multum.importance_attention)  # type: ignore[untyped-decorator, unused-ignore]
def importance_attention_flops(
    query_shape: tuple[int, int, int, int],
    key_shape: tuple[int, int, int, int],
    *_: object,
    causal: bool = False,
    **__: object,
) -> int:
    """Floating-point operations of both products: `4 B H D` for each pair of a row and a key.

    Keys that a mask drops are counted, as in a dense model. A causal pass counts the pairs at or below the diagonal
    only; its fast paths compute these and the rest of the blocks that the diagonal crosses.

    >>> importance_attention_flops((1, 12, 384, 64), (1, 12, 384, 64), None)
    452984832
    >>> importance_attention_flops((1, 12, 384, 64), (1, 12, 384, 64), None, causal=True)
    227082240
    """
    batch, heads, rows, width = query_shape
    keys = key_shape[2]
    pairs = rows * keys
    if causal:  # the last of `seeing` rows sees all keys, the one before one less
        seeing = min(rows, keys)
        pairs = seeing * keys - seeing * (seeing - 1) // 2
    return 4 * batch * heads * pairs * width
