"""Scans one by one, to learn from or to judge by: kept where there is room, and refused where they would spoil it."""

from dataclasses import replace

import torch

from multum.core import invalid
from multum.pointcloud.lidar import IGNORED, Scan, ScanSet


class ScanReader:
    """Reads scans to learn from or to judge by, and refuses what would spoil a training in silence.

    Args:
        scans: Their set.
        cache_bytes: So many bytes of scans are kept.
        needs_labels: Whether scans without labels are refused.
    """

    def __init__(self, scans: ScanSet, *, cache_bytes: int = 0, needs_labels: bool = True) -> None:
        self.scans = scans
        self.needs_labels = needs_labels
        self._free_bytes = cache_bytes
        self._kept: dict[int, Scan] = {}

    def __len__(self) -> int:
        return len(self.scans)

    def read(self, index: int) -> Scan:
        """A scan with at least one point, finite intensities, and labels where they are needed; without boxes.

        Raises:
            UserError: It has not; the message names the scan.
        """
        if index in self._kept:
            return self._kept[index]
        scan = replace(self.scans.read(index), boxes=None)
        name = self.scans.names[index]
        if len(scan) == 0:
            raise invalid(f"points of scan {name!r}", "at least one", 0, "leave the scan out")
        if not bool(torch.isfinite(scan.intensity_N).all()):
            bad = int((~torch.isfinite(scan.intensity_N)).sum())
            raise invalid(f"intensities of scan {name!r}", "finite", f"{bad} that are not", "repair the file")
        if self.needs_labels and scan.label_N is None:
            raise invalid(f"labels of scan {name!r}", "there", None, "label it, or leave it out")
        self._keep(index, scan)
        return scan

    def check_labels(self) -> None:
        """Refuse scans that all together show fewer classes than two; reads as many as that takes.

        Raises:
            UserError: They do.
        """
        seen: set[int] = set()
        for index in range(len(self)):
            label_N = self.read(index).label_N
            assert label_N is not None, "asked for"
            seen |= set(label_N.unique().tolist()) - {IGNORED}
            if len(seen) > 1:
                return
        found = [self.scans.classes[label] for label in seen] or "none"
        raise invalid("classes in the scans to learn from", "at least two", found, "label more of them")

    def _keep(self, index: int, scan: Scan) -> None:
        size_bytes = sum(it.nbytes for it in (scan.xyz_N3, scan.intensity_N, scan.label_N) if it is not None)
        if size_bytes <= self._free_bytes:
            self._free_bytes -= size_bytes
            self._kept[index] = scan
