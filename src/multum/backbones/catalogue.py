"""All backbones by name, for whoever chooses one with a word."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from multum.backbones.backbone import Backbone
from multum.backbones.efficientnet_lite import efficientnet_lite
from multum.backbones.mobilenet_v2 import mobilenet_v2
from multum.backbones.proxyless import proxyless_mobile
from multum.backbones.resnet import ResNet
from multum.core import UserError, did_you_mean, invalid

BackboneFactory = Callable[[int], Backbone]
"""Builds a network for a number of classes."""

BACKBONES: Mapping[str, BackboneFactory] = MappingProxyType(
    {
        "efficientnet-lite0": partial(efficientnet_lite, "lite0", pretrained=False),
        "efficientnet-lite1": partial(efficientnet_lite, "lite1", pretrained=False),
        "efficientnet-lite2": partial(efficientnet_lite, "lite2", pretrained=False),
        "mobilenet-v2": mobilenet_v2,
        "mobilenet-v2-1.4": partial(mobilenet_v2, width=1.4),
        "proxyless-mobile": proxyless_mobile,
        "resnet-18": partial(ResNet, 18),
        "resnet-34": partial(ResNet, 34),
        "resnet-50": partial(ResNet, 50),
    }
)
"""Networks with fresh weights."""

PRETRAINED_BACKBONES: Mapping[str, BackboneFactory] = MappingProxyType(
    {
        "efficientnet-lite0": partial(efficientnet_lite, "lite0", pretrained=True),
        "efficientnet-lite1": partial(efficientnet_lite, "lite1", pretrained=True),
        "efficientnet-lite2": partial(efficientnet_lite, "lite2", pretrained=True),
    }
)
"""Those whose ImageNet weights come by pip."""


def make_backbone(name: str, num_classes: int, *, pretrained: bool = False) -> Backbone:
    """Build a backbone.

    Args:
        name: A key of `BACKBONES`.
        num_classes: Classes to tell apart.
        pretrained: Whether to start from ImageNet weights, where they come by pip.

    Returns:
        The network, in training mode.

    Raises:
        UserError: An unknown name, or weights that do not exist.
        MissingExtraError: The package with the weights is not installed; the message says how to get it.

    >>> make_backbone("resnet-18", 10).num_features
    512
    """
    if name not in BACKBONES:
        names = ", ".join(BACKBONES)
        close = did_you_mean(name, BACKBONES)
        raise invalid("backbone", f"one of {names}", name, close if close.startswith("did") else "")
    if not pretrained:
        return BACKBONES[name](num_classes)
    if name not in PRETRAINED_BACKBONES:
        raise UserError(
            f"pretrained must be False for {name}; got True; "
            f"weights come by pip for {', '.join(PRETRAINED_BACKBONES)}"
        )
    return PRETRAINED_BACKBONES[name](num_classes)
