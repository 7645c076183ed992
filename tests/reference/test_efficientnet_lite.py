"""EfficientNet-Lite with its ImageNet weights computes what the code computes that the weights were made for.

Three witnesses: that code itself, where it is installed; scores that it gave once; and the network written anew as a
walk through the tensors of the file, with its padding taken from the definition.

Shape legend: B pictures, H and W height and width, C channels, K classes.
"""

import functools
import importlib
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from multum.backbones import MobileNet, efficientnet_lite, efficientnet_weights_file, read_checkpoint
from multum.core import MissingExtraError
from tolerances import assert_close

VARIANTS = ("lite0", "lite1", "lite2")
FOREIGN = "efficientnet_lite_pytorch"


@functools.cache
def pretrained(variant: str) -> MobileNet:
    """The network under test; skips where the package with its weights is not installed."""
    try:
        return efficientnet_lite(variant).double().eval().requires_grad_(False)
    except MissingExtraError as missing:
        pytest.skip(str(missing))


def waves(height: int, width: int) -> Tensor:
    """A picture that needs no file: a wave of its own in each colour."""
    y_H1, x_W = (
        torch.arange(height, dtype=torch.float64)[:, None],
        torch.arange(width, dtype=torch.float64),
    )
    return torch.stack([torch.sin(y_H1 * (0.05 + 0.03 * c) + x_W * (0.11 - 0.02 * c)) for c in range(3)])[
        None
    ]


def run_the_file(file: dict[str, Tensor], images_BCHW: Tensor) -> Tensor:
    """Walk through the tensors: a block is what shares a number, its stride follows from where widths change."""

    def convolve(name: str, norm: str, input_BCHW: Tensor, stride: int = 1) -> Tensor:
        weight = file[f"{name}.weight"].double()
        for dim in (-1, -2):
            size, kernel = input_BCHW.shape[dim], weight.shape[dim]
            wanted = math.ceil(size / stride) * stride - stride + kernel - size
            border = [0, 0, 0, 0]
            border[2 * (-1 - dim)] = max(0, math.floor(wanted / 2))
            border[2 * (-1 - dim) + 1] = max(0, math.ceil(wanted / 2))
            input_BCHW = functional.pad(input_BCHW, border)
        groups = input_BCHW.shape[1] // weight.shape[1]
        out_BCHW = functional.conv2d(input_BCHW, weight, stride=stride, groups=groups)
        mean, var, scale, shift = (
            file[f"{norm}.{it}"].double()[:, None, None]
            for it in ("running_mean", "running_var", "weight", "bias")
        )
        return (out_BCHW - mean) / torch.sqrt(var + 1e-3) * scale + shift

    images_BCHW = convolve("_conv_stem", "_bn0", images_BCHW, stride=2).clamp(0, 6)
    strided = {  # first blocks of stages; in a stage all blocks have the same width
        0: 1,
        **dict(zip(_first_blocks(file), (2, 2, 2, 1, 2, 1), strict=True)),
    }
    num_blocks = 1 + max(int(name.split(".")[1]) for name in file if name.startswith("_blocks."))
    for index in range(num_blocks):
        block, stride = f"_blocks.{index}", strided.get(index, 1)
        inner_BCHW = images_BCHW
        if f"{block}._expand_conv.weight" in file:
            inner_BCHW = convolve(f"{block}._expand_conv", f"{block}._bn0", inner_BCHW).clamp(0, 6)
        inner_BCHW = convolve(f"{block}._depthwise_conv", f"{block}._bn1", inner_BCHW, stride).clamp(0, 6)
        inner_BCHW = convolve(f"{block}._project_conv", f"{block}._bn2", inner_BCHW)
        images_BCHW = inner_BCHW if index in strided else images_BCHW + inner_BCHW
    features_BC = convolve("_conv_head", "_bn1", images_BCHW).clamp(0, 6).mean((2, 3))
    return features_BC @ file["_fc.weight"].double().T + file["_fc.bias"].double()


