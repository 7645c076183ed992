"""What `cost_of` makes of records is what `measure` counts of the same forward, to the integer."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from multum.attention import (
    CacheSchedule,
    EncoderSchedule,
    GenerationSchedule,
    HeadSchedule,
    ProgressiveQuantization,
    TokenSchedule,
    ValueSchedule,
    cost_of,
    flat_schedule,
    model_facts,
    planned_records,
    prune,
)
from multum.core import UserError
from multum.cost import measure
from small_encoders import NUM_HEADS, NUM_LAYERS, draw_tokens, make_encoder

LENGTH, HEAD_WIDTH = 20, 8


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 99, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**sizes)).eval()


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 99}
    return LlamaForCausalLM(LlamaConfig(num_attention_heads=4, num_key_value_heads=2, **sizes)).eval()


def planned(schedule: Any, num_layers: int) -> Any:
    sizes = {"num_heads": NUM_HEADS, "head_width": HEAD_WIDTH, "prompt_tokens": LENGTH}
    return planned_records(schedule, num_layers=num_layers, **sizes)


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        ("bert", "AutoModel"),
        ("bert", "AutoModelForSequenceClassification"),
        ("bert", "AutoModelForMaskedLM"),
        ("distilbert", "AutoModelForSequenceClassification"),
        ("distilbert", "AutoModelForQuestionAnswering"),
        ("electra", "AutoModelForTokenClassification"),
        ("roberta", "AutoModelForSequenceClassification"),
    ],
)
def test_encoder_is_priced_as_measured(model_type: str, head: str) -> None:
    model, tokens = make_encoder(model_type, head=head), torch.stack(draw_tokens(LENGTH))
    schedule = flat_schedule(NUM_LAYERS, 0.4)
    with prune(model, schedule) as run:
        measured = measure(model, {"input_ids": tokens}, latency=False)
        counted = run.cost()
    assert (counted.macs, counted.attention_macs) == (measured.macs, measured.attention_macs)
    for name in ("num_parameters", "num_trainable_parameters", "parameter_bytes", "buffer_bytes"):
        assert getattr(counted, name) == getattr(measured, name), name
    assert cost_of(model, planned(schedule, NUM_LAYERS)).macs == measured.macs


@pytest.mark.parametrize("make", [gpt2, llama])
def test_prompt_of_a_generating_model_is_priced_as_measured(make: Callable[[], Any]) -> None:
    model, tokens = make(), torch.stack(draw_tokens(LENGTH))
    measured = measure(model, {"input_ids": tokens, "use_cache": False}, latency=False)
    counted = cost_of(model, planned(GenerationSchedule(), 2), head_rows=LENGTH)
    assert (counted.macs, counted.attention_macs) == (measured.macs, measured.attention_macs)
    assert counted.parameter_bytes == measured.parameter_bytes
    if make is gpt2:  # a rotary table is neither a weight nor an input
        moved = measured.input_bytes + measured.output_bytes
        assert measured.dram_floor_bytes - counted.dram_floor_bytes == moved
    last_row = cost_of(model, planned(GenerationSchedule(), 2))
    assert counted.macs - last_row.macs == (LENGTH - 1) * 32 * 99


GENERATION = {
    "tokens": GenerationSchedule(
        tokens=CacheSchedule(keep_ratios=(1.0, 0.5), protect_first=1, grace_tokens=2)
    ),
    "heads": GenerationSchedule(heads=HeadSchedule(keep_ratios=(1.0, 0.5))),
    "values and bits": GenerationSchedule(
        values=ValueSchedule(keep_ratios=(0.5, 0.2)),
        quantization=ProgressiveQuantization(msb_bits=4, threshold=0.3),
    ),
    "both planes always": GenerationSchedule(quantization=ProgressiveQuantization(threshold=1.0)),
}


@pytest.mark.parametrize("dial", [*GENERATION])
@pytest.mark.parametrize("make", [gpt2, llama])
def test_generation_is_priced_as_measured(make: Callable[[], Any], dial: str) -> None:
    model, tokens = make(), torch.stack(draw_tokens(LENGTH + 1))
    with prune(model, GENERATION[dial]) as run:
        cache = run.new_cache()
        inputs = {"input_ids": tokens[:, :LENGTH], "past_key_values": cache}
        prompt = measure(model, inputs, latency=False)
        step = measure(model, {"input_ids": tokens[:, LENGTH:], "past_key_values": cache}, latency=False)
        records = {it: [record for record in run.records if record.iteration == it] for it in (0, 1)}
    for measured, counted in (
        (prompt, cost_of(model, records[0], head_rows=LENGTH)),
        (step, cost_of(model, records[1])),
    ):
        assert not measured.uncounted_ops
        assert (counted.macs, counted.attention_macs) == (measured.macs, measured.attention_macs)


def test_layers_add_up_to_the_whole_and_carry_their_paths() -> None:
    model = make_encoder()
    cost = cost_of(model, planned(flat_schedule(NUM_LAYERS, 0.5), NUM_LAYERS))
    assert [row.path for row in cost.layers][:2] == ["encoder.layer.0", "encoder.layer.1"]
    for name in ("macs", "attention_macs", "num_parameters", "parameter_bytes", "dram_floor_bytes"):
        assert sum(getattr(row, name) for row in cost.layers) == getattr(cost, name), name


def test_pruned_heads_and_values_cost_nothing() -> None:
    facts = model_facts(make_encoder())
    schedule = EncoderSchedule(
        heads=HeadSchedule(keep_ratios=(1.0, 1.0, 0.5, 0.5)),
        values=ValueSchedule(keep_ratios=(1.0, 1.0, 1.0, 0.5)),
    )
    dense, pruned = (cost_of(facts, planned(it, NUM_LAYERS)) for it in (EncoderSchedule(), schedule))
    width = NUM_HEADS * HEAD_WIDTH
    per_head = LENGTH * 4 * width * HEAD_WIDTH + 2 * LENGTH**2 * HEAD_WIDTH
    values_spared = 2 * LENGTH * (LENGTH // 2) * HEAD_WIDTH
    assert dense.macs - pruned.macs == 2 * 2 * per_head + values_spared


def test_shared_key_heads_cost_until_their_last_query_head_goes() -> None:
    facts = model_facts(llama())
    record = planned(GenerationSchedule(), 2)[0]
    one_row = 32 * HEAD_WIDTH
    totals = []
    for heads in ((0, 1, 2, 3), (0, 1, 2), (0, 2), (0, 1)):
        done = type(record)(**{**vars(record), "heads": (heads,), "num_queries": (1,)})
        totals.append(cost_of(facts, [done], head_rows=0).macs - 2 * len(heads) * LENGTH * HEAD_WIDTH)
    feed_forward = 3 * 32 * 64
    expected = [(2 * 4 + 2 * 2), (2 * 3 + 2 * 2), (2 * 2 + 2 * 2), (2 * 2 + 2 * 1)]
    assert totals == [one_row * matrices + feed_forward for matrices in expected]


def test_cache_rows_read_count_as_moved_bytes() -> None:
    model = gpt2()
    record = planned(GenerationSchedule(), 2)[0]
    read = type(record)(**{**vars(record), "cache_bytes_read": 1000})
    first, second = cost_of(model, [record]), cost_of(model, [read], name="ours")
    assert second.dram_floor_bytes - first.dram_floor_bytes == 1000
    assert second.name == "ours"
    assert first.name == "GPT2LMHeadModel"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer": 7}, r"a record's layer must be in 0..3, the model's; got 7"),
        ({"head_width": 16}, "a record's head_width must be the model's 8; got 16"),
    ],
)
def test_records_of_another_model_are_refused(changes: dict[str, int], message: str) -> None:
    record = planned(TokenSchedule(keep_ratios=(1.0,) * NUM_LAYERS), NUM_LAYERS)[0]
    with pytest.raises(UserError, match=message):
        cost_of(make_encoder(), [type(record)(**{**vars(record), **changes})])
    with pytest.raises(UserError, match="records must be of at least one layer"):
        cost_of(make_encoder(), [])
