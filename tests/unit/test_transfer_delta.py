"""A delta turns its backbone into the adapted network, bit for bit, nothing else into anything, and is small."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from multum.backbones import make_backbone
from multum.core import UserError
from multum.training import read_tensor_file, write_tensor_file
from multum.transfer import (
    MODES,
    Adapted,
    Delta,
    LiteResidual,
    adapt,
    apply_delta,
    load_delta,
    save_delta,
    take_delta,
    to_int8,
)
from multum.transfer.delta import SCHEMA
from multum.transfer.frozen_hash import split_name
from multum.transfer.modes import Mode
from small_cnns import foreign_residual, small_mobile

PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
CLASSES = ["left", "right", "neither"]
NETS: dict[str, Callable[[], nn.Module]] = {"mobile": small_mobile, "foreign": foreign_residual}


def seem_trained(model: nn.Module) -> None:
    """Move everything that trains, and what lite residuals have for statistics."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, LiteResidual):
                for name, buffer in module.named_buffers():
                    if name.endswith(("mean", "var")):
                        buffer.add_(0.1 * torch.rand_like(buffer))


def adapted_copy(backbone: nn.Module, mode: Mode) -> tuple[nn.Module, Adapted]:
    model = copy.deepcopy(backbone)
    adapted = adapt(model, mode, example=PICTURES, num_classes=3)
    seem_trained(model)
    return model, adapted


def head_weight(model: nn.Module) -> torch.Tensor:
    head = model.get_submodule("classifier")
    assert isinstance(head, nn.Linear)
    return head.weight.data


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("net", NETS)
def test_a_fresh_backbone_becomes_the_adapted_network(tmp_path: Path, net: str, mode: Mode) -> None:
    backbone = NETS[net]()
    model, adapted = adapted_copy(backbone, mode)
    path = tmp_path / "task.safetensors"
    save_delta(path, model, adapted, classes=CLASSES, about={"accuracy": 0.5})
    generator_before = torch.get_rng_state()
    fresh = copy.deepcopy(backbone)
    delta = load_delta(path)
    again = apply_delta(fresh, delta)
    assert torch.equal(torch.get_rng_state(), generator_before)
    assert again == adapted
    assert list(fresh.state_dict()) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], tensor), name
    trained = {name for name, it in model.named_parameters() if it.requires_grad}
    assert {name for name, it in fresh.named_parameters() if it.requires_grad} == trained
    assert torch.equal(fresh(PICTURES), model(PICTURES))
    assert (delta.header.classes, delta.header.about) == (tuple(CLASSES), {"accuracy": 0.5})
    assert delta.num_classes == 3


def test_training_goes_on_as_if_nothing_had_happened() -> None:
    backbone = small_mobile()
    model, adapted = adapted_copy(backbone, "lite+bias")
    apply_delta(backbone, take_delta(model, adapted))
    for it in (model, backbone):
        it(PICTURES).square().sum().backward()
    theirs = dict(model.named_parameters())
    for name, mine in backbone.named_parameters():
        expected = theirs[name].grad
        assert (mine.grad is None) == (expected is None), name
        if mine.grad is not None and expected is not None:
            assert torch.equal(mine.grad, expected), name


def test_only_what_changed_is_in_the_file(tmp_path: Path) -> None:
    model, adapted = adapted_copy(small_mobile(), "lite+bias")
    path = tmp_path / "task.safetensors"
    delta = save_delta(path, model, adapted)
    names = set(load_file(path))
    lite = {name for name in model.state_dict() if ".lite." in name}
    assert any("running_var" in name for name in lite)
    assert names == {*adapted.trained, *lite} == set(delta.tensors)
    assert path.stat().st_size <= delta.num_bytes + 16_384
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["multum"])
    assert (header["schema"], header["version"], header["mode"]) == (SCHEMA, 1, "lite+bias")


def test_a_task_of_a_real_backbone_takes_little(tmp_path: Path) -> None:
    model = make_backbone("efficientnet-lite0", 10)
    save_delta(tmp_path / "task", model, adapt(model, "bias", num_classes=10))
    assert (tmp_path / "task").stat().st_size < 200_000


def test_a_delta_is_a_copy() -> None:
    model, adapted = adapted_copy(small_mobile(), "bias")
    delta = take_delta(model, adapted)
    before = delta.tensors["classifier.weight"].clone()
    head_weight(model).zero_()
    apply_delta(fresh := copy.deepcopy(model), delta)
    head_weight(fresh).zero_()
    assert torch.equal(delta.tensors["classifier.weight"], before)


