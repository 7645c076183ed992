"""A delta in fewer bytes computes nearly the same and decides the same; exact is what it is when nothing is said."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multum.backbones import make_backbone
from multum.core import UserError
from multum.training import read_tensor_file, write_tensor_file
from multum.transfer import Delta, LiteResidual, adapt, apply_delta, load_delta, save_delta, take_delta
from multum.transfer.delta import SCHEMA, write_delta
from multum.transfer.delta_precision import PRECISIONS, Precision, pack, unpack
from small_cnns import settle_norms, small_mobile

PICTURES = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def trained(backbone: torch.nn.Module, mode: str = "lite+bias") -> Delta:
    """A delta of a network that looks trained."""
    model = copy.deepcopy(backbone)
    adapted = adapt(model, mode, example=PICTURES, num_classes=3)  # type: ignore[arg-type]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LiteResidual):
                settle_norms(module)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return take_delta(model, adapted)


def outputs(backbone: torch.nn.Module, delta: Delta) -> torch.Tensor:
    model = copy.deepcopy(backbone)
    apply_delta(model, delta)
    with torch.no_grad():
        result: torch.Tensor = model.eval()(PICTURES)
    return result


@pytest.mark.parametrize(
    ("precision", "off", "part"), [("float32", 0.0, 1.0), ("float16", 1e-3, 0.52), ("int8", 0.03, 0.33)]
)
def test_fewer_bytes_compute_nearly_the_same(
    tmp_path: Path, precision: Precision, off: float, part: float
) -> None:
    backbone = small_mobile()
    exact = trained(backbone)
    written = write_delta(tmp_path / "small", exact, precision=precision)
    read = load_delta(tmp_path / "small")
    assert read.header == written.header
    assert (read.header.precision, exact.header.precision) == (precision, "float32")
    assert all(torch.equal(read.tensors[name], it) for name, it in written.tensors.items())
    assert all(read.tensors[name].dtype == it.dtype for name, it in exact.tensors.items())
    expected, found = outputs(backbone, exact), outputs(backbone, read)
    assert (found - expected).abs().max() <= off * expected.abs().max()
    assert torch.equal(found.argmax(dim=1), expected.argmax(dim=1))
    stored = sum(it.nbytes for it in load_file(tmp_path / "small").values())
    assert stored <= part * exact.num_bytes


def test_nothing_is_rounded_when_nothing_is_said(tmp_path: Path) -> None:
    exact = trained(small_mobile())
    write_delta(tmp_path / "delta", exact)
    stored = load_file(tmp_path / "delta")
    assert stored.keys() == exact.tensors.keys()
    assert all(torch.equal(stored[name], it) for name, it in exact.tensors.items())


def test_a_delta_is_saved_small_at_once(tmp_path: Path) -> None:
    model = make_backbone("efficientnet-lite0", 10)
    adapted = adapt(model, "bias", num_classes=20)
    delta = save_delta(tmp_path / "task", model, adapted, precision="int8")
    assert (tmp_path / "task").stat().st_size < 110_000
    assert delta.tensors["classifier.weight"].dtype == torch.float32
    assert delta.num_bytes > 3.9 * 34_000


def test_every_number_is_within_half_a_step() -> None:
    weight = torch.randn(6, 4, 3, 3) * torch.logspace(-6, 6, 6).view(-1, 1, 1, 1)
    weight[2] = 0.0
    found = unpack(pack({"weight": weight}, "int8"))["weight"]
    for row, exact in zip(found, weight, strict=True):
        assert (row - exact).abs().max() <= 0.5001 * exact.abs().max() / 127
    again = unpack(pack({"weight": found}, "int8"))["weight"]
    torch.testing.assert_close(again, found, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_cannot_be_halved_stays(precision: Precision) -> None:
    tensors = {
        "large": torch.tensor([1e6, 1.0]),
        "count": torch.tensor(3),
        "wide": torch.ones(2, dtype=torch.float64),
        "half": torch.ones(2, dtype=torch.float16),
        "none": torch.ones(0, 4),
    }
    found = unpack(pack(tensors, precision))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], it) and found[name].dtype == it.dtype for name, it in tensors.items())


@pytest.mark.parametrize("lost", [":scale", ":int8"])
def test_codes_and_scales_belong_together(tmp_path: Path, lost: str) -> None:
    write_delta(tmp_path / "delta", trained(small_mobile(), "last"), precision="int8")
    stored, header = read_tensor_file(tmp_path / "delta", schema=SCHEMA)
    kept = {name: it for name, it in stored.items() if not name.endswith(lost)}
    write_tensor_file(tmp_path / "delta", kept, header, schema=SCHEMA)
    with pytest.raises(
        UserError, match=r"classifier\.weight in the file must be codes with a scale for each"
    ):
        load_delta(tmp_path / "delta")
    write_tensor_file(tmp_path / "delta", stored, {**header, "precision": "int4"}, schema=SCHEMA)
    with pytest.raises(UserError, match="precision must be one of"):
        load_delta(tmp_path / "delta")
