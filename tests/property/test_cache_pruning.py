"""What must hold of a pruned cache whatever the model, the schedule and the prompt."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multum.attention.cache_pruning import select_rows
from multum.attention.cache_schedule import CacheSchedule
from multum.attention.generation import prune_generation
from multum.attention.quantization_schedule import ProgressiveQuantization
from multum.attention.sparse_schedule import GenerationSchedule
from small_decoders import NUM_GROUPS, NUM_HEADS, NUM_LAYERS, WIDTH, draw_prompts, pad_left, shared_decoder

SMALL = CacheSchedule(keep_counts=(16, 12, 12, 9), protect_first=2, grace_tokens=3)


def decode(model: Any, run: Any, tokens_BN: torch.Tensor, num_prompt: int, **extra: Any) -> Any:
    """Feed a prompt, then single tokens; gives the cache."""
    cache = run.new_cache()
    with torch.no_grad():
        model(tokens_BN[:, :num_prompt], past_key_values=cache, **extra)
        for step in range(num_prompt, tokens_BN.shape[1]):
            model(tokens_BN[:, step : step + 1], past_key_values=cache)
    return cache


ratios = st.lists(st.floats(0.2, 1.0), min_size=NUM_LAYERS, max_size=NUM_LAYERS).map(
    lambda drawn: tuple(sorted(drawn, reverse=True))
)


@settings(max_examples=5)
@given(ratios=ratios, first=st.integers(0, 3), grace=st.integers(1, 5), length=st.integers(2, 24))
def test_pruned_tokens_never_return_and_no_layer_keeps_what_an_earlier_one_lost(
    ratios: tuple[float, ...], first: int, grace: int, length: int
) -> None:
    model, (tokens,) = shared_decoder(), draw_prompts(length + 10, seed=length)
    schedule = CacheSchedule(keep_ratios=ratios, protect_first=first, grace_tokens=grace)
    with prune_generation(model, schedule, keep_history=True) as run:
        decode(model, run, tokens[None], length)
    lost: list[set[int]] = [set() for _ in range(NUM_LAYERS)]
    stages = [number for number, stage in enumerate(run.cache.tokens.stages) for _ in stage.layers]
    for forward, snapshot in enumerate(run.history):
        seen, before = length + forward, set(range(length + forward))
        for layer in range(NUM_LAYERS):
            stage = stages[layer]
            kept = set(snapshot.position_SBC[stage][0, : snapshot.count_SB[stage, 0]].tolist())
            assert len(kept) == snapshot.count_SB[stage, 0] <= schedule.num_rows(layer, seen)
            assert kept <= before
            assert not kept & lost[layer]
            assert set(range(min(first, seen))) | set(range(max(0, seen - grace), seen)) <= kept
            lost[layer] |= set(range(seen)) - kept
            before = kept


def test_sum_of_scores_grows_by_the_heads_of_every_layer_for_every_row() -> None:
    model, (tokens,) = shared_decoder(), draw_prompts(30)
    with prune_generation(model, SMALL) as run:
        cache = decode(model, run, tokens[None], 24)
    rows = 24 + 6
    assert cache.tokens.importance_BN.sum().item() == pytest.approx(NUM_HEADS * NUM_LAYERS * rows, rel=1e-5)


def test_scores_are_not_summed_over_the_batch() -> None:
    model, prompts = shared_decoder(), draw_prompts(20, 20, 20)
    with prune_generation(model, SMALL) as run:
        together = decode(model, run, torch.stack(prompts), 16)
        for index, prompt in enumerate(prompts):
            alone = decode(model, run, prompt[None], 16)
            torch.testing.assert_close(
                together.tokens.importance_BN[index], alone.tokens.importance_BN[0], rtol=1e-4, atol=1e-5
            )


def test_no_state_leaks_from_one_sequence_to_the_next() -> None:
    model, prompts = shared_decoder(), draw_prompts(25, 30)
    settings_ = {"max_new_tokens": 8, "do_sample": False}
    with prune_generation(model, SMALL):
        in_one_block = [model.generate(prompt[None], **settings_).tolist() for prompt in prompts]
    for prompt, expected in zip(prompts, in_one_block, strict=True):
        with prune_generation(model, SMALL):
            assert model.generate(prompt[None], **settings_).tolist() == expected


@pytest.mark.parametrize("grace", [1, 4])
def test_a_new_token_outlives_its_grace_window_only_by_what_it_earned(grace: int) -> None:
    model, (tokens,) = shared_decoder(), draw_prompts(40)
    schedule = CacheSchedule(keep_counts=(8,) * NUM_LAYERS, protect_first=0, grace_tokens=grace)
    with prune_generation(model, schedule, keep_history=True) as run:
        decode(model, run, tokens[None], 20)
    for forward, snapshot in enumerate(run.history):
        newest = 19 + forward
        kept = snapshot.position_SBC[0][0, : snapshot.count_SB[0, 0]].tolist()
        assert set(range(newest - grace + 1, newest + 1)) <= set(kept)


def test_decay_lets_recent_attention_weigh_more() -> None:
    model, (tokens,) = shared_decoder(), draw_prompts(40)
    kept: dict[float, tuple[int, ...]] = {}
    for decay in (1.0, 0.5):
        schedule = CacheSchedule(keep_counts=(10,) * NUM_LAYERS, protect_first=0, grace_tokens=1, decay=decay)
        with prune_generation(model, schedule) as run:
            cache = decode(model, run, tokens[None], 20)
        kept[decay] = run.kept_positions(0)
        total = 0.0
        for row in range(41 - 20):
            total = total * decay + NUM_HEADS * NUM_LAYERS * (20 if row == 0 else 1)
        assert cache.tokens.importance_BN.sum().item() == pytest.approx(total, rel=1e-5)
    assert sum(kept[0.5]) > sum(kept[1.0])


def test_rotary_positions_go_on_after_eviction() -> None:
    """Evicting all but protected tokens must give what the dense model gives for those tokens at their old places."""
    model, (tokens,) = shared_decoder(), draw_prompts(31)
    schedule = CacheSchedule(keep_counts=(6,) * NUM_LAYERS, protect_first=2, grace_tokens=4)
    with torch.no_grad(), prune_generation(model, schedule) as run:
        cache = run.new_cache()
        model(tokens[None, :30], past_key_values=cache)
        assert run.kept_positions(0) == (0, 1, 26, 27, 28, 29)
        assert cache.get_seq_length() == 30
        first = model(tokens[None, 30:], past_key_values=cache).logits
        again = run.new_cache()
        model(tokens[None, :30], past_key_values=again)
        second = model(tokens[None, 30:], past_key_values=again, position_ids=torch.tensor([[30]])).logits
    assert torch.equal(first, second)


@pytest.mark.parametrize("bits", [None, 8, 4])
def test_pruned_rows_really_give_their_memory_back(bits: Any) -> None:
    model, (tokens,) = shared_decoder(), draw_prompts(60)
    quantization = None if bits is None else ProgressiveQuantization(msb_bits=bits, value_bits=bits)
    schedule = GenerationSchedule(tokens=SMALL, quantization=quantization)
    with prune_generation(model, schedule) as run:
        cache = decode(model, run, tokens[None], 50)
    width = WIDTH // NUM_HEADS
    key_bytes, value_bytes = (4 * width, 4 * width)
    if bits is not None:
        key_bytes, value_bytes = (width * (bits + 4) // 8 + 2, width * bits // 8 + 2)
    rows = 16 + 12 + 12 + 9
    assert run.bytes_held == rows * NUM_GROUPS * (key_bytes + value_bytes)
    live = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in everything_alive(cache)}
    assert sum(live.values()) == run.bytes_held
    assert run.dense_bytes_held == 60 * NUM_LAYERS * NUM_GROUPS * 2 * 4 * width


def everything_alive(cache: Any) -> list[torch.Tensor]:
    """Every tensor of more than two axes that hangs on the layers of a cache, found by walking their attributes."""
    found: list[torch.Tensor] = []
    open_: list[Any] = [vars(layer)[name] for layer in cache.layers for name in ("key", "value")]
    open_ += [vars(layer).get(name) for layer in cache.layers for name in ("new_key_BGQD", "new_value_BGQD")]
    while open_:
        item = open_.pop()
        if isinstance(item, torch.Tensor):
            found.append(item)
        elif hasattr(item, "__dict__"):
            open_ += vars(item).values()
    return found


def test_beams_take_everything_of_their_own_along() -> None:
    model, prompts = shared_decoder(), draw_prompts(30, 30, 30)
    following = draw_prompts(3, seed=9)[0]
    with torch.no_grad(), prune_generation(model, SMALL) as run:
        cache = decode(model, run, torch.stack(prompts), 25)
        cache.reorder_cache(torch.tensor([2, 0, 2]))
        mixed = model(following[:, None], past_key_values=cache).logits
        for row, origin in enumerate([2, 0, 2]):
            alone = decode(model, run, prompts[origin][None], 25)
            expected = model(following[row : row + 1, None], past_key_values=alone).logits[0]
            torch.testing.assert_close(mixed[row], expected, rtol=1e-4, atol=1e-4)
            kept = [stage.position_BC[row].sort().values for stage in cache.tokens.stages]
            assert [k.tolist() for k in kept] == [
                stage.position_BC[0].sort().values.tolist() for stage in alone.tokens.stages
            ]


def test_a_second_turn_may_follow_on_a_filled_cache() -> None:
    model, prompts = shared_decoder(), draw_prompts(20, 13)
    (more,) = draw_prompts(6, seed=5)
    full = GenerationSchedule()
    batch = pad_left(prompts)
    with torch.no_grad():
        with prune_generation(model, full) as run:
            cache = run.new_cache()
            first = model.generate(**batch, past_key_values=cache, max_new_tokens=5, do_sample=False)
            turn = torch.cat([first, more.expand(2, -1)], dim=1)
            mask = torch.cat([batch["attention_mask"], torch.ones(2, 11, dtype=torch.long)], dim=1)
            second = model.generate(
                turn, attention_mask=mask, past_key_values=cache, max_new_tokens=5, do_sample=False
            )
        dense = model.generate(turn, attention_mask=mask, max_new_tokens=5, do_sample=False)
    assert torch.equal(second, dense)


@given(seed=st.integers(0, 500), keep=st.integers(1, 12))
@settings(max_examples=20)
def test_selection_keeps_the_best_and_breaks_ties_for_the_earlier(seed: int, keep: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    importance = torch.randint(0, 4, (2, 12), generator=generator).float()
    alive = torch.rand(2, 12, generator=generator) > 0.3
    guarded = torch.rand(2, 12, generator=generator) > 0.8
    chosen = select_rows(importance, alive, guarded, torch.tensor([keep, 3]))
    for row, count in enumerate((keep, 3)):
        order = sorted(
            (j for j in range(12) if alive[row, j]),
            key=lambda j: (not guarded[row, j], -importance[row, j] * (not guarded[row, j]), j),
        )
        assert chosen[row].nonzero()[:, 0].tolist() == sorted(order[:count])
