"""Colours of the classes of points: one name, one colour, wherever it is drawn.

Points lie on light paper and on dark, so their colours are of middling lightness and do not follow the page. The
classes of SemanticKITTI, which are those of the synthetic streets too, have colours chosen by hand, ground in quiet
ones and whatever moves in loud ones, and then pushed apart. Others get theirs one by one, each as far as can be from
all before it, for normal eyes and for the two common kinds of colour blindness. With twenty classes nobody tells all of
them apart by colour; that is what hiding a class in the legend is for.

Distances are Euclidean in OKLab (Ottosson 2020); colour blindness is simulated with the matrices of Machado et al.,
"A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009, at full strength.
"""

from collections.abc import Sequence

import numpy as np

FIXED_COLOURS = {
    "car": "#4763ff",
    "bicycle": "#f757d8",
    "motorcycle": "#a010a6",
    "truck": "#009ed6",
    "other-vehicle": "#5d45d2",
    "person": "#fd2700",
    "bicyclist": "#d09f12",
    "motorcyclist": "#af0577",
    "road": "#8070a8",
    "parking": "#c6a4b7",
    "sidewalk": "#c6b0f4",
    "other-ground": "#9c8aa0",
    "building": "#b99d76",
    "fence": "#d45e66",
    "vegetation": "#009203",
    "trunk": "#954a40",
    "terrain": "#b3c47e",
    "pole": "#c6ca00",
    "traffic-sign": "#c33d78",
}
"""Colours of SemanticKITTI's classes."""

ALIASES = {
    "pedestrian": "person",
    "cyclist": "bicyclist",
    "sign": "traffic-sign",
    "signs": "traffic-sign",
    "barrier or cone": "fence",
    "road barriers": "fence",
}
"""What other data sets call the same things."""

LIGHTNESS = (0.52, 0.80)
"""Least and most OKLab lightness of a made colour: visible on the light page and on the dark one."""

MOST_CHROMA = 0.21
"""Most OKLab chroma of a made colour: nothing glares."""

_VISIONS = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
)
"""What normal, red-blind and green-blind eyes make of linear RGB."""

_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def class_colours(names: Sequence[str]) -> tuple[str, ...]:
    """Give every class a colour.

    Args:
        names: Of the classes, in the order of their labels; capitals do not matter.

    Returns:
        For each "#rrggbb"; the same names get the same colours each time.

    >>> class_colours(["road", "Pedestrian"]) == (FIXED_COLOURS["road"], FIXED_COLOURS["person"])
    True
    """
    keys = [ALIASES.get(name.casefold(), name.casefold()) for name in names]
    colours = {key: FIXED_COLOURS[key] for key in keys if key in FIXED_COLOURS}
    missing = [key for key in dict.fromkeys(keys) if key not in colours]
    if missing:
        colours.update(zip(missing, _far_apart(len(missing), list(colours.values())), strict=True))
    return tuple(colours[key] for key in keys)


def colour_distance(first: str, second: str) -> float:
    """Tell how far apart two colours are for those eyes that tell them apart worst; 1 is from black to white.

    >>> colour_distance("#000000", "#ffffff") > 0.99 > 0.1 > colour_distance("#ff0000", "#f00000")
    True
    """
    lab = _seen(np.array([_rgb(first), _rgb(second)]))
    return float(np.linalg.norm(lab[:, 0] - lab[:, 1], axis=-1).min())


def _far_apart(count: int, taken: list[str]) -> list[str]:
    """Choose colours one by one, each with the largest distance to the nearest of those before it."""
    levels = np.linspace(0.0, 1.0, 10)
    candidate_M3 = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness_M, *axes = _seen(candidate_M3)[0].T
    is_middling_M = (lightness_M >= LIGHTNESS[0]) & (lightness_M <= LIGHTNESS[1])
    candidate_M3 = candidate_M3[is_middling_M & (np.hypot(*axes) <= MOST_CHROMA)]
    lab = _seen(candidate_M3)
    nearest_M = np.full(len(candidate_M3), np.inf)
    for colour in [*taken, *(["#7f8794"] if not taken else [])]:  # the grey of what is right, say
        nearest_M = np.minimum(nearest_M, _distances(lab, np.array(_rgb(colour))))
    chosen = []
    for _ in range(count):
        best = candidate_M3[int(nearest_M.argmax())]
        chosen.append("#" + "".join(f"{round(255 * part):02x}" for part in best))
        nearest_M = np.minimum(nearest_M, _distances(lab, best))
    return chosen


def _distances(lab: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """From each candidate to one colour: half for normal eyes, half for those that see least of a difference."""
    distance_VM = np.linalg.norm(lab - _seen(rgb[None]), axis=-1)
    both: np.ndarray = (distance_VM[0] + distance_VM.min(axis=0)) / 2
    return both


def _seen(rgb_M3: np.ndarray) -> np.ndarray:
    """OKLab of sRGB colours, as each of the eyes sees them: [3 eyes, M, 3]."""
    linear_M3 = np.where(rgb_M3 <= 0.04045, rgb_M3 / 12.92, ((rgb_M3 + 0.055) / 1.055) ** 2.4)
    eyes = np.clip(np.einsum("vij,mj->vmi", _VISIONS, linear_M3), 0.0, 1.0)
    lab: np.ndarray = np.cbrt(eyes @ _LMS.T) @ _LAB.T
    return lab


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue
