"""Schedules by budget: say what may be spent, and get the mildest schedule of the model's family that spends no more.

Counts follow from the schedule and the length alone, so both searches look at counts and run no model: half the
multiply-accumulates of an encoder, so many bytes of a generating model's cache.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from torch import nn

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.defaults import encoder_tokens
from multum.attention.model_facts import ModelFacts, model_facts
from multum.attention.planned import planned_records
from multum.attention.priced import cost_of
from multum.attention.quantization_schedule import LSB_BITS, MsbBits, ProgressiveQuantization
from multum.attention.schedule_rules import linear_cache
from multum.attention.sparse_schedule import EncoderSchedule, GenerationSchedule
from multum.core import invalid
from multum.ops.bit_planes import row_bytes

STEPS: Final = 10_000
"""Ratios are searched in steps of one over this."""
SCALE_BYTES: Final = 2
"""Each stored row of a plane has one scale in float16; both planes of a key share it."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One step down when a cache must become smaller."""

    bits: MsbBits
    """Bits of the keys' first plane, and of the values."""
    least_keep_ratio: float
    """Tokens are pruned no further than this before bits are taken away."""


LADDER: Final = (
    Rung(bits=12, least_keep_ratio=1.0),
    Rung(bits=8, least_keep_ratio=0.5),
    Rung(bits=6, least_keep_ratio=0.25),
    Rung(bits=4, least_keep_ratio=0.0),
)
"""In this order a budget is met: bits that cost nothing first, then tokens, in turn. Of the paper's numbers, 3.8 times
fewer tokens and 5.1 times fewer bits on GPT-2, the third rung holds both."""


def schedule_for_macs(
    model: nn.Module, *, at_most: float = 0.5, length: int, min_tokens: int = 1
) -> EncoderSchedule:
    """The mildest schedule of the model's family within a part of the dense multiply-accumulates.

    Args:
        model: A transformers encoder.
        at_most: Part of the dense model's multiply-accumulates (head included) that may be spent, in (0, 1].
        length: Tokens of the sentences for which it must hold. Of longer ones it spends a smaller part, for the
            attention's share grows with the length.
        min_tokens: See `TokenSchedule`.

    Raises:
        UserError: A model that generates, a part that even the strongest schedule does not reach (the message tells the
            smallest that is reached).

    >>> from transformers import BertConfig, BertModel
    >>> sizes = dict(hidden_size=8, num_hidden_layers=6, num_attention_heads=2, intermediate_size=32)
    >>> schedule = schedule_for_macs(BertModel(BertConfig(**sizes)), at_most=0.5, length=100)
    >>> schedule.tokens.keep_ratios[1], schedule.tokens.num_tokens(1, 100)
    (0.56, 56)
    """
    if not 0.0 < at_most <= 1.0:
        raise invalid(
            "at_most", "in (0, 1]", at_most, "it is a part of the dense model's multiply-accumulates"
        )
    if length < 1:
        raise invalid("length", "at least 1", length)
    facts = model_facts(model)
    dense = macs_of(facts, EncoderSchedule(), length)

    def family(keep_ratio: float) -> EncoderSchedule:
        return EncoderSchedule(tokens=encoder_tokens(facts, keep_ratio, min_tokens=min_tokens))

    def fits(keep_ratio: float) -> bool:
        return macs_of(facts, family(keep_ratio), length) <= at_most * dense

    found = largest_that_fits(fits)
    if found is None:
        least = math.ceil(1000 * macs_of(facts, family(1 / STEPS), length) / dense) / 1000
        remedy = f"the strongest schedule of this model's family needs {least} at {length} tokens"
        raise invalid("at_most", f"at least {least}", at_most, remedy)
    return family(found)


def macs_of(facts: ModelFacts, schedule: EncoderSchedule, length: int) -> int:
    """Multiply-accumulates of one sentence of `length` tokens under a schedule."""
    records = planned_records(
        schedule,
        num_layers=len(facts.layers),
        num_heads=facts.num_heads,
        head_width=facts.head_width,
        prompt_tokens=length,
    )
    return cost_of(facts, records).macs


