"""Pruned generation against its twin, which masks, sorts lists and shares no code."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.generation import prune_generation
from multum.attention.generation_reference import generation_twin
from multum.attention.head_schedule import HeadSchedule, ValueSchedule
from multum.attention.quantization_schedule import ProgressiveQuantization
from multum.attention.sparse_schedule import GenerationSchedule
from small_decoders import NUM_LAYERS, draw_prompts, make_decoder

COUNTS = CacheSchedule(keep_counts=(14, 10, 10, 7), protect_first=2, grace_tokens=3)
RATIOS = CacheSchedule(
    keep_ratios=(0.6, 0.5, 0.45, 0.3), protect_first=1, grace_tokens=2, decay=0.9, prompt_rows=5
)
COARSE = ProgressiveQuantization(msb_bits=4, threshold=0.4)
VALUES = ValueSchedule(keep_ratios=(1.0, 0.5, 0.5, 0.3))
SCHEDULES: dict[str, GenerationSchedule] = {
    "fixed counts": GenerationSchedule(tokens=COUNTS),
    "ratios with decay": GenerationSchedule(tokens=RATIOS),
    "prompt": GenerationSchedule(tokens=replace(COUNTS, prune_prompt=True)),
    "prompt by ratios": GenerationSchedule(tokens=replace(RATIOS, prune_prompt=True)),
    "values": GenerationSchedule(tokens=COUNTS, values=VALUES),
    "bits": GenerationSchedule(quantization=ProgressiveQuantization(msb_bits=6, threshold=0.5, rotate=True)),
    "bits by layer": GenerationSchedule(
        quantization=ProgressiveQuantization(
            msb_bits=(8, 4, 6, 4), value_bits=(4, 8, 6, 12), threshold=(0.0, 0.5, 1.0, 0.3)
        )
    ),
    "tokens and bits": GenerationSchedule(tokens=RATIOS, quantization=COARSE),
    "centred": GenerationSchedule(
        values=VALUES,
        quantization=ProgressiveQuantization(msb_bits=4, value_bits=4, threshold=0.5, centre=True),
    ),
    "whole rows": GenerationSchedule(
        quantization=replace(COARSE, threshold=0.0, rotate=True, whole_heavy=4, whole_recent=5)
    ),
    "whole rows of pruned tokens": GenerationSchedule(
        tokens=RATIOS, quantization=replace(COARSE, whole_heavy=6, whole_recent=4)
    ),
    "heads": GenerationSchedule(heads=HeadSchedule(keep_ratios=(1.0, 0.75, 0.75, 0.25))),
    "all dials": GenerationSchedule(
        tokens=COUNTS,
        heads=HeadSchedule(keep_ratios=(1.0, 0.75, 0.5, 0.25)),
        values=VALUES,
        quantization=replace(COARSE, centre=True, whole_heavy=3, whole_recent=2),
    ),
}
SCHEDULES["all dials and the prompt"] = replace(
    SCHEDULES["all dials"], tokens=replace(COUNTS, prune_prompt=True)
)
PARTS = (16, 1, 1, 1, 4, 1, 1)


def assert_equals_twin(model: Any, schedule: GenerationSchedule, parts: tuple[int, ...] = PARTS) -> None:
    (tokens,) = draw_prompts(sum(parts))
    seen = 0
    with torch.no_grad():
        twin = generation_twin(model, tokens, parts, schedule)
        with prune_generation(model, schedule) as run:
            cache = run.new_cache()
            for part, expected in zip(parts, twin, strict=True):
                logits = model(tokens[None, seen : seen + part], past_key_values=cache).logits[0, -1]
                seen += part
                assert [list(run.kept_positions(layer)) for layer in range(NUM_LAYERS)] == expected.kept
                torch.testing.assert_close(logits, expected.logits_V, rtol=0, atol=1e-9)
                importance = cache.tokens.importance_BN[0, :seen].tolist()
                assert importance == pytest.approx(expected.importance, rel=1e-9)
                facts = cache.forwards[-1]
                assert [list(layer.heads[0]) for layer in facts.layers] == expected.heads
                if facts.is_step and facts.flat_BX is not None:
                    assert facts.flat_BX[0].tolist() == [head for heads in expected.flat for head in heads]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_every_forward_equals_the_masked_dense_twin(model_type: str, name: str) -> None:
    assert_equals_twin(make_decoder(model_type).double(), SCHEDULES[name])


@pytest.mark.parametrize("name", ["counts", "all dials"])
def test_trace_mode_restarts_every_step_as_the_twin_does(name: str) -> None:
    counts = CacheSchedule(
        keep_counts=(18, 12, 12, 8), protect_first=0, grace_tokens=1, readmit=True, decay=0.8
    )
    schedule = (
        GenerationSchedule(tokens=counts) if name == "counts" else replace(SCHEDULES[name], tokens=counts)
    )
    model, (tokens,) = make_decoder("llama").double(), draw_prompts(sum(PARTS))
    seen = 0
    with torch.no_grad():
        twin = generation_twin(model, tokens, PARTS, schedule)
        with prune_generation(model, schedule) as run:
            cache = run.new_cache()
            for part, expected in zip(PARTS, twin, strict=True):
                logits = model(tokens[None, seen : seen + part], past_key_values=cache).logits[0, -1]
                seen += part
                torch.testing.assert_close(logits, expected.logits_V, rtol=0, atol=1e-9)
                if part == 1:
                    chosen = [cache.tokens.choose(layer)[0][0] for layer in range(NUM_LAYERS)]
                    assert [sorted(index.tolist()) for index in chosen] == expected.kept
    keys = [record.num_keys[0] for record in run.records if record.layer == NUM_LAYERS - 1]
    assert keys == [16, 17, 8, 8, 23, 8, 8]  # the first step after the prompt only adds scores


@pytest.mark.parametrize("model_type", ["mistral", "qwen2", "qwen3"])
def test_every_architecture_equals_the_twin_with_all_dials(model_type: str) -> None:
    assert_equals_twin(make_decoder(model_type).double(), SCHEDULES["all dials"], (16, 1, 1))
    assert_equals_twin(make_decoder(model_type).double(), SCHEDULES["all dials and the prompt"], (16, 1, 1))


def test_a_prompt_of_one_token_equals_the_twin() -> None:
    assert_equals_twin(make_decoder("llama").double(), SCHEDULES["fixed counts"], (1,) * 17)
