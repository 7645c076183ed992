"""The released form of a searched network: read into ours, and refused where it contradicts itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from multum.core import UserError
from multum.pointcloud.quantize import quantize
from multum.pointcloud.spvnas_config import load_spvnas_config, read_spvnas_config
from multum.pointcloud.unet import SparseUNet

WIDTHS = [8, 8, 12, 16, 20, 20, 16, 12, 12]
INNER = {"downsample.1": 5, "upsample.2": 7}
DEPTH = {"downsample.0": 1, "upsample.3": 1}


def released() -> dict[str, Any]:
    """Made up, in the released form: two blocks everywhere, those beyond a depth with numbers of their own."""
    told: dict[str, Any] = {"output_channels": WIDTHS, "pres": 0.05, "vres": 0.05, "num_classes": 19}
    for place in range(4):
        for way, width in (("downsample", WIDTHS[1 + place]), ("upsample", WIDTHS[5 + place])):
            key = f"{way}.{place}"
            told[f"{key}.transition"] = 6 + place
            told[f"{key}.feature"] = depth = DEPTH.get(key, 2)
            told[f"{key}.feature.layers.0.downsample"] = width
            for block in range(2):
                below = f"{key}.feature.layers.{block}.net"
                told[below] = 2
                told[f"{below}.layers.0"] = INNER.get(key, 9) + block if block < depth else 99
                told[f"{below}.layers.1"] = width if block < depth else 77
    for place, level in enumerate((4, 6, 8)):
        told[f"point_transforms.{place}"] = WIDTHS[level]
    return told


def test_stages_have_the_widths_and_depths_that_the_file_tells() -> None:
    config = read_spvnas_config(released())
    assert list(config.widths) == WIDTHS
    assert (config.num_classes, config.in_channels, config.point_branch) == (19, 4, True)
    assert [len(it.blocks) for it in config.down] == [1, 2, 2, 2]
    assert [len(it.blocks) for it in config.up] == [2, 2, 2, 1]
    assert [it.transition for it in config.up] == [6, 7, 8, 9]
    assert [it.inner for it in config.down[1].blocks] == [5, 6]
    assert [it.inner for it in config.up[2].blocks] == [7, 8]
    assert [it.outer for it in config.up[2].blocks] == [12, 12]


def test_the_network_of_a_file_runs_with_classes_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "net.config"
    path.write_text(json.dumps(released()))
    config = load_spvnas_config(path, num_classes=5)
    xyz = torch.rand(40, 3) * 4
    scores = SparseUNet(config).eval()(quantize([xyz], [torch.rand(40, 4)], 0.1))
    assert scores.shape == (40, 5)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("output_channels", [8, 8], "output_channels must be 9 whole numbers"),
        ("output_channels", "wide", "output_channels must be 9 whole numbers"),
        ("downsample.2.transition", None, "key downsample.2.transition must be in the configuration"),
        ("downsample.2.transition", 0, "downsample.2.transition must be a whole number above 0; got 0"),
        ("upsample.1.feature", True, "upsample.1.feature must be a whole number"),
        ("upsample.1.feature", 3, "key upsample.1.feature.layers.2.net.layers.0 must be in"),
        ("upsample.0.feature.layers.1.net", 3, "layers.1.net must be 2 convolutions; got 3"),
        ("downsample.3.feature.layers.1.net.layers.1", 21, "layers.1 must be 20, as in output_channels"),
        ("upsample.3.feature.layers.0.downsample", 13, "layers.0.downsample must be 12, as in output"),
        ("point_transforms.1", 15, "point_transforms.1 must be 16, as in output_channels; got 15"),
        ("num_classes", "19", "num_classes must be a whole number"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, key: str, value: Any, told: str) -> None:
    changed = {**released(), key: value}
    if value is None:
        del changed[key]
    path = tmp_path / "net.config"
    path.write_text(json.dumps(changed))
    with pytest.raises(UserError) as problem:
        load_spvnas_config(path)
    assert told in str(problem.value)
    assert str(path) in str(problem.value)


def test_a_file_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserError, match="one JSON object"):
        load_spvnas_config(tmp_path / "list.json")
