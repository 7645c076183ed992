"""How a picture is varied for training and framed for testing; every variation can be repeated on its own.

The draw for picture i in epoch e depends on the seed, e and i alone (`seeded_generator`): it is the same after a
resume, in another order of the pictures, and with any number of threads.

Resizing is torch's antialiased bilinear one and not Pillow's. Both average over the same area and agree within one
level of 255 (a test holds that), but torch takes tensors of any origin, a file or an array, and a crop of a tensor is
a view; by way of Pillow the same crop takes several times as long.

Shape legend: C colours, H height, W width, S side of the square that the network gets.
"""

import math

import torch
from jaxtyping import Float, Num
from torch import Tensor

NUM_TRIES = 10
"""So many crops are drawn; the first that fits is taken, and the largest central one where none does."""

LONGEST_STRIP = 4
"""Sides in a ratio above this are cut before resizing, or a picture one line high would become a huge one."""

GREY_WEIGHT = (0.299, 0.587, 0.114)
"""How bright red, green and blue look (ITU-R BT.601)."""


def resize(picture_CHW: Num[Tensor, "C H W"], height: int, width: int) -> Num[Tensor, "C h w"]:
    """Resize to exactly this size; bilinear, and averaging where it shrinks. The type stays."""
    size = (height, width)
    if tuple(picture_CHW.shape[1:]) == size:
        return picture_CHW
    batch_1CHW = picture_CHW[None].contiguous(
        memory_format=torch.channels_last
    )  # three times as fast on bytes
    return torch.nn.functional.interpolate(batch_1CHW, size=size, mode="bilinear", antialias=True)[0]


def draw_crop(
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> tuple[int, int, int, int]:
    """Draw a random part of a picture.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        scale: Smallest and largest part of the area.
        ratio: Smallest and largest width / height, drawn evenly on a logarithmic scale.
        generator: Source of the draw; the same count of numbers is taken whatever comes out.

    Returns:
        Top, left, height and width of the part, inside the picture.
    """
    draws = torch.rand(NUM_TRIES, 2, generator=generator, dtype=torch.float64).tolist()
    place_y, place_x = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for of_area, of_ratio in draws:
        area = height * width * (scale[0] + (scale[1] - scale[0]) * of_area)
        aspect = math.exp(low + (high - low) * of_ratio)
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 1 <= h <= height and 1 <= w <= width:
            return int(place_y * (height - h + 1)), int(place_x * (width - w + 1)), h, w
    w = max(1, min(width, round(height * ratio[1])))
    h = max(1, min(height, round(width / ratio[0])))
    return (height - h) // 2, (width - w) // 2, h, w


def random_resized_crop(
    picture_CHW: Num[Tensor, "C H W"],
    side: int,
    *,
    scale: tuple[float, float] = (0.22, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: torch.Generator,
) -> Num[Tensor, "C S S"]:
    """Cut a random part out of a picture and resize it to a square; the type stays.

    Example:
        >>> picture = torch.arange(3 * 20 * 30, dtype=torch.float32).view(3, 20, 30)
        >>> random_resized_crop(picture, 16, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([3, 16, 16])
    """
    _, full_height, full_width = picture_CHW.shape
    top, left, height, width = draw_crop(full_height, full_width, scale, ratio, generator)
    return resize(picture_CHW[:, top : top + height, left : left + width], side, side)


def horizontal_flip(
    picture_CHW: Num[Tensor, "C H W"], *, generator: torch.Generator, probability: float = 0.5
) -> Num[Tensor, "C H W"]:
    """Mirror a picture, or do not."""
    return picture_CHW.flip(-1) if torch.rand((), generator=generator).item() < probability else picture_CHW


def colour_jitter(
    picture_3HW: Float[Tensor, "3 H W"],
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    generator: torch.Generator,
) -> Float[Tensor, "3 H W"]:
    """Change brightness, contrast and saturation, in random order, each by a random factor around 1.

    Args:
        picture_3HW: A picture in [0, 1].
        brightness: The factor lies in [1 - brightness, 1 + brightness], never below 0; 0 changes nothing.
        contrast: Likewise, away from or towards the picture's mean grey.
        saturation: Likewise, away from or towards each pixel's own grey.
        generator: Source of the draw.

    Returns:
        The picture, in [0, 1].
    """
    strength = (brightness, contrast, saturation)
    order = torch.randperm(3, generator=generator).tolist()
    draws = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    for which in order:
        if strength[which] == 0:
            continue
        factor = max(0.0, 1 + strength[which] * (2 * draws[which] - 1))
        centre = picture_3HW.new_zeros(()) if which == 0 else _grey(picture_3HW)
        if which == 1:
            centre = centre.mean()
        picture_3HW = (centre + factor * (picture_3HW - centre)).clamp(0, 1)
    return picture_3HW


def resize_and_centre_crop(
    picture_CHW: Num[Tensor, "C H W"], side: int, *, keep: float = 0.875
) -> Num[Tensor, "C S S"]:
    """Resize the shorter side to side / keep and take the central square; the type stays.

    Example:
        >>> resize_and_centre_crop(torch.zeros(3, 100, 300, dtype=torch.uint8), 56).shape
        torch.Size([3, 56, 56])
    """
    height, width = picture_CHW.shape[1:]
    longest = LONGEST_STRIP * min(height, width)
    picture_CHW = _centre(picture_CHW, min(height, longest), min(width, longest))
    height, width = picture_CHW.shape[1:]
    shorter = max(side, round(side / keep))
    factor = shorter / min(height, width)
    size = (max(shorter, round(height * factor)), max(shorter, round(width * factor)))
    return _centre(resize(picture_CHW, *size), side, side)


def normalize(
    picture_3HW: Num[Tensor, "3 H W"], mean: tuple[float, float, float], std: tuple[float, float, float]
) -> Float[Tensor, "3 H W"]:
    """Subtract the mean and divide by the standard deviation, colour by colour, in units where white is 1.

    Example:
        >>> normalize(torch.full((3, 1, 1), 255, dtype=torch.uint8), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).flatten()
        tensor([1., 1., 1.])
    """
    light_3HW = unit(picture_3HW)
    mean_311, std_311 = light_3HW.new_tensor(mean).view(3, 1, 1), light_3HW.new_tensor(std).view(3, 1, 1)
    return (light_3HW - mean_311) / std_311


def unit(picture_CHW: Num[Tensor, "C H W"]) -> Float[Tensor, "C H W"]:
    """Bring 0 to 255 into [0, 1]; a floating-point picture is there already."""
    if picture_CHW.is_floating_point():
        return picture_CHW
    # each colour in one piece: what follows works colour by colour, and is many times as fast then
    return picture_CHW.contiguous().float().div_(255)


def _grey(picture_3HW: Float[Tensor, "3 H W"]) -> Float[Tensor, "1 H W"]:
    weight_311 = picture_3HW.new_tensor(GREY_WEIGHT).view(3, 1, 1)
    return (weight_311 * picture_3HW).sum(dim=0, keepdim=True)


def _centre(picture_CHW: Num[Tensor, "C H W"], height: int, width: int) -> Num[Tensor, "C h w"]:
    top, left = (picture_CHW.shape[1] - height) // 2, (picture_CHW.shape[2] - width) // 2
    return picture_CHW[:, top : top + height, left : left + width]
