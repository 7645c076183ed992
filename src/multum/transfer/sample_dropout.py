"""Dropout whose draw belongs to a picture and an epoch, and not to the place of the picture in a batch.

torch's own dropout draws for a whole batch from one generator: another micro-batch, another draw. Here each picture
brings its own, so that micro-batches have the gradients of the batch that they are cut from, to the last draw.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from multum.data import seeded_generator


@contextmanager
def sample_dropout(
    layer: nn.Module, part: float, samples: Sequence[int], *, epoch: int, seed: int
) -> Iterator[None]:
    """Hide a part of what a layer is given from it, for the length of a block; the rest is made larger for it.

    Args:
        layer: The layer, a classifier in general.
        part: How much is hidden, in [0, 1).
        samples: Number of each picture of the batch.
        epoch: Number of the epoch.
        seed: Seed of all draws.

    >>> layer = nn.Linear(4, 1, bias=False)
    >>> with sample_dropout(layer, 0.5, (7, 8), epoch=0, seed=0):
    ...     both = layer(torch.ones(2, 4))
    >>> with sample_dropout(layer, 0.5, (8,), epoch=0, seed=0):
    ...     bool(torch.isclose(layer(torch.ones(1, 4)), both[1:]).all())
    True
    """

    def hide(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, *rest = given
        factor = torch.stack([_factor(x, part, (seed, "dropout", epoch, sample)) for sample in samples])
        return (x * factor.to(x), *rest)

    if part == 0:
        yield
        return
    handle = layer.register_forward_pre_hook(hide)
    try:
        yield
    finally:
        handle.remove()


def _factor(x: Tensor, part: float, keys: tuple[int | str, ...]) -> Tensor:
    """0 for what is hidden of one picture, and for the rest what makes up for it."""
    drawn = torch.rand(x.shape[1:], generator=seeded_generator(*keys))
    return (drawn >= part) / (1 - part)
