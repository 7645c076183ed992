"""The slow, obviously right twin: the dense model with masks, one sentence at a time.

Nothing leaves the tensors here. To learn which tokens layer i + 1 keeps, the dense model runs with the masks found so
far and its own eager attention probabilities are summed by plain loops; then it runs again with one mask more. As many
forwards as there are layers, and no code shared with the fast path but the schedule.

Shape legend: N tokens of the sentence, D hidden width, H heads.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from multum.attention.architectures import find_encoder
from multum.attention.schedule import TokenSchedule


@dataclass(frozen=True, kw_only=True)
class MaskedRun:
    """What the masked dense model gives for one sentence."""

    hidden_ND: Float[Tensor, "N D"]
    """Last hidden states of every token; only rows of surviving tokens mean anything."""
    kept: tuple[tuple[int, ...], ...]
    """Per layer, the input positions it works on, ascending."""
    importance: tuple[float, ...]
    """Cumulative importance of every input position at the end; a pruned token's stays what it was."""


def masked_dense(model: nn.Module, token_N: Int[Tensor, " N"], schedule: TokenSchedule) -> MaskedRun:
    """Prune one unpadded sentence by masking alone.

    Args:
        model: A supported transformers encoder, in evaluation mode and without hooks of `prune`.
        token_N: Token ids of the sentence.
        schedule: How many tokens each layer keeps.

    Returns:
        Hidden states, kept positions and importance, to be compared with `prune`.
    """
    length, num_layers = len(token_N), schedule.num_layers
    kept = [tuple(range(length))]
    score = [0.0] * length
    while True:
        hidden_ND, prob_per_layer, value_per_layer = _run_with_masks(model, token_N, kept)
        layer = len(kept) - 1
        _add_scores(score, prob_per_layer[layer], kept[layer], value_per_layer[layer], schedule)
        if len(kept) == num_layers:
            return MaskedRun(hidden_ND=hidden_ND, kept=tuple(kept), importance=tuple(score))
        kept.append(_survivors(score, kept[layer], schedule, layer + 1, length))


def _add_scores(
    score: list[float], prob_HNN: Tensor, kept: tuple[int, ...], value_NHD: Tensor, schedule: TokenSchedule
) -> None:
    """`s[j] += prob[m, i, j]` over all heads and all living rows and columns: Alg. 2 as it is written."""
    for m, head in enumerate(prob_HNN.tolist()):
        for j in kept:
            weight = math.dist(value_NHD[j, m].tolist(), [0.0] * value_NHD.shape[2])
            weight = weight if schedule.score == "value" else 1.0
            for i in kept:
                score[j] += weight * head[i][j]


def _survivors(
    score: list[float], kept: tuple[int, ...], schedule: TokenSchedule, layer: int, length: int
) -> tuple[int, ...]:
    width = schedule.window or length
    standing: dict[int, float] = {}
    for start in range(0, length, width):
        rivals = sorted((j for j in kept if start <= j < start + width), key=lambda j: (-score[j], j))
        for place, j in enumerate(rivals):
            standing[j] = (place + 0.5) / len(rivals)
    protected = [kept[0]] if schedule.protect_first else []
    others = sorted((j for j in kept if j not in protected), key=lambda j: (standing[j], j))
    return tuple(sorted((protected + others)[: schedule.num_tokens(layer, length)]))


def _run_with_masks(
    model: nn.Module, token_N: Tensor, kept: list[tuple[int, ...]]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Dense eager forward in which layer i may look only at `kept[i]` (the last known set serves later layers)."""
    encoder = find_encoder(model)
    length = len(token_N)
    handles = []
    probs: list[Tensor] = []
    values: list[Tensor] = []
    num_heads = model.config.num_attention_heads  # type: ignore[union-attr]
    for index, layer in enumerate(encoder.layers):
        bias = torch.full((length,), torch.finfo(torch.float32).min)
        bias[list(kept[min(index, len(kept) - 1)])] = 0.0

        def mask_input(
            _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], bias: Tensor = bias
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            mask = bias.to(args[0].dtype)[None, None, None, :].expand(1, 1, length, length)
            if len(args) > 1:
                return (args[0], mask, *args[2:]), kwargs
            return args, {**kwargs, "attention_mask": mask}

        handles.append(layer.register_forward_pre_hook(mask_input, with_kwargs=True))
        attention = next(m for m in layer.modules() if type(m).__name__.endswith("SelfAttention"))
        handles.append(attention.register_forward_hook(lambda *call: probs.append(call[-1][1][0])))
        project = next(m for name, m in attention.named_modules() if name in {"value", "v_lin"})
        handles.append(
            project.register_forward_hook(
                lambda *call: values.append(call[-1][0].unflatten(-1, (num_heads, -1)))
            )
        )
    before = model.config._attn_implementation  # type: ignore[union-attr]
    model.set_attn_implementation("eager")  # type: ignore[operator]
    try:
        output = encoder.base(input_ids=token_N[None])
    finally:
        model.set_attn_implementation(before)  # type: ignore[operator]
        for handle in handles:
            handle.remove()
    return output.last_hidden_state[0], probs, values
