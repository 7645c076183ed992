"""A trained network and what it needs to be used: names of its classes, size of its voxels, how it takes points.

Kept as a folder that anybody can read: `config.json` and `model.safetensors`, no code in either.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from multum.core import UserError, check_fields, invalid, load_json, save_json
from multum.pointcloud.segmentation.config import PointsWish, SegmentationConfig
from multum.pointcloud.segmentation.samples import NUM_FEATURES
from multum.pointcloud.spvnas_config import load_spvnas_config
from multum.pointcloud.unet import SparseUNet
from multum.pointcloud.unet_config import UNetConfig, scaled_unet
from multum.training import read_tensor_file, write_tensor_file

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
SCHEMA = "multum.segmenter/1"
"""Name and version of the form of the weights."""

DEEP_BLOCKS = ((2, 3, 4, 6), (2, 2, 2, 2))
"""Blocks of MinkUNet-34, down and up."""


@dataclass(frozen=True, kw_only=True)
class SegmenterConfig:
    """All of a trained network but its weights.

    Raises:
        UserError: Another number of classes than the network has, or a size that is not positive.
    """

    classes: tuple[str, ...]
    """Names, in the order of the network's outputs."""
    network: UNetConfig
    """What it is made of."""
    voxel_size: float
    """Edge of a voxel, in metres."""
    points: PointsWish
    """Whether points keep where they lie in their voxel."""

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.classes) != self.network.num_classes:
            raise invalid("classes", f"{self.network.num_classes}, as the network has", len(self.classes))
        if not self.voxel_size > 0:
            raise invalid("voxel_size", "positive", self.voxel_size)


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A network that tells classes of points, ready to be used."""

    config: SegmenterConfig
    """What it is."""
    net: SparseUNet
    """The network itself."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.net.classifier.weight.device

    @property
    def num_parameters(self) -> int:
        """Numbers that were trained."""
        return sum(it.numel() for it in self.net.parameters())

    def save_pretrained(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors`.

        Raises:
            UserError: They cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_tensor_file(folder / WEIGHTS_FILE, self.net.state_dict(), {}, schema=SCHEMA)
        save_json(self.config, folder / CONFIG_FILE)

    @classmethod
    def from_pretrained(cls, folder: Path) -> "Segmenter":
        """Read what `save_pretrained` wrote, in evaluation mode.

        Raises:
            UserError: A file is missing or broken, or the weights are of another network.
        """
        config = load_json(SegmenterConfig, folder / CONFIG_FILE)
        tensors, _ = read_tensor_file(folder / WEIGHTS_FILE, schema=SCHEMA)
        net = fresh_network(config.network, seed=0)
        expected = {name: it.shape for name, it in net.state_dict().items()}
        wrong = sorted(expected.keys() ^ tensors.keys()) or [
            name for name, shape in expected.items() if tensors[name].shape != shape
        ]
        if wrong:
            told = f"it differs in {', '.join(wrong[:3])}"
            raise UserError(f"{folder / WEIGHTS_FILE} must be of the network in {CONFIG_FILE}; {told}")
        net.load_state_dict(tensors)
        return cls(config, net.eval())


def network_config(config: SegmentationConfig, num_classes: int) -> UNetConfig:
    """The network that a training asks for.

    Raises:
        UserError: A ratio that leaves no channels, or a released configuration that does not fit.
    """
    if config.network_file is not None:
        return load_spvnas_config(config.network_file, num_classes=num_classes, in_channels=NUM_FEATURES)
    down, up = DEEP_BLOCKS if config.network == "minkunet34" else ((2, 2, 2, 2), (2, 2, 2, 2))
    return scaled_unet(
        config.channel_ratio,
        point_branch=config.network == "spvcnn",
        num_classes=num_classes,
        in_channels=NUM_FEATURES,
        down_blocks=down,
        up_blocks=up,
    )


def fresh_network(config: UNetConfig, *, seed: int) -> SparseUNet:
    """A network with weights drawn by a seed; torch's own generator stays where it is."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SparseUNet(config)


def fresh_segmenter(config: SegmentationConfig, classes: tuple[str, ...]) -> Segmenter:
    """An untrained network for some classes, on its device.

    Raises:
        UserError: As `network_config`; there is no such device.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise invalid("device", "cpu where there is no CUDA device", config.device)
    network = network_config(config, len(classes))
    about = SegmenterConfig(
        classes=classes, network=network, voxel_size=config.voxel_size, points=config.points
    )
    net: nn.Module = fresh_network(network, seed=config.seed).to(config.device)
    assert isinstance(net, SparseUNet), "moved, not changed"
    return Segmenter(about, net)
