"""Points of a scan as few bytes, for a page that carries them with it.

A page in a browser draws points from 16-bit numbers, so that is what they become: steps of one size from the middle of
the scan, a few millimetres each. Points lie in a file in the order in which lasers fired, neighbours beside each other;
so differences from one to the next are told, low bytes apart from high ones, and deflate halves them. Labels of
neighbours are mostly equal and take next to nothing.

Layout before deflate, N bytes each: low and high bytes of the differences of x, y, z; intensities; every labelling.

Shape legend: N points, L labellings.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid

LARGEST_STEP = 32_767
MOST_CLASSES = 250
"""Labels take a byte each, and a few numbers are the viewer's own."""
NO_CLASS = 255
"""Byte of a point that is in no class."""
BRIGHT_SHARE = 0.98
"""Intensities are stretched so that this share of the points lies in the range; what is brighter is shown alike."""


@dataclass(frozen=True, kw_only=True)
class PackedPoints:
    """Points and their labels as text."""

    text: str
    """Base64 of what deflate made."""
    num_points: int
    """How many."""
    middle: tuple[float, float, float]
    """Where the steps are counted from, in metres."""
    step_metres: float
    """Size of a step; a point is off by half of it at most, in each direction."""


def pack_points(
    xyz_N3: Float[Tensor, "N 3"],
    intensity_N: Float[Tensor, " N"],
    labels: Sequence[Int[Tensor, " N"]] = (),
) -> PackedPoints:
    """Pack points and labels.

    Args:
        xyz_N3: Points, in metres.
        intensity_N: How bright they are, in any unit.
        labels: Labellings of these points, each of classes below `MOST_CLASSES` or negative for none.

    Returns:
        The bytes as text, and how to read them.

    Raises:
        UserError: There are no points, or too many classes.

    >>> import torch
    >>> pack_points(torch.tensor([[0.0, 0, 0], [4, 2, 0]]), torch.ones(2)).middle
    (2.0, 1.0, 0.0)
    """
    xyz = xyz_N3.detach().cpu().double().numpy()
    if not len(xyz):
        raise invalid("points to show", "at least one", 0)
    low, high = xyz.min(axis=0), xyz.max(axis=0)
    middle = (low + high) / 2
    step = max(float((high - low).max()) / 2, 1e-6) / LARGEST_STEP
    steps_N3 = np.round((xyz - middle) / step).astype("<i2")
    parts = [
        _differences(steps_N3).tobytes(),
        _brightness(intensity_N.detach().cpu().double().numpy()).tobytes(),
        *(_label_bytes(label_N.detach().cpu().numpy()).tobytes() for label_N in labels),
    ]
    return PackedPoints(
        text=base64.b64encode(zlib.compress(b"".join(parts), 9)).decode("ascii"),
        num_points=len(xyz),
        middle=(float(middle[0]), float(middle[1]), float(middle[2])),
        step_metres=step,
    )


def _differences(steps_N3: np.ndarray) -> np.ndarray:
    """From each point to the next, modulo 2^16: low bytes of x, its high bytes, those of y, those of z."""
    first_13 = np.zeros((1, 3), steps_N3.dtype)
    difference_3N = np.ascontiguousarray(np.diff(steps_N3, axis=0, prepend=first_13).T)
    planes: np.ndarray = difference_3N.view(np.uint8).reshape(3, -1, 2).transpose(0, 2, 1)
    return planes


def _brightness(intensity_N: np.ndarray) -> np.ndarray:
    finite_N = np.nan_to_num(intensity_N, nan=0.0, posinf=0.0, neginf=0.0)
    brightest = float(np.quantile(finite_N, BRIGHT_SHARE)) or float(finite_N.max()) or 1.0
    stretched: np.ndarray = np.clip(finite_N / brightest * 255, 0, 255).astype(np.uint8)
    return stretched


def _label_bytes(label_N: np.ndarray) -> np.ndarray:
    if len(label_N) and int(label_N.max()) >= MOST_CLASSES:
        raise invalid("labels to show", f"below {MOST_CLASSES}", int(label_N.max()))
    return np.where(label_N < 0, NO_CLASS, label_N).astype(np.uint8)
