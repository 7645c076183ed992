"""Scratch memory of kernels, which no tensor of the program shows: an estimate for the CPU, by rules, not by fitting.

A tensor program hides memory that its kernels take and give back inside one operation. For matrix products in
float32, normalisation, activations, softmax and attention forward it is negligible (measured: below 0.5 % of what is
alive). Convolutions are different:

- *oneDNN* computes in a blocked layout, channels in groups of 16 (AVX-512) or 8 (AVX2). The input is copied into that
  layout unless it has at most 3 channels, the weight always; the result is computed blocked and then copied back, so
  that two results exist for a moment. Gradients of the input of a strided convolution (and results of a strided
  transposed one, which is the same kernel) are computed channels-last and copied twice on the way back, unless it is
  depthwise. Tensors that are channels-last already are used as they are; only weights are copied.
- *Torch's own* convolutions (float64, and small float32 ones) unfold the input into a matrix, of the whole batch in
  the forward pass and for the weight's gradient, of one sample per thread for the input's gradient.

Which of the two runs is not guessed: torch is asked. Backward attention copies an output gradient that is not laid
out as the output is. Not modelled: groups of channels that are no whole blocks (what they need is overestimated), the
layouts of other instruction sets, reduced-precision matrix products on a CPU without instructions for them, and
cuDNN's workspaces.

Shape legend: N batch, C channels, K positions of a filter, P positions of the output.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, Final

import torch

from multum.cost.macs import name_of

_FEW_CHANNELS: Final = 3
"""Inputs with no more channels than this are read as they are: pictures."""


def workspace_bytes(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: object) -> int:
    """Estimate the scratch memory that the kernel of an operation takes while it runs.

    Args:
        operation: The operation.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        result: What it returned.

    Returns:
        Bytes, on top of arguments and results; 0 where nothing is known.
    """
    estimate = _ESTIMATES.get(name_of(operation))
    first = args[0] if args else None
    if estimate is None or kwargs or not isinstance(first, torch.Tensor) or first.device.type != "cpu":
        return 0
    return max(0, estimate(args, result))


def _attention_backward(args: Sequence[Any], _result: object) -> int:
    grad_BHQD: torch.Tensor = args[0]
    return 0 if grad_BHQD.transpose(1, 2).is_contiguous() else _size(grad_BHQD)


@dataclass(frozen=True)
class _Convolution:
    """One call of a convolution, forward or backward, as its kernel sees it."""

    input: torch.Tensor
    weight: torch.Tensor
    output: torch.Tensor
    """The result, or in the backward pass its gradient, which has the same shape."""
    stride: Sequence[int]
    padding: Sequence[int]
    transposed: bool
    groups: int
    backend: str

    @property
    def channels_last(self) -> bool:
        """Whether oneDNN works on the tensors as they lie in memory."""
        wanted = {4: torch.channels_last, 5: torch.channels_last_3d}.get(self.input.dim())
        return wanted is not None and any(
            tensor.is_contiguous(memory_format=wanted) and not tensor.is_contiguous()
            for tensor in (self.input, self.weight)
        )

    @property
    def weight_copies(self) -> int:
        """Copies of a weight that meets channels-last inputs: reordered, and before that laid out anew."""
        return 2 if prod(self.weight.shape[2:]) > 1 else 1

    @property
    def is_strided(self) -> bool:
        """Whether the filter moves by more than one position."""
        return max(self.stride) > 1

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel has a filter of its own."""
        return self.groups > 1 and self.groups == self.input.shape[1]

    @property
    def is_pointwise(self) -> bool:
        """Whether this is a plain matrix product, so that nothing needs unfolding."""
        return prod(self.weight.shape[2:]) == 1 and not self.is_strided and max(self.padding) == 0

    @property
    def columns_bytes(self) -> int:
        """Size of one unfolded sample, of one group: a column of C * K numbers for each of P positions."""
        positions = (self.input if self.transposed else self.output).shape[2:]
        return prod(self.weight.shape[1:]) * prod(positions) * self.input.element_size()


def _convolution(args: Sequence[Any], result: object) -> int:
    assert isinstance(result, torch.Tensor)
    call = _call_of(args[:9], result, [result.shape[1]])
    if call.backend == "onednn":
        if call.channels_last:
            return call.weight_copies * _size(call.weight)
        copied = _blocked(call.input) + _size(call.weight) + _blocked(result)
        if call.transposed:
            return max(copied, 2 * _size(result) if call.is_strided and not call.is_depthwise else 0)
        return max(copied - _size(result), _blocked(result))
    if call.backend != "unfold" or call.is_pointwise:
        return 0
    return call.columns_bytes * call.input.shape[0] + (_size(result) if call.groups > 1 else 0)


def _convolution_backward(args: Sequence[Any], _result: object) -> int:
    grad, input_, weight, bias_sizes, *settings, wanted = args[:11]
    call = _call_of((input_, weight, None, *settings), grad, bias_sizes)
    if call.backend == "onednn" and call.channels_last:
        return (call.weight_copies + int(wanted[1])) * _size(call.weight)
    of_input, of_weight = {"onednn": _blocked_gradients, "unfold": _unfolded_gradients}.get(
        call.backend, lambda _: (0, 0)
    )(call)
    # the input's gradient comes first: the weight's, which counts as a result, does not exist yet
    of_input -= _size(call.weight) if wanted[1] else 0
    return max(of_input if wanted[0] else 0, of_weight if wanted[1] else 0)


def _blocked_gradients(call: _Convolution) -> tuple[int, int]:
    """Scratch memory of oneDNN for the gradients of input and weight."""
    grad, input_, dense = _blocked(call.output, few=0), _blocked(call.input, few=0), _size(call.input)
    of_input = max(grad + _size(call.weight) + input_ - dense, input_)
    if call.is_strided and call.groups == 1 and not call.transposed:
        of_input = max(of_input, 2 * dense)
    return of_input, _blocked(call.input) + grad


def _unfolded_gradients(call: _Convolution) -> tuple[int, int]:
    """Scratch memory of torch's own kernels for the gradients of input and weight."""
    num_samples, columns = call.input.shape[0], call.columns_bytes
    of_input = columns * min(num_samples, torch.get_num_threads())
    of_input += _size(call.input) if call.groups > 1 else 0
    of_weight = 0 if call.is_pointwise else columns * (1 if call.transposed else num_samples)
    return of_input, of_weight


_ESTIMATES: Final[dict[str, Callable[[Sequence[Any], object], int]]] = {
    "aten.convolution": _convolution,
    "aten.convolution_backward": _convolution_backward,
    "aten._scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
}


def _call_of(settings: Sequence[Any], output: torch.Tensor, bias_sizes: Sequence[int] | None) -> _Convolution:
    input_, weight, _, stride, padding, _, transposed, _, groups = settings
    return _Convolution(
        input=input_,
        weight=weight,
        output=output,
        stride=stride,
        padding=padding,
        transposed=transposed,
        groups=groups,
        backend=_backend_of(settings, bias_sizes),
    )


def _backend_of(settings: Sequence[Any], bias_sizes: Sequence[int] | None) -> str:
    """Ask torch which implementation it takes for a convolution: "onednn", "unfold" or "other"."""
    select = getattr(torch._C, "_select_conv_backend", None)
    if select is None:
        return "other"
    name = str(getattr(select(*settings, bias_sizes), "name", "")).lower()
    if "slow" in name:
        return "unfold"
    # torch has no Python name for oneDNN's transposed convolution: it shows question marks
    return "onednn" if "mkldnn" in name or (settings[6] and "?" in name) else "other"


def _blocked(tensor: torch.Tensor, *, few: int = _FEW_CHANNELS) -> int:
    """Size of a tensor in oneDNN's layout; 0 for one that is read as it is."""
    channels = tensor.shape[1]
    if channels <= few or not tensor.numel():
        return 0
    block = _block_channels()
    return _size(tensor) // channels * (-(-channels // block) * block)


@cache
def _block_channels() -> int:
    """Channels in one block of oneDNN's layout: as many float32 numbers as a vector of this processor holds."""
    return 16 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else 8


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
