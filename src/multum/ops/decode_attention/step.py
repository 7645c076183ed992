"""Attention of one cache that is asked again for every token: checked and packed once, scores and eviction in one call.

The kernel's work on a pruned layer takes a tenth of a millisecond, and its bytes push Python's own out of the
processor's caches: half a dozen calls around it cost as much as the attention. So there is one.

Shape legend as in `reference.py`.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multum.core import invalid
from multum.ops.bit_planes import PLAIN, PlaneRows, RowFrame, Rows
from multum.ops.decode_attention import cpu
from multum.ops.decode_attention.eviction import evict_lowest
from multum.ops.decode_attention.op import Choice, checked_threshold, decode_attention, is_plain_call
from multum.ops.decode_attention.result import DecodeResult


class DecodeStep:
    """`decode_attention` over one layer's cache, whose rows may be written between calls but not move.

    Args:
        key: Keys, axes (B, G, C, ...).
        value: Values, of as many slots.
        num_heads: H.
        threshold: As for `decode_attention`.
        scale: As there.
        total_BC: Cumulative importance in float32; every call adds its own, in place, and chooses the slot that goes
            next (see `evict_lowest`). None: neither.
        protected_BC: Slots that must stay; read at every call.
        frame: How the values were changed before they were rounded, and the keys turned; queries and contexts are those
            of rows as they were. A mean of the keys needs no word: it moves all scores of a query alike.

    Raises:
        UserError: A threshold for keys without LSBs; a total of another shape or type.

    >>> key = PlaneRows.quantize(torch.randn(1, 2, 5, 64), 8)
    >>> value = PlaneRows.quantize(torch.randn(1, 2, 5, 64), 8, two_planes=False)
    >>> step = DecodeStep(key, value, 4, total_BC=torch.zeros(1, 5))
    >>> result = step(torch.randn(1, 4, 64), torch.tensor([5]))
    >>> bool(step.evicted_B == result.importance_BC.argmin())
    True
    """

    def __init__(
        self,
        key: Rows,
        value: Rows,
        num_heads: int,
        *,
        threshold: float | None = None,
        scale: float | None = None,
        total_BC: Float[Tensor, "B C"] | None = None,
        protected_BC: Bool[Tensor, "B C"] | None = None,
        frame: RowFrame = PLAIN,
    ) -> None:
        self.key, self.value, self.num_heads = key, value, num_heads
        self.threshold, self.scale = threshold, scale
        self.total_BC, self.protected_BC, self.frame = total_BC, protected_BC, frame
        self.evicted_B: Int[Tensor, " B"] | None = None
        """The slot that goes next, of each sequence; -1 where every slot in use is protected."""
        first = key.msb if isinstance(key, PlaneRows) else key.rows
        limit, factor = checked_threshold(threshold, key), key.width**-0.5 if scale is None else float(scale)
        for name, tensor, kind in (
            ("total", total_BC, torch.float32),
            ("protected", protected_BC, torch.bool),
        ):
            shape = first.shape[0], first.shape[2]
            if tensor is not None and (tensor.shape != shape or tensor.dtype is not kind):
                got = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
                raise invalid(name, f"{kind} of shape {shape}, a number for each slot", got)
        self._packed: cpu.PackedCall | None = None
        packs = cpu.takes(key) and cpu.takes(value) and frame.place and cpu.library() is not None
        if packs and key.place and value.place and _lies_in_rows(total_BC, protected_BC):
            self._packed = cpu.PackedCall(key, value, num_heads, limit, factor, total_BC, protected_BC, frame)

    def __reduce__(self) -> tuple[Any, ...]:  # a copy packs the addresses of its own tensors
        made_of = self.key, self.value, self.num_heads
        dials = self.threshold, self.scale, self.total_BC, self.protected_BC, self.frame
        return _made_again, (*made_of, *dials)

    def __call__(
        self,
        query_BHD: Float[Tensor, "B H D"],
        count_B: Int[Tensor, " B"],
        *,
        group_BH: Int[Tensor, "B H"] | None = None,
        num_values_B: Int[Tensor, " B"] | None = None,
        whole_BC: Bool[Tensor, "B C"] | None = None,
        impl: Choice = "auto",
    ) -> DecodeResult:
        """Attend, and add to the total; arguments, errors and result as of `decode_attention`.

        All of the result but its context may be overwritten by the next call.
        """
        packed = self._packed
        if (
            packed is None
            or impl != "auto"
            or not self._fits(query_BHD, count_B, group_BH, num_values_B, whole_BC)
        ):
            return self._composed(query_BHD, count_B, group_BH, num_values_B, whole_BC, impl)
        context_BHD = packed.run(query_BHD, count_B, group_BH, num_values_B, whole_BC)
        if self.total_BC is not None:
            self.evicted_B = packed.evicted
        return DecodeResult(context_BHD, packed.importance, packed.flat, packed.value_rows)

    def _composed(
        self,
        query_BHD: Tensor,
        count_B: Tensor,
        group_BH: Tensor | None,
        num_values_B: Tensor | None,
        whole_BC: Tensor | None,
        impl: Choice,
    ) -> DecodeResult:
        """The same in its single steps."""
        result = decode_attention(
            self.frame.turn(query_BHD),
            self.key,
            self.value,
            count_B,
            group_BH=group_BH,
            threshold=self.threshold,
            num_values_B=num_values_B,
            scale=self.scale,
            impl=impl,
            whole_BC=whole_BC,
        )
        if self.total_BC is not None:
            self.total_BC += result.importance_BC
            self.evicted_B = evict_lowest(self.total_BC, self.protected_BC, count_B)
        context_BHD = self.frame.context_out_of(result.context_BHD, group_BH)
        return result._replace(context_BHD=context_BHD)

    def _fits(
        self,
        query_BHD: Tensor,
        count_B: Tensor,
        group_BH: Tensor | None,
        num_values_B: Tensor | None,
        whole_BC: Tensor | None,
    ) -> bool:
        """Whether the packed call takes these tensors as they are."""
        assert self._packed is not None
        (batch, heads, _), shape = self._packed.shape, query_BHD.shape
        if (
            shape != self._packed.shape
            or query_BHD.dtype is not torch.float32
            or not is_plain_call(query_BHD)
        ):
            return False
        if (
            query_BHD.stride(2) != 1
            or not query_BHD.is_cpu
            or (query_BHD.requires_grad and torch.is_grad_enabled())
        ):
            return False
        if whole_BC is not None and not _is_whole_fitting(whole_BC, self.key, batch):
            return False
        return (
            _are_integers(count_B, (batch,))
            and (group_BH is None or _are_integers(group_BH, (batch, heads)))
            and (num_values_B is None or _are_integers(num_values_B, (batch,)))
        )


def _made_again(
    key: Rows,
    value: Rows,
    num_heads: int,
    threshold: float | None,
    scale: float | None,
    total_BC: Tensor | None,
    protected_BC: Tensor | None,
    frame: RowFrame,
) -> DecodeStep:
    return DecodeStep(
        key,
        value,
        num_heads,
        threshold=threshold,
        scale=scale,
        total_BC=total_BC,
        protected_BC=protected_BC,
        frame=frame,
    )


def _are_integers(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    return tensor.dtype is torch.int64 and tensor.shape == shape and tensor.is_cpu and tensor.is_contiguous()


def _is_whole_fitting(whole_BC: Tensor, key: Rows, batch: int) -> bool:
    if not isinstance(key, PlaneRows) or key.lsb is None or whole_BC.dtype is not torch.bool:
        return False
    return whole_BC.shape == (batch, key.msb.shape[2]) and whole_BC.is_cpu and whole_BC.stride(1) == 1


def _lies_in_rows(total_BC: Tensor | None, protected_BC: Tensor | None) -> bool:
    """Whether the kernel can read and write them where they lie."""
    if protected_BC is not None and not (protected_BC.is_cpu and protected_BC.stride(1) == 1):
        return False
    return total_BC is None or (total_BC.is_cpu and total_BC.is_contiguous())
