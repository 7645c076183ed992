"""The honest ledger: the memory of one step of a training, before anything of its size exists.

The step is run on torch's `meta` device, where tensors have shapes and no memory, under the ruler that every cost in
this package comes from. Charged is what the paper's calculator leaves out as well: gradients, the optimizer's state,
what is alive for a moment while a layer works, and the copies of the parameters that a training keeps.

Source: TinyTL (NeurIPS 2020), section 4.1, for what is compared with.
Differs from the paper: which charges weights and what is kept for backward; see `paper_ledger` for its rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from multum.backbones import make_backbone
from multum.cost import Cost, Moment, measure
from multum.transfer.fused_step import FusedStep
from multum.transfer.int8_backbone import to_int8
from multum.transfer.lean import make_stock
from multum.transfer.lean_layers import LeanConv2d
from multum.transfer.modes import adapt
from multum.transfer.recomputation import recompute_blocks
from multum.transfer.train_parts import make_optimizer

if TYPE_CHECKING:
    from multum.transfer.train_config import TransferConfig

CODE_BYTES = {"grouped": 100_000, "dense": 50_000, "product": 550_000}
RESERVED_BYTES = {"grouped": 560_000, "dense": 150_000, "product": 1_200_000}
"""What oneDNN uses, and what it reserves, for the code and plan of a convolution (of groups or not) and of a product of
matrices, of one shape and one direction; measured, see LOG.md."""


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """What a training holds at the worst moment of a step, in bytes."""

    weight_bytes: int
    """Parameters and buffers, trained or not."""
    picture_bytes: int
    """The micro-batch that the network sees."""
    activation_bytes: int
    """Kept for backward, or alive for a moment."""
    gradient_bytes: int
    """Of what trains."""
    optimizer_bytes: int
    """Its state."""
    copy_bytes: int
    """The best parameters so far, and their average where there is one."""
    workspace_bytes: int
    """Scratch memory of kernels, by estimate."""
    library_bytes: int
    """What libraries keep once they know the shapes of all layers."""
    reserved_bytes: int
    """What libraries reserve beyond what they use: it is never touched, but a limit of the system counts it."""
    kept_bytes: int
    """The part of the activations that is kept for backward when forward ends, at its most."""
    macs: int
    """Multiply-accumulates of the whole step, all micro-batches."""
    num_layers: int
    """Convolutions and linear layers."""
    cost: Cost
    """One micro-batch by the ruler, layer by layer and as a timeline."""

    @property
    def total_bytes(self) -> int:
        """All of it but `kept_bytes`, which is counted already, and `reserved_bytes`, which is not there."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Bytes by what they are for."""
        return {
            "weights": self.weight_bytes,
            "pictures": self.picture_bytes,
            "activations": self.activation_bytes,
            "gradients": self.gradient_bytes,
            "optimizer": self.optimizer_bytes,
            "copies": self.copy_bytes,
            "workspace": self.workspace_bytes,
            "libraries": self.library_bytes,
        }


