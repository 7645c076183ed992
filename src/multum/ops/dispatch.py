"""Which implementation of a kernel runs for these tensors. One rule for all kernels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from multum.core import invalid


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """What one fast path asks of its tensors."""

    device: str
    """Device type: `cpu` or `cuda`."""
    dtypes: tuple[torch.dtype, ...]
    """Data types it computes in."""
    available: Callable[[], bool]
    """Whether it can run here at all (compiler, Triton); may build it."""

    def takes(self, tensor: Tensor) -> bool:
        """Whether this path fits the tensor's device and dtype (availability apart)."""
        return tensor.device.type == self.device and tensor.dtype in self.dtypes


def choose(impl: str, tensor: Tensor, implementations: Mapping[str, Implementation]) -> str:
    """Name of the implementation to run.

    Args:
        impl: `auto`, `reference`, or a key of `implementations`.
        tensor: The tensor whose device and dtype decide.
        implementations: The fast paths by name, fastest first.

    Raises:
        UserError: An unknown name, or a fast path that was asked for by name and does not take the tensor.

    >>> choose("auto", torch.zeros(1, dtype=torch.float64), {})
    'reference'
    """
    if impl == "reference":
        return impl
    if impl == "auto":
        fitting = (name for name, path in implementations.items() if path.takes(tensor) and path.available())
        return next(fitting, "reference")
    if impl not in implementations:
        raise invalid("impl", f"one of {['auto', 'reference', *implementations]}", impl)
    path = implementations[impl]
    if not path.takes(tensor):
        got = f"{tensor.dtype} on {tensor.device.type}"
        takes = f"{[str(d) for d in path.dtypes]} on {path.device}"
        raise invalid(f"the tensors of impl={impl!r}", takes, got, 'use impl="auto"')
    if not path.available():
        raise invalid("impl", "available on this machine", impl, 'use impl="auto" or "reference"')
    return impl


def has_triton() -> bool:
    """Whether Triton can be imported."""
    return find_spec("triton") is not None
