"""Small generating networks of every supported kind, with weights so large that attention is far from uniform."""

import functools
from typing import Any

import torch
from torch import nn

NUM_LAYERS, NUM_HEADS, NUM_GROUPS, WIDTH, VOCABULARY = 4, 4, 2, 32, 61
MOST_POSITIONS = 256


def decoder_config(model_type: str, *, num_layers: int = NUM_LAYERS, **changes: Any) -> Any:
    """Configuration of a small network; four query heads share two key/value heads where the kind can do that."""
    from transformers import AutoConfig

    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": num_layers,
        "num_attention_heads": NUM_HEADS,
        "max_position_embeddings": MOST_POSITIONS,
        "vocab_size": VOCABULARY,
        "bos_token_id": 1,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    if model_type != "gpt2":
        sizes |= {
            "intermediate_size": 2 * WIDTH,
            "num_key_value_heads": NUM_GROUPS,
            "head_dim": WIDTH // NUM_HEADS,
        }
    if model_type == "mistral":
        sizes["sliding_window"] = None
    return AutoConfig.for_model(model_type, **sizes | changes)


def make_decoder(model_type: str = "llama", **changes: Any) -> Any:
    """Network with fresh weights, always the same ones.

    Args:
        model_type: A key of `DECODERS_BY_MODEL_TYPE`.
        changes: Into the configuration.
    """
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(decoder_config(model_type, **changes))
        for parameter in model.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.3)
    return model.eval()


@functools.cache
def shared_decoder(model_type: str = "llama") -> Any:
    """Give one network of a kind to all tests that leave it as it was."""
    return make_decoder(model_type)


def draw_prompts(*lengths: int, seed: int = 0) -> list[torch.Tensor]:
    """Random prompts of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, VOCABULARY, (length,), generator=generator) for length in lengths]


def pad_left(prompts: list[torch.Tensor], *, extra: int = 0) -> dict[str, torch.Tensor]:
    """Ids and mask of a batch, padded on the left."""
    length = max(len(ids) for ids in prompts) + extra
    token_BQ = torch.zeros(len(prompts), length, dtype=torch.long)
    mask_BQ = torch.zeros(len(prompts), length, dtype=torch.long)
    for row, ids in enumerate(prompts):
        token_BQ[row, length - len(ids) :] = ids
        mask_BQ[row, length - len(ids) :] = 1
    return {"input_ids": token_BQ, "attention_mask": mask_BQ}
