"""Pictures of plain colours in folders, and a small network that tells them apart in seconds."""

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from multum.backbones import Backbone
from multum.transfer import TransferConfig
from small_cnns import small_mobile

SIDE = 24
COLOURS = {"blue": (30, 60, 200), "green": (40, 180, 60), "red": (210, 40, 50)}


def write_pictures(
    folder: Path, colours: Mapping[str, tuple[int, int, int]] = COLOURS, per_class: int = 8
) -> Path:
    """Classes that differ in colour, with noise."""
    for name, colour in colours.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(per_class):
            generator = torch.Generator().manual_seed(1000 * sum(colour) + index)
            noise_HW3 = torch.randint(-25, 26, (30, 36, 3), generator=generator)
            picture_HW3 = (torch.tensor(colour) + noise_HW3).clamp(0, 255).to(torch.uint8)
            Image.fromarray(picture_HW3.numpy()).save(folder / name / f"{index}.png")
    return folder


def tiny(config: TransferConfig) -> Backbone:
    """A small network whose norms have the statistics of what goes through it."""
    torch.manual_seed(config.seed)
    net = small_mobile(2)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    net(torch.randn(64, 3, SIDE, SIDE))
    return net
