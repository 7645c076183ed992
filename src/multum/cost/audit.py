"""The watched pass: run a step once under the ledger, and hand over everything that was written down."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from multum.core.errors import UserError
from multum.cost.guard import StateGuard
from multum.cost.kept import KeptTensors, left_on_contexts, saved_in_graph
from multum.cost.layers import LayerTracker
from multum.cost.ledger import Ledger
from multum.cost.memory import NO_STORAGE, StorageBook
from multum.cost.step import Step
from multum.cost.traffic import tensors_in


@dataclass
class Audit:
    """Everything that one watched pass brought to light."""

    step: Step
    device: torch.device
    ledger: Ledger
    parameter_bytes: int
    buffer_bytes: int
    input_bytes: int
    output_bytes: int = 0
    kept_input_bytes: int = 0
    gradient_bytes: int = 0
    optimizer_bytes: int = 0
    kept_by_layer: dict[str, int] | None = None
    survivors: frozenset[int] = frozenset()
    """Numbers of the storages that are alive after the pass."""


def audit(step: Step, guard: StateGuard, device: torch.device) -> Audit:
    """Run a pass once under the ledger.

    A model that calls `torch.func.grad` and the like refuses saved-tensor hooks. Then the pass is run again without
    them, and what is kept is read off autograd's graph.

    Args:
        step: The pass.
        guard: Copies what is about to be overwritten.
        device: The device whose memory is followed.

    Returns:
        Everything that was written down.

    Raises:
        UserError: When the model refuses the inputs, or the loss is not finite.
    """
    try:
        return _watched(step, guard, device, hooks=True)
    except UserError as problem:
        if "saved tensor hooks" not in str(problem):
            raise
    return _watched(step, guard, device, hooks=False)


def _watched(step: Step, guard: StateGuard, device: torch.device, *, hooks: bool) -> Audit:
    if step.mode == "training":
        step.forget_gradients()
    book, tracker = StorageBook(device.type), LayerTracker(step.model)
    found = Audit(
        step=step,
        device=device,
        ledger=Ledger(tracker, book, guard.protect),
        parameter_bytes=book.assign(step.model.parameters(), "weights"),
        buffer_bytes=book.assign(step.model.buffers(), "buffers"),
        input_bytes=book.assign(tensors_in((step.args, step.kwargs)), "inputs"),
    )
    if step.optimizer is not None:
        book.assign(tensors_in(list(step.optimizer.state.values())), "optimizer")
    try:
        with step.gradients(), tracker.watching():
            _infer(found) if step.mode == "inference" else _train(found, hooks=hooks)
    finally:
        book.close()
    return found


def _infer(found: Audit) -> None:
    with found.ledger:
        output = found.step.forward()
    found.output_bytes = _size_of(found, output)
    found.survivors = frozenset(found.ledger.book.alive())


def _train(found: Audit, *, hooks: bool) -> None:
    step, ledger, book = found.step, found.ledger, found.ledger.book
    loss = _forward_and_loss(found, hooks=hooks)
    step.check_finite(loss)
    ledger.tracker.begin("backward")
    with ledger:
        if loss.requires_grad:
            loss.backward()
        del loss
        gradients = [parameter.grad for parameter in step.model.parameters() if parameter.grad is not None]
        found.gradient_bytes = book.assign(gradients, "gradients")
        del gradients
        ledger.tracker.begin("optimizer")
        if step.optimizer is not None:
            step.update()
            state = list(tensors_in(list(step.optimizer.state.values())))
            book.assign(state, "optimizer")
            found.optimizer_bytes = sum(
                book.sizes[number] for number in set(book.numbers(state)) if number != NO_STORAGE
            )
    found.survivors = frozenset(book.alive())


def _forward_and_loss(found: Audit, *, hooks: bool) -> torch.Tensor:
    step, tracker = found.step, found.ledger.tracker
    kept = KeptTensors(tracker.layer)
    with found.ledger, kept.watching() if hooks else nullcontext():
        output = step.forward()
        found.output_bytes = _size_of(found, output)
        tracker.begin("loss")
        loss = step.loss_of(output)
    del output
    in_graph = left_on_contexts(loss) if hooks else reversed(list(saved_in_graph(loss)))
    _note_kept(found, [*kept.alive(), *((tracker.layer_of_node(node), tensor) for node, tensor in in_graph)])
    return loss


def _note_kept(found: Audit, kept: list[tuple[str, torch.Tensor]]) -> None:
    """Add up what is kept, each storage once, for the layer that saved it first."""
    book, by_layer, seen = found.ledger.book, dict[str, int](), set[int]()
    for layer, tensor in kept:
        for number in book.numbers([tensor]):
            purpose = book.purposes.get(number)
            if number == NO_STORAGE or number in seen or purpose in ("weights", "buffers"):
                continue
            seen.add(number)
            if purpose == "inputs":
                found.kept_input_bytes += book.sizes[number]
            else:
                by_layer[layer] = by_layer.get(layer, 0) + book.sizes[number]
    found.kept_by_layer = by_layer


def _size_of(found: Audit, output: Any) -> int:
    book = found.ledger.book
    return sum(book.sizes[number] for number in set(book.numbers(tensors_in(output))) if number != NO_STORAGE)
