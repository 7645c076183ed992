"""An adapted Transformer computes what the stock one does, forward and backward, and keeps what it says; in float64."""

import copy
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from multum.cost.kept import saved_in_graph
from multum.cost.witness import kept_by_autograd
from multum.transfer import gradient_error
from multum.transfer.frozen_weight import plain
from multum.transfer.lora import LoRALinear
from multum.transfer.lora_functions import lora_linear_reference
from multum.transfer.transformer_modes import TransformerMode, adapt_transformer
from small_transformers import (
    BATCH,
    HEADS,
    INNER,
    LAYERS,
    MAKE,
    TOKENS,
    WIDTH,
    draw_example,
    make_transformer,
    scores_of,
)

MODES: tuple[TransformerMode, ...] = ("last", "bias", "full")
EIGHT = 8  # bytes of a float64


class StockLoRA(LoRALinear):
    """By the definition, in plain torch."""

    def forward(self, x: Tensor) -> Tensor:
        weight = plain(self.base.weight)
        return lora_linear_reference(x, weight, self.base.bias, self.lora_a, self.lora_b, self.scale)


def gradients_of(model: nn.Module, example: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    scores = scores_of(model, example)
    (scores * torch.tensor([1.0, -0.3], dtype=scores.dtype)).sum().backward()
    return scores, {name: it.grad for name, it in model.named_parameters() if it.grad is not None}


def compare(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, mine in found.items():
        torch.testing.assert_close(mine, expected[name], rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", MAKE)
def test_outputs_and_gradients_are_those_of_stock_layers(kind: str, mode: TransformerMode) -> None:
    ours, example = make_transformer(kind), draw_example(kind)
    stock = copy.deepcopy(ours)
    adapted = adapt_transformer(ours, mode)
    for name, it in stock.named_parameters():
        it.requires_grad_(name in adapted.trained)
    expected, true = gradients_of(stock, example)
    found, mine = gradients_of(ours, example)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    compare(mine, true)
    assert len(mine) == len(adapted.trained)


@pytest.mark.parametrize("mode", ["lora", "lora-fa"])
@pytest.mark.parametrize("kind", MAKE)
def test_adapters_have_the_gradients_of_their_definition(kind: str, mode: TransformerMode) -> None:
    ours, example = make_transformer(kind), draw_example(kind)
    before = scores_of(ours, example)
    targets = ["linear1", "linear2"] if kind == "plain" else None
    adapted = adapt_transformer(ours, mode, rank=2, targets=targets)
    assert len(adapted.adapters) == (2 if kind == "plain" else 3) * LAYERS
    torch.testing.assert_close(scores_of(ours, example), before)
    for it in ours.modules():
        if isinstance(it, LoRALinear):
            nn.init.normal_(it.lora_b, std=0.2)
    stock = copy.deepcopy(ours)
    for it in stock.modules():
        if isinstance(it, LoRALinear):
            it.__class__ = StockLoRA
    expected, true = gradients_of(stock, example)
    found, mine = gradients_of(ours, example)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    compare(mine, true)
    assert len(mine) == len(adapted.trained)


def kept_by_kind(model: nn.Module, example: Tensor) -> tuple[Counter[str], int]:
    """Bytes by the kind of node that keeps them, each storage counted once; and all of them."""
    own = [*model.parameters(), *model.buffers(), example]
    loss = scores_of(model, example).sum()
    seen = {it.untyped_storage()._cdata for it in own}
    found: Counter[str] = Counter()
    for node, it in saved_in_graph(loss):
        storage = it.untyped_storage()
        if storage._cdata not in seen and it.numel() > 1:
            seen.add(storage._cdata)
            found[type(node).__name__] += storage.nbytes()
    return found, kept_by_autograd(loss, known=own)


ROWS = BATCH * TOKENS
ATTENTION, GELU, NORM = (
    "ScaledDotProductFlashAttentionForCpuBackward0",
    "GeluBackward0",
    "_SampleNormBackward",
)
ATTENTION_BYTES = LAYERS * ROWS * (4 * WIDTH + HEADS) * EIGHT
HEAD_BYTES = 2 * BATCH * WIDTH * EIGHT + BATCH * 2 * EIGHT  # of pooler and classifier, at most


def test_bias_only_keeps_no_input_of_a_linear_layer() -> None:
    model, example = make_transformer("bert"), draw_example("bert")
    adapt_transformer(model, "bias")
    kept, total = kept_by_kind(model, example)
    assert kept[ATTENTION] == ATTENTION_BYTES
    assert kept[GELU] == LAYERS * ROWS * INNER * EIGHT
    assert kept[NORM] == 2 * LAYERS * ROWS * (WIDTH + 2) * EIGHT  # that of the embeddings keeps nothing
    rest = total - kept[ATTENTION] - kept[GELU] - kept[NORM]
    assert 0 <= rest <= HEAD_BYTES
    assert "_FrozenLinearBackward" not in kept


def test_bytes_for_gelu_and_norms_are_an_eighth_of_a_double() -> None:
    model, example = make_transformer("bert"), draw_example("bert")
    adapted = adapt_transformer(model, "bias", keeps="8bit", gelu="8bit")
    assert len(adapted.gelu_8bit) == LAYERS
    kept, _ = kept_by_kind(model, example)
    assert kept["_GeluBackward"] == LAYERS * ROWS * INNER
    assert kept[NORM] <= 2 * LAYERS * ROWS * (WIDTH + 2 * EIGHT)
    errors = gradient_error(model, example, lambda out: out.logits.square().sum())
    assert errors.keys() == set(adapted.trained)
    told = [it for name, it in errors.items() if not name.endswith("key.bias")]  # 0 but for rounding
    assert 0 < max(told) < 0.01


@pytest.mark.parametrize("mode", ["lora", "lora-fa"])
def test_adapters_keep_a_shared_input_or_rank_numbers(mode: TransformerMode) -> None:
    model, example = make_transformer("bert"), draw_example("bert")
    adapt_transformer(model, mode, rank=2)
    kept, _ = kept_by_kind(model, example)
    assert kept["_LoRABackward"] == LAYERS * ROWS * EIGHT * (WIDTH if mode == "lora" else 3 * 2)


def test_fully_trained_inputs_are_kept_as_by_torch() -> None:
    model, example = make_transformer("bert"), draw_example("bert")
    stock = copy.deepcopy(model)
    adapt_transformer(model, "full")
    assert kept_by_kind(model, example)[1] <= kept_by_kind(stock, example)[1]
