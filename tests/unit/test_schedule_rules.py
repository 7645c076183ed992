"""Rules, defaults and budgets: what each model gets, what a budget costs, what is refused."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from multum.attention import (
    CacheSchedule,
    EncoderSchedule,
    GenerationSchedule,
    HeadSchedule,
    LengthAdaptive,
    ProgressiveQuantization,
    TokenSchedule,
    classifier_schedule,
    default_schedule,
    flat_schedule,
    flat_values,
    gpt2_medium_trace_schedule,
    linear_cache,
    linear_heads,
    load_schedule,
    model_facts,
    prune,
    read_schedule,
    save_schedule,
    schedule_for_cache_bytes,
    schedule_for_macs,
    token_level_schedule,
)
from multum.attention.budget import macs_of
from multum.attention.head_schedule import UNPRUNED_HEADS_PART
from multum.attention.sparse_schedule import schedule_from_dict, schedule_to_dict
from multum.core import UserError, published, read_json, write_json_atomic
from small_encoders import draw_tokens, make_encoder

EVERY_KIND = [
    TokenSchedule(
        keep_ratios=(1.0, 0.4), min_tokens=3, score="value", window=8, length=LengthAdaptive(strength=0.5)
    ),
    EncoderSchedule(heads=HeadSchedule(keep_ratios=(1.0, 0.5)), values=flat_values(2, 0.3)),
    CacheSchedule(keep_counts=(64, 40), decay=0.9),
    GenerationSchedule(tokens=linear_cache(2, 0.5), quantization=ProgressiveQuantization(msb_bits=6)),
]


def tiny_gpt2(**sizes: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    special = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**({"n_embd": 32, "n_layer": 4, "n_head": 2} | special | sizes))).eval()


# files


@pytest.mark.parametrize("schedule", EVERY_KIND, ids=lambda it: type(it).__name__)
def test_every_kind_comes_back_from_its_file_without_being_named(schedule: Any, tmp_path: Path) -> None:
    path = save_schedule(schedule, tmp_path)
    assert path == tmp_path / "multum_schedule.json"
    assert load_schedule(tmp_path) == schedule
    assert type(load_schedule(path)) is type(schedule)
    assert load_schedule(save_schedule(schedule, tmp_path / "own.json")) == schedule


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": "multum.schedule/9"}, "schema must be 'multum.schedule/1'; got 'multum.schedule/9'"),
        ({"kind": "diet"}, "kind must be one of tokens, encoder, cache, generation; got 'diet'"),
        ({"colour": 1}, "colour is not a key of a schedule's file"),
        ({"schedule": {"keep_ratio": [1.0]}}, "schedule.keep_ratio is not a key .* did you mean keep_ratios"),
        ({"schedule": {"keep_ratios": [1.0, 2.0]}}, r"keep_ratios\[1\] must be in \(0, 1\]"),
        ({"schedule": 3}, "schedule must be an object with named fields"),
    ],
)
def test_file_with_a_slip_is_refused_by_its_name(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    data = schedule_to_dict(flat_schedule(3, 0.5)) | changes
    write_json_atomic(tmp_path / "multum_schedule.json", data)
    with pytest.raises(UserError, match=f"multum_schedule.json.*{message}"):
        load_schedule(tmp_path)


def test_what_is_no_object_and_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a schedule must be an object"):
        schedule_from_dict([1])
    with pytest.raises(UserError, match="does not exist"):
        load_schedule(tmp_path)


def test_file_is_readable_json_with_kind_and_version(tmp_path: Path) -> None:
    data = read_json(save_schedule(flat_schedule(2, 0.5), tmp_path))
    assert (data["schema"], data["kind"], data["schedule"]["keep_ratios"]) == (
        "multum.schedule/1",
        "tokens",
        [1.0, 0.5],
    )


# rules


def test_paper_leaves_the_first_thirty_percent_of_heads_unpruned() -> None:
    assert published("spatten", "unpruned_heads_part").number == UNPRUNED_HEADS_PART
    heads = linear_heads(24, 0.7, final_keep_ratio=0.6).keep_ratios
    assert heads[:7] == (1.0,) * 7
    assert heads[7] == pytest.approx(0.8)
    assert heads[-1] == pytest.approx(0.6)
    assert math.fsum(heads[7:]) / 17 == pytest.approx(0.7)


@pytest.mark.parametrize("average", [0.001, 0.3, 0.5, 0.999, 1.0])
def test_one_number_gives_a_falling_line_with_that_average(average: float) -> None:
    ratios = classifier_schedule(8, average).keep_ratios
    assert ratios[0] == 1.0
    assert math.fsum(ratios[1:]) / 7 == pytest.approx(average)
    assert all(0 < later <= earlier <= 1 for earlier, later in pairwise(ratios))


def test_heads_that_read_every_token_are_spared_in_the_first_half() -> None:
    assert token_level_schedule(5, 0.3).keep_ratios == (1.0, 1.0, 1.0, 0.3, 0.3)
    assert token_level_schedule(1, 0.3).keep_ratios == (1.0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_heads(4, 0.0), r"average_keep_ratio must be in \(0, 1\]"),
        (lambda: linear_heads(4, 0.9, final_keep_ratio=0.5), "must be such that 2 \\* average - final"),
        (lambda: flat_values(0, 0.5), "num_layers must be at least 1"),
        (lambda: token_level_schedule(0, 0.5), "num_layers must be at least 1"),
        (lambda: LengthAdaptive(reference_length=0), "reference_length must be at least 1"),
        (lambda: LengthAdaptive(strength=0.0), "strength must be positive"),
    ],
)
def test_impossible_rules_are_refused(call: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


# length


def test_longer_sentences_keep_a_smaller_part_and_short_ones_all() -> None:
    schedule = TokenSchedule(
        keep_ratios=(1.0, 0.4), length=LengthAdaptive(reference_length=128), min_tokens=4
    )
    kept = {length: schedule.num_tokens(1, length) for length in (3, 13, 32, 128, 256, 512)}
    assert kept == {3: 3, 13: 12, 32: 21, 128: 52, 256: 82, 512: 130}
    assert schedule.num_tokens(0, 512) == 512


def test_length_adaptive_encoder_keeps_what_its_schedule_says() -> None:
    model = make_encoder()
    schedule = TokenSchedule(
        keep_ratios=(1.0, 0.5, 0.3, 0.3), length=LengthAdaptive(reference_length=16), min_tokens=5
    )
    for length in (4, 9, 40):
        with torch.inference_mode(), prune(model, schedule) as run:
            model(draw_tokens(length)[0][None])
        assert run.tokens_per_layer == tuple(schedule.num_tokens(layer, length) for layer in range(4))


# defaults


@pytest.mark.parametrize(
    ("head", "ratios"),
    [
        ("AutoModelForSequenceClassification", [1.0, 0.75, 0.5, 0.25]),
        ("AutoModel", [1.0, 0.5, 0.5, 0.5]),
        ("AutoModelForTokenClassification", [1.0, 1.0, 0.5, 0.5]),
        ("AutoModelForQuestionAnswering", [1.0, 1.0, 0.5, 0.5]),
    ],
)
def test_default_is_chosen_by_what_the_head_reads(head: str, ratios: list[float]) -> None:
    model = make_encoder(head=head)
    schedule = default_schedule(model)
    assert isinstance(schedule, EncoderSchedule)
    assert schedule.tokens is not None
    assert list(schedule.tokens.keep_ratios) == pytest.approx(ratios)
    assert (schedule.tokens.score == "value") is (head == "AutoModel")
    with torch.inference_mode(), prune(model, schedule) as run:
        model(draw_tokens(150)[0][None])
    assert run.tokens_per_layer[-1] < 100


def test_default_of_a_generating_model_keeps_every_token_in_few_bits() -> None:
    schedule = default_schedule(tiny_gpt2())
    assert isinstance(schedule, GenerationSchedule)
    assert schedule.tokens is None
    assert schedule.quantization is not None
    assert schedule.quantization.of_layer(0).msb_bits == 4
    assert schedule.values is not None
    assert max(schedule.values.keep_ratios) < 1.0


def test_tokens_of_a_cache_go_on_request() -> None:
    schedule = default_schedule(tiny_gpt2(), keep_ratio=0.4)
    assert isinstance(schedule, GenerationSchedule)
    assert schedule.tokens is not None
    assert schedule.tokens.keep_ratios == pytest.approx((1.0, 0.64, 0.4, 0.16))


# budgets


@pytest.mark.parametrize(
    "head", ["AutoModelForSequenceClassification", "AutoModel", "AutoModelForTokenClassification"]
)
@pytest.mark.parametrize("at_most", [0.95, 0.7])
def test_budget_of_macs_is_kept_and_nearly_used_up(head: str, at_most: float) -> None:
    model = make_encoder(head=head)
    schedule = schedule_for_macs(model, at_most=at_most, length=200)
    facts = model_facts(model)
    part = macs_of(facts, schedule, 200) / macs_of(facts, EncoderSchedule(), 200)
    assert at_most - 0.02 < part <= at_most


def test_budget_of_everything_prunes_nothing() -> None:
    schedule = schedule_for_macs(make_encoder(), at_most=1.0, length=50)
    assert schedule.tokens is not None
    assert schedule.tokens.token_reduction == 1.0


def test_budget_of_macs_out_of_reach_names_the_smallest() -> None:
    model = make_encoder(head="AutoModelForTokenClassification")  # the first half of its layers stays dense
    with pytest.raises(UserError, match=r"at_most must be at least (0\.\d+); got 0.3") as refused:
        schedule_for_macs(model, at_most=0.3, length=100)
    least = float(str(refused.value).split("at least ")[1].split(";")[0])
    assert schedule_for_macs(model, at_most=least, length=100).tokens is not None


@pytest.mark.parametrize("share", [0.9, 0.5, 0.25, 0.12])
def test_budget_of_cache_holds_in_a_real_cache_at_any_length(share: float) -> None:
    model, context = tiny_gpt2(), 300
    dense_bytes = 4 * 2 * context * 32 * 4
    budget = int(share * dense_bytes)
    schedule = schedule_for_cache_bytes(model, budget, context=context, grace_tokens=8)
    with torch.inference_mode(), prune(model, schedule) as run:
        model.generate(
            torch.arange(1, 251)[None] % 50,
            max_new_tokens=3,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert 0 < run.cache.num_bytes_held <= budget


def test_smaller_cache_gives_up_bits_first_then_tokens_in_turn() -> None:
    model = tiny_gpt2(n_embd=128)
    found = [
        schedule_for_cache_bytes(model, size, context=1000) for size in (1_900_000, 900_000, 500_000, 330_000)
    ]
    bits = [it.quantization.msb_bits for it in found if it.quantization is not None]
    rows = [sum(it.tokens.keep_counts or ()) for it in found if it.tokens is not None]
    assert bits == sorted(bits, reverse=True)
    assert bits[0] == 12
    assert bits[-1] == 4
    assert rows[0] == 4000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: schedule_for_cache_bytes(tiny_gpt2(), 1000, context=100),
            "budget_bytes must be at least [0-9]+; got 1000",
        ),
        (
            lambda: schedule_for_cache_bytes(tiny_gpt2(), 1000, context=0),
            "context must be at least 1; got 0",
        ),
        (
            lambda: schedule_for_cache_bytes(tiny_gpt2(), 1000, context=100, batch=0),
            "batch must be at least 1",
        ),
        (
            lambda: schedule_for_cache_bytes(make_encoder(), 1000, context=100),
            "model must be one that generates",
        ),
        (
            lambda: schedule_for_macs(tiny_gpt2(), length=10),
            "model must be an encoder; got 'GPT2LMHeadModel'",
        ),
        (lambda: schedule_for_macs(make_encoder(), at_most=1.5, length=10), r"at_most must be in \(0, 1\]"),
        (lambda: schedule_for_macs(make_encoder(), length=0), "length must be at least 1"),
    ],
)
def test_impossible_budgets_are_refused(call: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()


def test_budget_for_a_context_shorter_than_what_is_protected_keeps_all_of_it() -> None:
    short = schedule_for_cache_bytes(tiny_gpt2(), 100_000, context=5)
    assert short == schedule_for_cache_bytes(tiny_gpt2(), 100_000, context=36)
    assert short.tokens is not None
    assert short.tokens.num_rows(3, 5) == 5


def test_kind_that_is_no_word_is_refused() -> None:
    data = schedule_to_dict(TokenSchedule(keep_ratios=(1.0,))) | {"kind": ["a"]}
    with pytest.raises(UserError, match=r"kind must be one of .*; got \['a'\]"):
        schedule_from_dict(data)


def test_smallest_cache_that_is_named_is_met() -> None:
    with pytest.raises(UserError, match="at least") as refused:
        schedule_for_cache_bytes(tiny_gpt2(), 1, context=100)
    least = int(str(refused.value).split("at least ")[1].split(";")[0])
    assert schedule_for_cache_bytes(tiny_gpt2(), least, context=100).tokens is not None


# one word


def test_words_become_schedules_for_the_model(tmp_path: Path) -> None:
    encoder, decoder = make_encoder(), tiny_gpt2()
    assert read_schedule("flat:0.4", encoder) == EncoderSchedule(tokens=flat_schedule(4, 0.4))
    assert read_schedule("linear:0.5", encoder) == EncoderSchedule(tokens=classifier_schedule(4, 0.5))
    assert read_schedule("default", encoder) == default_schedule(encoder)
    assert read_schedule("default:0.3", encoder) == default_schedule(encoder, keep_ratio=0.3)
    assert read_schedule("macs:0.8@100", encoder) == schedule_for_macs(encoder, at_most=0.8, length=100)
    assert read_schedule("dense", encoder) == EncoderSchedule()
    assert read_schedule("dense", decoder) == GenerationSchedule()
    assert read_schedule("linear:0.5", decoder) == GenerationSchedule(tokens=linear_cache(4, 0.5))
    assert read_schedule("cache:100KB@300", decoder) == schedule_for_cache_bytes(
        decoder, 100_000, context=300
    )
    flat = read_schedule("flat:0.5", decoder)
    assert flat.tokens == CacheSchedule(keep_ratios=(1.0, 0.5, 0.5, 0.5))
    save_schedule(flat_schedule(4, 0.4), tmp_path)
    assert read_schedule(tmp_path, encoder) == read_schedule("flat:0.4", encoder)
    assert read_schedule("trace", tiny_gpt2(n_layer=24)) == gpt2_medium_trace_schedule()
    with pytest.raises(UserError, match="schedule must be for the model's 4 layers; got 24"):
        read_schedule("trace", decoder)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("flat", "the part kept must be a number"),
        ("flat:2", r"the part kept must be in \(0, 1\]"),
        ("flt:0.4", "schedule must be a file, .*; did you mean flat"),
        ("dense:0.4", "dense must be a word without a number"),
        ("trace:2", "trace must be a word without a number"),
        ("macs:0.5", "schedule must be macs:SHARE@LENGTH"),
        ("macs:0.5@0", "the number of tokens must be a whole number"),
        ("cache:100@300", "the size of the cache must be a number and its unit"),
    ],
)
def test_wish_that_cannot_be_read_is_refused(wish: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_schedule(wish, make_encoder())


def test_file_for_another_model_is_refused(tmp_path: Path) -> None:
    save_schedule(flat_schedule(3, 0.4), tmp_path)
    with pytest.raises(UserError, match="schedule must be for the model's 4 layers; got 3"):
        read_schedule(tmp_path, make_encoder())
    with pytest.raises(UserError, match="schedule must be for a model that generates"):
        read_schedule(tmp_path, tiny_gpt2())
