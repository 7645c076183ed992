"""The slow, obviously right twin of pruned generation: the whole sequence again for every token, with masks.

One sequence, fed token by token. For every step the dense model runs over everything so far: nothing is stored but what
old rows once gave. Each new row attends, one head at a time, to the tokens that are on its layer's list; probabilities
are summed by plain loops; a list is chosen by sorting it. With quantization, keys and values are rounded to integers
and back where a cache would hold them. No code is shared with the fast path but the schedule.

Shape legend: N tokens, H query heads, G key/value heads, D head width, V words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.decoders import find_decoder
from multum.attention.quantization_schedule import LSB_BITS, ProgressiveQuantization
from multum.attention.sparse_schedule import GenerationSchedule

TWIN_NAME = "multum_generation_twin"
"""The name under which transformers knows the twin's attention function."""


@dataclass(kw_only=True)
class TwinStep:
    """What one forward did."""

    logits_V: Float[Tensor, " V"]
    """Logits behind the last token."""
    kept: list[list[int]]
    """For each layer the tokens that it holds afterwards, ascending."""
    importance: list[float]
    """Cumulative importance of every token so far."""
    flat: list[list[bool]] = field(default_factory=list)
    """For each layer and head, whether the row of the step read the LSBs."""
    heads: list[list[int]] = field(default_factory=list)
    """For each layer the heads that it computes."""


def generation_twin(
    model: nn.Module, token_N: Int[Tensor, " N"], parts: Sequence[int], schedule: GenerationSchedule
) -> list[TwinStep]:
    """Feed a sequence in parts (the prompt first, then single tokens or more), and prune by masks alone.

    Args:
        model: A supported transformers model, in evaluation mode and outside of every prune block.
        token_N: All tokens.
        parts: How many of them each forward gets.
        schedule: What each layer keeps.

    Returns:
        One entry a forward.
    """
    twin = _Twin(model, schedule)
    steps: list[TwinStep] = []
    start = 0
    for part in parts:
        steps.append(twin.forward(token_N[: start + part], start))
        start += part
    return steps


