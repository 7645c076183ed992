"""A schedule in one word: a file, or a short wish that a command line can take.

default            what suits the model's head (`default_schedule`)
default:0.4        the same, keeping 0.4 on average
flat:0.4           an encoder's later layers all keep 0.4; the cache of a generating model likewise
linear:0.5         the paper's straight line, 0.5 on average
macs:0.5@384       half the multiply-accumulates, of sentences of 384 tokens (encoders)
cache:100MB@4096   at most 100 MB of cache, for contexts of 4,096 tokens (generating models)
trace              what the authors pruned in their public trace (generating models of 24 layers and 16 heads)
dense              nothing pruned
PATH               a `.json` file, or a folder with a `multum_schedule.json` in it
"""

import re
from collections.abc import Callable
from pathlib import Path

from torch import nn

from multum.attention.budget import schedule_for_cache_bytes, schedule_for_macs
from multum.attention.cache_schedule import CacheSchedule
from multum.attention.defaults import default_schedule
from multum.attention.model_facts import ModelFacts, model_facts
from multum.attention.planned import as_whole
from multum.attention.schedule import flat_schedule
from multum.attention.schedule_rules import classifier_schedule, linear_cache
from multum.attention.sparse_schedule import SCHEDULE_FILE, EncoderSchedule, GenerationSchedule, load_schedule
from multum.attention.trace_schedule import gpt2_medium_trace_schedule
from multum.core import UserError, did_you_mean, invalid

AnySchedule = EncoderSchedule | GenerationSchedule

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
"""Bytes, as they may be written."""


def read_schedule(wish: Path | str, model: nn.Module) -> AnySchedule:
    """Turn a file or a short wish into a schedule for a model.

    Args:
        wish: One of the forms above.
        model: The model that it is for.

    Raises:
        UserError: An unknown word, a number that is none, no such file, a schedule for another number of layers or for
            another kind of model.

    >>> from transformers import BertConfig, BertModel
    >>> sizes = dict(hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16)
    >>> model = BertModel(BertConfig(**sizes))
    >>> read_schedule("flat:0.4", model).tokens.keep_ratios
    (1.0, 0.4, 0.4)
    """
    word, _, number = str(wish).partition(":")
    maker = _WORDS.get(word)
    if maker is not None:
        return maker(number, model)
    path = Path(wish)
    if path.suffix != ".json" and not (path / SCHEDULE_FILE).is_file():
        raise invalid(
            "schedule", "a file, a folder with one, or a known word", str(wish), did_you_mean(word, _WORDS)
        )
    schedule, facts = as_whole(load_schedule(path)), model_facts(model)
    check_fits(schedule, facts)
    return schedule


def check_fits(schedule: AnySchedule, facts: ModelFacts) -> None:
    """Refuse a schedule of another depth, or of the other kind of model.

    Raises:
        UserError: It does not fit.
    """
    generates = facts.reads is None
    if isinstance(schedule, GenerationSchedule) is not generates:
        kind = "that generates" if generates else "that encodes"
        raise invalid("schedule", f"for a model {kind}, as {facts.name} is", type(schedule).__name__)
    if schedule.num_layers not in (None, len(facts.layers)):
        raise invalid("schedule", f"for the model's {len(facts.layers)} layers", schedule.num_layers)


def _default(number: str, model: nn.Module) -> AnySchedule:
    return default_schedule(model, keep_ratio=_ratio(number)) if number else default_schedule(model)


def _dense(number: str, model: nn.Module) -> AnySchedule:
    if number:
        raise invalid("dense", "a word without a number", number)
    return GenerationSchedule() if model_facts(model).reads is None else EncoderSchedule()


def _trace(number: str, model: nn.Module) -> AnySchedule:
    if number:
        raise invalid("trace", "a word without a number", number)
    schedule = gpt2_medium_trace_schedule()
    check_fits(schedule, model_facts(model))
    return schedule


def _flat(number: str, model: nn.Module) -> AnySchedule:
    facts, ratio = model_facts(model), _ratio(number)
    num_layers = len(facts.layers)
    if facts.reads is None:
        return GenerationSchedule(tokens=CacheSchedule(keep_ratios=(1.0,) + (ratio,) * (num_layers - 1)))
    return EncoderSchedule(tokens=flat_schedule(num_layers, ratio))


def _linear(number: str, model: nn.Module) -> AnySchedule:
    facts, ratio = model_facts(model), _ratio(number)
    num_layers = len(facts.layers)
    if facts.reads is None:
        return GenerationSchedule(tokens=linear_cache(num_layers, ratio))
    return EncoderSchedule(tokens=classifier_schedule(num_layers, ratio))


def _macs(number: str, model: nn.Module) -> AnySchedule:
    share, length = _pair(number, "macs:SHARE@LENGTH, such as macs:0.5@384")
    return schedule_for_macs(model, at_most=_ratio(share), length=_count(length))


def _cache(number: str, model: nn.Module) -> AnySchedule:
    size, context = _pair(number, "cache:SIZE@CONTEXT, such as cache:100MB@4096")
    return schedule_for_cache_bytes(model, _bytes(size), context=_count(context))


_WORDS: dict[str, Callable[[str, nn.Module], AnySchedule]] = {
    "default": _default,
    "dense": _dense,
    "flat": _flat,
    "linear": _linear,
    "macs": _macs,
    "cache": _cache,
    "trace": _trace,
}


def _pair(text: str, form: str) -> tuple[str, str]:
    first, sign, second = text.partition("@")
    if not (first and sign and second):
        raise UserError(f"schedule must be {form}; got {text!r} behind the colon")
    return first, second


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        raise invalid("the part kept", "a number in (0, 1]", text, "such as flat:0.4") from None
    if not 0.0 < ratio <= 1.0:
        raise invalid("the part kept", "in (0, 1]", ratio)
    return ratio


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise invalid("the number of tokens", "a whole number, 1 or more", text)
    return int(text)


def _bytes(text: str) -> int:
    """Bytes of a size with its unit.

    >>> _bytes("100MB"), _bytes("1.5 MiB")
    (100000000, 1572864)
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)", text)
    unit = UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise invalid("the size of the cache", "a number and its unit, such as 100MB or 64MiB", text)
    return int(float(match[1]) * unit)
