"""LoRA against its definition in plain torch, forward and gradients, on odd shapes; what it keeps."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from multum.cost.witness import kept_by_autograd
from multum.transfer import make_lean, to_int8
from multum.transfer.frozen_weight import plain
from multum.transfer.lora import LoRALinear
from multum.transfer.lora_functions import lora_linear, lora_linear_reference

SHAPES = [
    (7, 5, 3, (2, 4)),
    (1, 6, 1, (5,)),
    (9, 1, 1, ()),
    (4, 4, 4, (2, 3, 2)),
    (5, 3, 2, (0, 2)),
    (6, 8, 2, (1,)),
]


def draw(features: int, outputs: int, rank: int, rows: tuple[int, ...]) -> list[Tensor]:
    sizes = ((*rows, features), (outputs,), (rank, features), (outputs, rank), (outputs, features))
    return [torch.randn(size, dtype=torch.float64) for size in sizes]


@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_the_definitions_whatever_trains(
    shape: tuple[int, int, int, tuple[int, ...]],
) -> None:
    tensors = draw(*shape)
    for wants in itertools.product((False, True), repeat=4):
        results = []
        for run in (lora_linear, lora_linear_reference):
            x, bias, a, b = (
                it.clone().requires_grad_(want) for it, want in zip(tensors, wants, strict=False)
            )
            y = run(x, plain(tensors[4]), bias, a, b, 0.7)
            wanted = [it for it in (x, bias, a, b) if it.requires_grad]
            weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape)
            results.append([y, *(torch.autograd.grad(y, wanted, weights) if wanted else ())])
        for found, expected in zip(*results, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_input_that_is_not_contiguous_and_no_bias_go() -> None:
    x, _, a, b, weight = draw(6, 5, 2, (3, 4))
    strided = x.transpose(0, 1).requires_grad_()
    found, expected = (
        torch.autograd.grad(run(strided, plain(weight), None, a, b, 2.0).square().sum(), strided)
        for run in (lora_linear, lora_linear_reference)
    )
    torch.testing.assert_close(found, expected)


def three_adapters(*, freeze_a: bool) -> tuple[nn.ModuleList, Tensor]:
    layers = [LoRALinear(nn.Linear(24, 16), rank=2, alpha=4.0, freeze_a=freeze_a) for _ in range(3)]
    x = torch.randn(5, 7, 24, requires_grad=True)
    return nn.ModuleList(layers), x


@pytest.mark.parametrize("lean", [False, True])
def test_query_key_and_value_keep_their_input_once(lean: bool) -> None:
    layers, leaf = three_adapters(freeze_a=False)
    if lean:
        make_lean(layers)
    x = leaf.clone()
    loss = sum(layer(x).sum() for layer in layers)
    assert isinstance(loss, Tensor)
    assert kept_by_autograd(loss, known=layers.parameters()) == x.nbytes


def test_with_a_frozen_only_rank_numbers_a_token_are_kept() -> None:
    layers, leaf = three_adapters(freeze_a=True)
    x = leaf.clone()
    loss = sum(layer(x).sum() for layer in layers)
    assert isinstance(loss, Tensor)
    assert kept_by_autograd(loss, known=layers.parameters()) == 3 * 5 * 7 * 2 * 4


def test_an_int8_weight_stays_one_and_its_gradients_are_those_of_the_rounded_weight() -> None:
    layer = LoRALinear(nn.Linear(12, 10).double(), rank=3, alpha=3.0)
    nn.init.normal_(layer.lora_b)
    holder = nn.Sequential(layer)
    assert to_int8(holder).int8_layers == ("0.base",)
    x = torch.randn(4, 12, dtype=torch.float64, requires_grad=True)
    trained = (x, layer.lora_a, layer.lora_b)
    weight = plain(layer.base.weight)
    expected = lora_linear_reference(x, weight, layer.bias, layer.lora_a, layer.lora_b, layer.scale)
    found = holder(x)
    torch.testing.assert_close(found, expected)
    for mine, true in zip(
        torch.autograd.grad(found.square().sum(), trained),
        torch.autograd.grad(expected.square().sum(), trained),
        strict=True,
    ):
        torch.testing.assert_close(mine, true)
    assert kept_by_autograd(holder(x).sum(), known=(*layer.parameters(), *layer.buffers(), x)) == 0
