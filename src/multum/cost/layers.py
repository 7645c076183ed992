"""Which layer is at work: forward by module hooks, backward by the sequence numbers of autograd.

Forward is simple: global hooks push a module when its forward begins and pop it when it ends. Backward has no such
hooks that one can trust, but autograd numbers its nodes as they are created. We write down the number at which each
layer begins and ends; when a node runs backward, its number tells the layer that created it. Gradients that are
added up at a parameter belong to the parameter's owner.

With activation checkpointing on a GPU, the recomputation runs in another thread that has its own numbers: the
backward pass of a recomputed region may then be credited to another layer. Sums over the model stay right.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from multum.cost.traffic import tensors_in, touched_bytes

Phase = Literal["forward", "loss", "backward", "optimizer"]

ROOT: Final = "(model)"
LOSS: Final = "(loss)"
OPTIMIZER: Final = "(optimizer)"


@dataclass
class LayerTracker:
    """Knows at any time which layer and which phase an operation belongs to."""

    model: nn.Module

    phase: Phase = field(default="forward", init=False)
    num_calls: dict[str, int] = field(default_factory=dict)
    output_bytes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._path_of = {id(module): path or ROOT for path, module in self.model.named_modules()}
        self._owner_of = {
            id(parameter): (path.rpartition(".")[0] or ROOT)
            for path, parameter in self.model.named_parameters()
        }
        self._stack: list[str] = []
        self._numbers: list[int] = []
        self._layers: list[str] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow every module of the model while the context lasts."""
        with ExitStack() as hooks:
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_module_forward_hook(self._leave, always_call=True),
            ):
                hooks.callback(handle.remove)
            yield
        self._stack.clear()

    def layer(self) -> str:
        """Name the layer at work."""
        if self._stack:
            return self._stack[-1]
        if self.phase == "backward":
            return self.layer_of_node(torch._C._current_autograd_node())
        return {"forward": ROOT, "loss": LOSS, "optimizer": OPTIMIZER}[self.phase]

    def begin(self, phase: Phase) -> None:
        """Enter the next part of the pass."""
        self.phase = phase
        self._note()

    def layer_of_node(self, node: Any) -> str:
        """Name the layer that created a node of the autograd graph."""
        if node is None:
            return LOSS
        parameter = getattr(node, "variable", None)
        if isinstance(parameter, torch.Tensor):
            return self._owner_of.get(id(parameter), ROOT)
        position = bisect_right(self._numbers, node._sequence_nr()) - 1
        return self._layers[position] if position >= 0 else ROOT

    def _enter(self, module: nn.Module, _args: object) -> None:
        if (
            torch.compiler.is_compiling()
        ):  # torch is capturing a branch of torch.cond: hooks must leave no trace
            return
        path = self._path_of.get(id(module))
        if path is None:  # a module from outside, such as a loss: it belongs to whoever calls it
            path = self.layer()
        elif self.phase != "backward":  # in backward it is a recomputation, which is no second call
            self.num_calls[path] = self.num_calls.get(path, 0) + 1
        self._stack.append(path)
        self._note()

    def _leave(self, module: nn.Module, _args: object, output: object) -> None:
        if torch.compiler.is_compiling() or not self._stack:
            return
        path = self._stack.pop()
        if self._path_of.get(id(module)) == path and self.phase != "backward":
            size = sum(touched_bytes(tensor) for tensor in tensors_in(output))
            self.output_bytes[path] = self.output_bytes.get(path, 0) + size
        self._note()

    def _note(self) -> None:
        self._numbers.append(torch._C._autograd._get_sequence_nr())
        self._layers.append(self._stack[-1] if self._stack else LOSS if self.phase == "loss" else ROOT)


def own_parameters(model: nn.Module) -> Mapping[str, list[nn.Parameter]]:
    """Sort the parameters of a model by the module that owns them; a shared one is listed where it comes first.

    Args:
        model: Any module.

    Returns:
        Parameters by path of their module.
    """
    owned: dict[str, list[nn.Parameter]] = {}
    for path, parameter in model.named_parameters():
        owned.setdefault(path.rpartition(".")[0] or ROOT, []).append(parameter)
    return owned
