"""What each mode of a Transformer trains, in float32 and bfloat16, and what is refused."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from multum.core import UserError
from multum.transfer import adapt
from multum.transfer.lean_layers import LeanReLU
from multum.transfer.lora import attach_lora
from multum.transfer.transformer_modes import TransformerMode, adapt_transformer
from small_cnns import small_mobile
from small_transformers import PlainEncoder, draw_example, make_transformer, scores_of


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("last", set()),
        ("bias", {"bias"}),
        ("lora", {"lora_a", "lora_b"}),
        ("lora-fa", {"lora_b"}),
    ],
)
@pytest.mark.parametrize("kind", ["bert", "distilbert", "vit"])
def test_a_mode_trains_what_it_says_and_the_head(
    kind: str, mode: TransformerMode, expected: set[str]
) -> None:
    model = make_transformer(kind)
    adapted = adapt_transformer(model, mode, num_classes=3)
    heads = ("classifier.", "pre_classifier.")
    below = {name.rpartition(".")[2] for name in adapted.trained if not name.startswith(heads)}
    assert below == expected
    assert {name for name in dict(model.named_parameters()) if name.startswith(heads)} <= set(adapted.trained)
    assert adapted.num_trained + adapted.num_frozen == sum(it.numel() for it in model.parameters())
    assert scores_of(model, draw_example(kind)).shape == (3, 3)
    assert model.config.num_labels == model.num_labels == 3


def test_every_bias_trains_and_nothing_else() -> None:
    model = make_transformer("plain")
    adapted = adapt_transformer(model, "bias")
    biases = {name for name, _ in model.named_parameters() if name.endswith("bias")}
    assert set(adapted.trained) == biases | {"classifier.weight"}
    assert "encoder.layers.0.self_attn.in_proj_bias" in biases
    assert isinstance(model.encoder.layers[0].activation, LeanReLU)
    assert "encoder.layers.0.self_attn.out_proj: NonDynamicallyQuantizableLinear" in adapted.lean.stock_layers


def test_gelu_held_as_a_function_can_keep_bytes_too() -> None:
    model = PlainEncoder("gelu")
    adapted = adapt_transformer(model, "bias", gelu="8bit")
    assert adapted.gelu_8bit == ("encoder.layers.0.activation", "encoder.layers.1.activation")
    before = model(x := draw_example("plain").float())
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), before.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mode": "lora", "targets": ["classifier"], "rank": 2},
            "targets must be layers below the classifier",
        ),
        ({"mode": "bias", "num_classes": 1}, "num_classes must be at least 2; got 1"),
        ({"mode": "bias", "classifier": "bert"}, None),
    ],
)
def test_misfits_are_named(options: dict[str, Any], message: str | None) -> None:
    if message is None:
        options, message = {**options, "num_classes": 2}, "classifier must be the path of an nn.Linear"
    with pytest.raises(UserError, match=message):
        adapt_transformer(make_transformer("bert"), **options)


def test_adapters_twice_and_no_linear_layer_are_refused() -> None:
    model = make_transformer("bert")
    attach_lora(model, rank=2, alpha=2.0)
    with pytest.raises(UserError, match="model must be one without adapters"):
        adapt_transformer(model, "bias")
    with pytest.raises(UserError, match=r"model must be one with an nn\.Linear in it"):
        adapt_transformer(nn.Sequential(nn.ReLU()), "bias")


def relative_error(found: torch.Tensor, true: torch.Tensor) -> float:
    return float(torch.dist(found.double(), true.double()) / true.double().norm().clamp_min(1e-6))


def errors_in_bfloat16(
    lean: nn.Module, stock: nn.Module, exact: nn.Module, example: torch.Tensor
) -> tuple[float, float]:
    """How far the gradients of ours and of torch's bfloat16 are from float64's, all taken together."""
    vectors = []
    for model in (lean, stock, exact):
        x = example
        if x.is_floating_point():
            x = x.to(next(model.parameters()).dtype)
        scores_of(model, x).square().sum().backward()
        grads = {name: it.grad for name, it in model.named_parameters() if it.grad is not None}
        vectors.append(torch.cat([grads[name].double().flatten() for name in sorted(grads)]))
    return relative_error(vectors[0], vectors[2]), relative_error(vectors[1], vectors[2])


@pytest.mark.parametrize("mode", ["bias", "lora", "lora-fa"])
@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_bfloat16_is_as_close_as_torchs(kind: str, mode: TransformerMode) -> None:
    exact, example = make_transformer(kind), draw_example(kind)
    stock = copy.deepcopy(exact).bfloat16()
    adapt_transformer(exact, mode)
    lean = copy.deepcopy(exact).bfloat16()
    if mode != "bias":  # nothing stock has adapters: both are held to a fixed error
        stock = lean
        lean = copy.deepcopy(lean)
    else:
        trained = {name for name, it in lean.named_parameters() if it.requires_grad}
        for name, it in stock.named_parameters():
            it.requires_grad_(name in trained)
    ours, theirs = errors_in_bfloat16(lean, stock, exact, example)
    assert ours <= max(2 * theirs, 0.02)


def test_a_lean_network_of_convolutions_runs_in_bfloat16() -> None:
    exact = small_mobile().double()
    adapt(exact, "bias")
    lean = copy.deepcopy(exact).bfloat16()
    stock = small_mobile().bfloat16()
    stock.load_state_dict(lean.state_dict())
    trained = {name for name, it in lean.named_parameters() if it.requires_grad}
    for name, it in stock.named_parameters():
        it.requires_grad_(name in trained)
    pictures = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    ours, theirs = errors_in_bfloat16(lean.eval(), stock.eval(), exact.eval(), pictures)
    assert ours <= max(2 * theirs, 0.02)