def _first_blocks(file: dict[str, Tensor]) -> list[int]:
    """Numbers of the blocks, after the first, whose width is not that of the one before."""
    widths: list[int] = []
    while f"_blocks.{len(widths)}._project_conv.weight" in file:
        widths.append(file[f"_blocks.{len(widths)}._project_conv.weight"].shape[0])
    return [index for index in range(1, len(widths)) if widths[index] != widths[index - 1]]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [(64, 64), (65, 47)])
def test_scores_are_those_of_a_walk_through_the_file(variant: str, size: tuple[int, int]) -> None:
    model, images_B3HW = pretrained(variant), waves(*size)
    file = read_checkpoint(efficientnet_weights_file(variant), "")
    assert_close(model(images_B3HW), run_the_file(file, images_B3HW), num_terms=1280)


# What efficientnet-lite-pytorch 0.1.0 answers to `waves`, in float64: classes 0 to 3, the largest score, its class.
RECORDED = {
    ("lite0", 96): ([-0.907904647, 1.502943647, -1.554299057, -2.901560431], 16.453796152, 418),
    ("lite0", 97): ([-0.47060475, 1.862290376, -1.869336088, -2.938612469], 12.739671109, 418),
    ("lite1", 96): ([-2.530551809, 3.83212127, 2.307097772, -2.557423684], 22.908662195, 418),
    ("lite1", 97): ([-1.465500743, 3.593202787, 1.037772777, -2.180956244], 12.850770241, 542),
    ("lite2", 96): ([0.796595043, 0.677560696, 3.374950736, -1.975232242], 22.482880643, 767),
    ("lite2", 97): ([0.886546656, 2.456102262, 1.804563575, -3.183508344], 16.183758702, 767),
}


@pytest.mark.parametrize(("variant", "size"), RECORDED)
def test_scores_are_those_that_were_recorded(variant: str, size: int) -> None:
    scores_K = pretrained(variant)(waves(size, size))[0]
    first, largest, best = RECORDED[variant, size]
    assert scores_K[:4].tolist() == pytest.approx(first, abs=1e-8)
    assert (scores_K.max().item(), scores_K.argmax().item()) == (pytest.approx(largest, abs=1e-8), best)


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_equal_those_of_the_code_that_the_weights_were_made_for(variant: str) -> None:
    model = pretrained(variant)
    pytest.importorskip(FOREIGN, reason="pip install --no-deps efficientnet-lite-pytorch==0.1.0")
    network = importlib.import_module(FOREIGN).EfficientNet
    weights = torch.load(efficientnet_weights_file(variant), weights_only=True)
    native = model.resolution
    # made for one size, which is how its weights were published, and for any
    for image_size, sizes in ((native, [(native, native)]), (None, [(65, 47), (96, 97)])):
        theirs = network.from_name(f"efficientnet-{variant}", image_size=image_size).double().eval()
        theirs.load_state_dict(weights)
        for size in sizes:
            with torch.no_grad():
                assert torch.equal(model(waves(*size)), theirs(waves(*size)))


def test_other_classes_keep_everything_but_the_classifier() -> None:
    images_B3HW = waves(40, 40)
    features_BC = pretrained("lite0").features(images_B3HW)
    fresh = efficientnet_lite("lite0", 5).double().eval()
    assert torch.equal(fresh.features(images_B3HW), features_BC)
    assert fresh(images_B3HW).shape == (1, 5)


def test_pixels_are_scaled_as_in_training() -> None:
    scaling = pretrained("lite0").scaling
    levels_B3HW = torch.tensor([0.0, 127.0, 255.0], dtype=torch.float64).expand(1, 3, 1, 3)
    expected_B3HW = (levels_B3HW - 127) / 128
    assert_close(scaling(levels_B3HW / 255), expected_B3HW)
