"""Published descriptions and weights of small networks are read exactly, and slips in them are named."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from multum.backbones import MobileNet, PublishedNetwork, parse_network, small_imagenet
from multum.core import UserError

NAME = "mcunet-320kb-1mb"


def block(
    width: int, out: int, *, stride: int = 1, expansion: int = 2, shortcut: bool = False
) -> dict[str, Any]:
    convolution = {
        "name": "MBInvertedConvLayer",
        "in_channels": width,
        "out_channels": out,
        "kernel_size": 3,
        "stride": stride,
        "expand_ratio": expansion,
    }
    return {"mobile_inverted_conv": convolution, "shortcut": {"name": "IdentityLayer"} if shortcut else None}


LEFT_OUT = {"mobile_inverted_conv": {"name": "ZeroLayer", "stride": 1}, "shortcut": {"name": "IdentityLayer"}}
DESCRIPTION = {
    "name": "ProxylessNASNets",
    "bn": {"momentum": 0.1, "eps": 0.001},
    "first_conv": {"kernel_size": 3, "stride": 2, "in_channels": 3, "out_channels": 8, "act_func": "relu6"},
    "blocks": [block(8, 8, expansion=1), LEFT_OUT, block(8, 8, shortcut=True), block(8, 16, stride=2)],
    "feature_mix_layer": {"kernel_size": 1, "out_channels": 24, "act_func": "relu6"},
    "classifier": {"in_features": 24, "out_features": 5},
    "resolution": 32,
}


def network_of(published: PublishedNetwork) -> MobileNet:
    return MobileNet(published.shape, published.num_classes, style=published.style, dropout=0.0)


def test_a_description_tells_blocks_positions_and_shortcuts() -> None:
    published = parse_network(DESCRIPTION, "net.json")
    assert published.positions == (0, 2, 3)
    assert [it.skip for it in network_of(published).blocks] == [False, True, False]  # the first would fit
    assert (published.shape.stem, published.shape.last, published.style.norm_eps) == (8, 24, 0.001)
    assert published.name_in_file("blocks.1.project.norm.bias") == (
        "blocks.2.mobile_inverted_conv.point_linear.bn.bias"
    )


def test_what_was_written_is_read(tmp_path: Path, generator: torch.Generator) -> None:
    published = parse_network(DESCRIPTION, "net.json")
    model = network_of(published)
    images_B3HW = torch.rand(4, 3, 32, 32, generator=generator)
    model(images_B3HW)  # so that the running statistics are not those of a fresh network
    (tmp_path / f"{NAME}_imagenet.json").write_text(json.dumps(DESCRIPTION))
    tensors = {published.name_in_file(name): tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": tensors}, tmp_path / f"{NAME}_imagenet.pth")
    read = small_imagenet(tmp_path, NAME)
    assert torch.equal(read.eval()(images_B3HW), model.eval()(images_B3HW))
    assert small_imagenet(tmp_path, NAME, 3).classifier.out_features == 3
    del tensors["feature_mix_layer.conv.weight"]
    torch.save(tensors, tmp_path / f"{NAME}_imagenet.pth")
    with pytest.raises(UserError, match=r"1 missing \(feature_mix_layer.conv.weight\)"):
        small_imagenet(tmp_path, NAME)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((), [], "net.json must be a JSON object"),
        (("name",), "ResNet", "name of net.json must be 'ProxylessNASNets'; got 'ResNet'"),
        (("bn",), None, "bn of net.json must be a JSON object; got None"),
        (("bn", "eps"), "small", "eps must be a number; got 'small'"),
        (("bn", "ws_eps"), 1e-5, "ws_eps of bn of net.json must be None"),
        (("first_conv", "stride"), 1, "stride of first_conv of net.json must be 2; got 1"),
        (("feature_mix_layer", "kernel_size"), 3, "kernel_size of feature_mix_layer of net.json must be 1"),
        (("blocks",), None, "blocks of net.json must be a JSON array"),
        (("blocks",), [], "blocks must be at least one block"),
        (("blocks", 2), 7, "block 2 of net.json must be a JSON object; got 7"),
        (
            ("blocks", 2, "mobile_inverted_conv", "use_se"),
            True,
            "use_se of block 2 of net.json must be False",
        ),
        (("blocks", 2, "mobile_inverted_conv", "kernel_size"), 4, "block 2 .* kernel must be odd"),
        (("blocks", 3, "shortcut"), {}, "shortcut of block 3 of net.json must be null"),
        (("classifier", "out_features"), None, "out_features must be a number; got None"),
        (("resolution",), True, "resolution must be a number; got True"),
    ],
)
def test_a_slip_in_a_description_is_named(path: tuple[str | int, ...], value: object, message: str) -> None:
    description: Any = copy.deepcopy(DESCRIPTION)
    if path:
        place = description
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
    else:
        description = value
    with pytest.raises(UserError, match=message):
        parse_network(description, "net.json")


def test_errors_say_where_the_files_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"network file must be an existing file.*mit-han-lab/mcunet"):
        small_imagenet(tmp_path)
    (tmp_path / f"{NAME}_imagenet.json").write_text(json.dumps(DESCRIPTION))
    with pytest.raises(UserError, match=r"weights file must be an existing file.*mit-han-lab/mcunet"):
        small_imagenet(tmp_path)


# Parameters (MCUNet: 0.74 M; the others 0.57 and 0.75 M) as their repositories tell them.
@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "num_parameters", "resolution"),
    [
        ("mcunet-320kb-1mb", 737_408, 176),
        ("proxyless-w0.25-r112", 569_600, 112),
        ("proxyless-w0.3-r176", 754_280, 176),
    ],
)
def test_real_networks_know_what_they_see(
    data_folder: Path, name: str, num_parameters: int, resolution: int
) -> None:
    model = small_imagenet(data_folder / "mcunet_proxyless_weights", name).eval()
    assert sum(it.numel() for it in model.parameters()) == num_parameters
    assert model.resolution == resolution
    images = picture_reader()
    hits = []
    for folder, wanted in (
        ("dalmatian", 251),
        ("grand_piano", 579),
        ("soccer_ball", 805),
    ):  # ImageNet's numbers
        for path in sorted((data_folder / "caltech101_subset" / folder).glob("*.jpg"))[:5]:
            with torch.no_grad():
                best = model(model.scaling(centre(images, path, resolution))).argmax().item()
            hits.append(best == wanted)
    assert sum(hits) >= 0.6 * len(hits)


def picture_reader() -> Any:
    return pytest.importorskip("PIL.Image", reason="pip install pillow")


def centre(images: Any, path: Path, resolution: int) -> torch.Tensor:
    """The middle of a picture, pixels in [0, 1]."""
    with images.open(path) as opened:
        picture = opened.convert("RGB")
    scale = resolution / 0.875 / min(picture.size)
    picture = picture.resize([round(side * scale) for side in picture.size])
    left, top = ((side - resolution) // 2 for side in picture.size)
    data = bytearray(picture.crop((left, top, left + resolution, top + resolution)).tobytes())
    pixels_HW3 = torch.frombuffer(data, dtype=torch.uint8).view(resolution, resolution, 3)
    return pixels_HW3.permute(2, 0, 1)[None] / 255
