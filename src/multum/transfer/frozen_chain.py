"""Frozen convolutions behind each other as one layer: between them a bit an element is kept, and nothing is copied.

An inverted residual block is six times as wide inside as at its border. As layers of their own its convolutions hand
wide pictures and wide gradients to each other, all of a batch at a time, and nobody may write over what was handed to
him. In a chain a batch goes through in pieces, so that wide pictures of a few are all that is there, and an
activation's gradient is written over the one that came: with fixed statistics no picture knows of another, so the
result is the same, but for the order in which gradients of shifts are added up. It takes no longer, and no less.

Shape legend: B batch, C and O channels in and out.

Source: TinyTL (NeurIPS 2020), section 3.1, of what backward needs.
Differs from the paper: which keeps a bit an element too, and says nothing of gradients.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from multum.ops.masked_activation import (
    Bend,
    masked_activation,
    masked_activation_,
    masked_gradient,
    masked_sum,
)
from multum.ops.masked_activation.op import is_channels_last, laid_out
from multum.transfer.frozen_convolution import Geometry, conv_input_gradient, convolve, empty_in_layout
from multum.transfer.frozen_weight import FrozenWeight

PIECE_BYTES = 4 << 20
"""Of the widest picture in a piece; smaller ones cost time, for calls, and from here on memory is elsewhere."""
IN_PIECES = ("cpu", "meta")
"""Kinds of devices whose batches are cut: a GPU wants all pictures at once, and `meta` stands for a CPU in ledgers."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A convolution with a frozen weight, and an activation behind it of which a bit an element is kept."""

    weight: FrozenWeight
    """(O, c, ...)."""
    shift: Tensor | None
    """Added to each channel; may be trained."""
    geometry: Geometry
    """How the convolution goes over its input."""
    bend: Bend | None = None
    """The activation; None: none."""


def frozen_chain(
    x: Float[Tensor, "B C ..."], links: Sequence[Link], *, skip: bool = False
) -> Float[Tensor, "B O ..."]:
    """Run convolutions with frozen weights, and their activations, one after the other.

    Args:
        x: Input of the first.
        links: At least one.
        skip: Whether x is added to what comes out, which has its shape then.

    >>> from multum.transfer.frozen_weight import plain
    >>> once = Geometry(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
    >>> twice = Link(weight=plain(torch.full((1, 1, 1, 1), 2.0)), shift=torch.ones(1), geometry=once, bend=Bend())
    >>> frozen_chain(torch.tensor([[[[3.0, -4.0]]]]), [twice, twice]).flatten().tolist()
    [15.0, 1.0]
    """
    if (
        torch.compiler.is_compiling()
    ):  # a compiler sees an activation as an operation, and joins what it can itself
        y = x
        for it in links:
            y = _chained(y, [replace(it, bend=None)])
            y = y if it.bend is None else masked_activation(y, it.bend)
        return x + y if skip else y
    return _chained(x, links, skip=skip)


def _chained(x: Tensor, links: Sequence[Link], *, skip: bool = False) -> Tensor:
    plan = _Plan(
        geometries=tuple(it.geometry for it in links),
        bends=tuple(it.bend for it in links),
        builds=tuple(it.weight.build for it in links),
        num_stored=tuple(len(it.weight.stored) for it in links),
        skip=skip,
    )
    shifts = (it.shift for it in links)
    stored = (tensor for it in links for tensor in it.weight.stored)
    result: Tensor = _FrozenChain.apply(x, plan, *shifts, *stored)
    return result


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """All of a chain but its tensors."""

    geometries: tuple[Geometry, ...]
    bends: tuple[Bend | None, ...]
    builds: tuple[Callable[..., Tensor], ...]
    num_stored: tuple[int, ...]
    skip: bool

    def weights(self, stored: Sequence[Tensor]) -> list[Tensor]:
        """Made of what is stored, each once for all pieces."""
        rest = iter(stored)
        return [
            build(*(next(rest) for _ in range(count)))
            for build, count in zip(self.builds, self.num_stored, strict=True)
        ]


class _FrozenChain(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: _Plan, *tensors: Tensor | None) -> Tensor:
        count = len(plan.builds)
        shifts, stored = tensors[:count], tensors[count:]
        weights = plan.weights(stored)  # type: ignore[arg-type]
        ctx.plan, ctx.size = plan, _pictures_of_a_piece(x, weights, plan.geometries)
        bits: list[Tensor | None] = []
        whole = None
        for start in range(0, max(1, len(x)), ctx.size):
            piece = x[start : start + ctx.size]
            shapes, y = [], piece
            for weight, shift, geometry, bend in zip(
                weights, shifts, plan.geometries, plan.bends, strict=True
            ):
                shapes.append((y.shape[1:], is_channels_last(y)))
                y = convolve(y, weight, shift, geometry)
                y = y if is_channels_last(y) else y.contiguous()
                bits.append(None if bend is None else masked_activation_(y, bend))
            ctx.shapes = [*shapes, (y.shape[1:], is_channels_last(y))]
            y = y.add_(piece) if plan.skip else y
            whole = _gathered(whole, y, start, len(x))
        ctx.save_for_backward(*bits, *stored)
        assert whole is not None, "there is at least one piece, if an empty one"
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        plan, count = ctx.plan, len(ctx.plan.builds)
        num_stored = sum(plan.num_stored)
        bits, stored = ctx.saved_tensors[:-num_stored], ctx.saved_tensors[-num_stored:]
        wants_x, wants_shift = ctx.needs_input_grad[0], ctx.needs_input_grad[2 : 2 + count]
        back = _Back(plan, plan.weights(stored), ctx.shapes, wants_x=wants_x, wants_shift=wants_shift)
        whole = None
        for start in range(0, max(1, len(gradient)), ctx.size):
            place = start // ctx.size * count
            some = back.through(gradient[start : start + ctx.size], bits[place : place + count])
            if wants_x:
                whole = _gathered(whole, some, start, len(gradient))
        return whole, None, *back.totals, *[None] * num_stored


def _gathered(whole: Tensor | None, piece: Tensor, start: int, count: int) -> Tensor:
    """All pictures' tensor with a piece in its place; of one piece the piece itself."""
    if len(piece) == count:
        return piece
    if whole is None:
        whole = empty_in_layout((count, *piece.shape[1:]), piece, channels_last=is_channels_last(piece))
    whole[start : start + len(piece)] = piece
    return whole


class _Back:
    """The way back through a chain, a piece at a time."""

    def __init__(
        self,
        plan: _Plan,
        weights: Sequence[Tensor],
        shapes: Sequence[tuple[torch.Size, bool]],
        *,
        wants_x: bool,
        wants_shift: Sequence[bool],
    ) -> None:
        self.plan, self.weights, self.shapes = plan, weights, shapes
        self.wants_x, self.wants_shift = wants_x, wants_shift
        self.totals: list[Tensor | None] = [None] * len(weights)
        """Gradients of the shifts, over the pieces that went through."""

    def through(self, gradient: Tensor, bits: Sequence[Tensor | None]) -> Tensor:
        """Take a piece's gradient back to the piece's input, or as far as anything wants it."""
        came = gradient
        lowest = 0 if self.wants_x else self.wants_shift.index(True)
        last = len(self.weights) - 1
        for place in range(last, lowest - 1, -1):
            goes_on = place > lowest or self.wants_x
            gradient = self._through_activation(
                gradient, bits[place], place, is_ours=place < last, goes_on=goes_on
            )
            if goes_on:
                shape, channels_last = self.shapes[place]
                gradient = conv_input_gradient(
                    gradient,
                    (len(gradient), *shape),
                    self.weights[place],
                    self.plan.geometries[place],
                    channels_last,
                )
        return gradient.add_(came) if self.plan.skip and self.wants_x else gradient

    def _through_activation(
        self, gradient: Tensor, bits: Tensor | None, place: int, *, is_ours: bool, goes_on: bool
    ) -> Tensor:
        """Written over the gradient where nobody else has it; no more than its sum where it does not go on."""
        bend, wants_sum, total = self.plan.bends[place], self.wants_shift[place], None
        if bits is not None and bend is not None:
            placed = laid_out(gradient, channels_last=self.shapes[place + 1][1])
            in_place = is_ours or placed is not gradient
            if not goes_on:
                total = masked_sum(placed, bits, bend)
            else:
                gradient, total = masked_gradient(placed, bits, bend, with_sum=wants_sum, in_place=in_place)
        elif wants_sum:
            total = gradient.sum([0, *range(2, gradient.dim())])
        if total is not None:
            before = self.totals[place]
            self.totals[place] = total if before is None else before + total
        return gradient


def _pictures_of_a_piece(x: Tensor, weights: Sequence[Tensor], geometries: Sequence[Geometry]) -> int:
    """As many as have their widest inner picture in `PIECE_BYTES`, a power of 2, so that few shapes are met.

    All of them where a chain is no wider inside than at its ends, which are there whole anyway.
    """
    if x.device.type not in IN_PIECES or len(x) < 2:
        return max(1, len(x))
    first, *inner, last = x[0].numel(), *_sizes(x.shape[2:], weights, geometries)
    if max(inner, default=0) <= first + last:
        return len(x)
    fitting = PIECE_BYTES // (max(inner) * x.element_size())
    return min(len(x), 1 << max(0, fitting.bit_length() - 1))


def _sizes(pixels: Sequence[int], weights: Sequence[Tensor], geometries: Sequence[Geometry]) -> Iterator[int]:
    """Numbers that a picture has behind each convolution, borders not counted."""
    for weight, it in zip(weights, geometries, strict=True):
        pixels = [-(-size // stride) for size, stride in zip(pixels, it.stride, strict=True)]
        yield weight.shape[0] * torch.Size(pixels).numel()
