"""Norms whose statistics are of the sample, and what of their input is kept for backward.

    n = (x - mean) / deviation        y = n scale + shift        g = gradient of y times scale
    gradient of x = (g - mean(g) - n mean(g n)) / deviation

The means are over a group, channels of a sample or a row, so the exact gradient needs n even where no parameter trains.
`exact` keeps one tensor of the input's size and type: the input itself, which with the statistics says the same as n
and costs no copy. `8bit` keeps n in int8 with a step for each group; each number is off by at most half a step, h, its
group's largest |n| over 254, and the gradient of x by at most h (2 + h) |g| / deviation in Euclidean norm. `nothing`
leaves both means out, as if the statistics were constants: biased. Where the scale trains, n is needed anyway, and
`nothing` is `exact`.

Shape legend: B batch, C channels, M the dimensions that a layer norm normalizes.

Source: TinyTL (NeurIPS 2020), section 3.1 and Table 1; Wu and He, "Group Normalization" (ECCV 2018), section 3.
Differs from the paper: which charges nothing for such a norm with a frozen scale; its code keeps what torch keeps.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from multum.ops.masked_activation.op import is_channels_last, laid_out

Keeps = Literal["exact", "8bit", "nothing"]
"""What is kept of a norm's input."""
KEEPS: Final[tuple[str, ...]] = get_args(Keeps)
LARGEST = 127  # codes go from -127 to 127


def group_norm(
    x: Float[Tensor, "B C ..."],
    num_groups: int,
    scale_C: Float[Tensor, " C"] | None,
    shift_C: Float[Tensor, " C"] | None,
    *,
    eps: float = 1e-5,
    keeps: Keeps = "exact",
) -> Float[Tensor, "B C ..."]:
    """`torch.nn.functional.group_norm`, differentiable once, that keeps what `keeps` says.

    Args:
        x: Input.
        num_groups: Groups of channels; divides C.
        scale_C: Times the normalized input; may be trained.
        shift_C: Added to it; may be trained.
        eps: Added to variances under the root.
        keeps: Of the input, for backward; nothing at all where only the shift trains.
    """
    if torch.compiler.is_compiling() and keeps == "exact":  # compilers keep what they need themselves
        return functional.group_norm(x, num_groups, scale_C, shift_C, eps)
    dense = x if x.is_cpu and is_channels_last(x) else x.contiguous()
    y: Tensor = _SampleNorm.apply(dense, scale_C, shift_C, _Groups(num_groups=num_groups, eps=eps), keeps)
    return y


def layer_norm(
    x: Float[Tensor, "..."],
    shape: tuple[int, ...],
    scale_M: Float[Tensor, "..."] | None,
    shift_M: Float[Tensor, "..."] | None,
    *,
    eps: float = 1e-5,
    keeps: Keeps = "exact",
) -> Float[Tensor, "..."]:
    """`torch.nn.functional.layer_norm`, differentiable once, that keeps what `keeps` says; arguments as above."""
    if torch.compiler.is_compiling() and keeps == "exact":
        return functional.layer_norm(x, shape, scale_M, shift_M, eps)
    y: Tensor = _SampleNorm.apply(x.contiguous(), scale_M, shift_M, _Rows(shape=shape, eps=eps), keeps)
    return y


