"""Handwritten digits as pictures, from inside scikit-learn: real data with no download, for training in seconds.

1,797 digits of 8 x 8 pixels: the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak,
1998, UC Irvine's repository, CC BY 4.0), which scikit-learn brings along.

Shape legend: N pictures, S side in pixels; the 3 are red, green, blue, all alike.
"""

from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from multum.core.errors import invalid, require_module
from multum.data.image_split import ImageSplit, split_per_class
from multum.data.image_transforms import resize

NUM_DIGITS = 1797
"""Pictures in the data set."""

DIGIT_CLASSES = tuple("0123456789")
"""Names of the classes."""

_WHITEST = 16  # the data's own scale


@dataclass(frozen=True, kw_only=True)
class Digits:
    """All digits, and what each of them is."""

    pictures_N3SS: UInt8[Tensor, "N 3 S S"]
    """White on black, 0 to 255."""
    labels: tuple[int, ...]
    """0 to 9."""

    def split(self, num_train: int, *, num_validation: int = 0, seed: int) -> ImageSplit:
        """Draw a number of pictures of each digit to learn from; the rest is to test on.

        Args:
            num_train: How many of each digit to learn from.
            num_validation: How many others of each digit to choose by.
            seed: Seed of the draw.

        Returns:
            The parts. Who wrote a digit is not in the data, so the same people have written in all parts.

        Raises:
            UserError: A digit has too few pictures.
        """
        return split_per_class(self.labels, num_train, num_validation=num_validation, seed=seed)


def read_digits(side: int = 32) -> Digits:
    """Read the digits, and enlarge them smoothly.

    Args:
        side: Height and width in pixels, at least 8.

    Returns:
        The digits, in the order of the source.

    Raises:
        UserError: The side is below 8; scikit-learn is missing.
    """
    if side < 8:
        raise invalid("side", "at least 8 pixels, the digits' own", side)
    found = require_module("sklearn.datasets", "vision").load_digits()
    grey_N88 = torch.from_numpy(found.images) * (255 / _WHITEST)
    grey_NSS = resize(grey_N88, side, side).round().to(torch.uint8)
    assert len(grey_NSS) == NUM_DIGITS, "scikit-learn's digits have changed"
    pictures_N3SS = grey_NSS[:, None].repeat(1, 3, 1, 1)
    return Digits(pictures_N3SS=pictures_N3SS, labels=tuple(map(int, found.target)))
