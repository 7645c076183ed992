"""A LiDAR scan: points in metres around the sensor, how strongly each sent light back, and what is known of them.

Axes: x ahead, y to the left, z up, as the sensor of a car has them.

Shape legend: N points, K boxes.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.core import invalid

IGNORED = -1
"""Label of a point that no class counts, in training and in the judgement."""


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """Objects on the ground, each a box that is turned about the vertical axis."""

    centre_K3: Float[Tensor, "K 3"]
    """Middles, in metres."""

    size_K3: Float[Tensor, "K 3"]
    """Length (along the heading), width and height, in metres; positive."""

    yaw_K: Float[Tensor, " K"]
    """Headings in radians, anticlockwise from x."""

    label_K: Int[Tensor, " K"]
    """Classes of objects, by the names that the reader tells; IGNORED where none of them."""

    def __post_init__(self) -> None:
        if not bool((self.size_K3 > 0).all()):
            raise invalid("sizes of boxes", "positive", self.size_K3.min().item())

    def __len__(self) -> int:
        return len(self.yaw_K)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What one turn of a sensor saw.

    Raises:
        UserError: Counts that differ, or a point that is not finite.

    >>> Scan(xyz_N3=torch.zeros(2, 3), intensity_N=torch.ones(2))
    Scan(2 points)
    """

    xyz_N3: Float[Tensor, "N 3"]
    """Points, float32, in metres."""

    intensity_N: Float[Tensor, " N"]
    """Share of the light that came back, in [0, 1] where the sensor is calibrated so."""

    label_N: Int[Tensor, " N"] | None = None
    """Class of each point, or IGNORED; None where nobody labelled them."""

    boxes: Boxes | None = None
    """Objects; None where nobody drew boxes."""

    name: str = ""
    """What it is called in messages and files."""

    def __post_init__(self) -> None:
        count = len(self.xyz_N3)
        for what, tensor in (("intensities", self.intensity_N), ("labels", self.label_N)):
            if tensor is not None and len(tensor) != count:
                raise invalid(f"{what} of scan {self.name!r}", f"{count}, one for each point", len(tensor))
        bad = ~torch.isfinite(self.xyz_N3).all(dim=1)
        if bool(bad.any()):
            remedy = "drop them with `finite_points`, or repair the file"
            raise invalid(f"points of scan {self.name!r}", "finite", f"{int(bad.sum())} that are not", remedy)

    def __len__(self) -> int:
        return len(self.xyz_N3)

    def __repr__(self) -> str:
        extras = [
            f"{len(self)} points",
            *(["labels"] if self.label_N is not None else []),
            *([f"{len(self.boxes)} boxes"] if self.boxes is not None else []),
        ]
        return f"Scan({', '.join(filter(None, [self.name, *extras]))})"

    def at(self, index: Tensor) -> "Scan":
        """Some of its points, by their numbers or by a mask; the boxes stay.

        >>> Scan(xyz_N3=torch.zeros(2, 3), intensity_N=torch.ones(2)).at(torch.tensor([True, False]))
        Scan(1 points)
        """
        labels = None if self.label_N is None else self.label_N[index]
        return replace(self, xyz_N3=self.xyz_N3[index], intensity_N=self.intensity_N[index], label_N=labels)
