"""Opt-in linear layers through oneDNN.

On AMD processors torch's float32 `Linear` goes through MKL, which picks a slow path there; oneDNN reaches more than
twice the rate. A single row only has to read the weight, and there oneDNN was the slower one (LOG.md): the stock layer
runs. The operator is private to torch and for inference only, so it is guarded: where it is missing, where gradients
are wanted, under autocast or torch.compile, on other devices or dtypes, the stock layer runs too. Every CPU comparison
of this project gives its peer the same linears, so that no gain of the library's is counted as ours.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def _onednn_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The private operator; it reads the bias as if it were contiguous, so it gets one that is."""
    bias = None if bias is None else bias.contiguous()
    found: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return found


@cache
def fast_linears_available() -> bool:
    """Whether this torch has oneDNN's linear operator and it agrees with the stock layer on a small problem."""
    if not torch.backends.mkldnn.is_available():
        return False
    ramp = torch.linspace(-1, 1, 12, dtype=torch.float32).reshape(3, 4)
    bias = ramp[:, 0]
    with torch.autocast("cpu", enabled=False):  # whoever asks first, the answer is kept
        try:
            found = _onednn_linear(ramp, ramp, bias)
        except (AttributeError, RuntimeError, NotImplementedError):
            return False
        return bool(torch.allclose(found, functional.linear(ramp, ramp, bias), atol=1e-6))


def fast_linear(
    inputs: Float[Tensor, "... I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None
) -> Float[Tensor, "... O"]:
    """`inputs @ weight.T + bias` through oneDNN when it may and there is more than one row, else the stock layer.

    >>> fast_linear(torch.ones(2, 3), torch.ones(4, 3), None).shape
    torch.Size([2, 4])
    """
    if inputs.numel() <= weight.shape[1]:  # a single row, or none: nothing to be gained, so nothing is asked
        return functional.linear(inputs, weight, bias)
    tensors = [inputs, weight] if bias is None else [inputs, weight, bias]
    inference = not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
    plain = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
    plain = plain and not torch.is_autocast_enabled("cpu")
    if torch.compiler.is_compiling():  # compilers choose a kernel for linear layers themselves
        return functional.linear(inputs, weight, bias)
    if inference and plain and fast_linears_available():
        return _onednn_linear(inputs, weight, bias)
    return functional.linear(inputs, weight, bias)


@contextmanager
def fast_linears(model: nn.Module) -> Iterator[int]:
    """Run every `nn.Linear` of `model` through oneDNN inside the block; undone at its end.

    Args:
        model: Any module; only exact `nn.Linear` layers change, sub-classes keep their own forward.

    Yields:
        How many layers run through oneDNN; 0 where it is not available (the stock layers run).

    >>> with fast_linears(nn.Sequential(nn.Linear(3, 4), nn.ReLU())) as num_layers:
    ...     pass
    """
    layers = [m for m in model.modules() if type(m) is nn.Linear and "forward" not in vars(m)]
    if not fast_linears_available():
        layers = []
    for layer in layers:
        vars(layer)["forward"] = _bound(layer)  # an instance attribute hides the class's method
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def _bound(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    return lambda inputs: fast_linear(inputs, layer.weight, layer.bias)