@dataclass(frozen=True, kw_only=True)
class _Groups:
    """Statistics of each sample's groups of channels."""

    num_groups: int
    eps: float

    def normalize(self, x: Tensor, scale: Tensor | None, shift: Tensor | None) -> tuple[Tensor, ...]:
        return torch.native_group_norm(x, scale, shift, *self._sizes(x), self.eps)

    def gradients(self, gradient: Tensor, *kept: Tensor | None, wants: list[bool]) -> tuple[Any, ...]:
        """Of input, scale and shift, by the input, mean, 1 / deviation and scale."""
        x, mean, rstd, scale = kept
        given = (gradient, x, mean, rstd, scale, *self._sizes(gradient), wants)
        return tuple(torch.ops.aten.native_group_norm_backward(*given))

    def beside(self, x: Tensor, scale: Tensor) -> Tensor:
        """The scale, to be multiplied with x."""
        return scale.view(1, -1, *[1] * (x.dim() - 2))

    def spread(self, x: Tensor, of_groups: Tensor) -> Tensor:
        """A number for each group, likewise."""
        of_channels = of_groups.repeat_interleave(x.shape[1] // self.num_groups, 1)
        return of_channels.view(*x.shape[:2], *[1] * (x.dim() - 2))

    def extremes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest number of each group."""
        of_channel = x.reshape(*x.shape[:2], -1)
        sizes = (len(x), self.num_groups, -1)
        return of_channel.amin(2).view(sizes).amin(2), of_channel.amax(2).view(sizes).amax(2)

    def shared(self, x: Tensor) -> list[int]:
        """Dimensions of x along which the shift is the same."""
        return [0, *range(2, x.dim())]

    def _sizes(self, x: Tensor) -> tuple[int, int, int, int]:
        return x.shape[0], x.shape[1], math.prod(x.shape[2:]), self.num_groups


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Statistics of rows: each is a group, and all of its scale is its own. The same methods."""

    shape: tuple[int, ...]
    eps: float

    def normalize(self, x: Tensor, scale: Tensor | None, shift: Tensor | None) -> tuple[Tensor, ...]:
        return torch.native_layer_norm(x, self.shape, scale, shift, self.eps)

    def gradients(self, gradient: Tensor, *kept: Tensor | None, wants: list[bool]) -> tuple[Any, ...]:
        x, mean, rstd, scale = kept
        given = (gradient, x, self.shape, mean, rstd, scale, scale, wants)
        return tuple(torch.ops.aten.native_layer_norm_backward(*given))

    def beside(self, _: Tensor, scale: Tensor) -> Tensor:
        return scale

    def spread(self, _: Tensor, of_groups: Tensor) -> Tensor:
        return of_groups

    def extremes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        dims = list(range(x.dim() - len(self.shape), x.dim()))
        return x.amin(dims, keepdim=True), x.amax(dims, keepdim=True)

    def shared(self, x: Tensor) -> list[int]:
        return list(range(x.dim() - len(self.shape)))


class _SampleNorm(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor | None, shift: Tensor | None, norm: _Groups | _Rows, keeps: Keeps
    ) -> Tensor:
        y, mean, rstd = norm.normalize(x, scale, shift)
        wants_x, wants_scale = ctx.needs_input_grad[:2]
        ctx.norm, ctx.channels_last = norm, is_channels_last(x)
        kept: tuple[Tensor, ...] = ()
        if keeps == "8bit" and (wants_x or wants_scale):
            kept = (rstd, *_to_codes(x, mean, rstd, norm))
        elif wants_scale or (wants_x and keeps == "exact"):
            kept = (rstd, x, mean)
        elif wants_x:
            kept = (rstd,)
        ctx.save_for_backward(scale, *kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        norm, (scale, *kept) = ctx.norm, ctx.saved_tensors
        wants = list(ctx.needs_input_grad[:3])
        gradient = laid_out(gradient, channels_last=ctx.channels_last)
        if len(kept) < 3:
            dims = norm.shared(gradient)
            total = gradient.sum(dims) if wants[2] and dims else gradient  # sum([]) is that of all
            back = _as_affine(gradient, scale, kept[0], norm) if wants[0] else None
            return back, None, total if wants[2] else None, None, None
        rstd, values, other = kept
        if values.dtype != torch.int8:
            return *norm.gradients(gradient, values, other, rstd, scale, wants=wants), None, None
        # codes as an input of mean 0 and deviation 1 / step: they are normalized to n
        zeros, values = torch.zeros_like(other), values.to(gradient.dtype)
        back, *others = norm.gradients(gradient, values, zeros, other, scale, wants=wants)
        if wants[0]:
            back.mul_(norm.spread(back, rstd / other))
        return back, *others, None, None


def _to_codes(x: Tensor, mean: Tensor, rstd: Tensor, norm: _Groups | _Rows) -> tuple[Tensor, Tensor]:
    """The normalized input in int8, and the step of each group."""
    low, high = norm.extremes(x)
    mean = mean.to(torch.promote_types(mean.dtype, torch.float32))
    largest = torch.maximum(high - mean, mean - low)
    is_flat = largest == 0
    factor = torch.where(is_flat, 0.0, LARGEST / largest)
    codes = (x - norm.spread(x, mean)).mul_(norm.spread(x, factor)).round_().to(torch.int8)
    return codes, torch.where(is_flat, 1.0, largest * rstd / LARGEST).to(rstd.dtype)


def _as_affine(gradient: Tensor, scale: Tensor | None, rstd: Tensor, norm: _Groups | _Rows) -> Tensor:
    """The gradient of x where the statistics count as constants."""
    factor = norm.spread(gradient, rstd)
    if scale is not None:
        factor = factor * norm.beside(gradient, scale)
    return gradient * factor
