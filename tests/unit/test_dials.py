"""The dials of the command line come to the schedules that they say."""

from pathlib import Path

import pytest

from multum.attention import (
    EvaluateConfig,
    GenerateConfig,
    GenerationSchedule,
    TokenSchedule,
    default_schedule,
    save_schedule,
)
from multum.attention.dials import (
    CacheDials,
    EncoderDials,
    encoder_schedule,
    generation_schedule,
    tell_generation_schedule,
)
from multum.core import UserError
from small_decoders import make_decoder
from small_encoders import NUM_LAYERS, make_encoder


@pytest.fixture(scope="module")
def encoder():
    return make_encoder()


@pytest.fixture(scope="module")
def writer():
    return make_decoder("llama")


def test_nothing_turned_is_the_default_of_the_models_head(encoder) -> None:
    assert encoder_schedule(encoder, EncoderDials(), length=20) == default_schedule(encoder)


def test_one_dial_turned_leaves_the_others_alone(encoder) -> None:
    only_heads = encoder_schedule(encoder, EncoderDials(keep_heads=0.5), length=20)
    assert only_heads.heads is not None
    assert (only_heads.tokens, only_heads.values, only_heads.quantization) == (None, None, None)
    tokens = encoder_schedule(encoder, EncoderDials(keep_ratio=0.4, bits=8), length=20)
    assert tokens.tokens is not None
    assert tokens.tokens.keep_ratios == (1.0, *[0.4] * (NUM_LAYERS - 1))
    assert tokens.quantization is not None
    assert tokens.quantization.key_bits == 8
    assert encoder_schedule(encoder, EncoderDials(keep_ratio=1.0), length=20).tokens is None


def test_file_stands_alone_and_must_fit_the_kind_of_model(encoder, writer, tmp_path: Path) -> None:
    tokens = TokenSchedule(keep_ratios=(1.0, *[0.5] * (NUM_LAYERS - 1)))
    file = save_schedule(tokens, tmp_path / "encoder.json")
    assert encoder_schedule(encoder, EncoderDials(schedule=file), length=20).tokens == tokens
    with pytest.raises(UserError, match="schedule must stand alone; got keep_ratio, bits beside it"):
        encoder_schedule(encoder, EncoderDials(schedule=file, keep_ratio=0.3, bits=8), length=20)
    with pytest.raises(UserError, match="schedule must be for a model that generates"):
        generation_schedule(writer, CacheDials(schedule=file), context=20)
    with pytest.raises(UserError, match="cache_megabytes must stand alone; got msb_bits"):
        generation_schedule(writer, CacheDials(cache_megabytes=1.0, msb_bits=6), context=100)


def test_budget_and_ratio_exclude_each_other(encoder) -> None:
    with pytest.raises(UserError, match="budget, keep_ratio must be given one of the two"):
        encoder_schedule(encoder, EncoderDials(budget=0.5, keep_ratio=0.5), length=20)


def test_encoder_dials_refuse_a_model_that_generates(writer) -> None:
    with pytest.raises(UserError, match="model must be an encoder; got"):
        encoder_schedule(writer, EncoderDials(), length=20)


def test_cache_dials_turn_bits_and_tokens(writer) -> None:
    schedule = generation_schedule(writer, CacheDials(keep_ratio=1.0, msb_bits=6, threshold=0.2), context=50)
    assert schedule.tokens is None
    assert schedule.quantization is not None
    assert (schedule.quantization.msb_bits, schedule.quantization.threshold) == (6, 0.2)
    assert generation_schedule(writer, CacheDials(full_precision=True), context=50).quantization is None


def test_no_cache_dial_turned_is_the_default(writer) -> None:
    assert generation_schedule(writer, CacheDials(), context=50) == default_schedule(writer)


