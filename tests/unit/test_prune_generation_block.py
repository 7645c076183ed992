"""The `prune` block around a generating model: what it refuses, what it records, and that it leaves no trace."""

import math
from typing import Any

import pytest
import torch
from transformers import DynamicCache, StaticCache

from multum.attention import default_schedule, prune
from multum.attention.cache_schedule import CacheSchedule
from multum.attention.decoders import find_decoder
from multum.attention.generation import prune_generation
from multum.attention.head_schedule import HeadSchedule, ValueSchedule
from multum.attention.quantization_schedule import ProgressiveQuantization
from multum.attention.sparse_schedule import GenerationSchedule
from multum.core import UserError
from multum.ops.decode_attention import decode_bytes_read
from small_decoders import MOST_POSITIONS, NUM_LAYERS, draw_prompts, make_decoder, pad_left, shared_decoder

SMALL = CacheSchedule(keep_counts=(16, 12, 12, 9), protect_first=2, grace_tokens=3)
ALL_DIALS = GenerationSchedule(
    tokens=SMALL,
    heads=HeadSchedule(keep_ratios=(1.0, 0.75, 0.5, 0.25)),
    values=ValueSchedule(keep_ratios=(0.5,) * NUM_LAYERS),
    quantization=ProgressiveQuantization(msb_bits=6, threshold=0.4),
)
(PROMPT,) = draw_prompts(20)


def traces(model: Any) -> dict[str, Any]:
    hooks = {
        f"{path}.{name}": dict(getattr(module, name))
        for path, module in model.named_modules()
        for name in vars(module)
        if "hooks" in name and isinstance(getattr(module, name), dict)
    }
    forwards = {path: vars(module).get("forward") for path, module in model.named_modules()}
    sizes = {path: getattr(module, "split_size", None) for path, module in model.named_modules()}
    return hooks | forwards | sizes | {"attention": model.config._attn_implementation}


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_block_leaves_no_trace_also_after_an_error(model_type: str) -> None:
    model = make_decoder(model_type)
    before = traces(model)
    expected = model.generate(PROMPT[None], max_new_tokens=4, do_sample=False)
    with prune_generation(model, ALL_DIALS):
        model.generate(PROMPT[None], max_new_tokens=4)
    assert traces(model) == before
    model.get_parameter(next(n for n, p in model.named_parameters() if "layers.2.mlp" in n or "h.2.mlp" in n))
    broken = find_decoder(model).attentions[2]
    handle = broken.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), prune_generation(model, ALL_DIALS):
        model.generate(PROMPT[None], max_new_tokens=4)
    handle.remove()
    assert {k: v for k, v in traces(model).items() if v} == {k: v for k, v in before.items() if v}
    assert torch.equal(model.generate(PROMPT[None], max_new_tokens=4, do_sample=False), expected)


def test_prune_takes_both_kinds_of_schedules() -> None:
    for schedule in (SMALL, ALL_DIALS):
        with prune(shared_decoder(), schedule) as run:
            shared_decoder().generate(PROMPT[None], max_new_tokens=3)
        assert run.kept_positions(3)[-1] == 21


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "sliding-window": ("mistral", {"sliding_window": 8}),
    "sliding_window": ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}),
    "cross-attention": ("gpt2", {"add_cross_attention": True}),
}


@pytest.mark.parametrize("named", REFUSED)
def test_unsupported_attention_is_refused_by_name(named: str) -> None:
    model_type, changes = REFUSED[named]
    with (
        pytest.raises(UserError, match=named),
        prune_generation(make_decoder(model_type, **changes), GenerationSchedule()),
    ):
        pass


