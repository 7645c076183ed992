"""The projections of the living heads only: what makes a pruned head cost nothing.

While a layer with pruned heads runs, the four linear layers of its attention answer to another `forward`: queries, keys
and values multiply only the rows of the weights that belong to living heads, the output projection only their columns.
The attention in between then sees fewer heads and needs to know nothing of it. Sentences with the same living heads
are multiplied together. It is undone when the layer ends, errors included, so that it does not matter whether
`fast_linears` was entered before or after; where that one is active, these products go through oneDNN too.

Shape legend: B sentences, L tokens, I channels that come in, O channels that go out.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from multum.attention.architectures import Encoder, Projections
from multum.attention.head_pruning import SentenceHeads, in_sentence_order
from multum.core import UserError, invalid
from multum.ops.fast_linear import fast_linear

Multiply = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def check_projections(encoder: Encoder) -> None:
    """Refuse a model whose projections are not plain linear layers.

    Raises:
        UserError: A projection of another class (an adapter, a quantized layer).
    """
    for index, parts in enumerate(encoder.projections):
        for name, module in vars(parts).items():
            if type(module) is not nn.Linear:
                remedy = "merge adapters into the model first, and round weights for models with all heads"
                kind = type(module).__name__
                raise invalid(f"the {name} projection of layer {index}", "an nn.Linear", kind, remedy)


def install(parts: Projections, heads: SentenceHeads, head_width: int) -> None:
    """Let the projections of one attention compute the living heads only.

    Raises:
        UserError: Another thread runs the same model just now; somebody else replaced the forward of a projection
            (eight-bit layers, offloading), which would be passed over.
    """
    for name, linear in vars(parts).items():
        assert isinstance(linear, nn.Linear)
        before = vars(linear).get("forward")
        if isinstance(before, _LivingHeads):  # left by an interrupted forward, or another thread is in there
            if before.thread != threading.get_ident():
                raise UserError(
                    "a model whose heads are pruned must run in one thread at a time; got a second one; "
                    "give each thread its own model"
                )
            before = before.before
        if before is not None and getattr(before, "__module__", "") != fast_linear.__module__:
            raise UserError(
                "the projections must be stock linear layers, or those of fast_linears, for heads to be pruned; "
                f"got a replaced forward of the {name} projection ({type(before).__name__}); leave the block or undo "
                "the change that replaced it"
            )
        vars(linear)["forward"] = _LivingHeads(linear, heads, head_width, name == "output", before)


def uninstall(parts: Projections, heads: SentenceHeads | None = None) -> None:
    """Give the projections their own forward back.

    Args:
        parts: The layers.
        heads: Only what was installed for these; None: whatever was installed.
    """
    for linear in vars(parts).values():
        ours = vars(linear).get("forward")
        if isinstance(ours, _LivingHeads) and (heads is None or ours.heads is heads):
            if ours.before is None:
                del vars(linear)["forward"]
            else:
                vars(linear)["forward"] = ours.before


class _LivingHeads:
    """The forward of one projection while some heads are pruned."""

    def __init__(
        self, linear: nn.Linear, heads: SentenceHeads, head_width: int, is_output: bool, before: Any
    ) -> None:
        self.linear, self.heads, self.head_width = linear, heads, head_width
        self.is_output, self.before, self.thread = is_output, before, threading.get_ident()

    def __call__(self, inputs: Float[Tensor, "B L I"]) -> Float[Tensor, "B L O"]:
        groups = self.heads.groups()
        if len(groups) == 1:
            return self._project(inputs, groups[0][0])
        return in_sentence_order(self._each_group(inputs, groups), groups)

    def _each_group(self, inputs: Tensor, groups: list[tuple[list[int], list[int]]]) -> Iterator[Tensor]:
        for heads, sentences in groups:
            yield self._project(inputs[sentences], heads)

    def _project(self, inputs: Tensor, heads: list[int]) -> Tensor:
        multiply: Multiply = functional.linear if self.before is None else fast_linear
        weight, bias = self.linear.weight, self.linear.bias
        index = torch.tensor(heads, device=weight.device)
        if self.is_output:
            columns = weight.unflatten(1, (-1, self.head_width)).index_select(1, index).flatten(1)
            return multiply(inputs, columns, bias)
        rows = weight.unflatten(0, (-1, self.head_width)).index_select(0, index).flatten(0, 1)
        if bias is not None:
            bias = bias.unflatten(0, (-1, self.head_width)).index_select(0, index).flatten()
        return multiply(inputs, rows, bias)
