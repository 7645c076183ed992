"""What pruned generation promises for every supported network: one suite, one row per architecture.

A new row of `DECODERS_BY_MODEL_TYPE` is held to all of this without a line being added here.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.decoders import DECODERS_BY_MODEL_TYPE
from multum.attention.generation import prune_generation
from multum.attention.sparse_schedule import GenerationSchedule
from small_decoders import draw_prompts, pad_left, shared_decoder

every_architecture = pytest.mark.parametrize("model_type", DECODERS_BY_MODEL_TYPE)
EVERYTHING = GenerationSchedule()
TIGHT = CacheSchedule(keep_counts=(18, 14, 10, 10), protect_first=2, grace_tokens=4)
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 3},
    "sampling": {"do_sample": True, "top_k": 5, "num_return_sequences": 2},
    "in chunks": {"do_sample": False, "prefill_chunk_size": 4},
}


def generate(model: Any, prompts: list[torch.Tensor], **how: Any) -> Any:
    torch.manual_seed(3)
    batch = pad_left(prompts) if len(prompts) > 1 else {"input_ids": prompts[0][None]}
    return model.generate(
        **batch, max_new_tokens=6, return_dict_in_generate=True, output_logits=True, pad_token_id=0, **how
    )


@every_architecture
@pytest.mark.parametrize(("way", "lengths"), [*zip(WAYS, [(13,), (6, 13, 2), (7, 12), (11, 3)], strict=True)])
def test_with_nothing_pruned_it_generates_what_the_dense_model_does(
    model_type: str, way: str, lengths: tuple[int, ...]
) -> None:
    model, prompts = shared_decoder(model_type), draw_prompts(*lengths)
    dense = generate(model, prompts, **WAYS[way])
    with prune_generation(model, EVERYTHING):
        sparse = generate(model, prompts, **WAYS[way])
    assert torch.equal(sparse.sequences, dense.sequences)
    for got, expected in zip(sparse.logits, dense.logits, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=3e-5)  # logits of these nets go to 50


@every_architecture
@pytest.mark.parametrize("prune_prompt", [False, True])
def test_padded_batch_equals_its_prompts_one_by_one(model_type: str, prune_prompt: bool) -> None:
    tight = replace(TIGHT, prune_prompt=prune_prompt)
    way = "beams" if model_type == "llama" else "greedy"
    model, prompts = shared_decoder(model_type), draw_prompts(19, 26, 14)
    with prune_generation(model, tight) as run:
        together = generate(model, prompts, **WAYS[way])
        for index, prompt in enumerate(prompts):
            alone = generate(model, [prompt], **WAYS[way]).sequences[0]
            assert together.sequences[index, 26 - len(prompt) :].tolist() == alone.tolist()
    assert all(row == 18 for row in run.cache.tokens.stages[0].count_B.tolist())
