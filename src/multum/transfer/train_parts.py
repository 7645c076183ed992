"""What a training of a network of pictures is put together from: batches, the optimizer, scores.

Shape legend: B pictures of a batch, N pictures, S side in pixels, K classes.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.data import PictureTransform
from multum.transfer.train_config import TransferConfig
from multum.transfer.train_data import Pictures


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
