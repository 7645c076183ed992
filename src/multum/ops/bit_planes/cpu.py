"""Writes one new row per sequence and group by the compiled kernel `cpu.cpp`, and tells kernels where rows lie.

Shape legend as in `rows.py`.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from multum.core import UserError, invalid
from multum.native import NativeLibrary, load_native
from multum.ops.bit_planes.frame import PLAIN, RowFrame
from multum.ops.bit_planes.quantize import LSB_BITS, no_scale

if TYPE_CHECKING:
    from multum.ops.bit_planes.rows import PlaneRows

SOURCE = Path(__file__).with_name("cpu.cpp")
_CALL = Struct("9q")
"""The C++ struct `Call` up to its `Place` and its `Frame`: addresses, strides and sizes."""
_TYPES = (torch.float32, torch.bfloat16, torch.float16)
_PLACE = Struct("12q")
"""The C++ struct `Place`: three addresses, strides in bytes of sequences, groups and slots, bits of the first plane."""
_FLOAT_BITS = {torch.float32: 32, torch.bfloat16: 16}


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def write_row(rows: "PlaneRows", slot: Tensor, row: Tensor, frame: RowFrame = PLAIN) -> bool:
    """Quantize rows (B, G, D) into slots (B,) of rows (B, G, C, ...); False where the kernel does not take them."""
    if torch.compiler.is_compiling() or not (row.is_cpu and slot.is_cpu and row.dtype in _TYPES):
        return False
    place, way = rows.place, frame.place
    if place is None or way is None or library() is None:
        return False
    wide = row if row.dtype is torch.float32 else row.float()
    row_b, row_g, step = wide.stride()
    if step != 1:
        wide = wide.contiguous()
        row_b, row_g, _ = wide.stride()
    if slot.dtype is not torch.int64 or not slot.is_contiguous():
        slot = slot.long().contiguous()
    batch, groups, slots, _ = rows.msb.shape
    lsb_bits = 0 if rows.lsb is None else LSB_BITS
    failed = _function()(
        _CALL.pack(wide.data_ptr(), row_b, row_g, slot.data_ptr(), batch, groups, slots, rows.width, lsb_bits)
        + place
        + way
    )
    if failed == 1:
        raise no_such_slot(slot, slots)
    if failed:
        raise no_scale(row, rows.msb_bits + lsb_bits)
    return True


def no_such_slot(slot: Tensor, num_slots: int) -> UserError:
    """The error for slots that rows do not have."""
    return invalid("slot", f"in 0..{num_slots - 1}", slot.tolist())


def place_of_planes(rows: "PlaneRows") -> bytes | None:
    """The struct `Place` of rows (B, G, C, ...) on the CPU; None where a last axis is not contiguous."""
    msb, lsb, scale = rows.msb, rows.lsb, rows.scale
    b, g, c, byte = msb.stride()
    scale_b, scale_g, half = scale.stride()
    low_b, low_g, low_c, low_byte = (0, 0, 0, 1) if lsb is None else lsb.stride()
    if not byte == half == low_byte == 1 or not msb.is_cpu:
        return None
    address = 0 if lsb is None else lsb.data_ptr()
    return _PLACE.pack(
        msb.data_ptr(), address, scale.data_ptr(),
        b, g, c, low_b, low_g, low_c, 2 * scale_b, 2 * scale_g, rows.msb_bits,
    )  # fmt: skip


def place_of_floats(rows: Tensor) -> bytes | None:
    """The same of rows in float32 or bfloat16."""
    bits = _FLOAT_BITS.get(rows.dtype)
    if bits is None or not rows.is_cpu or rows.stride(3) != 1:
        return None
    size, (b, g, c, _) = rows.element_size(), rows.stride()
    return _PLACE.pack(rows.data_ptr(), 0, 0, size * b, size * g, size * c, 0, 0, 0, 0, 0, bits)


@cache
def _function() -> Callable[[bytes], int]:
    loaded = library()
    assert loaded is not None, "asked for a kernel that is not there"
    run = loaded.handle.multum_write_row
    run.argtypes, run.restype = [ctypes.c_char_p], ctypes.c_int
    write: Callable[[bytes], int] = run
    return write