def test_what_trains_beyond_the_mode_is_kept_too() -> None:
    backbone = small_mobile()
    model = copy.deepcopy(backbone)
    adapted = adapt(model, "last", num_classes=3)
    model.get_submodule("last").requires_grad_(True)
    seem_trained(model)
    delta = take_delta(model, adapted)
    apply_delta(backbone, delta)
    assert "last.conv.weight" in delta.header.trained
    assert torch.equal(backbone(PICTURES), model(PICTURES))


def test_a_backbone_in_int8_has_deltas_of_its_own() -> None:
    backbone = small_mobile().requires_grad_(False)
    to_int8(backbone)
    model, adapted = adapted_copy(backbone, "lite+bias")
    delta = take_delta(model, adapted)
    assert not any("int8" in name for name in delta.tensors)
    assert apply_delta(backbone, delta) == adapted
    assert torch.equal(backbone(PICTURES), model(PICTURES))
    assert_refused(small_mobile(), delta, "the backbone that the delta was made for")


@pytest.mark.parametrize("mode", ["bias", "lite+bias", "full"])
def test_group_norms_come_back(mode: Mode) -> None:
    backbone = foreign_residual()
    model = copy.deepcopy(backbone)
    adapted = adapt(model, mode, example=PICTURES, num_classes=3, norms="group", keeps="8bit")
    seem_trained(model)
    delta = take_delta(model, adapted)
    assert (delta.header.norms, delta.header.keeps) == ("group", "8bit")
    assert apply_delta(backbone, delta) == adapted
    assert [type(it) for it in backbone.modules()] == [type(it) for it in model.modules()]
    assert torch.equal(backbone(PICTURES), model(PICTURES))
    if mode != "full":
        assert_refused(
            foreign_residual(), delta, "the backbone that the delta was made for, .* with to_group_norm"
        )


def test_a_classifier_may_have_had_no_shift() -> None:
    backbone = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 7, bias=False))
    model = copy.deepcopy(backbone)
    adapted = adapt(model, "last", num_classes=3)
    apply_delta(backbone, take_delta(model, adapted))
    assert torch.equal(backbone(x := torch.randn(2, 4)), model(x))


def test_names_within_names_are_told_apart() -> None:
    _, adapted = adapted_copy(small_mobile(), "lite")
    place = adapted.lite_places[0]
    places = [replace(place, path="a.0"), replace(place, path="a")]
    assert split_name("a.block.0.block.conv.weight", places) == (None, "a.0.conv.weight")
    assert split_name("a.block.0.lite.mix.0.weight", places) == ("a.0", "mix.0.weight")
    assert split_name("a.lite.mix.0.weight", places) == ("a", "mix.0.weight")
    assert split_name("ab.lite", places) == (None, "ab.lite")


# --- what is refused -------------------------------------------------------------------------------------------------


def delta_of(mode: Mode = "lite+bias", backbone: nn.Module | None = None) -> Delta:
    return take_delta(*adapted_copy(backbone or small_mobile(), mode))


def assert_refused(model: nn.Module, delta: Delta, message: str) -> None:
    """Refused, and the model is what it was."""
    before = {name: (it, it.clone()) for name, it in model.state_dict(keep_vars=True).items()}
    kinds = [type(it) for it in model.modules()]
    with pytest.raises(UserError, match=message):
        apply_delta(model, delta)
    assert [type(it) for it in model.modules()] == kinds
    after = model.state_dict(keep_vars=True)
    assert before.keys() == after.keys()
    assert all(after[name] is it and torch.equal(it, value) for name, (it, value) in before.items())


def test_another_backbone_is_refused() -> None:
    backbone = small_mobile()
    delta = delta_of("bias", backbone)
    with torch.no_grad():
        backbone.get_parameter("stem.conv.weight")[0, 0, 0, 0] += 1e-3
    assert_refused(
        backbone, delta, "the backbone that the delta was made for, frozen weights .*; got .*; build and load"
    )


def test_moved_statistics_are_another_backbone() -> None:
    backbone = small_mobile()
    delta = delta_of("bias", backbone)
    backbone.train()(PICTURES)
    assert_refused(backbone, delta, "leave its norms in evaluation")


def test_shifts_of_the_backbone_may_be_anything_where_the_delta_brings_them() -> None:
    backbone = small_mobile()
    delta = delta_of("bias", backbone)
    with torch.no_grad():
        backbone.get_parameter("stem.norm.bias").zero_()
        head_weight(backbone).zero_()
    apply_delta(backbone, delta)
    state = backbone.state_dict()
    assert all(torch.equal(state[name], it) for name, it in delta.tensors.items())


