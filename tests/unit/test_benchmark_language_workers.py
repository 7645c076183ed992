"""What the language suites ask of caches, on a small network in this process."""

from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.peer_workers.language_model import Models
from benchmarks.suites.generation import Stream
from benchmarks.suites.needle import schedule_for
from benchmarks.suites.perplexity import saved_at

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.perplexity import teacher_forced
from multum.attention.sparse_schedule import GenerationSchedule
from small_decoders import NUM_LAYERS, VOCABULARY, make_decoder, shared_decoder

NUM_PROMPT, LENGTH = 12, 20


@pytest.fixture
def models(tmp_path: Path) -> Models:
    make_decoder().save_pretrained(tmp_path)
    models = Models()
    models.load(str(tmp_path))
    return models


def text(length: int = LENGTH) -> torch.Tensor:
    return torch.randint(1, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_a_dense_cache_scores_like_the_dense_model_in_steps_of_any_size(models: Models, chunk: int) -> None:
    dense = teacher_forced(shared_decoder(), text(), num_prompt=NUM_PROMPT)
    wish: dict[str, Any] = {"kind": "dynamic"}
    answer = models.losses(text().tolist(), NUM_PROMPT, chunk, wish, {})
    torch.testing.assert_close(torch.tensor(answer["losses"]), dense.loss_BS, rtol=1e-3, atol=1e-3)
    assert answer["bytes_read_per_token"] == pytest.approx(dense.dense_bytes_per_token)


def test_a_question_is_answered_from_the_cache(models: Models) -> None:
    context, question = text(16)[0].tolist(), [5, 6]
    answer = models.answer(context, question, 3, {"kind": "dynamic"}, {})
    expected = shared_decoder().generate(
        torch.tensor([context + question]), max_new_tokens=3, do_sample=False, pad_token_id=0
    )
    assert answer["tokens"] == expected[0, -3:].tolist()
    assert answer["rows_held"] == [16] * NUM_LAYERS


@pytest.mark.parametrize("cache", [{"kind": "dynamic"}, {"kind": "static", "max_cache_len": 40}])
def test_generation_goes_on_where_it_stopped(models: Models, cache: dict[str, Any]) -> None:
    models.prepare_generation("it", text()[0].tolist(), cache)
    pieces = models.generate("it", 3) + models.generate("it", 4)
    whole = shared_decoder().generate(text(), max_new_tokens=7, do_sample=False, pad_token_id=0)
    assert pieces == whole[0, LENGTH:].tolist()


@pytest.mark.parametrize("keep_ratio", [1.0, 0.5])
def test_our_stream_goes_on_where_it_stopped(keep_ratio: float) -> None:
    tokens = CacheSchedule(keep_ratios=(keep_ratio,) * NUM_LAYERS, protect_first=1, grace_tokens=4)
    schedule = GenerationSchedule(tokens=tokens)
    model = shared_decoder()
    once = Stream(model=model, ids=text(), cache=None, schedule=schedule).read().write(7)
    stream = Stream(model=model, ids=text(), cache=None, schedule=schedule).read()
    assert stream.write(3) + stream.write(4) == once
    if keep_ratio == 1.0:
        assert once == Stream(model=model, ids=text(), cache=None).read().write(7)


def test_savings_are_read_between_the_caches_on_either_side() -> None:
    points = [("mild", 0.5, 8.0), ("strong", 1.5, 12.0), ("worse", 0.6, 5.0)]
    assert saved_at(points, 1.0) == pytest.approx(10.0)
    assert saved_at(points[:1], 1.0) == 8.0


def test_a_curve_of_costly_caches_gives_no_number() -> None:
    from benchmarks.schema import NoNumberError

    with pytest.raises(NoNumberError, match="costs more than 1 %"):
        saved_at([("bad", 3.0, 20.0)], 1.0)


@pytest.mark.parametrize(
    ("budget", "bits", "keep_ratio"),
    [(0.2, (4, 4), 1.0), (0.3, (8, 6), 1.0), (0.1, (4, 4), 0.50176), (1.0, (8, 8), 1.0)],
)
def test_a_budget_buys_rows_first_and_then_bits(
    budget: float, bits: tuple[int, int], keep_ratio: float
) -> None:
    schedule = schedule_for(budget, NUM_LAYERS)
    assert schedule.tokens is not None
    assert schedule.quantization is not None
    assert schedule.tokens.keep_ratios == pytest.approx((keep_ratio,) * NUM_LAYERS)
    assert (schedule.quantization.msb_bits, schedule.quantization.value_bits) == bits
