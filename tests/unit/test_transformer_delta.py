"""What a task changed in a Transformer goes into a small file, and a fresh model becomes the adapted one by it."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from multum.core import UserError
from multum.transfer.lora import LoRALinear
from multum.transfer.transformer_delta import load_transformer_delta, save_transformer_delta
from multum.transfer.transformer_modes import TRANSFORMER_MODES, TransformerMode, adapt_transformer
from small_transformers import draw_example, make_transformer, scores_of

KINDS = ("bert", "vit")


def seem_trained(model: nn.Module) -> None:
    with torch.no_grad():
        for it in model.parameters():
            if it.requires_grad:
                it.add_(0.1 * torch.randn_like(it))


@pytest.mark.parametrize("mode", TRANSFORMER_MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_model_becomes_the_adapted_one(kind: str, mode: TransformerMode, tmp_path: Path) -> None:
    fresh, example = make_transformer(kind).eval(), draw_example(kind)
    model = copy.deepcopy(fresh)
    adapted = adapt_transformer(model, mode, num_classes=5, rank=3, alpha=7.0)
    seem_trained(model)
    header = save_transformer_delta(tmp_path / "task.safetensors", model, adapted, about={"data": "some"})
    assert (header.mode, header.num_classes, header.about) == (mode, 5, {"data": "some"})
    found = load_transformer_delta(fresh, tmp_path / "task.safetensors")
    assert found == adapted
    assert torch.equal(scores_of(fresh, example), scores_of(model, example))
    assert [n for n, it in fresh.named_parameters() if it.requires_grad] == list(adapted.trained)
    if mode in ("lora", "lora-fa"):
        scales = {it.scale for it in fresh.modules() if isinstance(it, LoRALinear)}
        assert list(scales) == pytest.approx([7.0 / 3])


def test_adapters_are_a_small_part_of_the_model(tmp_path: Path) -> None:
    model = make_transformer("bert")
    whole = sum(it.nbytes for it in model.state_dict().values())
    adapted = adapt_transformer(model, "lora", rank=1)
    save_transformer_delta(tmp_path / "task.safetensors", model, adapted)
    assert (tmp_path / "task.safetensors").stat().st_size < 0.3 * whole


def saved(tmp_path: Path, mode: TransformerMode = "lora") -> tuple[nn.Module, Path]:
    """A fresh model, and a delta of it."""
    fresh = make_transformer("bert")
    model = copy.deepcopy(fresh)
    save_transformer_delta(tmp_path / "it", model, adapt_transformer(model, mode, rank=2))
    return fresh, tmp_path / "it"


@pytest.mark.parametrize("mode", ["bias", "lora"])
def test_another_model_is_refused_and_stays(mode: TransformerMode, tmp_path: Path) -> None:
    fresh, path = saved(tmp_path, mode)
    with torch.no_grad():
        next(iter(fresh.parameters())).add_(1e-3)
    before = copy.deepcopy(fresh.state_dict())
    with pytest.raises(UserError, match="the one that the delta was made for"):
        load_transformer_delta(fresh, path)
    assert fresh.state_dict().keys() == before.keys()
    with pytest.raises(UserError, match="must have what the delta changes"):
        load_transformer_delta(make_transformer("vit"), path)


def test_a_model_with_adapters_a_broken_file_and_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    fresh, path = saved(tmp_path)
    load_transformer_delta(fresh, path)
    with pytest.raises(UserError, match="without adapters"):
        load_transformer_delta(fresh, path)
    (tmp_path / "cut").write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="must be a safetensors file"):
        load_transformer_delta(make_transformer("bert"), tmp_path / "cut")
    model = make_transformer("bert")
    adapted = adapt_transformer(model, "lora", rank=2)
    with torch.no_grad():
        dict(model.named_parameters())[adapted.trained[0]].fill_(float("nan"))
    with pytest.raises(UserError, match="must be finite"):
        save_transformer_delta(tmp_path / "nan", model, adapted)
    assert not (tmp_path / "nan").exists()
    other = adapt_transformer(make_transformer("vit"), "lora", rank=2)
    with pytest.raises(UserError, match="the one that `adapted` tells of"):
        save_transformer_delta(tmp_path / "other", model, other)
