"""Numbers as integers in two bit planes, most significant bits apart from least significant ones."""

from multum.ops.bit_planes.frame import PLAIN, RowFrame
from multum.ops.bit_planes.hadamard import hadamard
from multum.ops.bit_planes.packing import pack, row_bytes, unpack
from multum.ops.bit_planes.quantize import LSB_BITS, join, quantize_rows, split
from multum.ops.bit_planes.rows import FloatRows, PlaneRows, Rows, select_rows

__all__ = [
    "LSB_BITS",
    "PLAIN",
    "FloatRows",
    "PlaneRows",
    "RowFrame",
    "Rows",
    "hadamard",
    "join",
    "pack",
    "quantize_rows",
    "row_bytes",
    "select_rows",
    "split",
    "unpack",
]