def test_other_names_shapes_and_types_are_refused() -> None:
    delta = delta_of("full")
    assert_refused(nn.Sequential(), delta, "model must have what the delta changes; it has no blocks.0")
    assert_refused(foreign_residual(), delta, "model must have what the delta changes; it has no blocks.0")
    without_norm = small_mobile()
    without_norm.stem.add_module("norm", nn.Identity())
    assert_refused(without_norm, delta, r"it has no stem\.norm\.bias, stem\.norm\.weight; build and load")
    assert_refused(small_mobile().double(), delta, r"of the model must be torch\.float32 of shape")
    other = small_mobile()
    other.classifier = nn.Linear(31, 10)
    assert_refused(other, delta, "classifier of the model must be of 32 inputs; got 31; build and load")
    other.add_module("classifier", nn.Identity())
    assert_refused(
        other, delta, r"'classifier' of the model must be an nn\.Linear, its last layer; got 'Ident"
    )


def test_a_network_that_is_adapted_already_is_refused() -> None:
    backbone = small_mobile()
    delta = delta_of("lite", backbone)
    apply_delta(backbone, delta)
    assert_refused(
        backbone, delta, "model must be a backbone as it was before; got 'one with lite residuals'"
    )


def test_a_lite_residual_of_other_tensors_is_refused() -> None:
    backbone = small_mobile()
    delta = delta_of("lite", backbone)
    fewer = {name: it for name, it in delta.tensors.items() if "blocks.2.lite.mix.1.running" not in name}
    header = replace(delta.header, trained=())
    assert_refused(
        backbone, replace(delta, header=header, tensors=fewer), r"lite residual of blocks\.2 must have"
    )
    name = "blocks.2.lite.depth.0.weight"
    reshaped = {**delta.tensors, name: delta.tensors[name][..., :2]}
    assert_refused(backbone, replace(delta, tensors=reshaped), rf"{name} in the file must be torch\.float32")


@pytest.mark.parametrize("classes", [["one", "two"], ["one", "two", "two"], list("abcd")], ids=str)
def test_labels_that_do_not_match_the_head_are_refused(tmp_path: Path, classes: list[str]) -> None:
    model, adapted = adapted_copy(small_mobile(), "last")
    path = tmp_path / "task"
    message = "classes must be 3 different names, one for each output of the delta's head; got"
    with pytest.raises(UserError, match=message):
        save_delta(path, model, adapted, classes=classes)
    assert not path.exists()
    save_delta(path, model, adapted, classes=CLASSES)
    tensors, header = read_tensor_file(path, schema=SCHEMA)
    write_tensor_file(path, tensors, {**header, "classes": classes}, schema=SCHEMA)
    with pytest.raises(UserError, match=message):
        load_delta(path)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "task"
    with pytest.raises(UserError, match=r"does not exist; save it again with save_delta, or copy it again"):
        load_delta(path)
    model, adapted = adapted_copy(small_mobile(), "last")
    save_delta(path, model, adapted)
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"must be a safetensors file; .*; save it again with save_delta"):
            load_delta(path)
    write_tensor_file(path, {}, {}, schema="something else")
    with pytest.raises(UserError, match=r"the schema of .* must be 'multum\.transfer_delta'; got"):
        load_delta(path)


def test_headers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "task"
    model, adapted = adapted_copy(small_mobile(), "last")
    save_delta(path, model, adapted)
    tensors, header = read_tensor_file(path, schema=SCHEMA)
    for change, message in (
        ({"version": 2, "multum": "9.1"}, "version of .* must be 1; got 2; read it with multum 9.1"),
        ({"colour": "red"}, "colour is not a key of DeltaHeader"),
        ({"mode": "most"}, "mode must be one of"),
        ({"trained": ["nobody"]}, "tensors of the delta must be those that its header names; got ..nobody.."),
        ({"classifier": "nowhere"}, "got ..nowhere.weight.."),
    ):
        write_tensor_file(path, tensors, {**header, **change}, schema=SCHEMA)
        with pytest.raises(UserError, match=message):
            load_delta(path)


def test_only_the_adapted_network_gives_a_delta() -> None:
    model, adapted = adapted_copy(small_mobile(), "lite+bias")
    with pytest.raises(UserError, match="model must be the one that `adapted` tells of; got"):
        take_delta(small_mobile(), adapted)
    with pytest.raises(UserError, match="got '0 lite residuals'; give both as adapt left them"):
        take_delta(small_mobile(), replace(adapted, trained=()))
    head_weight(model)[0, 0] = torch.nan
    with pytest.raises(UserError, match=r"classifier\.weight must be finite"):
        take_delta(model, adapted)
    model.get_submodule("blocks.1.lite.mix").add_module("1", nn.GroupNorm(3, 12))
    with pytest.raises(UserError, match="norms of lite residuals must be such as adapt makes"):
        take_delta(model, replace(adapted, trained=()))
