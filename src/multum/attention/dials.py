"""The dials of the command line, and the schedules that they come to for a given model.

Either one word says everything (a schedule's file, or a wish of `schedule_wish.py`), or a few numbers do: then tokens
follow the family that suits the model's head (`defaults.py`), and heads, values and bits are as wished.
"""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

from torch import nn

from multum.attention.budget import schedule_for_cache_bytes, schedule_for_macs
from multum.attention.decoders import find_decoder
from multum.attention.defaults import default_schedule, encoder_tokens
from multum.attention.model_facts import model_facts
from multum.attention.quantization_schedule import (
    LSB_BITS,
    MsbBits,
    ProgressiveQuantization,
    StaticQuantization,
)
from multum.attention.schedule_rules import flat_values, linear_cache, linear_heads
from multum.attention.schedule_wish import read_schedule
from multum.attention.sparse_schedule import EncoderSchedule, GenerationSchedule
from multum.core import UserError, invalid

BYTES_PER_MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Dials:
    """What encoders and generating models have in common."""

    schedule: Path | None = None
    """JSON file of a schedule, the model folder that it lies beside, or a wish such as flat:0.4, macs:0.5@384 or
    cache:100MB@4096; takes the place of all dials below."""

    keep_ratio: float | None = None
    """Part of the tokens that the layers which prune keep on average, in (0, 1]; 1 prunes none."""

    keep_heads: float | None = None
    """Part of the heads that the layers which prune heads keep on average, in (0, 1]; all when left alone."""

    keep_values: float | None = None
    """Part of the value rows that a query multiplies, in (0, 1]; all when left alone."""


@dataclass(frozen=True, kw_only=True)
class EncoderDials(Dials):
    """What an encoder can be told."""

    bits: int | None = None
    """Round queries, keys and values to so many bits, 2 to 16; not at all when left alone."""

    budget: float | None = None
    """Keep as many tokens as fit into this part of the dense multiply-accumulates, in (0, 1]."""


@dataclass(frozen=True, kw_only=True)
class CacheDials(Dials):
    """What a generating model's cache can be told."""

    msb_bits: MsbBits | None = None
    """Bits of a key that every query reads, and of a value; 8 when only others are turned. With no dial turned the
    default for models that generate: every token, keys in 4 bits or 8 where it counts, values in 6, a fifth of them
    multiplied."""

    threshold: float | None = None
    """Rows whose largest probability stays below this fetch the keys' further 4 bits; 0 never, 1 always; 0.1 when only
    others are turned."""

    full_precision: bool = False
    """Store keys and values as the model computes them, without rounding."""

    prune_prompt: bool = False
    """Prune the prompt on its way through the layers too, so that later ones read fewer tokens; with keep_ratio."""

    cache_megabytes: float | None = None
    """The mildest schedule whose cache never holds more than so many megabytes, in place of the other dials."""


def encoder_schedule(model: nn.Module, dials: EncoderDials, *, length: int) -> EncoderSchedule:
    """The schedule that the dials come to for an encoder.

    Args:
        model: A supported encoder.
        dials: As given; nothing given is the default of the model's head.
        length: Tokens of the longest text, for which a budget has to hold.

    Raises:
        UserError: A ratio out of range, a schedule's file beside other dials, a file of another kind.

    >>> from transformers import BertConfig, BertModel
    >>> sizes = dict(hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8)
    >>> schedule = encoder_schedule(BertModel(BertConfig(**sizes)), EncoderDials(keep_ratio=0.4), length=9)
    >>> schedule.tokens.keep_ratios
    (1.0, 0.4, 0.4)
    """
    _check_parts(dials, "keep_ratio", "keep_heads", "keep_values", "budget")
    if dials.bits is not None and not 2 <= dials.bits <= 16:
        raise invalid("bits", "in 2..16", dials.bits)
    if dials.schedule is not None:
        refuse_others(dials, EncoderDials, "schedule")
        wished = read_schedule(dials.schedule, model)
        if isinstance(wished, EncoderSchedule):
            return wished
    facts = model_facts(model)
    if facts.reads is None:
        raise UserError(
            f"model must be an encoder; got {facts.name}, which generates; see multum attention generate"
        )
    num_layers = len(facts.layers)
    return EncoderSchedule(
        tokens=_encoder_tokens(model, dials, length).tokens,
        heads=None if dials.keep_heads is None else linear_heads(num_layers, dials.keep_heads),
        values=None if dials.keep_values is None else flat_values(num_layers, dials.keep_values),
        quantization=None
        if dials.bits is None
        else StaticQuantization(**dict.fromkeys(BIT_FIELDS, dials.bits)),
    )


BIT_FIELDS = ("query_bits", "key_bits", "value_bits")


def _encoder_tokens(model: nn.Module, dials: EncoderDials, length: int) -> EncoderSchedule:
    if dials.budget is not None:
        if dials.keep_ratio is not None:
            raise invalid("budget, keep_ratio", "given one of the two", (dials.budget, dials.keep_ratio))
        return schedule_for_macs(model, at_most=dials.budget, length=length)
    if dials.keep_ratio is not None:
        tokens = None if dials.keep_ratio == 1.0 else encoder_tokens(model_facts(model), dials.keep_ratio)
        return EncoderSchedule(tokens=tokens)
    if dials.keep_heads is not None or dials.keep_values is not None or dials.bits is not None:
        return EncoderSchedule()  # who turns another dial means that one
    found = default_schedule(model)
    assert isinstance(found, EncoderSchedule)
    return found


