"""Networks that several techniques stand on: mobile CNNs and ResNets, with ImageNet weights where they come by pip.

`make_backbone("efficientnet-lite0", 10, pretrained=True)` is the short way; every network also has a function of its
own with all its dials.
"""

from multum.backbones.backbone import IMAGENET_SCALING, Backbone, InputScaling
from multum.backbones.catalogue import BACKBONES, PRETRAINED_BACKBONES, BackboneFactory, make_backbone
from multum.backbones.convolution import LayerStyle, SamePadding, convolution
from multum.backbones.efficientnet_lite import (
    EFFICIENTNET_LITE_SCALING,
    efficientnet_lite,
    efficientnet_lite_shape,
)
from multum.backbones.efficientnet_weights import (
    EFFICIENTNET_LITE_REQUIREMENTS,
    EfficientNetVariant,
    efficientnet_weights_file,
)
from multum.backbones.initialization import initialize
from multum.backbones.inverted_residual import BlockShape, InvertedResidual, MobileNet, NetworkShape
from multum.backbones.mobilenet_v2 import mobilenet_v2, mobilenet_v2_shape
from multum.backbones.proxyless import PROXYLESS_POSITIONS, proxyless_mobile, proxyless_shape
from multum.backbones.published_network import PublishedNetwork, parse_network
from multum.backbones.resnet import ResidualBlock, ResNet, ResNetDepth
from multum.backbones.rounding import round_width
from multum.backbones.small_imagenet import (
    SMALL_IMAGENET_SCALING,
    SMALL_IMAGENET_SOURCE,
    SmallImageNet,
    small_imagenet,
)
from multum.backbones.timm_models import timm_model
from multum.backbones.weights import fill, read_checkpoint

__all__ = [
    "BACKBONES",
    "EFFICIENTNET_LITE_REQUIREMENTS",
    "EFFICIENTNET_LITE_SCALING",
    "IMAGENET_SCALING",
    "PRETRAINED_BACKBONES",
    "PROXYLESS_POSITIONS",
    "SMALL_IMAGENET_SCALING",
    "SMALL_IMAGENET_SOURCE",
    "Backbone",
    "BackboneFactory",
    "BlockShape",
    "EfficientNetVariant",
    "InputScaling",
    "InvertedResidual",
    "LayerStyle",
    "MobileNet",
    "NetworkShape",
    "PublishedNetwork",
    "ResNet",
    "ResNetDepth",
    "ResidualBlock",
    "SamePadding",
    "SmallImageNet",
    "convolution",
    "efficientnet_lite",
    "efficientnet_lite_shape",
    "efficientnet_weights_file",
    "fill",
    "initialize",
    "make_backbone",
    "mobilenet_v2",
    "mobilenet_v2_shape",
    "parse_network",
    "proxyless_mobile",
    "proxyless_shape",
    "read_checkpoint",
    "round_width",
    "small_imagenet",
    "timm_model",
]