class _Twin:
    """What is remembered from one forward to the next: sets, scores, and what each old row saw."""

    def __init__(self, model: nn.Module, schedule: GenerationSchedule) -> None:
        self.model, self.schedule, self.decoder = model, schedule, find_decoder(model)
        depth = self.decoder.num_layers
        everything = CacheSchedule(keep_ratios=(1.0,) * depth, protect_first=0, grace_tokens=1)
        self.tokens = schedule.tokens or everything
        self.kept: list[list[int]] = [[] for _ in range(depth)]
        self.score: list[float] = []
        self.context_of_row: list[dict[int, Tensor]] = [{} for _ in range(depth)]
        self.prompt_of_layer: list[list[int]] = [[] for _ in range(depth)]
        self.heavy: list[int] = []
        self.num_steps = 0
        self.head_score = [0.0] * self.decoder.num_heads
        self.heads = [list(range(self.decoder.num_heads)) for _ in range(depth)]

    def forward(self, token_N: Tensor, start: int) -> TwinStep:
        """Run the dense model over everything, and take over what its new rows did."""
        self.start, self.is_step = start, start > 0 and len(token_N) == start + 1
        self.rows = list(range(start, len(token_N)))
        self.prunes_rows = self.tokens.prune_prompt and start == 0
        self.score += [0.0] * (len(token_N) - start)
        self.flat: list[list[bool]] = []
        self.present: list[list[int]] = []
        if self.is_step:
            self.num_steps += 1
            self.score = [score * self.tokens.decay for score in self.score]
            if not self.tokens.readmit:
                self.kept = self._choose([[*kept, start] for kept in self.kept], len(token_N))
        with _attention_of(self, self.decoder):
            logits_NV = self.model(input_ids=token_N[None], use_cache=False).logits[0]
        if start == 0 and self.schedule.quantization is not None:
            heaviest = sorted(range(len(token_N)), key=lambda j: (-self.score[j], j))
            self.heavy = heaviest[: self.schedule.quantization.whole_heavy]
        if not self.is_step:
            new = list(range(start, len(token_N)))
            if self.tokens.readmit:
                self.kept = [list(range(len(token_N))) for _ in self.kept]
            elif self.prunes_rows:
                self._settle(self.decoder.num_layers - 1, len(token_N))
            else:
                self.kept = self._choose([kept + new for kept in self.kept], len(token_N))
        return TwinStep(
            logits_V=logits_NV[-1],
            kept=[list(kept) for kept in self.kept],
            importance=list(self.score),
            flat=self.flat,
            heads=[list(heads) for heads in self.heads],
        )

    def _choose(self, candidates: list[list[int]], length: int) -> list[list[int]]:
        """For each layer the best of its candidates that the layer before keeps too."""
        chosen: list[list[int]] = []
        allowed = set(range(length))
        for layer, candidate in enumerate(candidates):
            best = self._best(layer, [j for j in candidate if j in allowed], length)
            chosen.append(best)
            allowed = set(best)
        return chosen

    def _best(self, layer: int, rivals: list[int], length: int) -> list[int]:
        """As many of some tokens as a layer keeps."""
        guarded = [j for j in rivals if self._is_protected(j, length)]
        others = sorted((j for j in rivals if j not in guarded), key=lambda j: (-self.score[j], j))
        return sorted((guarded + others)[: self.tokens.num_rows(layer, length)])

    def _settle(self, layer: int, length: int) -> list[int]:
        """What all layers with this one's dial keep of the rows that entered them."""
        held = self._best(layer, self.rows, length)
        for other in range(self.decoder.num_layers):
            if self.tokens.dials[other] == self.tokens.dials[layer]:
                self.kept[other] = held
        return held

    def _held(self, layer: int) -> list[int]:
        """What was stored before this forward: what the layer kept, or everything where tokens may come back."""
        return list(range(self.start)) if self.tokens.readmit else self.kept[layer]

    def _restart(self, layer: int, length: int) -> None:
        """As the public traces: layer 0 chooses among all tokens, each later one among those of the layer before."""
        everybody = list(range(length))
        among = self.kept[layer - 1] if layer else everybody
        self.kept[layer] = self._best(layer, among, length) if self.num_steps > 1 else sorted(among)

    def _is_protected(self, token: int, length: int) -> bool:
        return token < self.tokens.protect_first or token >= length - self.tokens.grace_tokens

    # attention of one layer, called by the model --------------------------------------------------------------------

    def attend(
        self, layer: int, query_HND: Tensor, key_HND: Tensor, value_HND: Tensor, scale: float
    ) -> Tensor:
        """Context of all rows: old rows as they were, new rows from what is there for them."""
        num_heads, num_tokens, _ = query_HND.shape
        context_HND = torch.zeros_like(query_HND)
        remembered = self.context_of_row[layer]
        received = [0.0] * num_tokens
        earns_from = num_tokens if self.tokens.prompt_rows is None else self.tokens.prompt_rows
        flat = [False] * num_heads
        if self.is_step and self.tokens.readmit:
            self._restart(layer, num_tokens)
        magnitude = [0.0] * num_heads
        if self.prunes_rows and layer and self.tokens.dials[layer] != self.tokens.dials[layer - 1]:
            self.rows = self._best(layer, self._settle(layer - 1, num_tokens), num_tokens)
        if self.start == 0:
            self.prompt_of_layer[layer] = self.rows
        for row in range(num_tokens):
            if row < self.start:
                context_HND[:, row] = remembered[row]
                continue
            if row not in self.rows:
                remembered[row] = context_HND[:, row].clone()  # gone: nobody looks
                continue
            seen = (
                self.kept[layer]
                if self.is_step
                else [*self._held(layer), *(j for j in self.rows if j <= row)]
            )
            for head in self.heads[layer]:
                prob, values, flat[head] = self._row(
                    layer, query_HND[head, row], key_HND[head], value_HND[head], seen, scale
                )
                context_HND[head, row] = values
                magnitude[head] += values.abs().sum().item()
                if self.is_step or row in self.rows[-earns_from:]:
                    for j, p in zip(seen, prob.tolist(), strict=True):
                        received[j] += p
            remembered[row] = context_HND[:, row].clone()
        self.score = [old + new for old, new in zip(self.score, received, strict=True)]
        self.flat.append([flat[head] for head in self.heads[layer]])
        self._prune_heads(layer, magnitude)
        return context_HND

    def _row(
        self, layer: int, query_D: Tensor, key_ND: Tensor, value_ND: Tensor, seen: list[int], scale: float
    ) -> tuple[Tensor, Tensor, bool]:
        """Probabilities and context of one row of one head, and whether it was flat."""
        keys, values = key_ND[seen], value_ND[seen]
        progressive = self.schedule.quantization
        mean_key_D, mean_value_D = self._means(layer, key_ND), self._means(layer, value_ND)
        if progressive is None or not self.is_step:
            if progressive is not None and self.start > 0:
                old = torch.tensor([j < self.start for j in seen])
                keys_then = _rounded(keys - mean_key_D, progressive, layer, key=True, lsb=True) + mean_key_D
                values_then = _rounded(values - mean_value_D, progressive, layer, key=False) + mean_value_D
                keys = torch.where(old[:, None], keys_then, keys)
                values = torch.where(old[:, None], values_then, values)
            prob, flat = (scale * (keys @ query_D)).softmax(dim=0), False
        else:
            threshold = progressive.of_layer(layer).threshold
            coarse = _rounded(keys - mean_key_D, progressive, layer, key=True, lsb=False) + mean_key_D
            fine = _rounded(keys - mean_key_D, progressive, layer, key=True, lsb=True) + mean_key_D
            first_recent = len(key_ND) - progressive.whole_recent
            for place, token in enumerate(seen):
                if token in self.heavy or token >= first_recent:
                    coarse[place] = fine[place]
            prob = (scale * (coarse @ query_D)).softmax(dim=0)
            flat = prob.max().item() < threshold or threshold == 1.0
            if flat:
                prob = (scale * (fine @ query_D)).softmax(dim=0)
            values = _rounded(values - mean_value_D, progressive, layer, key=False) + mean_value_D
        values = values.clone()
        if self.schedule.values is not None and self.is_step:
            count = self.schedule.values.num_values(layer, len(seen))
            ranked = sorted(range(len(seen)), key=lambda place: -prob[place].item())
            values[ranked[count:]] = mean_value_D
        return prob, prob @ values, flat

    def _means(self, layer: int, rows_ND: Tensor) -> Tensor:
        """The mean of the first forward's rows where rows are centred, else zero: what a row left out counts as."""
        bits = self.schedule.quantization
        if bits is None or not bits.centre:
            return torch.zeros_like(rows_ND[0])
        return rows_ND[self.prompt_of_layer[layer]].mean(dim=0).bfloat16().to(rows_ND.dtype)

    def _prune_heads(self, layer: int, magnitude: list[float]) -> None:
        """After a layer of the prompt, the next one computes the best heads only; later forwards keep to them."""
        schedule = self.schedule.heads
        self.head_score = [old + new for old, new in zip(self.head_score, magnitude, strict=True)]
        if schedule is None or self.start > 0 or layer + 1 == self.decoder.num_layers:
            return
        ranked = sorted(self.heads[layer], key=lambda head: (-self.head_score[head], head))
        self.heads[layer + 1] = sorted(ranked[: schedule.num_heads(layer + 1, self.decoder.num_heads)])


