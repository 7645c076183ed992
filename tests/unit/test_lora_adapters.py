"""Where adapters go, what they train, and how they are folded in again."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from multum.core import UserError
from multum.transfer import make_lean, to_int8
from multum.transfer.lora import LoRALinear, attach_lora, merge_lora
from small_transformers import PlainEncoder, draw_example, make_transformer, scores_of


def a_network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3, bias=False)).double()


def teach(model: nn.Module) -> None:
    for it in model.modules():
        if isinstance(it, LoRALinear):
            nn.init.normal_(it.lora_b)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("bert", {"query", "key", "value"}),
        ("distilbert", {"q_lin", "k_lin", "v_lin"}),
        ("vit", {"q_proj", "k_proj", "v_proj"}),
    ],
)
def test_attentions_projections_get_adapters_by_themselves(kind: str, names: set[str]) -> None:
    model, example = make_transformer(kind), draw_example(kind)
    before = scores_of(model, example)
    paths = attach_lora(model, rank=2, alpha=2.0)
    assert {path.rpartition(".")[2] for path in paths} == names
    assert len(paths) == 6
    torch.testing.assert_close(scores_of(model, example), before)


@pytest.mark.parametrize("form", ["stock", "lean", "int8"])
def test_merged_weights_say_the_same_in_plain_layers(form: str) -> None:
    model = a_network()
    attach_lora(model, rank=2, alpha=3.0, targets=["0", "3"])
    teach(model)
    if form == "lean":
        make_lean(model)
    if form == "int8":
        assert "0.base" in to_int8(model.requires_grad_(False)).int8_layers
    expected = model(x := torch.randn(4, 6, dtype=torch.float64))
    names = set(model.state_dict())
    assert merge_lora(model) == ("0", "3")
    torch.testing.assert_close(model(x), expected)
    assert not any(isinstance(it, LoRALinear) for it in model.modules())
    assert isinstance(model[0], nn.Linear)
    assert {"0.weight", "3.weight"} <= set(model.state_dict()) - names
    assert merge_lora(model) == ()


def test_a_adapter_trains_its_two_matrices_or_one() -> None:
    for freeze_a, expected in ((False, ["lora_a", "lora_b"]), (True, ["lora_b"])):
        layer = LoRALinear(nn.Linear(5, 4), rank=2, alpha=1.0, freeze_a=freeze_a)
        assert [name for name, it in layer.named_parameters() if it.requires_grad] == expected


def test_the_same_generator_gives_the_same_start() -> None:
    first, second = (
        LoRALinear(nn.Linear(5, 4), rank=2, alpha=1.0, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    )
    assert torch.equal(first.lora_a, second.lora_a)


def test_torchs_fast_path_sees_the_adapters() -> None:
    model = PlainEncoder().double()
    attach_lora(model, rank=2, alpha=2.0, targets=["linear1"])
    teach(model)
    x = draw_example("plain")
    expected = model.train()(x)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), expected.detach())


def test_inside_torchs_attention_no_layer_is_offered() -> None:
    with pytest.raises(
        UserError, match=r"ends of linear layers' paths: encoder\.layers\.0\.linear1"
    ) as raised:
        attach_lora(PlainEncoder(), rank=2, alpha=2.0)
    assert "out_proj" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank must be from 1 to 6, the smaller side of the layer; got 0"),
        ({"rank": 7}, "rank must be from 1 to 6"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"targets": ["0", "head"]}, "targets must be ends of linear layers' paths: 0, 2, 3; got 'head'"),
        ({"targets": []}, "targets must be ends of linear layers' paths"),
        ({"targets": None}, "the usual names of attention's projections"),
    ],
)
def test_misfits_are_named(options: dict[str, Any], message: str) -> None:
    model = a_network()
    kinds = [type(it) for it in model]
    with pytest.raises(UserError, match=message):
        attach_lora(model, **{"rank": 2, "alpha": 2.0, "targets": ["0"]} | options)
    assert [type(it) for it in model] == kinds


def test_adapters_are_attached_once_and_beside_frozen_weights() -> None:
    model = a_network()
    attach_lora(model, rank=2, alpha=2.0, targets=["2"])
    twin = copy.deepcopy(model)
    with pytest.raises(UserError, match="merge_lora"):
        attach_lora(twin, rank=2, alpha=2.0, targets=["0"])
    with pytest.raises(UserError, match="merge the model around it"):
        merge_lora(twin[2])
    twin.requires_grad_(True)
    with pytest.raises(UserError, match="the weight beside an adapter must be frozen"):
        twin(torch.randn(1, 6, dtype=torch.float64))
