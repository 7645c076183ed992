"""Classes of points from a file beside the scan: one number for each point, in the scan's order.

Shape legend: N points.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import invalid
from multum.pointcloud.lidar.raw_file import read_rows
from multum.pointcloud.lidar.scan_columns import read_npy


def read_labels(path: Path) -> Int[Tensor, " N"]:
    """Read one number for each point, as it is in the file; the ending says how.

    `.label` is SemanticKITTI's: uint32, of which the lower 16 bits are the class and the upper 16, dropped here, tell
    objects apart. `.bin` is nuScenes's: uint8. `.npy` is a row of integers.

    Args:
        path: The file.

    Returns:
        The numbers as int64; nobody has checked their range.

    Raises:
        UserError: Not readable, empty, cut short, or no row of integers.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "000000.label"
        ...     _ = path.write_bytes(np.array([40, 10 + (7 << 16)], dtype="<u4").tobytes())
        ...     read_labels(path)
        tensor([40, 10])
    """
    match path.suffix.casefold():
        case ".label":
            numbers = read_rows(path, "<u4")[:, 0] & 0xFFFF
        case ".bin":
            numbers = read_rows(path, "<u1")[:, 0]
        case ".npy":
            numbers = read_npy(path)
            if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
                found = f"shape {numbers.shape}, {numbers.dtype}"
                raise invalid(f"labels in {path}", "a row of integers, one for each point", found)
        case other:
            raise invalid(f"label file {path}", "of a known kind (.label, .npy, .bin)", other)
    return torch.from_numpy(numbers.astype(np.int64))
