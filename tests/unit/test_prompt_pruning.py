"""A prompt that is pruned on its way: later layers read fewer rows, and everything around them stays as it was."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from multum.attention import CacheSchedule, GenerationSchedule, planned_records, prune
from multum.attention.sparse_schedule import schedule_from_dict, schedule_to_dict
from multum.core import UserError
from small_decoders import NUM_HEADS, NUM_LAYERS, WIDTH, draw_prompts, make_decoder, pad_left, shared_decoder

(PROMPT,) = draw_prompts(24)
CASCADE = CacheSchedule(keep_counts=(16, 12, 12, 9), protect_first=2, grace_tokens=3, prune_prompt=True)
WHOLE = replace(CASCADE, prune_prompt=False)


def rows_per_layer(model: Any, schedule: CacheSchedule, **inputs: Any) -> list[tuple[int, ...]]:
    """Shapes of the hidden states that enter the layers."""
    shapes: list[tuple[int, ...]] = []
    layers = getattr(model.base_model, "layers", None) or model.base_model.h
    handles = [
        layer.mlp.register_forward_hook(lambda _, args, __: shapes.append(tuple(args[0].shape[:2])))
        for layer in layers
    ]
    with torch.no_grad(), prune(model, schedule):
        model(**inputs)
    for handle in handles:
        handle.remove()
    return shapes


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "qwen3"])
def test_feed_forward_of_later_layers_really_sees_fewer_rows(model_type: str) -> None:
    model = shared_decoder(model_type)
    assert rows_per_layer(model, WHOLE, input_ids=PROMPT[None]) == [(1, 24)] * 4
    assert rows_per_layer(model, CASCADE, input_ids=PROMPT[None]) == [(1, 24), (1, 12), (1, 12), (1, 9)]


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_logits_come_for_every_row_and_those_of_the_left_are_the_dense_models_at_that_layer(
    model_type: str,
) -> None:
    model = shared_decoder(model_type)
    with torch.no_grad():
        dense = model(PROMPT[None], output_hidden_states=True)
        with prune(model, CASCADE) as run:
            pruned = model(PROMPT[None]).logits
    assert pruned.shape == dense.logits.shape
    gone_first = sorted(set(range(24)) - set(run.kept_positions(0)))
    assert len(gone_first) == 8
    after_one_layer = dense.hidden_states[1][0, gone_first]
    norm = model.base_model.norm if model_type == "llama" else model.base_model.ln_f
    torch.testing.assert_close(pruned[0, gone_first], model.lm_head(norm(after_one_layer)))


def test_no_layer_holds_what_an_earlier_one_lost_and_the_latest_stay() -> None:
    with torch.no_grad(), prune(shared_decoder(), CASCADE) as run:
        shared_decoder()(PROMPT[None])
    kept = [set(run.kept_positions(layer)) for layer in range(NUM_LAYERS)]
    assert [len(it) for it in kept] == [16, 12, 12, 9]
    assert kept[0] >= kept[1] >= kept[2] >= kept[3] >= {0, 1, 21, 22, 23}


def test_ratios_of_one_padded_batch_leave_every_sequence_its_own_count() -> None:
    model = shared_decoder()
    ratios = CacheSchedule(
        keep_ratios=(1.0, 0.5, 0.5, 0.25), protect_first=1, grace_tokens=2, prune_prompt=True
    )
    batch = pad_left(draw_prompts(8, 20, 12), extra=3)
    assert rows_per_layer(model, ratios, **batch) == [(3, 23), (3, 10), (3, 10), (3, 5)]
    with torch.no_grad(), prune(model, ratios) as run:
        model(**batch)
    assert [record.num_queries for record in run.records] == [(8, 20, 12), (4, 10, 6), (4, 10, 6), (3, 5, 3)]
    assert [record.num_keys for record in run.records] == [record.num_queries for record in run.records]


def test_only_the_last_rows_earning_is_the_same_alone_and_padded() -> None:
    model = make_decoder().double()
    schedule = replace(CASCADE, prompt_rows=4)
    prompts = draw_prompts(24, 17)
    with torch.no_grad(), prune(model, schedule) as run:
        together = model(**pad_left(prompts)).logits[:, -1]
        kept = [[run.kept_positions(layer, row) for layer in range(NUM_LAYERS)] for row in range(2)]
        for row, prompt in enumerate(prompts):
            alone = model(prompt[None]).logits[0, -1]
            # turns are computed in float32, and a padded prompt begins at another angle
            torch.testing.assert_close(together[row], alone, rtol=1e-5, atol=1e-5)
            assert [run.kept_positions(layer) for layer in range(NUM_LAYERS)] == kept[row]


def test_the_plan_says_what_the_run_does_and_a_pruned_prompt_costs_less() -> None:
    model = make_decoder()
    with torch.no_grad(), prune(model, CASCADE) as run:
        model.generate(PROMPT[None], max_new_tokens=3, do_sample=False)
        mine = run.cost()
    with torch.no_grad(), prune(model, WHOLE) as run_of_whole:
        model.generate(PROMPT[None], max_new_tokens=3, do_sample=False)
    planned = planned_records(
        GenerationSchedule(tokens=CASCADE),
        num_layers=NUM_LAYERS,
        num_heads=NUM_HEADS,
        head_width=WIDTH // NUM_HEADS,
        prompt_tokens=24,
        generated_tokens=2,
    )
    for mine_of_layer, theirs in zip(run.records, planned, strict=True):
        for name in ("iteration", "layer", "num_queries", "num_keys", "num_values", "tokens_kept"):
            assert getattr(mine_of_layer, name) == getattr(theirs, name), (name, theirs)
    assert mine.macs < 0.8 * run_of_whole.cost().macs


def test_one_dial_for_all_layers_prunes_only_what_is_held() -> None:
    flat = CacheSchedule(keep_counts=(9,) * 4, protect_first=2, grace_tokens=3, prune_prompt=True)
    model = shared_decoder()
    with torch.no_grad():
        with prune(model, flat) as run:
            pruned, kept = model(PROMPT[None]).logits, run.kept_positions(3)
        with prune(model, replace(flat, prune_prompt=False)) as run:
            torch.testing.assert_close(model(PROMPT[None]).logits, pruned)
            assert run.kept_positions(3) == kept


def test_a_schedule_says_it_in_json_and_not_together_with_readmission() -> None:
    schedule = GenerationSchedule(tokens=CASCADE)
    assert schedule_from_dict(schedule_to_dict(schedule)) == schedule
    with pytest.raises(UserError, match="prune_prompt must be False with readmit; got True"):
        CacheSchedule(keep_counts=(9,) * 4, protect_first=0, grace_tokens=1, readmit=True, prune_prompt=True)
