"""`prune_`: sparse until told otherwise, and then as before."""

import copy
import gc
from pathlib import Path

import pytest
import torch

from encoder_dials import EVERYTHING
from multum.attention import ModelHeadRule, TokenSchedule, flat_schedule, prune, prune_
from multum.attention.cache_schedule import CacheSchedule
from multum.core import UserError
from small_encoders import NUM_LAYERS, draw_tokens, make_encoder

HALF = flat_schedule(NUM_LAYERS, 0.5)


@torch.no_grad()
def test_pruning_stays_until_it_is_removed() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(12)
    dense = model(tokens[None]).last_hidden_state
    pruned = prune_(model, HALF)
    for _ in range(2):
        assert model(tokens[None]).last_hidden_state.shape[1] == 6
    assert pruned.run.tokens_per_layer == (12, 6, 6, 6)
    pruned.remove()
    pruned.remove()  # harmless
    assert torch.equal(model(tokens[None]).last_hidden_state, dense)
    assert not model._forward_pre_hooks


@torch.no_grad()
def test_nobody_need_hold_the_handle() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(12)
    prune_(model, HALF)
    gc.collect()
    assert model(tokens[None]).last_hidden_state.shape[1] == 6


@torch.no_grad()
def test_pruned_model_can_be_copied_and_saved(tmp_path: Path) -> None:
    from transformers import AutoModel

    model, (tokens,) = make_encoder(), draw_tokens(12)
    dense = model(tokens[None]).last_hidden_state
    prune_(model, EVERYTHING)
    assert copy.deepcopy(model)(tokens[None]).last_hidden_state.shape[1] == 4
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(loaded(tokens[None]).last_hidden_state, dense)


def test_model_pruned_for_good_is_not_pruned_again() -> None:
    model = make_encoder()
    pruned = prune_(model, HALF)
    with pytest.raises(UserError, match="pruned twice"), prune(model, HALF):
        pass
    with pytest.raises(UserError, match="pruned twice"):
        prune_(model, HALF)
    pruned.remove()
    prune_(model, HALF).remove()


def test_wish_that_fails_leaves_no_trace() -> None:
    model = make_encoder()
    with pytest.raises(UserError, match="schedule must be for the model's 4 layers"):
        prune_(model, flat_schedule(3, 0.5))
    assert not model._forward_pre_hooks
    assert model.config._attn_implementation == "sdpa"


def test_schedule_of_a_cache_is_for_models_that_generate() -> None:
    encoder, cache = make_encoder(), CacheSchedule(keep_ratios=(1.0,) * NUM_LAYERS)
    with pytest.raises(UserError), prune(encoder, cache):
        pass
    with (
        pytest.raises(UserError, match="rule must be None for a model that generates"),
        prune(encoder, cache, rule=ModelHeadRule(reads="first")),  # type: ignore[call-overload]
    ):
        pass


@torch.no_grad()
def test_generating_model_goes_through_the_same_door() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=2, n_head=2)).eval()
    schedule = CacheSchedule(keep_ratios=(1.0, 0.5), protect_first=1, grace_tokens=2)
    with prune(model, schedule) as run:
        model.generate(torch.arange(1, 13)[None], max_new_tokens=2, pad_token_id=0)
    assert run.records
    with pytest.raises(UserError, match="it generates; give a CacheSchedule"), prune(model, HALF):
        pass


def test_token_schedule_alone_is_a_schedule() -> None:
    with prune(make_encoder(), TokenSchedule(keep_ratios=(1.0,) * NUM_LAYERS)) as run:
        assert run.schedule.heads is None
