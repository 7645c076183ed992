"""Networks for microcontrollers with ImageNet weights, read from the files that their authors published.

MCUNet fits into 320 kB of memory, two narrow ProxylessNAS networks are of like size. Each comes as a JSON file that
tells kernel, expansion and width of every block, and a file of weights.

Source: Lin et al., "MCUNet: Tiny Deep Learning on IoT Devices" (NeurIPS 2020); Cai, Zhu, Han, "ProxylessNAS" (ICLR
2019); files of github.com/mit-han-lab/mcunet (commit 8326da6) and /proxylessnas (commit bf58b5c).
"""

from pathlib import Path
from typing import Literal, get_args

from multum.backbones.backbone import InputScaling
from multum.backbones.inverted_residual import MobileNet
from multum.backbones.published_network import parse_network
from multum.backbones.weights import fill, read_checkpoint
from multum.core import invalid, read_json

SmallImageNet = Literal["mcunet-320kb-1mb", "proxyless-w0.25-r112", "proxyless-w0.3-r176"]
"""What the files are called; r: height and width of the pictures."""

SMALL_IMAGENET_SOURCE = (
    "get its .json and .pth from github.com/mit-han-lab/mcunet (commit 8326da6, assets/configs and assets/pt_ckpt) or "
    "github.com/mit-han-lab/proxylessnas (proxyless_gaze/training/gaze_estimation/pretrained), into one folder"
)
"""Where a stranger gets the files, as the errors say it."""

SMALL_IMAGENET_SCALING = InputScaling(mean=(0.5,) * 3, std=(0.5,) * 3)
"""From pixels in [0, 1] to [-1, 1]."""


def small_imagenet(
    folder: Path, name: SmallImageNet = "mcunet-320kb-1mb", num_classes: int | None = None
) -> MobileNet:
    """Read a network and its ImageNet weights.

    Args:
        folder: Where `NAME_imagenet.json` and `NAME_imagenet.pth` lie.
        name: Which network.
        num_classes: Classes to tell apart, with a fresh classifier; None: ImageNet's 1000, with the published one.

    Returns:
        The network, in training mode as every fresh module.

    Raises:
        UserError: An unknown name, a file that is missing or broken, files that do not belong together.
    """
    if name not in get_args(SmallImageNet):
        raise invalid("name", f"one of {', '.join(get_args(SmallImageNet))}", name)
    path = Path(folder) / f"{name}_imagenet.json"
    if not path.is_file():
        raise invalid("network file", "an existing file", str(path), SMALL_IMAGENET_SOURCE)
    network = parse_network(read_json(path), path.name)
    model = MobileNet(
        network.shape,
        network.num_classes,
        style=network.style,
        dropout=0.0,
        scaling=SMALL_IMAGENET_SCALING,
        resolution=network.resolution,
    )
    tensors = read_checkpoint(path.with_suffix(".pth"), SMALL_IMAGENET_SOURCE)
    fill(model, tensors, network.name_in_file, source=path.with_suffix(".pth").name)
    if num_classes is not None and num_classes != network.num_classes:
        model.replace_classifier(num_classes)
    return model