def test_a_dial_said_aloud_is_obeyed_though_it_is_the_usual_one(writer) -> None:
    schedule = generation_schedule(writer, CacheDials(msb_bits=8), context=50)
    assert schedule.quantization is not None
    assert schedule.quantization.of_layer(0).msb_bits == 8
    assert schedule.values is None


def test_schedule_is_told_in_a_sentence(writer) -> None:
    dials = CacheDials(keep_ratio=0.5, keep_heads=0.9, keep_values=0.5)
    told = tell_generation_schedule(generation_schedule(writer, dials, context=50), 400)
    assert "of 400 tokens; keys are read in 8 bits, in 12 where a row is flat" in told
    assert "multiplies 50% of its value rows" in told
    assert tell_generation_schedule(GenerationSchedule(), 10) == "Everything is kept."


def test_prompt_is_pruned_with_the_tokens_or_not_at_all(writer) -> None:
    schedule = generation_schedule(writer, CacheDials(keep_ratio=0.5, prune_prompt=True), context=50)
    assert schedule.tokens is not None
    assert schedule.tokens.prune_prompt
    with pytest.raises(UserError, match="prune_prompt must be given with a keep_ratio below 1; got True"):
        generation_schedule(writer, CacheDials(prune_prompt=True), context=50)
    with pytest.raises(UserError, match="cache_megabytes must stand alone; got prune_prompt"):
        generation_schedule(writer, CacheDials(cache_megabytes=1.0, prune_prompt=True), context=50)


@pytest.mark.parametrize("megabytes", [float("nan"), float("inf"), 0.0, -1.0])
def test_cache_of_no_size_is_refused(writer, megabytes: float) -> None:
    with pytest.raises(UserError, match="cache_megabytes must be a positive number"):
        generation_schedule(writer, CacheDials(cache_megabytes=megabytes), context=50)


def test_bits_beside_full_precision_are_refused(writer) -> None:
    with pytest.raises(UserError, match="full_precision must stand without msb_bits and threshold"):
        generation_schedule(writer, CacheDials(full_precision=True, msb_bits=4), context=50)


def test_dials_of_the_other_kind_of_model_are_refused_by_evaluate_and_generate() -> None:
    with pytest.raises(
        UserError, match="msb_bits must be left alone for the task pairs; it is a dial of models"
    ):
        EvaluateConfig(data=Path("x"), task="pairs", msb_bits=4)
    with pytest.raises(
        UserError, match="budget must be left alone for the task needle; it is a dial of encoders"
    ):
        EvaluateConfig(data=Path("x"), task="needle", budget=0.5)
    EvaluateConfig(data=Path("x"), task="needle", keep_ratio=0.5, msb_bits=4)
    with pytest.raises(UserError, match=r"temperature must be 1 without sample; got 0\.5"):
        GenerateConfig(prompt="x", temperature=0.5)


def test_a_wish_stands_where_a_file_may(encoder, writer) -> None:
    wished = encoder_schedule(encoder, EncoderDials(schedule=Path("flat:0.25")), length=20)
    assert wished.tokens == TokenSchedule(keep_ratios=(1.0, *[0.25] * (NUM_LAYERS - 1)))
    cache = generation_schedule(writer, CacheDials(schedule=Path("cache:1MB@100")), context=100)
    assert cache == generation_schedule(writer, CacheDials(cache_megabytes=1.0), context=100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep_ratio": 0.0}, r"^keep_ratio must be in \(0, 1\]; got 0.0; it is the part KEPT"),
        ({"keep_heads": 1.5}, r"^keep_heads must be in \(0, 1\]; got 1.5"),
        ({"keep_values": float("nan")}, r"^keep_values must be in \(0, 1\]; got nan"),
        ({"budget": 0.0}, r"^budget must be in \(0, 1\]; got 0.0"),
        ({"bits": 1}, "^bits must be in 2..16; got 1"),
    ],
)
def test_a_bad_dial_is_called_by_its_own_name(encoder, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        encoder_schedule(encoder, EncoderDials(**changes), length=9)
