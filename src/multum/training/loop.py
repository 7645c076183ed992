"""The plain training loop: batches, loss, step, log, checkpoint. It knows no technique.

Resumes bit for bit: the order of batches follows from the seed, everything else comes out of the checkpoint.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from multum.core import UserError, check_fields, invalid, track
from multum.training.batch_plan import BatchPlan
from multum.training.checkpoint import TrainingState, restore_checkpoint, save_checkpoint
from multum.training.learning_rate import LearningRate
from multum.training.metric_log import MetricLog

CHECKPOINT_FILE = "checkpoint.safetensors"
METRICS_FILE = "metrics.jsonl"

Loss = Callable[[Sequence[int], float], Tensor]
"""From the indices of a batch, and the part of the training that is done, in [0, 1), to a scalar loss."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long, how fast, how often saved.

    Raises:
        UserError: A value outside its range.
    """

    num_epochs: int = 2
    """How often each sample is seen."""
    batch_size: int = 32
    """Samples of a step."""
    rate: LearningRate = field(default_factory=LearningRate)
    """The learning rate, step by step."""
    weight_decay: float = 0.01
    """AdamW's; only on matrices, not on biases and scales."""
    clip_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    seed: int = 0
    """Of the order of batches, and of whatever the loss draws."""
    checkpoint_steps: int = 200
    """A checkpoint is written after so many steps, and after every epoch."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("num_epochs", "batch_size", "checkpoint_steps"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))
        for name in ("weight_decay", "clip_norm"):
            if not getattr(self, name) >= 0:
                raise invalid(name, "at least 0", getattr(self, name))


def train(
    parameters: Mapping[str, nn.Parameter],
    loss_of: Loss,
    lengths: Sequence[int],
    config: LoopConfig,
    folder: Path,
    *,
    description: str = "training",
    statistics: Mapping[str, Tensor] | None = None,
    after_epoch: Callable[[], Mapping[str, float]] | None = None,
) -> Path:
    """Train parameters in place, or go on where a kill interrupted the same training.

    Args:
        parameters: What to train, by name.
        loss_of: Loss of a batch; draws random numbers only from torch's own generators.
        lengths: Length of each sample, for batches of like length.
        config: The dials.
        folder: Keeps the checkpoint and the metric log; a training that lies there is continued, and one that is
            complete there is only read.
        description: What the progress bar says.
        statistics: What moves without a gradient, by other names: the running means of norms, say. A checkpoint brings
            it back too.
        after_epoch: Measures something to log; must draw no random numbers.

    Returns:
        The metric log's file.

    Raises:
        UserError: The checkpoint in the folder belongs to another training, or the loss is not finite.
    """
    plan = BatchPlan(
        lengths=lengths, batch_size=config.batch_size, num_epochs=config.num_epochs, seed=config.seed
    )
    optimizer = make_optimizer(parameters, config)
    moving = {name: it.data for name, it in parameters.items()} | dict(statistics or {})
    state = TrainingState(tensors=moving, optimizers={"adamw": optimizer})
    checkpoint, log = folder / CHECKPOINT_FILE, MetricLog(folder / METRICS_FILE)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        start = restore_checkpoint(checkpoint, state)["step"] if checkpoint.exists() else 0
        log.rewind(start)
        for step, batch in track(_steps(plan, start), description, plan.num_steps - start):
            loss = _take_step(parameters, optimizer, config, loss_of, batch, step, plan.num_steps)
            done, epoch_ends = step + 1, (step + 1) % plan.steps_per_epoch == 0
            if epoch_ends or done % 10 == 0:
                measured = _measured(after_epoch) if epoch_ends else {}
                log.append({"step": done, "loss": loss, **measured})
            if epoch_ends or done % config.checkpoint_steps == 0:
                save_checkpoint(checkpoint, state, {"step": done})
    return log.path


def make_optimizer(parameters: Mapping[str, nn.Parameter], config: LoopConfig) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    matrices = [it for it in parameters.values() if it.dim() >= 2]
    others = [it for it in parameters.values() if it.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([it for it in groups if it["params"]], lr=config.rate.peak, fused=True)


def _steps(plan: BatchPlan, start: int) -> Iterator[tuple[int, list[int]]]:
    for epoch in range(start // plan.steps_per_epoch, plan.num_epochs):
        first = epoch * plan.steps_per_epoch
        for place, batch in enumerate(plan.epoch(epoch)):
            if first + place >= start:
                yield first + place, batch


@torch.no_grad()
def _measured(measure: Callable[[], Mapping[str, float]] | None) -> dict[str, float]:
    return dict(measure()) if measure else {}


def _take_step(
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    config: LoopConfig,
    loss_of: Loss,
    batch: Sequence[int],
    step: int,
    num_steps: int,
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = config.rate.at(step, num_steps=num_steps)
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(batch, step / num_steps)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise UserError(f"the loss must be finite; got {value} in step {step}; try a lower learning rate")
    loss.backward()
    if config.clip_norm > 0:
        torch.nn.utils.clip_grad_norm_(list(parameters.values()), config.clip_norm)
    optimizer.step()
    return value
