"""Scoring a text through a pruned cache: the dense scores where nothing is pruned, and bytes by closed form."""

from dataclasses import replace

import pytest
import torch

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.perplexity import teacher_forced
from multum.attention.quantization_schedule import ProgressiveQuantization
from multum.attention.sparse_schedule import GenerationSchedule
from multum.core import UserError
from small_decoders import NUM_GROUPS, NUM_HEADS, NUM_LAYERS, VOCABULARY, WIDTH, shared_decoder
from tolerances import assert_close

NUM_PROMPT, LENGTH = 20, 32
HEAD_WIDTH = WIDTH // NUM_HEADS
KEEP_ALL = CacheSchedule(keep_ratios=(1.0,) * NUM_LAYERS)


def windows(num_windows: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, VOCABULARY, (num_windows, LENGTH), generator=generator)


def test_keeping_everything_scores_like_the_dense_model() -> None:
    model, tokens = shared_decoder(), windows()
    dense = teacher_forced(model, tokens, num_prompt=NUM_PROMPT)
    kept = teacher_forced(model, tokens, num_prompt=NUM_PROMPT, schedule=KEEP_ALL)
    assert_close(kept.loss_BS, dense.loss_BS, num_terms=10_000)
    assert kept.bytes_saved == pytest.approx(1.0)
    assert (kept.rows_read_share, kept.value_rows_share, kept.lsb_rate) == pytest.approx((1.0, 1.0, 0.0))


def test_dense_scores_are_those_of_transformers() -> None:
    model, tokens = shared_decoder(), windows(1)
    labels = tokens.clone()
    labels[:, :NUM_PROMPT] = -100
    with torch.inference_mode():
        expected = model(tokens, labels=labels).loss
    dense = teacher_forced(model, tokens, num_prompt=NUM_PROMPT)
    assert dense.perplexity == pytest.approx(float(expected.exp()), rel=1e-5)


def test_every_score_comes_from_the_pruned_cache_even_the_first() -> None:
    model, tokens = shared_decoder(), windows()
    few = CacheSchedule(keep_ratios=(0.3,) * NUM_LAYERS, protect_first=1, grace_tokens=2)
    dense = teacher_forced(model, tokens, num_prompt=NUM_PROMPT)
    pruned = teacher_forced(model, tokens, num_prompt=NUM_PROMPT, schedule=few)
    assert ((pruned.loss_BS - dense.loss_BS).abs() > 1e-4).all()


@pytest.mark.parametrize(("threshold", "lsb_rate"), [(0.0, 0.0), (1.0, 1.0)])
def test_bytes_follow_from_rows_and_bits(threshold: float, lsb_rate: float) -> None:
    bits = ProgressiveQuantization(msb_bits=4, value_bits=8, threshold=threshold)
    schedule = GenerationSchedule(tokens=KEEP_ALL, quantization=bits)
    scored = teacher_forced(shared_decoder(), windows(2), num_prompt=NUM_PROMPT, schedule=schedule)
    key_bytes = HEAD_WIDTH * (4 + 4 * lsb_rate) / 8 + 2
    rows = sum(range(NUM_PROMPT, LENGTH)) / (LENGTH - NUM_PROMPT) * NUM_LAYERS * NUM_GROUPS
    assert scored.lsb_rate == lsb_rate
    assert scored.bytes_read_per_token == pytest.approx(rows * (key_bytes + HEAD_WIDTH + 2))
    assert scored.dense_bytes_per_token == pytest.approx(rows * 2 * HEAD_WIDTH * 4)


def test_bits_of_a_layer_are_its_own_traffic() -> None:
    one = ProgressiveQuantization(msb_bits=8, value_bits=8, threshold=0.0)
    mixed = replace(one, msb_bits=(8,) * (NUM_LAYERS - 1) + (4,))
    same, fewer = (
        teacher_forced(
            shared_decoder(),
            windows(2),
            num_prompt=NUM_PROMPT,
            schedule=GenerationSchedule(tokens=KEEP_ALL, quantization=bits),
        )
        for bits in (one, mixed)
    )
    rows = same.dense_bytes_per_token / (NUM_LAYERS * 2 * HEAD_WIDTH * 4)
    assert fewer.bytes_read_per_token == pytest.approx(same.bytes_read_per_token - rows * HEAD_WIDTH * 4 / 8)


@pytest.mark.parametrize("dial", ["whole_heavy", "whole_recent"])
def test_bytes_of_whole_rows_come_on_top(dial: str) -> None:
    bits = ProgressiveQuantization(msb_bits=4, value_bits=8, threshold=0.0)
    schedules = [GenerationSchedule(tokens=KEEP_ALL, quantization=replace(bits, **{dial: n})) for n in (0, 5)]
    plain, whole = (
        teacher_forced(shared_decoder(), windows(2), num_prompt=NUM_PROMPT, schedule=schedule)
        for schedule in schedules
    )
    more = 5 * NUM_LAYERS * NUM_GROUPS * HEAD_WIDTH * 4 / 8
    assert whole.bytes_read_per_token == pytest.approx(plain.bytes_read_per_token + more)


def test_windows_do_not_change_each_other() -> None:
    model, tokens = shared_decoder(), windows(3)
    few = CacheSchedule(keep_ratios=(0.5,) * NUM_LAYERS, protect_first=1, grace_tokens=4)
    together = teacher_forced(model, tokens, num_prompt=NUM_PROMPT, schedule=few)
    alone = teacher_forced(model, tokens[1:2], num_prompt=NUM_PROMPT, schedule=few)
    assert_close(together.loss_BS[1:2], alone.loss_BS, num_terms=10_000)


@pytest.mark.parametrize("num_prompt", [1, LENGTH])
def test_a_window_without_prompt_or_without_scores_is_refused(num_prompt: int) -> None:
    with pytest.raises(UserError, match="num_prompt must be from 2 to 31"):
        teacher_forced(shared_decoder(), windows(1), num_prompt=num_prompt)
