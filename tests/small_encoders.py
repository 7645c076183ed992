"""Small encoders of every supported kind, with weights so large that attention is far from uniform."""

import functools
from typing import Any

import torch
from torch import nn

NUM_LAYERS, NUM_HEADS, WIDTH, VOCABULARY = 4, 4, 32, 99
FIRST_WORD = 5
"""Token ids below this one are special in some vocabulary (RoBERTa counts positions from its padding id)."""


def encoder_config(model_type: str, *, num_layers: int = NUM_LAYERS, **changes: Any) -> Any:
    """Configuration of a small network."""
    from transformers import AutoConfig

    if model_type == "distilbert":
        sizes = {"dim": WIDTH, "n_layers": num_layers, "n_heads": NUM_HEADS, "hidden_dim": 2 * WIDTH}
    else:
        sizes = {
            "hidden_size": WIDTH,
            "num_hidden_layers": num_layers,
            "num_attention_heads": NUM_HEADS,
            "intermediate_size": 2 * WIDTH,
        }
    return AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **sizes | changes)


def make_encoder(model_type: str = "bert", *, head: str = "AutoModel", **changes: Any) -> Any:
    """Network with fresh weights, always the same ones.

    Args:
        model_type: A key of `LAYERS_BY_MODEL_TYPE`.
        head: Class of transformers that builds the network.
        changes: Into the configuration.
    """
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = getattr(transformers, head).from_config(encoder_config(model_type, **changes))
        for parameter in model.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.3)
    return model.eval()


@functools.cache
def shared_encoder() -> Any:
    """Give one BERT to all tests that leave it as it was."""
    return make_encoder()


def draw_tokens(*lengths: int, seed: int = 0) -> list[torch.Tensor]:
    """Random sentences of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(FIRST_WORD, VOCABULARY, (length,), generator=generator) for length in lengths]


def pad(sentences: list[torch.Tensor], *, side: str = "right", extra: int = 0) -> dict[str, torch.Tensor]:
    """Model inputs: ids, mask, and positions that count real tokens only, so that padding on the left is fair."""
    length = max(len(ids) for ids in sentences) + extra
    token_BN = torch.ones(len(sentences), length, dtype=torch.long)
    mask_BN = torch.zeros(len(sentences), length, dtype=torch.long)
    for row, ids in enumerate(sentences):
        place = slice(0, len(ids)) if side == "right" else slice(length - len(ids), length)
        token_BN[row, place] = ids
        mask_BN[row, place] = 1
    position_BN = (mask_BN.cumsum(dim=1) - 1).clamp_min(0)
    return {"input_ids": token_BN, "attention_mask": mask_BN, "position_ids": position_BN}
