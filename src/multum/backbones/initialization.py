"""How weights start: so that signals keep their size on the way through layers, and every class starts alike.

Convolutions draw from a normal distribution whose variance is two over the number of places that a weight's result
goes to; norms start as the identity, classifiers close to zero.

Source: He, Zhang, Ren, Sun, "Delving Deep into Rectifiers" (ICCV 2015), section 2.2, the backward case.
"""

import torch
from torch import nn

CLASSIFIER_STD = 0.01
"""Deviation of a classifier's first weights."""


def initialize(model: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw the weights of all convolutions, norms and linear layers anew, in the order of the modules.

    Args:
        model: Changed in place.
        generator: Where the numbers come from, on the device of the model; None: torch's own generator.

    >>> layers = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
    >>> for layer in layers:
    ...     initialize(layer, torch.Generator().manual_seed(1))
    >>> torch.equal(layers[0].weight, layers[1].weight)
    True
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=CLASSIFIER_STD, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            if module.affine:
                nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
