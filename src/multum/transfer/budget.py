"""Training within so many megabytes: the plan, the program made ready before anything counts, and the limit.

What counts is by how much the process grows once its program is loaded: the network, pictures, activations, gradients,
the optimizer, checkpoints, and code that libraries write for the shapes of layers.
"""

import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from multum.backbones import BlockShape, MobileNet, NetworkShape
from multum.core import say
from multum.cost.memory_limit import give_back_at_once, memory_limit
from multum.cost.witness import counted_growth
from multum.data import DIGIT_CLASSES, picture_size, read_image_folder
from multum.data.digits import NUM_DIGITS
from multum.data.image_transforms import resize
from multum.training import TrainingState, save_checkpoint
from multum.transfer.modes import adapt
from multum.transfer.plan import MB, DataFacts, Plan, plan
from multum.transfer.recomputation import recompute_blocks
from multum.transfer.step_time import step_seconds
from multum.transfer.train_config import TransferConfig
from multum.transfer.train_parts import make_optimizer


def settle(config: TransferConfig) -> tuple[TransferConfig, Plan | None]:
    """Settle the dials of a training by its budget.

    Args:
        config: What was asked for.

    Returns:
        What is trained, and the plan; without a budget what was asked for, and None.

    Raises:
        UserError: Nothing fits, or the pictures are not there.
    """
    if config.budget_mb is None:
        return config, None
    chosen = plan(config, facts_of(config), config.budget_mb)
    seconds = step_seconds(chosen.memory, chosen.config)
    say(f"planned {chosen.tell()}, about {seconds:.2g} s a step")
    return replace(chosen.config, cache_bytes=chosen.cache_bytes), chosen


def facts_of(config: TransferConfig) -> DataFacts:
    """What the memory of a training has to know of its pictures, by their headers alone."""
    if not isinstance(config.data, Path):
        return DataFacts(num_classes=len(DIGIT_CLASSES), num_in_memory=NUM_DIGITS)
    folder = read_image_folder(config.data, skip_broken=config.skip_broken)
    pixels = [width * height for width, height in map(picture_size, folder.paths)]
    return DataFacts(num_classes=len(folder.classes), largest_pixels=max(pixels))


@contextmanager
def within(chosen: Plan | None, *, hard_limit: bool) -> Iterator[Callable[[], dict[str, Any] | None]]:
    """Hold a training to its plan.

    Args:
        chosen: The plan; None holds nothing.
        hard_limit: Whether the system refuses what is beyond it.

    Yields:
        What tells how the budget was used so far.

    Raises:
        UserError: More was wanted than the limit allows.
    """
    if chosen is None:
        yield lambda: None
        return
    warm_up(chosen.config)
    limit = chosen.budget_bytes + chosen.memory.reserved_bytes if hard_limit else None
    with memory_limit(limit), counted_growth() as grown:
        yield lambda: {
            "budget_bytes": chosen.budget_bytes,
            "limit_bytes": limit,
            "predicted_bytes": chosen.total_bytes + chosen.cache_bytes,
            "cache_bytes": chosen.cache_bytes,
            "grown_bytes": grown(),
            "parts": chosen.memory.parts(),
            "plan": chosen.tell(),
        }


def warm_up(config: TransferConfig) -> None:
    """Let the program load what it loads when it is first used: a step of a small network, scores, a checkpoint."""
    blocks = (
        BlockShape(kernel=3, expansion=1, width=8),
        *(BlockShape(kernel=5, expansion=2, width=8, stride=stride) for stride in (2, 1)),
    )
    net = MobileNet(NetworkShape(stem=8, blocks=blocks, last=16), 2).eval()
    pictures = torch.rand(config.at_a_time, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    adapt(net, config.mode, example=pictures, num_classes=2, few_kernels=config.few_kernels)
    if config.recompute:
        recompute_blocks(net)
    parameters = {name: it for name, it in net.named_parameters() if it.requires_grad}
    optimizer = make_optimizer(parameters, config)
    nn.functional.cross_entropy(net(pictures), torch.zeros(len(pictures), dtype=torch.long)).backward()
    optimizer.step()
    with torch.no_grad():
        net(resize(pictures[0], 40, 40)[None])
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(
            Path(folder) / "nothing", TrainingState(tensors=parameters, optimizers={"it": optimizer}), {}
        )
    del net, parameters, optimizer
    gc.collect()
    give_back_at_once()


def budget_text(memory: dict[str, Any]) -> str:
    """How a budget was used, in a line."""
    grown = memory["grown_bytes"]
    told = "" if grown is None else f", the process grew by {grown / MB:.1f} MB"
    return (
        f"budget {memory['budget_bytes'] / MB:g} MB: {memory['predicted_bytes'] / MB:.1f} MB predicted{told}"
    )
