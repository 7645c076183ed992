"""Which keys are read with both planes from the start, whatever else happens to a cache."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.generation import prune_generation
from multum.attention.quantization_schedule import ProgressiveQuantization
from multum.attention.sparse_schedule import GenerationSchedule
from multum.core import UserError
from multum.ops.decode_attention import decode_bytes_read
from small_decoders import NUM_LAYERS, draw_prompts, pad_left, shared_decoder

HEAVY, RECENT = 4, 3
SMALL = CacheSchedule(keep_counts=(16, 12, 12, 9), protect_first=2, grace_tokens=2)
BITS = ProgressiveQuantization(
    msb_bits=4, value_bits=4, threshold=0.0, whole_heavy=HEAVY, whole_recent=RECENT
)
SCHEDULE = GenerationSchedule(tokens=SMALL, quantization=BITS)
GROWING = GenerationSchedule(quantization=BITS)
RETURNING = GenerationSchedule(tokens=replace(SMALL, readmit=True), quantization=BITS)


def marked(cache: Any, layer: int, sequence: int) -> list[int]:
    """Places of a layer's whole rows in the latest step."""
    mask_K = cache.tokens.whole_of(layer)[sequence]
    position_K = cache.tokens.stage_of(layer).position_BC[sequence]
    choice = cache.tokens.choose(layer)
    if choice is not None:
        position_K = position_K[choice[0][sequence]]
    return sorted(position_K[mask_K].tolist())


def feed(model: Any, cache: Any, tokens_BN: torch.Tensor, **extra: Any) -> None:
    """Feed single tokens."""
    with torch.no_grad():
        for step in range(tokens_BN.shape[1]):
            model(tokens_BN[:, step : step + 1], past_key_values=cache, **extra)


@pytest.mark.parametrize("schedule", [SCHEDULE, GROWING, RETURNING], ids=["pruned", "growing", "returning"])
def test_the_heaviest_of_the_prompt_and_the_latest_tokens_are_whole(schedule: GenerationSchedule) -> None:
    model, prompts = shared_decoder(), draw_prompts(20, 13)
    following = torch.stack(draw_prompts(80, 80, seed=3))  # more than room is made for at once
    with torch.no_grad(), prune_generation(model, schedule) as run:
        cache = run.new_cache()
        model(**pad_left(prompts, extra=2), past_key_values=cache)
        heaviest = [
            set(cache.tokens.importance_BN[row, : len(prompt)].topk(HEAVY).indices.tolist())
            for row, prompt in enumerate(prompts)
        ]
        for step in range(80):
            feed(model, cache, following[:, step : step + 1])
            for layer in range(NUM_LAYERS):
                counts = []
                for row, prompt in enumerate(prompts):
                    length = len(prompt) + step + 1
                    wished = heaviest[row] | set(range(length - RECENT, length))
                    there = set(run.kept_positions(layer, row))
                    if schedule is RETURNING:
                        index_BK, count_B = cache.tokens.choose(layer)
                        there = set(index_BK[row, : count_B[row]].tolist())
                    assert set(marked(cache, layer, row)) == wished & there
                    counts.append(len(wished & there))
                stage = cache.forwards[-1].layers[layer].stage
                assert cache.forwards[-1].whole_SB[stage].tolist() == counts


def test_a_sequence_chooses_alike_alone_padded_and_among_others() -> None:
    model, prompts = shared_decoder(), draw_prompts(20, 13)
    settings = {"max_new_tokens": 5, "do_sample": False}
    with torch.no_grad(), prune_generation(model, SCHEDULE) as run:
        model.generate(**pad_left(prompts, extra=3), **settings)
        together = run.cache
        for row, prompt in enumerate(prompts):
            model.generate(prompt[None], **settings)
            for layer in range(NUM_LAYERS):
                assert marked(together, layer, row) == marked(run.cache, layer, 0)


def test_sequences_that_change_places_take_their_heavy_tokens_along() -> None:
    model, prompts = shared_decoder(), draw_prompts(20, 20, 20)
    following = torch.stack(draw_prompts(3, 3, 3, seed=3))
    with torch.no_grad(), prune_generation(model, SCHEDULE) as run:
        expected = run.new_cache()
        model(torch.stack(prompts), past_key_values=expected)
        feed(model, expected, following)
        cache = run.new_cache()
        model(torch.stack(prompts), past_key_values=cache)
        cache.reorder_cache(torch.tensor([2, 0, 2]))
        feed(model, cache, following[[2, 0, 2], :2])
        cache.batch_select_indices(torch.tensor([0, 1]))
        cache.batch_repeat_interleave(2)
        feed(model, cache, following[[2, 2, 0, 0], 2:])
    for layer in range(NUM_LAYERS):
        found = [marked(cache, layer, row) for row in range(4)]
        assert found == [marked(expected, layer, origin) for origin in (2, 2, 0, 0)]


def test_a_prompt_in_chunks_chooses_after_the_first() -> None:
    model, (tokens,) = shared_decoder(), draw_prompts(30)
    with torch.no_grad(), prune_generation(model, GROWING) as run:
        cache = run.new_cache()
        model(tokens[None, :12], past_key_values=cache)
        heavy = set(cache.tokens.importance_BN[0, :12].topk(HEAVY).indices.tolist())
        model(tokens[None, 12:29], past_key_values=cache)
        model(tokens[None, 29:], past_key_values=cache)
        assert set(marked(cache, 0, 0)) == heavy | {27, 28, 29}


def test_a_prompt_of_fewer_tokens_is_whole() -> None:
    model, (tokens,) = shared_decoder(), draw_prompts(3)
    bits = replace(BITS, whole_heavy=300, whole_recent=1)
    with torch.no_grad(), prune_generation(model, GenerationSchedule(quantization=bits)) as run:
        cache = run.new_cache()
        model(tokens[None, :2], past_key_values=cache)
        feed(model, cache, tokens[None, 2:])
        assert marked(cache, 0, 0) == [0, 1, 2]
        feed(model, cache, tokens[None, 2:])
        assert marked(cache, 0, 0) == [0, 1, 3]


@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_bytes_read_are_those_of_the_kernel(threshold: float) -> None:
    model, bits = shared_decoder(), replace(BITS, threshold=threshold)
    with torch.no_grad(), prune_generation(model, replace(SCHEDULE, quantization=bits)) as run:
        model.generate(**pad_left(draw_prompts(20, 14)), max_new_tokens=6, do_sample=False)
    by_kernel = [
        decode_bytes_read(
            layer.result, layer.key, layer.value, layer.stage.count_B,
            whole_BC=layer.tokens.whole_of(layer.number),
        )
        for layer in run.cache.layers
    ]  # fmt: skip
    last = [record for record in run.records if record.iteration == 5]
    assert [record.cache_bytes_read for record in last] == by_kernel


def test_fewer_than_no_whole_rows_are_refused() -> None:
    with pytest.raises(UserError, match="whole_heavy must be at least 0; got -1"):
        ProgressiveQuantization(whole_heavy=-1)
    with pytest.raises(UserError, match="whole_recent must be at least 0; got -2"):
        ProgressiveQuantization(whole_recent=-2)