def step_memory(config: "TransferConfig", num_classes: int, *, is_stock: bool = False) -> StepMemory:
    """Predict the memory of a step.

    Args:
        config: The dials of the training.
        num_classes: Of its task.
        is_stock: Whether the layers are torch's own, which keep their input whatever trains.

    Raises:
        UserError: Dials that do not go with the backbone.
    """
    model, side = _on_meta(config, num_classes, is_stock=is_stock)
    trained = {name: it for name, it in model.named_parameters() if it.requires_grad}
    pictures = torch.empty(config.at_a_time, 3, side, side, device="meta")
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(config.at_a_time, dtype=torch.long, device="meta")

    def loss(scores: Tensor) -> Tensor:
        return functional.cross_entropy(scores, labels)

    optimizer_bytes = _state_bytes(trained, config)
    if config.fuse_step:
        FusedStep(trained, lambda some: make_optimizer(some, config))
        loss(model(pictures)).backward()  # makes their state, which is there from then on
    cost = measure(model, pictures, mode="training", loss=loss, latency=False)
    gradient_bytes = sum(it.numel() * it.element_size() for it in trained.values())
    is_cut = config.at_a_time < config.batch_size
    peak = max(cost.timeline, key=lambda it: _level(it, gradient_bytes if is_cut else None))
    own = cost.parameter_bytes + cost.buffer_bytes
    activations = peak.live_bytes - peak.gradient_bytes - own - cost.input_bytes
    if config.fuse_step:
        activations -= optimizer_bytes
    num_sizes = 1 if config.at_a_time == 1 else 2  # what is left of an epoch is a batch of another size
    return StepMemory(
        weight_bytes=own,
        picture_bytes=cost.input_bytes,
        activation_bytes=activations,
        gradient_bytes=gradient_bytes if is_cut else peak.gradient_bytes,
        optimizer_bytes=optimizer_bytes,
        copy_bytes=gradient_bytes * (2 if config.ema else 1),
        workspace_bytes=_largest_kernel_bytes(model),
        library_bytes=num_sizes * _library_bytes(model, CODE_BYTES),
        reserved_bytes=num_sizes
        * (_library_bytes(model, RESERVED_BYTES) - _library_bytes(model, CODE_BYTES)),
        kept_bytes=cost.kept_bytes,
        macs=cost.macs * -(-config.batch_size // config.at_a_time),
        num_layers=sum(isinstance(it, (nn.Conv2d, nn.Linear)) for it in model.modules()),
        cost=cost,
    )


def floor_bytes(config: "TransferConfig", num_classes: int) -> int:
    """Less than any step takes: weights, one copy of what trains, its gradients and the state of its optimizer."""
    model, _ = _on_meta(config, num_classes, is_stock=False)
    own = sum(it.numel() * it.element_size() for it in (*model.parameters(), *model.buffers()))
    trained = sum(it.numel() * it.element_size() for it in model.parameters() if it.requires_grad)
    gradients, averages = config.mode != "full", config.ema is not None  # a fused step keeps no gradients
    states = 2 if config.optimizer == "adam" else config.momentum > 0
    return own + (1 + gradients + averages + states) * trained


def stock_config(config: "TransferConfig") -> "TransferConfig":
    """The same training as people know it: everything trains, batches are whole, nothing is computed twice."""
    return replace(
        config, mode="full", num_blocks=None, micro_batch=None, recompute=False, fuse_step=False, int8=False
    )


def _on_meta(config: "TransferConfig", num_classes: int, *, is_stock: bool) -> tuple[nn.Module, int]:
    with torch.device("meta"):
        model = make_backbone(config.backbone, num_classes=2, pretrained=False)
        side = config.side or model.resolution
        example = torch.zeros(1, 3, side, side)
        if config.int8 and not is_stock:
            to_int8(model.requires_grad_(False))
        start = None if config.lite_start is None else config.lite_start.removeprefix("measured+")
        adapt(
            model,
            config.mode,
            example=example,
            num_classes=num_classes,
            lite_start=start,  # type: ignore[arg-type] # the other two words of LiteStart
            num_blocks=config.num_blocks,
            few_kernels=config.few_kernels,
        )
    if is_stock:
        make_stock(model)
    if config.recompute:
        recompute_blocks(model)
    return model.eval(), side


def _level(moment: Moment, all_gradient_bytes: int | None) -> int:
    """What is alive; in a batch that is cut the gradients of earlier parts are there from the beginning."""
    if all_gradient_bytes is None:
        return moment.live_bytes
    return moment.live_bytes - moment.gradient_bytes + all_gradient_bytes


def _state_bytes(trained: Mapping[str, nn.Parameter], config: "TransferConfig") -> int:
    """What an optimizer keeps, seen by letting it take a step."""
    twins = {name: nn.Parameter(torch.empty_like(it)) for name, it in trained.items()}
    optimizer = make_optimizer(twins, config)
    for it in twins.values():
        it.grad = torch.empty_like(it)
    optimizer.step()
    return sum(
        it.numel() * it.element_size()
        for state in optimizer.state.values()
        for it in state.values()
        if isinstance(it, Tensor)
    )


def _library_bytes(model: nn.Module, each_bytes: Mapping[str, int]) -> int:
    """Code and plans for every shape of a layer, forward, for its input's gradient, and for its weight's."""
    found: dict[tuple[object, ...], int] = {}
    for it in model.modules():
        if not isinstance(it, nn.Conv2d):
            continue
        trains = it.weight.requires_grad
        each = each_bytes["dense" if it.groups == 1 else "grouped"]
        if isinstance(it, LeanConv2d) and not trains and it.kernel_size == (1, 1) and it.groups == 1:
            each = 0 if it.few_kernels else each_bytes["product"]
        shape = (it.in_channels, it.out_channels, it.kernel_size, it.stride, it.groups, each)
        found[shape] = max(found.get(shape, 0), (3 if trains else 2) * each)
    return sum(found.values())


def _largest_kernel_bytes(model: nn.Module) -> int:
    """Convolutions copy their weight into the order that their kernel reads, and back for its gradient."""
    return max(
        2 * it.weight.numel() * it.weight.element_size()
        for it in model.modules()
        if isinstance(it, nn.Conv2d)
    )