def schedule_for_cache_bytes(
    model: nn.Module,
    budget_bytes: int,
    *,
    context: int,
    batch: int = 1,
    protect_first: int = 4,
    grace_tokens: int = 32,
) -> GenerationSchedule:
    """The mildest schedule under which the cache never holds more bytes, however long the model generates.

    First bits go, then tokens, in turn (`LADDER`). Rows are given as counts, so the budget holds beyond `context` too.

    Args:
        model: A transformers model that generates.
        budget_bytes: What keys, values and scales of all layers may hold after a prompt, for the whole batch.
        context: Tokens, prompt and generated, that the sequences are expected to reach: with room, all are kept.
        batch: Sequences at a time.
        protect_first: See `CacheSchedule`.
        grace_tokens: See `CacheSchedule`.

    Raises:
        UserError: An encoder, a size below 1, a budget that even the strongest schedule exceeds (the message tells the
            smallest that is met).

    >>> from transformers import GPT2Config, GPT2Model
    >>> model = GPT2Model(GPT2Config(n_embd=128, n_layer=4, n_head=2, vocab_size=10))
    >>> schedule = schedule_for_cache_bytes(model, 900_000, context=1000)
    >>> schedule.quantization.msb_bits, schedule.tokens.keep_counts
    (8, (1000, 824, 581, 338))
    """
    facts = model_facts(model)
    if facts.reads is not None:
        remedy = "an encoder has no cache; use schedule_for_macs"
        raise invalid("model", "one that generates", facts.name, remedy)
    protected = protect_first + grace_tokens
    for name, size in (("batch", batch), ("context", context)):
        if size < 1:
            raise invalid(name, "at least 1", size)
    context = max(context, protected)  # so many rows are never pruned: a shorter context has room for them

    def counts(keep_ratio: float) -> tuple[int, ...]:
        ratios = linear_cache(len(facts.layers), keep_ratio).keep_ratios
        assert ratios is not None
        return tuple(max(protected, math.floor(ratio * context + 1e-9)) for ratio in ratios)

    def needed(keep_ratio: float, bits: MsbBits) -> int:
        return batch * sum(counts(keep_ratio)) * facts.num_groups * bytes_per_token(bits, facts.head_width)

    for rung in LADDER:
        found = largest_that_fits(lambda ratio, bits=rung.bits: needed(ratio, bits) <= budget_bytes)  # type: ignore[misc]
        if found is not None and found >= rung.least_keep_ratio:
            tokens = CacheSchedule(
                keep_counts=counts(found), protect_first=protect_first, grace_tokens=grace_tokens
            )
            bits = ProgressiveQuantization(msb_bits=rung.bits, value_bits=rung.bits)
            return GenerationSchedule(tokens=tokens, quantization=bits)
    least = needed(1 / STEPS, LADDER[-1].bits)
    remedy = "the first layers keep the whole context; lower context, protect_first or grace_tokens"
    raise invalid("budget_bytes", f"at least {least}", budget_bytes, remedy)


def bytes_per_token(bits: MsbBits, head_width: int, *, value_bits: MsbBits | None = None) -> int:
    """Bytes that one key and one value of one key/value head hold, both planes and scales included.

    A value has as many bits as a key's first plane unless it is said otherwise.

    >>> bytes_per_token(8, 64)
    164
    """
    key_bytes = row_bytes(bits, head_width) + row_bytes(LSB_BITS, head_width)
    return key_bytes + row_bytes(value_bits or bits, head_width) + 2 * SCALE_BYTES


def largest_that_fits(fits: Callable[[float], bool]) -> float | None:
    """The largest ratio in (0, 1], in steps of 1 / `STEPS`, for which something holds that holds for every smaller one.

    >>> largest_that_fits(lambda ratio: ratio <= 0.3)
    0.3
    """
    low, high = 0, STEPS
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle / STEPS):
            low = middle
        else:
            high = middle - 1
    return low / STEPS if low else None
