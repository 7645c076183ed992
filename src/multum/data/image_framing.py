"""From a picture to what a network is given: one recipe for training, one for testing.

Shape legend: H height, W width, S side of the square that the network gets; the 3 are red, green, blue.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Num
from torch import Tensor

from multum.core.errors import invalid
from multum.data.image_transforms import (
    colour_jitter,
    horizontal_flip,
    normalize,
    random_resized_crop,
    resize_and_centre_crop,
    unit,
)
from multum.data.seeded_generator import seeded_generator

Colours = tuple[float, float, float]
"""A number for each of red, green and blue."""


@runtime_checkable
class PictureTransform(Protocol):
    """What makes a network's input of one picture: a pure function of the picture, its number and the epoch."""

    @property
    def side(self) -> int:
        """Height and width of the input."""

    def __call__(
        self, picture_3HW: Num[Tensor, "3 H W"], *, sample: int = 0, epoch: int = 0
    ) -> Float[Tensor, "3 S S"]:
        """Transform one picture."""


@dataclass(frozen=True, kw_only=True)
class TrainTransform:
    """Random crop, flip and colours, drawn anew for each picture in each epoch.

    Raises:
        UserError: A dial is out of range.

    Example:
        >>> import torch
        >>> transform = TrainTransform(side=8, seed=0)
        >>> picture = torch.arange(300, dtype=torch.float32).view(3, 10, 10) / 300
        >>> first, again = transform(picture, sample=5, epoch=2), transform(picture, sample=5, epoch=2)
        >>> torch.equal(first, again), torch.equal(first, transform(picture, sample=5, epoch=3))
        (True, False)
    """

    side: int
    """Height and width of the result."""
    seed: int
    """Seed of all draws."""
    scale: tuple[float, float] = (0.22, 1.0)
    """Smallest and largest part of the area that a crop keeps."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Smallest and largest width / height of a crop."""
    flip: bool = True
    """Whether every second picture is mirrored; wrong for writing."""
    brightness: float = 0.0
    """How far brightness strays from 1; the paper strays in Aircraft and Cars."""
    contrast: float = 0.0
    """How far contrast strays from 1."""
    saturation: float = 0.0
    """How far saturation strays from 1."""
    mean: Colours = (0.5, 0.5, 0.5)
    """Subtracted; what the network was trained with counts, in units where white is 1."""
    std: Colours = (0.5, 0.5, 0.5)
    """Divided by, likewise."""

    def __post_init__(self) -> None:
        _check_frame(self.side, self.std)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise invalid("scale", "two ascending parts in (0, 1]", self.scale)
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise invalid("ratio", "two ascending numbers above 0", self.ratio)
        for name in ("brightness", "contrast", "saturation"):
            if getattr(self, name) < 0:
                raise invalid(name, "at least 0", getattr(self, name), "0 leaves it as it is")

    def __call__(
        self, picture_3HW: Num[Tensor, "3 H W"], *, sample: int = 0, epoch: int = 0
    ) -> Float[Tensor, "3 S S"]:
        """Vary one picture; the same sample, epoch and seed give the same variation.

        Args:
            picture_3HW: 0 to 255 as uint8, or [0, 1] as floats.
            sample: Number of the picture.
            epoch: Number of the epoch.

        Returns:
            The square, normalized.
        """
        generator = seeded_generator(self.seed, "picture", epoch, sample)
        crop_3SS = random_resized_crop(
            picture_3HW, self.side, scale=self.scale, ratio=self.ratio, generator=generator
        )
        if self.flip:
            crop_3SS = horizontal_flip(crop_3SS, generator=generator)
        coloured_3SS = colour_jitter(
            unit(crop_3SS),
            brightness=self.brightness,
            contrast=self.contrast,
            saturation=self.saturation,
            generator=generator,
        )
        return normalize(coloured_3SS, self.mean, self.std)


@dataclass(frozen=True, kw_only=True)
class TestTransform:
    """The middle of the picture, without any chance.

    Raises:
        UserError: A dial is out of range.
    """

    __test__ = False  # pytest takes every class called Test... for a collection of tests

    side: int
    """Height and width of the result."""
    keep: float = 0.875
    """Part of the resized picture's shorter side that the square keeps."""
    mean: Colours = (0.5, 0.5, 0.5)
    """Subtracted; what the network was trained with counts, in units where white is 1."""
    std: Colours = (0.5, 0.5, 0.5)
    """Divided by, likewise."""

    def __post_init__(self) -> None:
        _check_frame(self.side, self.std)
        if not 0 < self.keep <= 1:
            raise invalid("keep", "in (0, 1]", self.keep, "1 keeps the whole shorter side")

    def __call__(
        self, picture_3HW: Num[Tensor, "3 H W"], *, sample: int = 0, epoch: int = 0
    ) -> Float[Tensor, "3 S S"]:
        """Frame one picture; its number and the epoch change nothing."""
        del sample, epoch
        return normalize(resize_and_centre_crop(picture_3HW, self.side, keep=self.keep), self.mean, self.std)


def _check_frame(side: int, std: Colours) -> None:
    if side < 1:
        raise invalid("side", "at least 1 pixel", side)
    if min(std) <= 0:
        raise invalid("std", "above 0 for each colour", std)
