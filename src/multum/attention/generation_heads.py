"""Cascade head pruning while a model generates: heads that hand on next to nothing are computed no more.

While a prompt is read, each layer adds up what its heads hand on, and the next one computes the best of them; later
tokens keep to that choice, for a head that has not stored its keys cannot come back. A pruned head's query is not
projected and its columns of the output matrix are not read; a key/value head that no living head reads is neither
projected nor stored.

Shape legend: B sequences, H heads of the model, K living heads, G key/value heads of the model, Q rows of
one forward, D head width, I channels that come in, O channels that go out.

Source: SpAtten (HPCA 2021), section III-B.
Differs from the paper: the choice is made once a sequence, while its first rows are read.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from multum.attention.head_pruning import head_magnitude, select_heads
from multum.attention.head_schedule import HeadSchedule
from multum.core import UserError, invalid
from multum.ops.fast_linear import fast_linear

SEPARATE = ("q_proj", "k_proj", "v_proj", "o_proj")
"""Children of an attention with one matrix each."""
FUSED = ("c_attn", "c_proj")
"""Children of GPT-2's attention: queries, keys and values side by side, and the output."""

Weights = tuple[Tensor, Tensor | None]
"""A matrix (O, I) and its bias."""


@dataclass(kw_only=True)
class LivingHeads:
    """The heads that one layer computes, sequence by sequence."""

    head_BK: Int[Tensor, "B K"]
    """Their numbers in the model, ascending."""
    share: int
    """Query heads of the model that read one key/value head."""
    weights: dict[tuple[str, tuple[int, ...]], Weights] = field(default_factory=dict)
    """Parts of the layer's matrices, copied once for each choice of heads."""

    def __post_init__(self) -> None:
        heads = self.head_BK.tolist()
        stored = [sorted({head // self.share for head in of_sequence}) for of_sequence in heads]
        most = max(map(len, stored))
        self.groups = [of_sequence + of_sequence[-1:] * (most - len(of_sequence)) for of_sequence in stored]
        """For each sequence the key/value heads that are stored; the last one again where others have more."""
        slots = [
            [groups.index(head // self.share) for head in of_sequence]
            for groups, of_sequence in zip(self.groups, heads, strict=True)
        ]
        self.slot_BK = torch.tensor(slots, device=self.head_BK.device)
        found: dict[tuple[int, ...], list[int]] = {}
        for sequence, of_sequence in enumerate(heads):
            found.setdefault(tuple(of_sequence), []).append(sequence)
        self.alike = list(found.values())
        """Sequences with the same heads, together."""

    def take_sequences(self, index_B: Int[Tensor, " b"]) -> "LivingHeads":
        """Reorder, repeat or drop sequences."""
        return LivingHeads(
            head_BK=self.head_BK.index_select(0, index_B), share=self.share, weights=self.weights
        )


class CachedHeads:
    """Which heads every layer computes, and what each head has handed on: the state of the sequences of one cache."""

    def __init__(self, schedule: HeadSchedule | None, num_heads: int, num_groups: int) -> None:
        self.schedule, self.num_heads, self.num_groups = schedule, num_heads, num_groups
        self.reset()

    def reset(self) -> None:
        """Forget every sequence."""
        self.importance_BH: Tensor | None = None
        self.living: dict[int, LivingHeads] = {}
        """By layer, where it computes fewer than all."""
        self._chosen = False

    def prunes(self, layer: int) -> bool:
        """Whether a layer computes fewer heads than the model has."""
        return self.schedule is not None and self.schedule.num_heads(layer, self.num_heads) < self.num_heads

    def leave_layer(
        self, layer: int, context_BKQD: Float[Tensor, "B K Q D"], mask_BQ: Bool[Tensor, "B Q"]
    ) -> None:
        """Add `|E|` of a layer that read several rows, and choose who is computed in the next one."""
        if self.schedule is None or self._chosen:
            return
        magnitude_BK = head_magnitude(context_BKQD, mask_BQ)
        if self.importance_BH is None:
            self.importance_BH = magnitude_BK.new_zeros(len(mask_BQ), self.num_heads)
        before = self.living.get(layer)
        if before is None:
            self.importance_BH += magnitude_BK
        else:
            self.importance_BH.scatter_add_(1, before.head_BK, magnitude_BK)
        if layer + 1 < self.schedule.num_layers and self.prunes(layer + 1):
            self.living[layer + 1] = self._choose(before, self.schedule.num_heads(layer + 1, self.num_heads))

    def _choose(self, before: LivingHeads | None, count: int) -> LivingHeads:
        assert self.importance_BH is not None
        if before is None:
            head_BK = select_heads(self.importance_BH, count)
        elif before.head_BK.shape[1] == count:
            head_BK = before.head_BK
        else:
            index_BK = select_heads(self.importance_BH.gather(1, before.head_BK), count)
            head_BK = before.head_BK.gather(1, index_BK)
        return LivingHeads(head_BK=head_BK, share=self.num_heads // self.num_groups)

    def finish(self) -> None:
        """End the first rows: from now on the choice stands."""
        self._chosen = True

    def take_sequences(self, index_B: Int[Tensor, " b"]) -> None:
        """Reorder, repeat or drop sequences."""
        if self.importance_BH is not None:
            self.importance_BH = self.importance_BH.index_select(0, index_B)
        self.living = {layer: it.take_sequences(index_B) for layer, it in self.living.items()}


def check_projections(attentions: Sequence[nn.Module]) -> None:
    """Refuse a model whose projections are not plain matrices.

    Raises:
        UserError: A projection of another class (an adapter, a quantized layer).
    """
    for index, attention in enumerate(attentions):
        for name in _names(attention):
            module = attention.get_submodule(name)
            if type(module) is not nn.Linear and type(module).__name__ != "Conv1D":
                kind, remedy = type(module).__name__, "merge adapters into the model first"
                raise invalid(f"{name} of layer {index}", "an nn.Linear or a Conv1D", kind, remedy)


def narrow(attention: Any, living: LivingHeads, head_width: int) -> Callable[[], None]:
    """Let an attention compute its living heads only; returns what makes it whole again."""
    modules = {name: attention.get_submodule(name) for name in _names(attention)}
    before = {name: vars(module).get("forward") for name, module in modules.items()}
    if any(isinstance(forward, _Narrow) for forward in before.values()):
        raise UserError(
            "a model whose heads are pruned must run in one thread at a time; got a second forward"
        )
    for name, module in modules.items():
        vars(module)["forward"] = _Narrow(name, module, living, head_width, before[name])
    split_size = getattr(attention, "split_size", None)
    if split_size is not None:
        attention.split_size = living.head_BK.shape[1] * head_width

    def widen() -> None:
        for name, module in modules.items():
            if before[name] is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = before[name]
        if split_size is not None:
            attention.split_size = split_size

    return widen


def _names(attention: nn.Module) -> tuple[str, ...]:
    return FUSED if hasattr(attention, "c_attn") else SEPARATE


class _Narrow:
    """The forward of one projection while some heads are pruned."""

    def __init__(self, name: str, module: Any, living: LivingHeads, head_width: int, before: Any) -> None:
        self.name, self.module, self.living = name, module, living
        self.head_width, self.multiply = head_width, functional.linear if before is None else fast_linear

    def __call__(self, inputs: Float[Tensor, "B Q I"]) -> Float[Tensor, "B Q O"]:
        alike = self.living.alike
        if len(alike) == 1:
            return self.multiply(inputs, *self._weights(0))
        parts = [self.multiply(inputs[sequences], *self._weights(sequences[0])) for sequences in alike]
        order = torch.tensor(
            [sequence for sequences in alike for sequence in sequences], device=inputs.device
        )
        return torch.cat(parts).index_select(0, order.argsort())

    def _weights(self, sequence: int) -> Weights:
        """The part of the matrix that a sequence's heads need; copied once, kept with the choice."""
        heads = self.living.head_BK[sequence].tolist()
        wanted = self.living.groups[sequence] if self.name in {"k_proj", "v_proj"} else heads
        key = (self.name, tuple(wanted))
        if key not in self.living.weights:
            self.living.weights[key] = self._cut(torch.tensor(wanted, device=self.module.weight.device))
        return self.living.weights[key]

    def _cut(self, index: Int[Tensor, " K"]) -> Weights:
        weight, bias = self.module.weight, self.module.bias
        weight = weight if isinstance(self.module, nn.Linear) else weight.T  # a Conv1D stores (I, O)
        if self.name in {"o_proj", "c_proj"}:
            return weight.unflatten(1, (-1, self.head_width)).index_select(1, index).flatten(1), bias
        shares = 3 if self.name == "c_attn" else 1
        parts = list(self._rows(weight, index, shares))
        return torch.cat(parts), None if bias is None else torch.cat(list(self._rows(bias, index, shares)))

    def _rows(self, matrix: Tensor, index: Tensor, shares: int) -> Iterator[Tensor]:
        for share in matrix.chunk(shares):
            yield share.unflatten(0, (-1, self.head_width)).index_select(0, index).flatten(0, 1)
