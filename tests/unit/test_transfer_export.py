"""Files for other programs compute what the network computes, for any number of pictures, or are not written."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from multum.core import MissingExtraError, UserError
from multum.cost.load_export import load_export
from multum.transfer import LiteResidual, adapt, export, export_model, merge, to_int8
from small_cnns import foreign_residual, settle_norms, small_mobile

PICTURE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
OTHERS = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def adapted_net(model: nn.Module) -> nn.Module:
    adapt(model, "lite+bias", example=PICTURE, num_classes=3, lite_start="scale")
    for module in model.modules():
        if isinstance(module, LiteResidual):
            settle_norms(module)
    return model


def outputs(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = copy.deepcopy(model).eval()(OTHERS)
    return result


def assert_file_computes(path: Path, expected: torch.Tensor) -> None:
    found = torch.export.load(path).module()(OTHERS)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["mobile", "foreign", "int8", "merged"])
def test_a_file_computes_the_same_for_any_number_of_pictures(tmp_path: Path, kind: str) -> None:
    model = adapted_net(small_mobile() if kind == "mobile" else foreign_residual())
    if kind == "int8":
        to_int8(model)
    if kind == "merged":
        model = merge(model)
    (done,) = export_model(model, PICTURE, tmp_path / "out", formats=["pt2"], name="birds")
    assert (done.path, done.checked_by) == (tmp_path / "out" / "birds.pt2", "torch")
    assert done.difference <= 1e-5
    assert_file_computes(done.path, outputs(model))
    assert list((tmp_path / "out").iterdir()) == [done.path]


def test_the_network_stays_as_it_was(tmp_path: Path) -> None:
    model = adapted_net(foreign_residual())
    model.get_submodule("layer1").eval()
    before = [(type(it), it.training) for it in model.modules()]
    trained = [it.requires_grad for it in model.parameters()]
    state = {name: it.clone() for name, it in model.state_dict().items()}
    export_model(model, PICTURE, tmp_path, formats=["pt2"])
    assert [(type(it), it.training) for it in model.modules()] == before
    assert [it.requires_grad for it in model.parameters()] == trained
    assert all(torch.equal(it, state[name]) for name, it in model.state_dict().items())


def test_neither_the_pictures_nor_places_of_this_machine_are_in_the_file(tmp_path: Path) -> None:
    (done,) = export_model(foreign_residual(), PICTURE, tmp_path, formats=["pt2"])
    content = done.path.read_bytes()
    assert PICTURE.numpy().tobytes()[:64] not in content
    assert str(Path(export.__file__).parent).encode() not in content
    assert b"site-packages" not in content
    assert load_export(done.path).model(OTHERS[:2]).shape == (2, 7)  # nothing in it that could run


def test_a_file_that_computes_something_else_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"what was there before")

    def wrong(model: nn.Module) -> nn.Module:
        other = copy.deepcopy(model).eval()
        other.get_parameter("fc.bias").data[0] += 1
        return other

    monkeypatch.setattr(export, "plain_copy", wrong)
    with pytest.raises(
        UserError, match=r"the output of model.pt2 must be within 0.0001 of the network's; got"
    ):
        export_model(foreign_residual(), PICTURE, tmp_path, formats=["pt2"])
    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]


class Undecided(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if float(x.sum()) > 0 else -x


class ForOne(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if len(x) == 4 else x


@pytest.mark.parametrize("model", [Undecided(), ForOne()], ids=["numbers", "count"])
def test_a_network_that_cannot_be_traced_is_refused(tmp_path: Path, model: nn.Module) -> None:
    with pytest.raises(UserError, match=r"model must be one that torch\.export can trace; .* is not: "):
        export_model(model, torch.ones(2, 3, 4, 4), tmp_path, formats=["pt2"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("formats", [["onxx"], []], ids=str)
def test_unknown_formats_are_named(tmp_path: Path, formats: list[str]) -> None:
    with pytest.raises(UserError, match="formats must be some of pt2, onnx"):
        export_model(foreign_residual(), PICTURE, tmp_path, formats=formats)


def test_onnx_that_is_not_installed_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str, *_: object) -> object:
        return None if name.startswith("onnx") else object()

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(
        MissingExtraError, match=r"onnx and onnxscript must be .*; pip install onnx onnxscript"
    ):
        export_model(foreign_residual(), PICTURE, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("runtime", [True, False], ids=["onnxruntime", "reference"])
def test_an_onnx_file_computes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: bool
) -> None:
    pytest.importorskip("onnx", reason="pip install onnx onnxscript onnxruntime")
    pytest.importorskip("onnxscript", reason="pip install onnx onnxscript onnxruntime")
    real = importlib.util.find_spec
    if runtime:
        pytest.importorskip("onnxruntime", reason="pip install onnx onnxscript onnxruntime")
    else:
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda it, *more: None if it == "onnxruntime" else real(it, *more),
        )
    program, file = export_model(adapted_net(foreign_residual()), PICTURE, tmp_path)
    assert (program.path.name, file.path.name) == ("model.pt2", "model.onnx")
    assert file.checked_by == ("onnxruntime" if runtime else "onnx.reference")
    assert file.difference <= 1e-5
    assert b"site-packages" not in file.path.read_bytes()
