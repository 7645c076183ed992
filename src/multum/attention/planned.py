"""The records that a schedule asks for: what every layer would do, told without running a model.

Which tokens and heads survive depends on the text; how many does not. So counts, and everything that is made of counts
(cost, workload, budgets), can be told beforehand.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.layer_record import LayerRecord
from multum.attention.quantization_schedule import LSB_BITS, ProgressiveQuantization
from multum.attention.schedule import TokenSchedule
from multum.attention.sparse_schedule import EncoderSchedule, GenerationSchedule, PrunableSchedule
from multum.core import invalid


@dataclass(frozen=True, kw_only=True)
class _Network:
    """The sizes that turn ratios into counts."""

    num_layers: int
    num_heads: int
    head_width: int
    query_bits: int | None


def planned_records(
    schedule: PrunableSchedule,
    *,
    num_heads: int,
    head_width: int,
    prompt_tokens: int,
    generated_tokens: int = 0,
    num_layers: int | None = None,
    query_bits: int | None = None,
) -> tuple[LayerRecord, ...]:
    """Tell what every layer would do for one sentence.

    Args:
        schedule: For an encoder or for generation.
        num_heads: Heads of every layer of the model.
        head_width: Channels of a head.
        prompt_tokens: Tokens of the sentence, or of the prompt.
        generated_tokens: Tokens that are read back in after the prompt (iteration 0), each in an iteration of its own.
        num_layers: Layers of the model, where the schedule does not tell.
        query_bits: Bits of a query, where the schedule does not tell.

    Returns:
        One record for each layer of each forward. Heads are the first ones, for which ones survive is not known; rows
        that would read the second plane are not known either and counted as none.

    Raises:
        UserError: Sizes below 1, no number of layers or another one, an encoder's schedule with tokens to generate.
    """
    sizes = {"num_heads": num_heads, "head_width": head_width}
    for name, size in {**sizes, "prompt_tokens": prompt_tokens}.items():
        if size < 1:
            raise invalid(name, "at least 1", size)
    if generated_tokens < 0:
        raise invalid("generated_tokens", "at least 0", generated_tokens)
    whole = as_whole(schedule)
    depth = whole.num_layers if num_layers is None else num_layers
    if depth is None or whole.num_layers not in (None, depth):
        raise invalid("num_layers", "the schedule's", num_layers, "give the model's number of layers")
    network = _Network(num_layers=depth, query_bits=query_bits, **sizes)
    if isinstance(whole, GenerationSchedule):
        return tuple(_generation(whole, network, prompt_tokens, generated_tokens))
    if generated_tokens:
        raise invalid("generated_tokens", "0 for an encoder", generated_tokens, "it generates none")
    return tuple(_encoder(whole, network, prompt_tokens))


def as_whole(schedule: PrunableSchedule) -> EncoderSchedule | GenerationSchedule:
    """Give a schedule of tokens alone as a schedule of everything."""
    if isinstance(schedule, TokenSchedule):
        return EncoderSchedule(tokens=schedule)
    if isinstance(schedule, CacheSchedule):
        return GenerationSchedule(tokens=schedule)
    return schedule


def _encoder(schedule: EncoderSchedule, network: _Network, length: int) -> Iterator[LayerRecord]:
    bits = schedule.quantization
    tokens = [
        schedule.tokens.num_tokens(layer, length) if schedule.tokens else length
        for layer in range(network.num_layers)
    ]
    heads = _heads(schedule, network)
    for layer, present in enumerate(tokens):
        yield LayerRecord(
            iteration=0,
            layer=layer,
            head_width=network.head_width,
            heads=(tuple(range(heads[layer])),),
            num_queries=(present,),
            num_keys=(present,),
            num_values=(_values(schedule, layer, present),),
            tokens_kept=(_falls(tokens, layer),),
            heads_kept=(_falls(heads, layer),),
            query_bits=bits.query_bits if bits else network.query_bits,
            key_bits=bits.key_bits if bits else None,
            value_bits=bits.value_bits if bits else None,
        )


def _generation(
    schedule: GenerationSchedule, network: _Network, prompt_tokens: int, generated_tokens: int
) -> Iterator[LayerRecord]:
    heads = _heads(schedule, network)
    dense_iterations = 2 if schedule.tokens and schedule.tokens.readmit else 1  # as the public traces
    for iteration in range(generated_tokens + 1):
        length = prompt_tokens + iteration
        rows = [
            schedule.tokens.num_rows(layer, length)
            if schedule.tokens and (iteration >= dense_iterations or schedule.tokens.prunes_prompt_in(layer))
            else length
            for layer in range(network.num_layers)
        ]
        for layer, present in enumerate(rows):
            yield LayerRecord(
                iteration=iteration,
                layer=layer,
                head_width=network.head_width,
                heads=(tuple(range(heads[layer])),),
                num_queries=(1 if iteration else present,),
                num_keys=(present,),
                num_values=(_values(schedule, layer, present) if iteration else present,),
                tokens_kept=(_falls(rows, layer),),
                heads_kept=(_falls(heads, layer) if not iteration else None,),
                query_bits=network.query_bits,
                rescaled=bool(iteration and schedule.tokens and schedule.tokens.decay < 1.0),
                **_planes(schedule.quantization if iteration else None, layer, heads[layer]),
            )


def _planes(quantization: ProgressiveQuantization | None, layer: int, num_heads: int) -> dict[str, Any]:
    if quantization is None:
        return {}
    bits = quantization.of_layer(layer)
    return {
        "key_bits": bits.msb_bits,
        "lsb_bits": LSB_BITS,
        "value_bits": bits.value_bits,
        "threshold": bits.threshold,
        "flat_rows": ((0,) * num_heads,),
    }


def _heads(schedule: EncoderSchedule | GenerationSchedule, network: _Network) -> list[int]:
    total = network.num_heads
    return [
        schedule.heads.num_heads(layer, total) if schedule.heads else total
        for layer in range(network.num_layers)
    ]


def _values(schedule: EncoderSchedule | GenerationSchedule, layer: int, present: int) -> int:
    return schedule.values.num_values(layer, present) if schedule.values else present


def _falls(counts: list[int], layer: int) -> int | None:
    """What the next layer keeps, where it keeps less; None where it keeps all."""
    if layer + 1 < len(counts) and counts[layer + 1] < counts[layer]:
        return counts[layer + 1]
    return None