def test_other_architectures_are_refused_by_name() -> None:
    from transformers import AutoModel, BertConfig, T5Config

    sizes = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    encoder = AutoModel.from_config(BertConfig(**sizes))
    translator = AutoModel.from_config(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    for model, match in (
        (encoder, "'bert'"),
        (translator, "encoder-decoder"),
        (torch.nn.Linear(2, 2), "Linear"),
    ):
        with pytest.raises(UserError, match=match), prune_generation(model, GenerationSchedule()):
            pass


def test_schedule_of_another_depth_is_refused() -> None:
    deep = CacheSchedule(keep_ratios=(1.0,) * 5)
    with (
        pytest.raises(UserError, match="for the model's 4 layers; got 5"),
        prune_generation(shared_decoder(), deep),
    ):
        pass


def test_a_model_is_not_pruned_twice() -> None:
    with (
        prune_generation(shared_decoder(), SMALL),
        pytest.raises(UserError, match="twice"),
        prune_generation(shared_decoder(), SMALL),
    ):
        pass


def call(model: Any, **kwargs: Any) -> Any:
    with torch.no_grad():
        return model(PROMPT[None], **kwargs)


def filled(model: Any) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    call(model, past_key_values=cache)
    return cache


WRONG_CALLS: dict[str, dict[str, Any]] = {
    "output_attentions must be False": {"output_attentions": True},
    "use_cache must be True": {"use_cache": False},
    "attention_mask must be of shape": {"attention_mask": torch.ones(1, 3)},
    "inputs_embeds": {"input_ids": torch.ones(3, dtype=torch.long)},
}


@pytest.mark.parametrize("match", WRONG_CALLS)
def test_calls_that_pruning_would_break_are_refused(match: str) -> None:
    model = shared_decoder()
    arguments = {"input_ids": PROMPT[None]} | WRONG_CALLS[match]
    with torch.no_grad(), prune_generation(model, SMALL), pytest.raises(UserError, match=match):
        model(**arguments)


def test_other_caches_are_refused() -> None:
    model = shared_decoder()
    outside = filled(model)
    with prune_generation(model, SMALL):
        with pytest.raises(UserError, match="empty or of this block; got a DynamicCache of 20 tokens"):
            call(model, past_key_values=outside)
        with pytest.raises(UserError, match="got a StaticCache"):
            call(model, past_key_values=StaticCache(config=model.config, max_cache_len=64))
        with pytest.raises(UserError, match="cache_implementation"):
            model.generate(PROMPT[None], max_new_tokens=3, cache_implementation="static")


def test_a_cache_serves_its_own_model_and_schedule_only() -> None:
    model, other = shared_decoder(), make_decoder()
    with prune_generation(other, SMALL) as run:
        foreign = run.new_cache()
    with prune_generation(model, GenerationSchedule()) as run:
        loose = run.new_cache()
    with prune_generation(model, SMALL) as run:
        own = run.new_cache()
        with pytest.raises(UserError, match="made for another"):
            call(model, past_key_values=foreign)
        with pytest.raises(UserError, match="under another"):
            call(model, past_key_values=loose)
        call(model, past_key_values=own)
        with pytest.raises(UserError, match="of the cache's 1 sequences; got 2"), torch.no_grad():
            model(PROMPT[None, :1].expand(2, -1), past_key_values=own)
    with pytest.raises(UserError, match="inside the prune block"):
        call(model, past_key_values=own)


def test_training_mode_and_gradients_are_refused() -> None:
    model = make_decoder()
    with prune_generation(model, SMALL):
        with pytest.raises(UserError, match=r"torch\.no_grad"):
            model(PROMPT[None])
        with pytest.raises(UserError, match="evaluation mode"):
            call(model.train())


def test_going_back_is_refused() -> None:
    model = shared_decoder()
    with prune_generation(model, SMALL) as run:
        call(model)
        run.cache.crop(0)
        with pytest.raises(UserError, match="assisted decoding"):
            run.cache.crop(-2)
        with pytest.raises(UserError, match="assisted decoding"):
            model.generate(PROMPT[None].repeat(1, 2), max_new_tokens=20, prompt_lookup_num_tokens=3)


@pytest.mark.parametrize("when", ["prompt", "step"])
def test_nan_scores_are_named_and_the_cache_says_that_it_is_broken(when: str) -> None:
    model = make_decoder()
    with prune_generation(model, SMALL) as run:
        cache = run.new_cache()
        if when == "step":
            call(model, past_key_values=cache)
        weight = find_decoder(model).attentions[1].q_proj.weight
        kept, weight.data = weight.data, torch.full_like(weight, math.nan)
        inputs = PROMPT[None] if when == "prompt" else PROMPT[None, :1]
        with pytest.raises(UserError, match="NaN"), torch.no_grad():
            model(inputs, past_key_values=cache)
        weight.data = kept
        with pytest.raises(UserError, match=r"cache\.reset\(\)"):
            call(model, past_key_values=cache)
        cache.reset()
        call(model, past_key_values=cache)
    assert cache.get_seq_length() == 20


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_context_longer_than_the_model_is_refused(model_type: str) -> None:
    model, (tokens,) = shared_decoder(model_type), draw_prompts(MOST_POSITIONS + 1)
    with torch.no_grad(), prune_generation(model, SMALL) as run:
        with pytest.raises(UserError, match=f"within the model's {MOST_POSITIONS} positions"):
            model(tokens[None])
        cache = run.new_cache()
        model(tokens[None, :-1], past_key_values=cache)
        with pytest.raises(UserError, match="positions; got 257"):
            model(tokens[None, -1:], past_key_values=cache)


def test_a_prompt_of_padding_only_is_refused() -> None:
    mask = torch.tensor([[1] * 20, [0] * 20])
    with prune_generation(shared_decoder(), SMALL), pytest.raises(UserError, match="padding only"):
        shared_decoder().generate(PROMPT.expand(2, -1), attention_mask=mask, max_new_tokens=3)


def test_the_run_asks_for_a_forward_first() -> None:
    with prune_generation(shared_decoder(), SMALL) as run:
        for wish in ("cache", "records", "bytes_held", "lsb_rate"):
            with pytest.raises(UserError, match="no forward yet"):
                getattr(run, wish)
        call(shared_decoder())
        with pytest.raises(UserError, match="keep_history"):
            _ = run.history


def test_bytes_read_are_those_of_the_kernel() -> None:
    model = make_decoder()
    with torch.no_grad(), prune_generation(model, ALL_DIALS) as run:
        batch = pad_left(draw_prompts(20, 14))
        model.generate(**batch, max_new_tokens=6, do_sample=False)
    by_kernel = [
        decode_bytes_read(
            layer.result,
            layer.key,
            layer.value,
            layer.stage.count_B,
            None
            if layer.number not in run.cache.heads.living
            else run.cache.heads.living[layer.number].slot_BK,
        )
        for layer in run.cache.layers
    ]
    last = [record for record in run.records if record.iteration == 5]
    assert [record.cache_bytes_read for record in last] == by_kernel
    assert [record.cache_bytes_held for record in last] == [it.num_bytes_held for it in run.cache.layers]
    assert run.bytes_read_per_token < run.dense_bytes_read_per_token / 4
    assert 0.0 < run.lsb_rate < 1.0


def test_records_tell_what_every_layer_did() -> None:
    model = make_decoder()
    with torch.no_grad(), prune_generation(model, ALL_DIALS) as run:
        model.generate(PROMPT[None], max_new_tokens=3, do_sample=False)
    prompt, steps = run.records[:NUM_LAYERS], run.records[NUM_LAYERS:]
    assert [record.num_keys for record in prompt] == [(20,)] * NUM_LAYERS
    assert [len(record.heads[0]) for record in prompt] == [4, 3, 2, 1]
    assert [record.heads_kept for record in prompt] == [(3,), (2,), (1,), (None,)]
    assert [record.num_keys[0] for record in steps] == [16, 12, 12, 9] * 2
    assert [record.num_values[0] for record in steps] == [8, 6, 6, 5] * 2
    assert [record.tokens_kept[0] for record in steps] == [12, None, 9, None] * 2
    assert run.workload().key_fetch_num.tolist()[-10:] == [16] * 4 + [12] * 5 + [9]
    assert run.cost().macs > 0


def test_embeddings_can_be_given_in_place_of_tokens() -> None:
    model = shared_decoder()
    embeds = model.get_input_embeddings()(PROMPT[None])
    with torch.no_grad(), prune_generation(model, SMALL):
        from_tokens = model(PROMPT[None]).logits
        assert torch.equal(model(inputs_embeds=embeds).logits, from_tokens)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_model_can_be_pruned(dtype: torch.dtype) -> None:
    model = make_decoder().to(dtype)
    for schedule in (GenerationSchedule(tokens=SMALL), ALL_DIALS, default_schedule(model)):
        with prune_generation(model, schedule) as run:
            tokens = model.generate(PROMPT[None], max_new_tokens=4, do_sample=False)
        assert tokens.shape == (1, 24)
        assert run.kept_positions(0)[-1] == 22


def test_another_model_of_the_same_config_object_is_told_to_get_its_own() -> None:
    first = make_decoder()
    second = type(first)(first.config).eval()
    told = pytest.raises(UserError, match="config object of its own beside a pruned one")
    with torch.no_grad(), prune_generation(first, SMALL), told:
        second(PROMPT[None])
    assert second(PROMPT[None]).logits.shape[1] == len(PROMPT)
