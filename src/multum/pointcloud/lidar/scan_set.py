"""Many scans under one roof, so that a training loop need not know whose they are.

A set knows the names of its scans and how to read one by its name; nothing is read before it is asked for. The reader
that made the set looked at folders and files at the start, for a missing file found in epoch nine costs an evening.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from multum.core import did_you_mean, invalid
from multum.pointcloud.lidar.scan import IGNORED, Scan


@dataclass(frozen=True, kw_only=True)
class ScanSet:
    """Scans to be read one by one.

    Raises:
        UserError: There is no scan, two have one name, or parts are not one for each scan.

    >>> import torch
    >>> def load(name: str) -> Scan:
    ...     return Scan(xyz_N3=torch.zeros(2, 3), intensity_N=torch.ones(2), name=name)
    >>> scans = ScanSet(names=("a", "b"), load=load, parts=("train", "test"))
    >>> len(scans), scans.read(1), scans.part("train").names
    (2, Scan(b, 2 points), ('a',))
    """

    names: tuple[str, ...]
    """What the scans are called; those of a drive follow one another in time."""

    load: Callable[[str], Scan]
    """Reads the scan of a name; `read` checks what it returns."""

    classes: tuple[str, ...] = ()
    """Names of the points' classes; empty where points are not labelled."""

    box_classes: tuple[str, ...] = ()
    """Names of the boxes' classes; empty where there are no boxes."""

    parts: tuple[str, ...] = ()
    """"train", "validation" or "test" for each scan; empty where the data set leaves it open."""

    source: str = ""
    """Where a stranger gets the data."""

    def __post_init__(self) -> None:
        if not self.names:
            raise invalid("scans of a set", "at least one", 0, self.source)
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise invalid("names of scans", "different from one another", twice, "it is there twice")
        if self.parts and len(self.parts) != len(self.names):
            raise invalid("parts of scans", f"{len(self.names)}, one for each scan", len(self.parts))

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Scan:
        """Read a scan.

        Args:
            index: Its number in `names`.

        Returns:
            The scan; its labels are in the range of the classes, or IGNORED.

        Raises:
            UserError: There is no such number, a file is missing or broken, or a label is out of range.
        """
        if not 0 <= index < len(self):
            raise invalid("index of a scan", f"in [0, {len(self)})", index)
        name = self.names[index]
        scan = self.load(name)
        if scan.label_N is not None:
            check_labels(f"labels of scan {name!r}", scan.label_N, len(self.classes))
        if scan.boxes is not None:
            check_labels(f"labels of boxes of scan {name!r}", scan.boxes.label_K, len(self.box_classes))
        return scan

    def part(self, part: str) -> "ScanSet":
        """Only the scans of one part.

        Args:
            part: One of `parts`.

        Returns:
            A set of them.

        Raises:
            UserError: The set has no such part.
        """
        if part not in self.parts:
            raise invalid(
                "part", "one that the scans have", part, did_you_mean(part, sorted(set(self.parts)))
            )
        return self.select([name for name, of in zip(self.names, self.parts, strict=True) if of == part])

    def select(self, names: Sequence[str]) -> "ScanSet":
        """Only some scans, by their names and in this order.

        Args:
            names: Which ones.

        Returns:
            A set of them.

        Raises:
            UserError: The set has no such scan.
        """
        part_of = dict(zip(self.names, self.parts or self.names, strict=True))
        for name in names:
            if name not in part_of:
                known = did_you_mean(name, self.names[:5])
                raise invalid("name of a scan", f"one of {len(self)} in the set", name, known)
        parts = tuple(part_of[name] for name in names) if self.parts else ()
        return replace(self, names=tuple(names), parts=parts)


def check_labels(what: str, label: Tensor, num_classes: int) -> None:
    """Refuse labels that are neither a class nor IGNORED.

    Args:
        what: What the error calls them.
        label: The labels, of any shape.
        num_classes: How many classes there are.

    Raises:
        UserError: A label is out of range.
    """
    bad = label[(label != IGNORED) & ((label < 0) | (label >= num_classes))]
    if len(bad):
        found = sorted(set(bad.tolist()))[:5]
        raise invalid(what, f"in [0, {num_classes}) or {IGNORED} for none", found)
