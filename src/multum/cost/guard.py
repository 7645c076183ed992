"""Leave everything as it was found.

Measuring runs the user's own model, and in training mode a whole step on it. Afterwards parameters, buffers,
gradients, inputs, optimizer state, random numbers, train/eval flags and the attributes of every module must be what
they were. Copying all of it beforehand would double the memory; so tensors are copied at the moment just before an
operation first writes to them (`protect`), and only those are copied back. Everything that is not a tensor's content
is remembered by reference, which costs nothing.

What cannot be undone is what a model does outside of torch and of its own attributes: files, global variables, lists
that it holds and appends to.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from multum.cost.traffic import plain_parts


class StateGuard:
    """Remembers what was there, and puts it back."""

    def __init__(self) -> None:
        self._copies: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def protect(self, tensors: Sequence[torch.Tensor]) -> None:
        """Copy the content of tensors that are about to be written to, once each."""
        for tensor in tensors:
            for part in plain_parts(tensor):
                if part.layout is not torch.strided or part.device.type == "meta":
                    continue
                storage = part.untyped_storage()
                if storage._cdata not in self._copies:
                    self._copies[storage._cdata] = (storage, storage.clone())

    @contextmanager
    def keeping(self, model: nn.Module, optimizer: Optimizer | None = None) -> Iterator[None]:
        """Put everything back when the context ends, however it ends.

        Args:
            model: The model that will run.
            optimizer: The user's optimizer, if a step of it will run.

        Returns:
            A context.
        """
        with ExitStack() as undo:
            undo.callback(self._restore_contents)
            undo.callback(_remembered_random_numbers())
            undo.callback(_remembered_modules(model))
            undo.callback(_remembered_parameters(model))
            if optimizer is not None:
                undo.callback(_remembered_optimizer(optimizer))
            yield

    def _restore_contents(self) -> None:
        with torch.no_grad():
            for storage, copy in self._copies.values():
                if storage.nbytes() != copy.nbytes():
                    storage.resize_(copy.nbytes())
                storage.copy_(copy)
        self._copies.clear()


def _remembered_random_numbers() -> Callable[[], None]:
    states: list[Callable[[], object]] = []
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    states.append(lambda: torch.set_rng_state(torch_state))
    states.append(lambda: random.setstate(python_state))
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        cuda_states = torch.cuda.get_rng_state_all()
        states.append(lambda: torch.cuda.set_rng_state_all(cuda_states))
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy_state = numpy.random.get_state()  # the model may draw from the global generator
        states.append(lambda: numpy.random.set_state(numpy_state))

    def put_back() -> None:
        for restore in states:
            restore()

    return put_back


def _remembered_modules(model: nn.Module) -> Callable[[], None]:
    """Remember what every module's attributes refer to: flags, counters, caches, parameters, buffers, children."""
    found: list[tuple[nn.Module, dict[str, Any], dict[str, dict[str, Any]]]] = []
    for module in model.modules():
        attributes = dict(module.__dict__)
        nested = {name: dict(value) for name, value in attributes.items() if type(value) is dict}
        found.append((module, attributes, nested))

    def put_back() -> None:
        for module, attributes, nested in found:
            module.__dict__.clear()
            module.__dict__.update(attributes)
            for name, content in nested.items():
                holder = attributes[name]
                if holder.keys() != content.keys() or any(holder[key] is not content[key] for key in content):
                    holder.clear()
                    holder.update(content)

    return put_back


def _remembered_parameters(model: nn.Module) -> Callable[[], None]:
    found = [
        (parameter, parameter.grad, parameter.data, parameter.requires_grad)
        for parameter in model.parameters()
    ]

    def put_back() -> None:
        for parameter, gradient, data, requires_grad in found:
            if parameter.untyped_storage()._cdata != data.untyped_storage()._cdata:
                parameter.data = data
            parameter.grad = gradient
            parameter.requires_grad_(requires_grad)

    return put_back


def _remembered_optimizer(optimizer: Optimizer) -> Callable[[], None]:
    state = {parameter: dict(entries) for parameter, entries in optimizer.state.items()}
    groups = [dict(group) for group in optimizer.param_groups]

    def put_back() -> None:
        optimizer.state.clear()
        optimizer.state.update(state)
        for group, content in zip(optimizer.param_groups, groups, strict=True):
            group.clear()
            group.update(content)

    return put_back
