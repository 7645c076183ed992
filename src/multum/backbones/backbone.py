"""What every backbone is: pictures go in, pooled features come out, and a linear classifier turns them into scores.

A technique that adapts, shrinks or compares networks needs to know four things of them, and finds them here: where the
classifier is, what `features` it sees, how pixels are scaled, and at which size the network was published.

Shape legend: B pictures, H and W their height and width in pixels, C features, K classes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.backbones.initialization import initialize
from multum.core import check_fields, invalid

Colours = tuple[float, float, float]
"""One number for each of red, green and blue."""


@dataclass(frozen=True, kw_only=True)
class InputScaling:
    """How pixels in [0, 1] become what a network was trained on: less the mean, over the deviation.

    Raises:
        UserError: A deviation that is not positive.

    >>> InputScaling(mean=(0.5,) * 3, std=(0.5,) * 3)(torch.ones(1, 3, 1, 1)).flatten().tolist()
    [1.0, 1.0, 1.0]
    """

    mean: Colours
    """Subtracted from the pixels, for red, green, blue."""
    std: Colours
    """What the pixels are divided by after that."""

    def __post_init__(self) -> None:
        check_fields(self)
        if min(self.std) <= 0:
            raise invalid("std", "three positive numbers", self.std)

    def __call__(self, images_B3HW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Scale pictures whose pixels are in [0, 1]."""
        mean_311, std_311 = (images_B3HW.new_tensor(it).view(3, 1, 1) for it in (self.mean, self.std))
        return (images_B3HW - mean_311) / std_311


IMAGENET_SCALING = InputScaling(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Mean and deviation of ImageNet's pixels: the custom, for networks that come without weights."""


class Backbone(nn.Module, ABC):
    """A classifier of pictures, in training mode when it is made, as every module of torch is.

    A subclass builds its layers, and then calls `add_head`.

    Args:
        scaling: What pixels in [0, 1] must go through first.
        resolution: Height and width that the network was published at, in pixels; others work too.
    """

    scaling: InputScaling
    resolution: int
    pool: nn.AdaptiveAvgPool2d
    dropout: nn.Dropout
    classifier: nn.Linear

    def __init__(self, *, scaling: InputScaling = IMAGENET_SCALING, resolution: int = 224) -> None:
        super().__init__()
        self.scaling = scaling
        self.resolution = resolution

    @abstractmethod
    def feature_map(self, images_B3HW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """The last features that still have a place in the picture."""

    def features(self, images_B3HW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C"]:
        """What the classifier sees: the feature map, averaged over the places."""
        pooled_BC11: Tensor = self.pool(self.feature_map(images_B3HW))
        return pooled_BC11.flatten(1)

    def forward(self, images_B3HW: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        """Scores of the classes, before any softmax."""
        scores_BK: Tensor = self.classifier(self.dropout(self.features(images_B3HW)))
        return scores_BK

    @property
    def num_features(self) -> int:
        """Width of what `features` returns."""
        return self.classifier.in_features

    def add_head(self, num_features: int, num_classes: int, dropout: float) -> None:
        """Build what all networks end in.

        Args:
            num_features: Width of the feature map.
            num_classes: Classes to tell apart, at least 1.
            dropout: Part of the features that is dropped in training, in [0, 1).

        Raises:
            UserError: A value outside its range.
        """
        if not 0 <= dropout < 1:
            raise invalid("dropout", "in [0, 1)", dropout)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(num_features, _check_classes(num_classes))

    def replace_classifier(self, num_classes: int, generator: torch.Generator | None = None) -> None:
        """Put a fresh classifier in, for a task with other classes; everything else stays.

        Raises:
            UserError: Fewer than 1 class.
        """
        old = self.classifier.weight
        fresh = nn.Linear(self.num_features, _check_classes(num_classes), device=old.device, dtype=old.dtype)
        initialize(fresh, generator)
        self.classifier = fresh.train(self.classifier.training)


def _check_classes(num_classes: int) -> int:
    if not isinstance(num_classes, int) or num_classes < 1:
        raise invalid("num_classes", "a whole number of at least 1", num_classes)
    return num_classes