def _rounded(
    rows_ND: Tensor, quantization: ProgressiveQuantization, layer: int, *, key: bool, lsb: bool = False
) -> Tensor:
    """Rows turned, rounded to integers, cut, made numbers again and turned back."""
    width, bits = rows_ND.shape[-1], quantization.of_layer(layer)
    turn = (
        _sylvester(width).to(rows_ND.dtype) if quantization.rotate else torch.eye(width, dtype=rows_ND.dtype)
    )
    turned_ND = rows_ND @ turn
    exact_N1 = turned_ND.abs().amax(dim=1, keepdim=True).float() / (
        2 ** ((bits.key_bits if key else bits.value_bits) - 1) - 1
    )
    step_N1 = exact_N1.half()
    above_N1 = torch.nextafter(step_N1, torch.full_like(step_N1, torch.inf))
    step_N1 = torch.where(step_N1.float() < exact_N1, above_N1, step_N1).to(rows_ND.dtype)
    number_ND = torch.round(turned_ND / step_N1)
    if key:
        high_ND = torch.floor(number_ND / 2**LSB_BITS) * 2**LSB_BITS
        number_ND = number_ND if lsb else high_ND + 8
    return number_ND * step_N1 @ turn


def _sylvester(width: int) -> Tensor:
    """The Hadamard matrix of a power of two, entry by entry: the sign is the parity of the common bits."""
    signs = [[(-1) ** (i & j).bit_count() for j in range(width)] for i in range(width)]
    matrix: Tensor = torch.tensor(signs, dtype=torch.float64).div(width**0.5)
    return matrix


class _attention_of:  # noqa: N801 - read as a verb in `with`
    """Let the model attend as the twin says, inside a block."""

    def __init__(self, twin: _Twin, decoder: Any) -> None:
        self.twin, self.decoder = twin, decoder

    def __enter__(self) -> None:
        def attention(
            module: Any, query: Tensor, key: Tensor, value: Tensor, _: Any, scaling: float, **__: Any
        ) -> tuple[Tensor, None]:
            share = query.shape[1] // key.shape[1]
            keys, values = key[0].repeat_interleave(share, 0), value[0].repeat_interleave(share, 0)
            context_HND = self.twin.attend(module.layer_idx, query[0], keys, values, scaling)
            return context_HND.transpose(0, 1)[None], None

        AttentionInterface.register(TWIN_NAME, attention)
        AttentionMaskInterface.register(TWIN_NAME, lambda *_, **__: None)
        self.before = [config._attn_implementation for config in self.decoder.configs]
        for config in self.decoder.configs:
            config._attn_implementation = TWIN_NAME

    def __exit__(self, *_: object) -> None:
        for config, before in zip(self.decoder.configs, self.before, strict=True):
            config._attn_implementation = before