def generation_schedule(model: nn.Module, dials: CacheDials, *, context: int) -> GenerationSchedule:
    """The schedule that the dials come to for a generating model.

    Args:
        model: A supported generating model.
        dials: As given; nothing given is the default for models that generate.
        context: Tokens that the sequence will reach.

    Raises:
        UserError: A model that does not generate, a value out of range, a schedule's file beside other dials, a file of
            another kind, a budget that is too small.
    """
    find_decoder(model)  # an encoder is told so, whatever the dials are
    _check_parts(dials, "keep_ratio", "keep_heads", "keep_values")
    if dials.threshold is not None and not 0 <= dials.threshold <= 1:
        raise invalid("threshold", "in [0, 1]", dials.threshold, "it is compared with a probability")
    if dials.schedule is not None:
        refuse_others(dials, CacheDials, "schedule")
        found = read_schedule(dials.schedule, model)
        if not isinstance(found, GenerationSchedule):
            raise invalid("schedule", "for generation", str(dials.schedule), "that model encodes")
        return found
    if dials.cache_megabytes is not None:
        refuse_others(dials, CacheDials, "cache_megabytes")
        if not 0 < dials.cache_megabytes < math.inf:
            raise invalid("cache_megabytes", "a positive number", dials.cache_megabytes)
        budget_bytes = round(dials.cache_megabytes * BYTES_PER_MEGABYTE)
        return schedule_for_cache_bytes(model, budget_bytes, context=context)
    if not dials_turned(dials, CacheDials):
        usual = default_schedule(model)
        assert isinstance(usual, GenerationSchedule)
        return usual
    if dials.full_precision and not (dials.msb_bits is None and dials.threshold is None):
        raise UserError(
            "full_precision must stand without msb_bits and threshold, for nothing is rounded then"
        )
    num_layers = len(model_facts(model).layers)
    tokens = None if dials.keep_ratio in (None, 1.0) else linear_cache(num_layers, dials.keep_ratio)
    if dials.prune_prompt:
        if tokens is None:
            raise invalid(
                "prune_prompt", "given with a keep_ratio below 1", True, "say how many tokens to keep"
            )
        tokens = replace(tokens, prune_prompt=True)
    msb_bits: MsbBits = 8 if dials.msb_bits is None else dials.msb_bits
    threshold = 0.1 if dials.threshold is None else dials.threshold
    bits = ProgressiveQuantization(msb_bits=msb_bits, value_bits=msb_bits, threshold=threshold)
    return GenerationSchedule(
        tokens=tokens,
        heads=None if dials.keep_heads is None else linear_heads(num_layers, dials.keep_heads),
        values=None if dials.keep_values is None else flat_values(num_layers, dials.keep_values),
        quantization=None if dials.full_precision else bits,
    )


def _check_parts(dials: Dials, *names: str) -> None:
    """Refuse parts that are none, by the names of the dials: what a schedule says of them has other names."""
    for name in names:
        part = getattr(dials, name)
        if part is not None and not 0 < part <= 1:
            raise invalid(name, "in (0, 1]", part, "it is the part KEPT")


def refuse_others(dials: Dials, kind: type[Dials], name: str) -> None:
    """Refuse a dial that stands beside another which decides everything.

    Raises:
        UserError: Some dial of `kind` other than `name` is not at its default.
    """
    found = [dial for dial in dials_turned(dials, kind) if dial != name]
    if found:
        raise UserError(f"{name} must stand alone; got {', '.join(found)} beside it; leave one of them out")


def refuse_dials_of(kind: type[Dials], dials: Dials, what: str) -> None:
    """Refuse dials that only the other kind of model has.

    Raises:
        UserError: A dial of `kind` that not all models have is not at its default.
    """
    shared = {it.name for it in fields(Dials)}
    found = [name for name in dials_turned(dials, kind) if name not in shared]
    if found:
        models = "models that generate" if kind is CacheDials else "encoders"
        raise UserError(f"{found[0]} must be left alone for {what}; it is a dial of {models}")


def dials_turned(dials: Dials, kind: type[Dials]) -> list[str]:
    """Dials of `kind` that are not at their default."""
    usual = kind()
    return [it.name for it in fields(kind) if getattr(dials, it.name) != getattr(usual, it.name)]


def tell_generation_schedule(schedule: GenerationSchedule, length: int) -> str:
    """Say in a sentence what a schedule keeps of a context of so many tokens.

    >>> tell_generation_schedule(GenerationSchedule(tokens=linear_cache(4, 0.5)), 400)
    'The last layer keeps 100 of 400 tokens.'
    """
    told: list[str] = []
    if schedule.tokens is not None:
        rows = schedule.tokens.num_rows(schedule.tokens.num_layers - 1, length)
        told.append(f"The last layer keeps {rows} of {length} tokens")
    bits = schedule.quantization
    if bits is not None:
        widths = bits.msb_bits if isinstance(bits.msb_bits, tuple) else (bits.msb_bits,)
        few, many = min(widths), max(widths)
        told.append(
            f"keys are read in {few} bits, in {few + LSB_BITS} where a row is flat"
            if few == many
            else f"keys are read in {few} to {many} bits by layer, in {LSB_BITS} more where a row is flat"
        )
    if schedule.values is not None:
        told.append(f"the last layer multiplies {schedule.values.keep_ratios[-1]:.0%} of its value rows")
    if schedule.heads is not None:
        told.append(f"the last layer computes {schedule.heads.keep_ratios[-1]:.0%} of its heads")
    text = "; ".join(told) or "everything is kept"
    return f"{text[0].upper()}{text[1:]}."
