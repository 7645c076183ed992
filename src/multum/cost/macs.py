"""Multiply-accumulates of one operation: torch's FLOP counter halved, our own formulas, and yours.

    @register_macs(torch.ops.mylib.sparse_product)
    def sparse_product_macs(values, columns, dense, *, out_val):
        return values.numel() * dense.shape[-1]

An operation that looks like a matrix product, or comes from a library that nobody described, and has no formula is
never skipped silently: it is listed in `Cost.uncounted_ops`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.utils.flop_counter import flop_registry

from multum.core.errors import invalid, wrong_type
from multum.cost.mac_formulas import MacCount, MacFormula, own_formulas

_formulas: Final[dict[Any, MacFormula]] = dict(own_formulas())

_KNOWN_NAMESPACES: Final = frozenset(
    {
        "aten",
        "prim",
        "prims",
        "rngprims",
        "inductor",
        "profiler",
        "debugprims",
        "c10d",
        "_c10d_functional",
        "higher_order",
    }
)
"""Libraries of torch whose operations we judge by their name; one of any other library needs a formula."""

_PRODUCT_NAME: Final = re.compile(
    r"(^|_)(mm|bmm|matmul|addmm|baddbmm|addbmm|mv|addmv|dot|vdot|inner|gemm|einsum|bilinear|trilinear"
    r"|conv\w*|linear|lstm|gru|rnn|attention|sdpa|cdist)(_|\d|$)"
)
_NO_PRODUCT_NAME: Final = re.compile(
    r"upsample|reorder|interpolate|fake_quant|pack_weight|rnn_flatten|sdp_choice"
)
_BATCHED_PRODUCTS: Final = frozenset({"bmm", "baddbmm"})


def register_macs(operation: Any) -> Callable[[MacFormula], MacFormula]:
    """Teach the ruler what a custom operation costs.

    Args:
        operation: What `torch.library.custom_op` returned, or `torch.ops.library.name`, or one overload of it.

    Returns:
        A decorator for the formula: a function that takes the operation's arguments and the keyword `out_val` (its
        result) and returns the number of MACs, or a `MacCount` when a part of them is attention.

    Raises:
        UserError: When this is no operation, or it has a formula already.

    >>> @torch.library.custom_op("multum_doctest::outer", mutates_args=())
    ... def outer(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    ...     return left[:, None] * right
    >>> @register_macs(outer)
    ... def outer_macs(left, right, *, out_val):
    ...     return out_val.numel()
    >>> count_macs(torch.ops.multum_doctest.outer.default, (torch.ones(2), torch.ones(3)), {}, torch.ones(2, 3))
    MacCount(total=6, attention=0)
    """
    packet = _packet_of(operation)

    def register(formula: MacFormula) -> MacFormula:
        if packet in _formulas:
            raise invalid("operation", "one without a MAC formula", str(packet), "it has one already")
        _formulas[packet] = formula
        return formula

    return register


def has_formula(operation: Any) -> bool:
    """Tell whether the MACs of an operation are known, so that it need not be taken apart."""
    packet = _packet_of(operation)
    return packet in _formulas or packet in flop_registry


def count_macs(
    operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: object
) -> MacCount | None:
    """Count the MACs of one call of an operation.

    Args:
        operation: The operation.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        result: What it returned.

    Returns:
        The count; None when it looks like a product and cannot be counted.
    """
    packet = _packet_of(operation)
    own, theirs = _formulas.get(packet), flop_registry.get(packet)
    try:
        if own is not None:
            counted = own(*args, **kwargs, out_val=result)
        elif theirs is not None:
            counted = int(theirs(*args, **kwargs, out_val=result)) // 2
        else:
            return None if looks_like_product(operation) else MacCount(0)
    except (
        Exception
    ):  # a formula met arguments that it does not understand: say so in uncounted_ops, never guess
        return None
    if isinstance(counted, MacCount):
        return counted
    return MacCount(int(counted), int(counted) if is_attention(operation) else 0)


def looks_like_product(operation: Any) -> bool:
    """Tell whether leaving an operation uncounted would make the MACs wrong, judged by its name and library.

    >>> looks_like_product(torch.ops.aten.mm.default), looks_like_product(torch.ops.aten.upsample_bilinear2d.default)
    (True, False)
    """
    namespace, name = name_of(operation).split(".")[:2]
    if namespace not in _KNOWN_NAMESPACES:
        return True
    return bool(_PRODUCT_NAME.search(name)) and not _NO_PRODUCT_NAME.search(name)


def is_attention(operation: Any) -> bool:
    """Tell whether an operation is a fused attention, judged by its name."""
    name = name_of(operation).partition(".")[2]
    return "attention" in name or "sdpa" in name


def is_batched_product(operation: Any) -> bool:
    """Tell whether an operation multiplies two batches of matrices, as unfused attention does."""
    return name_of(operation) in {f"aten.{name}" for name in _BATCHED_PRODUCTS}


def name_of(operation: Any) -> str:
    """Name an operation without its overload.

    >>> name_of(torch.ops.aten.add.Tensor)
    'aten.add'
    """
    packet = _packet_of(operation)
    qualified = getattr(packet, "_qualified_op_name", None)
    if qualified is None:
        return f"higher_order.{packet.name()}" if hasattr(packet, "name") else f"python.{packet}"
    return str(qualified).replace("::", ".")


def _packet_of(operation: Any) -> Any:
    if isinstance(operation, torch.library.CustomOpDef if hasattr(torch.library, "CustomOpDef") else ()):
        operation = operation._opoverload
    operation = getattr(operation, "_opoverload", operation)
    if isinstance(operation, torch._ops.OpOverload):
        return operation._overloadpacket
    if isinstance(operation, (torch._ops.OpOverloadPacket, torch._ops.HigherOrderOperator)):
        return operation
    raise wrong_type("operation", "a torch operation such as torch.ops.library.name", operation)
