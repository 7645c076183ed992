"""The moving average of what trains, and tensors that stand in for others for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

EMA_RAMP = 10
"""After n steps an average keeps at most (1 + n) / (EMA_RAMP + n) of itself, so that it soon forgets the start."""


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values at this moment."""
    return {name: it.detach().clone() for name, it in tensors.items()}


@torch.no_grad()
def follow(
    average: Mapping[str, Tensor], tensors: Mapping[str, Tensor], keep_ratio: float, num_steps: int
) -> None:
    """Move an average a step towards what it follows; whole numbers, such as counts of steps, are taken over.

    Args:
        average: Changed in place.
        tensors: What it follows.
        keep_ratio: Part of it that stays, in (0, 1); less in the first steps.
        num_steps: Steps that are done, at least 1.

    >>> average = {"weight": torch.zeros(1)}
    >>> follow(average, {"weight": torch.ones(1)}, 0.9, num_steps=1000)
    >>> round(average["weight"].item(), 3)
    0.1
    """
    kept = min(keep_ratio, (1 + num_steps) / (EMA_RAMP + num_steps))
    for name, tensor in average.items():
        if tensor.is_floating_point():
            tensor.lerp_(tensors[name].detach(), 1 - kept)
        else:
            tensor.copy_(tensors[name])


@contextmanager
def holding(tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[None]:
    """Let parameters or buffers have other values for the length of a block; nothing is copied."""
    own = {name: it.data for name, it in tensors.items()}
    try:
        for name, tensor in tensors.items():
            tensor.data = values[name].detach()
        yield
    finally:
        for name, tensor in tensors.items():
            tensor.data = own[name]
