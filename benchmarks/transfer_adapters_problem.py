"""Transformers as the suite of adapters trains them: random weights of published shapes, ours, torch's and peft's ways.

Each way is measured in a process of its own, peft's in its own environment. All have the same rank, the same layers
under adapters (query, key, value), no dropout, and the classifier trained as well.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.places import ROOT
from benchmarks.transfer_peft import ALPHA, LORA, RANK, ask_peft
from multum.cost.witness import ask_child, growth_of, kept_by_autograd
from multum.transfer import gradient_error
from multum.transfer.transformer_modes import TransformerMode, adapt_transformer

BATCH, TOKENS, PIXELS, CLASSES = 8, 128, 224, 2
SHAPES: Final = {"bert": "BERT-Base, 128 tokens", "vit": "ViT-Small/16, 224 pixels"}
OURS: Final[dict[str, tuple[TransformerMode, bool]]] = {
    "bias": ("bias", False),
    "bias_8bit": ("bias", True),
    "lora": ("lora", False),
    "lora_fa": ("lora-fa", False),
    "lora_fa_8bit": ("lora-fa", True),
}
"""Mode, and whether norms and GELU keep a byte an element."""
WAYS: Final = ("stock_full", "stock_bias", LORA, *OURS)

CHILD = """
import sys
from benchmarks.transfer_adapters_problem import measure
measure(sys.argv[1], sys.argv[2], bool(int(sys.argv[3])))
"""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A network with what goes into it."""

    model: nn.Module
    """In training; nothing is dropped."""
    example: Tensor
    """(B, N) ids of tokens, or (B, 3, H, W) pictures."""

    def loss(self) -> Tensor:
        """Cross entropy, labels 0 and 1 in turn."""
        labels = torch.arange(len(self.example)) % CLASSES
        return functional.cross_entropy(self.model(self.example).logits, labels)


def in_a_child(shape: str, way: str, *, quick: bool) -> dict[str, float]:
    """Measure a way in a process of its own.

    Returns:
        `kept_mb`, `growth_mb` and `num_trained`.

    Raises:
        PeerError: peft's environment is not installed.
    """
    words = (CHILD, shape, way, str(int(quick)))
    found: dict[str, float] = ask_peft(*words, grows=True) if way == LORA else ask_child(*words, folder=ROOT)
    return found


def measure(shape: str, way: str, quick: bool) -> None:
    """Print what this process keeps, and by how much it grows in a step."""
    torch.set_num_threads(1)
    adapted(build(shape, quick=True), way).loss().backward()
    problem = adapted(build(shape, quick=quick), way)
    own = (*problem.model.parameters(), *problem.model.buffers(), problem.example)
    kept = kept_by_autograd(problem.loss(), known=own)
    trained = [it for it in problem.model.parameters() if it.requires_grad]
    for it in trained:
        it.grad = torch.zeros_like(it)  # there in every step but the first
    growth = growth_of(lambda: problem.loss().backward()).most_bytes
    count = sum(it.numel() for it in trained)
    print(json.dumps({"kept_mb": kept / 1e6, "growth_mb": growth / 1e6, "num_trained": float(count)}))


def build(shape: str, *, quick: bool = False, seed: int = 0, batch: int = BATCH) -> Problem:
    """Build a stock network with random weights; `quick` asks for two layers and a small batch."""
    import transformers as library

    batch, changes = (2, {"num_hidden_layers": 2}) if quick else (batch, {})
    words = {"vocab_size": 1000} if quick else {}
    nothing_dropped = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_labels": CLASSES}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if shape == "bert":
            model: Any = library.BertForSequenceClassification(
                library.BertConfig(**nothing_dropped, **changes, **words)
            )
            example = torch.randint(model.config.vocab_size, (batch, TOKENS))
        else:
            small = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
            model = library.ViTForImageClassification(
                library.ViTConfig(**nothing_dropped, **small | changes, image_size=PIXELS)
            )
            example = torch.randn(batch, 3, PIXELS, PIXELS)
    return Problem(model=model.train(), example=example)


def adapted(problem: Problem, way: str) -> Problem:
    """Make it ready for a way, in place for all but peft's."""
    model: Any = problem.model
    if way == LORA:
        return Problem(model=_with_peft(model), example=problem.example)
    if way == "stock_bias":
        for name, it in model.named_parameters():
            it.requires_grad_(name.endswith("bias") or name.startswith("classifier."))
    elif way in OURS:
        mode, in_bytes = OURS[way]
        keeps: Any = "8bit" if in_bytes else "exact"
        adapt_transformer(model, mode, rank=RANK, alpha=ALPHA, keeps=keeps, gelu=keeps)
    return problem


def _with_peft(model: Any) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    names = ("query", "key", "value") if hasattr(model, "bert") else ("q_proj", "k_proj", "v_proj")
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=list(names),
        modules_to_save=["classifier"],
    )
    found: nn.Module = get_peft_model(model, config)
    return found.train()


def byte_errors(shape: str, *, quick: bool) -> Mapping[str, float]:
    """How far gradients are off where norms and GELU keep bytes; the key's bias is left out, whose gradient is 0."""
    found: dict[str, float] = {}
    for way in ("bias_8bit", "lora_fa_8bit"):
        problem = adapted(build(shape, quick=quick, batch=2), way)
        errors = gradient_error(problem.model, problem.example, lambda out: out.logits.square().sum())
        told = [error for name, error in errors.items() if "key.bias" not in name]
        found |= {f"{way}_median": sorted(told)[len(told) // 2], f"{way}_worst": max(told)}
    return found
