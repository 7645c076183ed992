"""By how much a process really grows in a step of a training: the witness of what the ruler predicts.

A step is taken in a process of its own, whose allocator gives freed memory back at once. What libraries set up once,
and the optimizer's state, is there before the step that counts, as in every step of a training but the first.
"""

import gc
import json
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from multum.core import UserError, from_dict, invalid, to_dict
from multum.cost import Cost, measure
from multum.cost.witness import ask_child, growth_of
from multum.transfer.lean import make_stock
from multum.transfer.train_command import adapted_network, fresh_backbone
from multum.transfer.train_config import TransferConfig
from multum.transfer.train_parts import make_optimizer

CHILD = """
import json, sys
from multum.transfer.step_growth import growth_here
print(json.dumps(growth_here(*json.loads(sys.argv[1]))))
"""

NUM_STEPS_BEFORE = 2
"""Steps before the one that counts: the first makes the state, and libraries settle in the second."""


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """All that a step of a training needs: a network with random weights, pictures of noise, an optimizer."""

    model: nn.Module
    """Ready to be trained."""
    pictures_B3SS: Float[Tensor, "B 3 S S"]
    """A batch, or as much of it as goes through the network at a time."""
    labels_B: Int64[Tensor, " B"]
    """What they are."""
    optimizer: torch.optim.Optimizer
    """Of what trains."""

    def loss(self, score_BK: Float[Tensor, "B K"]) -> Tensor:
        """Cross-entropy of what the network says."""
        return functional.cross_entropy(score_BK, self.labels_B)

    def take(self) -> None:
        """Forward, loss, backward, optimizer; the gradients of before are gone first."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(self.model(self.pictures_B3SS)).backward()
        self.optimizer.step()

    def cost(self, name: str) -> Cost:
        """The ruler's reading of the step; everything is as before afterwards.

        Args:
            name: What to call the reading.
        """
        return measure(
            self.model,
            self.pictures_B3SS,
            mode="training",
            loss=self.loss,
            optimizer=self.optimizer,
            latency=False,
            name=name,
        )


def training_step(config: TransferConfig, num_classes: int, *, is_stock: bool = False) -> TrainingStep:
    """Make a step of a training, as large as the training's own; no picture and no weight is read.

    Args:
        config: The dials of the training.
        num_classes: Of its task.
        is_stock: Whether the layers are torch's own, in training mode, as torch's users have them.

    Raises:
        UserError: Fused steps, which have no optimizer of their own; dials that do not go with the backbone.
    """
    if config.fuse_step:
        raise invalid("fuse_step", "False where a step is measured", config.fuse_step)
    in_int8 = config.int8 and not is_stock
    plain = replace(config, pretrained=False, lite_start=None, lite_weights=None, int8=in_int8)
    network = adapted_network(plain, fresh_backbone(plain), num_classes)
    if is_stock:
        make_stock(network.model)
        network.model.train()
    generator = torch.Generator().manual_seed(config.seed)
    pictures_B3SS = torch.randn(config.at_a_time, 3, network.side, network.side, generator=generator)
    trained = {name: it for name, it in network.model.named_parameters() if it.requires_grad}
    return TrainingStep(
        model=network.model,
        pictures_B3SS=pictures_B3SS.contiguous(memory_format=torch.channels_last),
        labels_B=torch.randint(num_classes, (config.at_a_time,), generator=generator),
        optimizer=make_optimizer(trained, config),
    )


def step_growth(config: TransferConfig, num_classes: int, *, is_stock: bool = False) -> int | None:
    """Measure by how much a step lets a process grow, in a process of its own.

    Args:
        config: The dials of the training.
        num_classes: Of its task.
        is_stock: As for `training_step`.

    Returns:
        The most bytes beyond what is there before the step; None where the system does not tell.

    Raises:
        UserError: The process did not come to its end.
    """
    grown: int | None = ask_child(CHILD, json.dumps([to_dict(config), num_classes, is_stock]))
    return grown


def growth_here(config: dict[str, Any], num_classes: int, is_stock: bool) -> int | None:
    """What `step_growth` runs in the other process.

    Args:
        config: The dials as plain values.
        num_classes: Of the task.
        is_stock: As for `training_step`.

    Returns:
        As `step_growth`.
    """
    dials = from_dict(TransferConfig, config)
    torch.set_num_threads(dials.num_threads)
    step = training_step(dials, num_classes, is_stock=is_stock)
    for _ in range(NUM_STEPS_BEFORE):
        step.take()
    step.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    try:
        return growth_of(step.take).most_bytes
    except UserError:  # this system does not tell the memory of a process
        return None
