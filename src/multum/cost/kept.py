"""What autograd keeps for the backward pass, seen through saved-tensor hooks.

Each tensor that an operation saves passes through our hook, which hands autograd a small box with the tensor inside.
A box lives exactly as long as autograd needs it: what is saved for a branch that never reaches the loss is thrown
away, and its box with it. So at the moment the backward pass would begin, the boxes still alive are what is kept.
Many boxes share one storage (a ReLU's output is the next layer's input); each storage counts once, for the layer that
saved it first. Parameters and buffers do not count: they stay in memory anyway.

What a Python autograd function leaves on its context without `save_for_backward` is no saved tensor, but it is kept
all the same; it is found by looking at the functions that the loss depends on.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

from multum.cost.traffic import plain_parts, tensors_in


class _Box:
    """A saved tensor on its way through autograd."""

    __slots__ = ("__weakref__", "layer", "parts", "tensor")

    def __init__(self, tensor: torch.Tensor, layer: str) -> None:
        self.tensor = tensor
        self.parts = plain_parts(tensor)  # a tensor inside of torch.vmap can only be taken apart now
        self.layer = layer


@dataclass
class KeptTensors:
    """Collects what is saved while the context `watching` lasts."""

    layer_at_work: Callable[[], str]
    """Tells which layer saves."""

    _boxes: list[weakref.ref[_Box]] = field(default_factory=list)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See everything that autograd saves while the context lasts."""
        with saved_tensors_hooks(self._pack, self._unpack):
            yield

    def alive(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Tell layer and tensor of everything that is kept now, in the order in which it was saved."""
        for reference in self._boxes:
            box = reference()
            if box is not None:
                yield from ((box.layer, part) for part in box.parts)

    def _pack(self, tensor: torch.Tensor) -> _Box:
        # .data, because a saved result knows its own node: the node would hold itself through the box, for ever
        box = _Box(tensor.data, self.layer_at_work())
        self._boxes.append(weakref.ref(box))
        return box

    @staticmethod
    def _unpack(box: _Box) -> torch.Tensor:
        return box.tensor


def nodes_behind(root: torch.Tensor) -> Iterator[Any]:
    """Walk the autograd graph behind a tensor, each node once.

    Args:
        root: A tensor, for instance a loss.

    Returns:
        The nodes, nearest first.

    >>> weight = torch.ones(2, requires_grad=True)
    >>> [node.name() for node in nodes_behind((weight * 2).sum())]
    ['SumBackward0', 'MulBackward0', 'torch::autograd::AccumulateGrad']
    """
    queue, seen = [root.grad_fn] if root.grad_fn is not None else [], set()
    for node in queue:  # the queue grows while we walk
        if node in seen:
            continue
        seen.add(node)
        yield node
        queue += [parent for parent, _ in node.next_functions if parent is not None]


def left_on_contexts(root: torch.Tensor) -> Iterator[tuple[Any, torch.Tensor]]:
    """Find tensors that Python autograd functions keep as plain attributes of their context.

    Args:
        root: The loss.

    Returns:
        The function's node and the tensor.
    """
    for node in nodes_behind(root):
        for tensor in tensors_in(list(getattr(node, "__dict__", {}).values())):
            yield node, tensor


def saved_in_graph(root: torch.Tensor) -> Iterator[tuple[Any, torch.Tensor]]:
    """Find everything that the graph behind a tensor keeps, by looking at each node.

    Torch's own nodes show what they keep under names that begin with `_saved_`, Python's as `saved_tensors`.

    Args:
        root: The loss, before its backward pass.

    Returns:
        The node and the tensor, nearest to the root first.
    """
    for node in nodes_behind(root):
        saved = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        if isinstance(getattr(node, "saved_tensors", None), tuple):
            saved += node.saved_tensors
        for tensor in tensors_in(saved):
            yield node, tensor
    yield from left_on_contexts(root)
