"""What a training of a network of pictures is put together from: batches, the optimizer, the average, scores.

Shape legend: B pictures of a batch, N pictures, S side in pixels, K classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.data import PictureTransform
from multum.transfer.train_config import TransferConfig
from multum.transfer.train_data import Pictures

EMA_RAMP = 10
"""After n steps an average keeps at most (1 + n) / (EMA_RAMP + n) of itself, so that it soon forgets the start."""


def load_batch(
    model: nn.Module,
    pictures: Pictures,
    samples: Sequence[int],
    transform: PictureTransform,
    epoch: int = 0,
) -> Float[Tensor, "B 3 S S"]:
    """Pictures on the model's device, in the memory layout that is fastest: colours last."""
    batch_B3SS = pictures.batches.load(samples, transform, epoch=epoch)
    like = next(model.parameters())
    return batch_B3SS.to(device=like.device, dtype=like.dtype, memory_format=torch.channels_last)


def make_optimizer(parameters: Mapping[str, nn.Parameter], config: TransferConfig) -> torch.optim.Optimizer:
    """The optimizer of a configuration; only matrices and kernels decay."""
    matrices = [it for it in parameters.values() if it.dim() >= 2]
    others = [it for it in parameters.values() if it.dim() < 2]
    wanted = [
        {"params": some, "weight_decay": decay}
        for some, decay in ((matrices, config.weight_decay), (others, 0.0))
        if some
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(wanted, lr=config.rate.peak, momentum=config.momentum)
    return torch.optim.AdamW(wanted, lr=config.rate.peak)


def copies(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values at this moment."""
    return {name: it.detach().clone() for name, it in parameters.items()}


@torch.no_grad()
def follow(
    average: Mapping[str, Tensor], parameters: Mapping[str, Tensor], keep_ratio: float, num_steps: int
) -> None:
    """Move an average a step towards the parameters.

    Args:
        average: Changed in place.
        parameters: What it follows.
        keep_ratio: Part of it that stays, in (0, 1); less in the first steps.
        num_steps: Steps that are done, at least 1.

    >>> average = {"weight": torch.zeros(1)}
    >>> follow(average, {"weight": torch.ones(1)}, 0.9, num_steps=1000)
    >>> round(average["weight"].item(), 3)
    0.1
    """
    kept = min(keep_ratio, (1 + num_steps) / (EMA_RAMP + num_steps))
    for name, tensor in average.items():
        tensor.lerp_(parameters[name].detach(), 1 - kept)


@contextmanager
def holding(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> Iterator[None]:
    """Let parameters have other values for the length of a block; nothing is copied."""
    own = {name: it.data for name, it in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = values[name].detach()
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = own[name]


@torch.no_grad()
def scores(
    model: nn.Module, pictures: Pictures, samples: Sequence[int], batch_size: int
) -> Float[Tensor, "N K"]:
    """What a network says to pictures, framed and not varied.

    Args:
        model: The network, in evaluation mode.
        pictures: Where they come from.
        samples: Numbers of those that are asked for.
        batch_size: So many at a time.
    """
    parts = [
        model(load_batch(model, pictures, samples[start : start + batch_size], pictures.frame)).float().cpu()
        for start in range(0, len(samples), batch_size)
    ]
    return torch.cat(parts)
