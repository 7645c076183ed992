"""Which schedule suits which model: chosen by what reads the last layer.

| Head | Family | Why |
|---|---|---|
| classifier on the first token | the paper's linear rule | late layers need little beside that token |
| none (a sentence embedding is the mean) | flat, by value, neighbours compete | every part of a passage keeps a say |
| one answer for every token, question answering | flat over the second half | a token is read as it was when it left |
| causal language model | no token goes; few bits, few value rows | a token that is gone is missed later, a bit is not |
"""

from dataclasses import replace

from torch import nn

from multum.attention.length_adaptive import LengthAdaptive
from multum.attention.model_facts import ModelFacts, model_facts
from multum.attention.quantization_schedule import ProgressiveQuantization
from multum.attention.schedule import TokenSchedule, embedding_schedule
from multum.attention.schedule_rules import (
    classifier_schedule,
    flat_values,
    linear_cache,
    token_level_schedule,
)
from multum.attention.sparse_schedule import EncoderSchedule, GenerationSchedule
from multum.core import invalid

LEAST_TOKENS = 8
"""No sentence falls below so many tokens by default: short ones have no words to spare."""
CACHE_BITS = ProgressiveQuantization(
    msb_bits=4, value_bits=6, threshold=0.0, rotate=True, centre=True, whole_heavy=16, whole_recent=32
)
"""Keys in 4 bits, in 8 where it counts, values in 6; benchmarks/results/perplexity.json has what it costs and saves."""
CACHE_VALUES = 0.2
"""Part of the value rows that a query multiplies."""


def default_schedule(
    model: nn.Module, *, keep_ratio: float | None = None, adapt_to_length: bool = True
) -> EncoderSchedule | GenerationSchedule:
    """Choose a schedule by the model's head.

    Args:
        model: A transformers model that can be pruned.
        keep_ratio: How many tokens the layers that prune keep on average, in (0, 1]; of a sentence of 128 tokens when
            an encoder adapts to the length. None: half of them in an encoder, all in a generating model's cache.
        adapt_to_length: Whether an encoder keeps more of short sentences and less of long ones (`LengthAdaptive`).

    Returns:
        A schedule of the family that suits the head. Heads and an encoder's values are left whole: what of them can go
        depends on the task (the paper chooses per task).

    Raises:
        UserError: An architecture or a head that is not supported, a ratio outside (0, 1].

    >>> from transformers import BertConfig, BertForSequenceClassification
    >>> config = BertConfig(hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=8)
    >>> schedule = default_schedule(BertForSequenceClassification(config))
    >>> [round(ratio, 2) for ratio in schedule.tokens.keep_ratios]
    [1.0, 0.75, 0.5, 0.25]
    """
    facts = model_facts(model)
    if facts.reads is None:
        num_layers = len(facts.layers)
        return GenerationSchedule(
            tokens=None if keep_ratio is None else linear_cache(num_layers, keep_ratio),
            values=flat_values(num_layers, CACHE_VALUES),
            quantization=CACHE_BITS,
        )
    length = LengthAdaptive() if adapt_to_length else None
    kept = 0.5 if keep_ratio is None else keep_ratio
    return EncoderSchedule(tokens=encoder_tokens(facts, kept, min_tokens=LEAST_TOKENS, length=length))


def encoder_tokens(
    facts: ModelFacts, keep_ratio: float, *, min_tokens: int = 1, length: LengthAdaptive | None = None
) -> TokenSchedule:
    """The schedule of the family that suits an encoder's head, at one part kept.

    Args:
        facts: The model's sizes.
        keep_ratio: Part kept, on average over the layers that prune, in (0, 1].
        min_tokens: See `TokenSchedule`.
        length: See `TokenSchedule`.

    Raises:
        UserError: A model that generates, a ratio outside (0, 1].
    """
    num_layers = len(facts.layers)
    if facts.reads is None:
        raise invalid("model", "an encoder", facts.name, "a model that generates takes a CacheSchedule")
    if facts.reads == "survivors":
        flat = embedding_schedule(num_layers, keep_ratio, min_tokens=min_tokens)
        return replace(flat, length=length)
    rule = classifier_schedule if facts.reads == "first" else token_level_schedule
    return rule(num_layers, keep_ratio, min_tokens=min_tokens, length=length)
