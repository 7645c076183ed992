"""The slow, obviously right twin: the dense model with masks, one sentence at a time.

Nothing leaves the tensors here. The dense model runs once on every token; hooks on the linear layers of its attention
take queries, keys and values as they come, compute the attention of the living tokens and heads by plain loops, and put
the result in the place of the model's own. What a token or a head has earned, who is pruned, which values are read and
how numbers are rounded is written down as the paper says it. No code is shared with the fast path but the schedules.

Shape legend: N tokens of the sentence, D hidden width (of a head in attention), H heads.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from multum.attention.architectures import Encoder, find_encoder
from multum.attention.model_heads import ModelHeadRule, rule_for
from multum.attention.schedule import TokenSchedule
from multum.attention.sparse_schedule import EncoderSchedule


@dataclass(frozen=True, kw_only=True)
class MaskedRun:
    """What the masked dense model gives for one sentence."""

    hidden_ND: Float[Tensor, "N D"]
    """Last hidden states of every token. Only rows of surviving tokens mean anything, except where the model's head
    reads every token: then a pruned token's row is the state it had when it left."""
    kept: tuple[tuple[int, ...], ...]
    """Per layer, the input positions it works on, ascending."""
    importance: tuple[float, ...]
    """Cumulative importance of every input position at the end; a pruned token's stays what it was."""
    heads: tuple[tuple[int, ...], ...]
    """Per layer, the heads it computes, ascending."""
    head_importance: tuple[float, ...]
    """Cumulative importance of every head at the end; a pruned head's stays what it was."""
    output: Any
    """What the model with its head gives, logits and loss too."""


def masked_dense(
    model: nn.Module,
    token_N: Int[Tensor, " N"],
    schedule: TokenSchedule | EncoderSchedule,
    *,
    rule: ModelHeadRule | None = None,
    **inputs: Any,
) -> MaskedRun:
    """Prune one unpadded sentence by masking alone.

    Args:
        model: A supported transformers encoder, in evaluation mode and without hooks of `prune`.
        token_N: Token ids of the sentence.
        schedule: What each layer keeps.
        rule: What the model's head reads; by default the rule of its class.
        inputs: Further inputs of the model: `labels`, `token_type_ids`, each with a batch of one.

    Returns:
        Hidden states, kept positions, living heads and what they earned, to be compared with `prune`.
    """
    encoder = find_encoder(model)
    dials = EncoderSchedule(tokens=schedule) if isinstance(schedule, TokenSchedule) else schedule
    twin = _Twin(
        encoder=encoder,
        dials=dials,
        rule=rule or rule_for(model),
        tokens=token_N.tolist(),
        segments=inputs["token_type_ids"][0].tolist() if "token_type_ids" in inputs else None,
    )
    with ExitStack() as undo:
        for handle in twin.attach():
            undo.callback(handle.remove)
        output = model(input_ids=token_N[None], **inputs)
    return MaskedRun(
        hidden_ND=twin.last_ND(),
        kept=tuple(twin.kept),
        importance=tuple(twin.score),
        heads=tuple(twin.heads),
        head_importance=tuple(twin.head_score),
        output=output,
    )


