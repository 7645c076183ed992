"""Kept bytes seen by hooks against kept bytes found in autograd's graph: two roads to one number."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from multum.cost import measure
from multum.cost.step import default_loss
from multum.cost.traffic import tensors_in
from multum.cost.witness import kept_by_autograd


def mobile(width: int = 16) -> nn.Module:
    def block(channels: int, stride: int) -> list[nn.Module]:
        deep = nn.Conv2d(2 * channels, 2 * channels, 3, stride, 1, groups=2 * channels)
        norm, again = nn.BatchNorm2d(2 * channels), nn.BatchNorm2d(2 * channels)
        wide = [
            nn.Conv2d(channels, 2 * channels, 1),
            norm,
            nn.ReLU6(inplace=True),
            deep,
            again,
            nn.Hardswish(),
        ]
        return [*wide, nn.Conv2d(2 * channels, channels, 1)]

    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2), *block(width, 1), *block(width, 2), nn.Flatten(), nn.LazyLinear(3)
    )


def bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=100
    )
    return BertModel(config)


def gpt2(implementation: str = "sdpa") -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_embd=32, n_layer=2, n_head=2, vocab_size=100, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    config._attn_implementation = implementation
    return GPT2LMHeadModel(config)


class Rounded(torch.autograd.Function):
    """Keeps one tensor as it should, and one on its context."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x.exp())
        ctx.mask = x > 0
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (saved,) = ctx.saved_tensors
        return grad * saved * ctx.mask


class WithRounded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Rounded.apply(self.layer(x))


def words(batch: int = 2) -> dict[str, torch.Tensor]:
    tokens = torch.randint(0, 100, (batch, 12))
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "mobile": (mobile, lambda: torch.randn(2, 3, 32, 32)),
    "bert": (bert, words),
    "gpt2": (gpt2, lambda: words() | {"labels": torch.randint(0, 100, (2, 12))}),
    "gpt2, eager attention": (lambda: gpt2("eager"), words),
    "lstm": (lambda: nn.LSTM(8, 16, num_layers=2), lambda: torch.randn(5, 3, 8)),
    "encoder": (
        lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
        lambda: torch.randn(2, 7, 16),
    ),
    "python function": (WithRounded, lambda: torch.randn(5, 8)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("frozen", [False, True], ids=["trainable", "half frozen"])
def test_hooks_and_graph_agree(name: str, frozen: bool) -> None:
    torch.manual_seed(0)
    make, inputs_of = MODELS[name]
    model, inputs = make().train(), inputs_of()
    call = (lambda: model(**inputs)) if isinstance(inputs, dict) else (lambda: model(inputs))
    call()  # lazy layers
    if frozen:
        for parameter in list(model.parameters())[::2]:
            parameter.requires_grad_(False)
    cost = measure(model, inputs, mode="training", latency=False)
    loss = default_loss(call())
    known = [*model.parameters(), *model.buffers(), *tensors_in(inputs)]
    found = kept_by_autograd(loss, known=known)
    assert found > 0
    assert cost.kept_bytes == pytest.approx(found, rel=0.001)


def test_recomputing_keeps_less_than_keeping() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 8))

    class Recomputed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.layers, x, use_reentrant=False)

    x = torch.randn(16, 8)
    kept = measure(layers, x, mode="training", latency=False)
    recomputed = measure(Recomputed(), x, mode="training", latency=False)
    assert recomputed.kept_bytes == 16 * 8 * 4 < kept.kept_bytes  # only the output, for the loss
    assert recomputed.macs > kept.macs  # paid for with a second forward pass
    assert recomputed.layer("layers.0").num_calls == 1