@dataclass(kw_only=True)
class _Twin:
    """The bookkeeping of one masked forward."""

    encoder: Encoder
    dials: EncoderSchedule
    rule: ModelHeadRule
    tokens: list[int]
    segments: list[int] | None
    embedded_ND: Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    captured: dict[str, Tensor] = field(default_factory=dict)
    hidden: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kept = [tuple(range(len(self.tokens)))]
        self.heads = [tuple(range(self.encoder.num_heads))]
        self.score = [0.0] * len(self.tokens)
        if self.dials.tokens is not None and self.dials.tokens.spare_tokens is not None:
            listed = list(self.dials.tokens.spare_tokens)
            self.score = [listed.index(it) if it in listed else len(listed) for it in self.tokens]
            self.kept = [self._surviving_tokens(0)]
            self.score = [0.0] * len(self.tokens)
        self.head_score = [0.0] * self.encoder.num_heads

    def attach(self) -> Iterator[torch.utils.hooks.RemovableHandle]:
        yield self.encoder.layers[0].register_forward_pre_hook(self._remember_embedded)
        for index, (layer, parts) in enumerate(
            zip(self.encoder.layers, self.encoder.projections, strict=True)
        ):
            for name in ("query", "key", "value"):
                yield getattr(parts, name).register_forward_hook(self._capture(name))
            yield parts.output.register_forward_pre_hook(self._replace_context(index))
            yield layer.register_forward_hook(self._end_layer(index))

    def _remember_embedded(self, _: nn.Module, args: Any) -> None:
        self.embedded_ND = args[0][0]

    def _capture(self, name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def capture(_: nn.Module, args: Any, output: Tensor) -> None:  # noqa: ARG001
            self.captured[name] = output[0].unflatten(-1, (self.encoder.num_heads, -1))

        return capture

    def _replace_context(self, layer: int) -> Callable[[nn.Module, Any], tuple[Tensor]]:
        def replace_context(_: nn.Module, args: Any) -> tuple[Tensor]:  # noqa: ARG001
            return (self._attention(layer).flatten(1)[None],)

        return replace_context

    def _attention(self, layer: int) -> Float[Tensor, "N H D"]:
        """Every living head by itself; nothing where a head is pruned or a row is."""
        query_NHD, key_NHD, value_NHD = (self.captured[name] for name in ("query", "key", "value"))
        bits = self.dials.quantization
        if bits is not None:
            query_NHD = _rounded(query_NHD, bits.query_bits)
            key_NHD = _rounded(key_NHD, bits.key_bits)
            value_NHD = _rounded(value_NHD, bits.value_bits)
        kept = list(self.kept[layer])
        context = [torch.zeros_like(value_NHD[:, 0]) for _ in range(self.encoder.num_heads)]
        for m in self.heads[layer]:
            score_kk = query_NHD[kept, m] @ key_NHD[kept, m].T / math.sqrt(self.encoder.head_width)
            prob_kk = score_kk.softmax(dim=-1)
            self._score_tokens(kept, prob_kk.tolist(), value_NHD[:, m].tolist())
            if self.dials.values is not None:
                prob_kk = _largest_only(prob_kk, self.dials.values.num_values(layer, len(kept)))
            context_kD = prob_kk @ value_NHD[kept, m]
            self.head_score[m] += sum(abs(e) for row in context_kD.tolist() for e in row)
            context[m] = context[m].index_put((torch.tensor(kept),), context_kD)
        return torch.stack(context, dim=1)

    def _score_tokens(self, kept: list[int], prob: list[list[float]], value: list[list[float]]) -> None:
        """`s[j] += prob[m, i, j]` over all living heads m, rows i and columns j: Alg. 2 as it is written."""
        by_value = self.dials.tokens is not None and self.dials.tokens.score == "value"
        for place, j in enumerate(kept):
            weight = math.dist(value[j], [0.0] * len(value[j])) if by_value else 1.0
            for row in prob:
                self.score[j] += weight * row[place]

    def _end_layer(self, layer: int) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def end_layer(_: nn.Module, args: Any, output: Tensor) -> Tensor:  # noqa: ARG001
            self.hidden.append(output[0])
            if layer == len(self.encoder.layers) - 1:
                return self.last_ND()[None]
            self.kept.append(self._surviving_tokens(layer + 1))
            self.heads.append(self._surviving_heads(layer + 1))
            return output

        return end_layer

    def last_ND(self) -> Float[Tensor, "N D"]:
        """What the model's head reads: the last states, or for each token those of its last layer."""
        if self.rule.reads != "every_token":
            return self.hidden[-1]
        states = [self.embedded_ND, *self.hidden]
        lives = [sum(j in kept for kept in self.kept) for j in range(len(self.tokens))]
        return torch.stack([states[last][j] for j, last in enumerate(lives)])

    def _surviving_tokens(self, layer: int) -> tuple[int, ...]:
        schedule, kept, length = self.dials.tokens, self.kept[-1], len(self.tokens)
        if schedule is None:
            return kept
        width = schedule.window or length
        standing: dict[int, float] = {}
        for start in range(0, length, width):
            rivals = sorted(
                (j for j in kept if start <= j < start + width), key=lambda j: (-self.score[j], j)
            )
            for place, j in enumerate(rivals):
                standing[j] = (place + 0.5) / len(rivals)
        protected = [j for j in kept if self._is_protected(j)]
        others = sorted((j for j in kept if j not in protected), key=lambda j: (standing[j], j))
        return tuple(sorted((protected + others)[: schedule.num_tokens(layer, length)]))

    def _is_protected(self, j: int) -> bool:
        first = self.rule.protects_first or (
            self.dials.tokens is not None and self.dials.tokens.protect_first
        )
        asked = self.segments is not None and self.segments[j] == self.rule.protected_segment
        return (first and j == 0) or self.tokens[j] in self.rule.protected_ids or asked

    def _surviving_heads(self, layer: int) -> tuple[int, ...]:
        if self.dials.heads is None:
            return self.heads[-1]
        ranked = sorted(self.heads[-1], key=lambda m: (-self.head_score[m], m))
        return tuple(sorted(ranked[: self.dials.heads.num_heads(layer, self.encoder.num_heads)]))


def _largest_only(prob_kk: Tensor, count: int) -> Tensor:
    """Row by row, all but the largest probabilities become nothing."""
    rows = []
    for row in prob_kk:
        size = row.tolist()
        by_size = sorted(range(len(size)), key=lambda j: (-size[j], j))
        keep = torch.zeros(len(row), dtype=torch.bool)
        keep[by_size[:count]] = True
        rows.append(torch.where(keep, row, torch.zeros_like(row)))
    return torch.stack(rows)


def _rounded(x_NHD: Tensor, bits: int) -> Tensor:
    """Row by row and head by head, the nearest of the integers that the bits can say, times the row's scale."""
    largest = 2 ** (bits - 1) - 1
    rounded = x_NHD.clone()
    for row in rounded.flatten(0, 1):
        scale = max(abs(number) for number in row.tolist()) / largest
        for d, number in enumerate(row.tolist()):
            row[d] = round(number / scale) * scale if scale else 0.0
    return rounded
