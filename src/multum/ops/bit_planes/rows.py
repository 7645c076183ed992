"""Rows of a key/value cache as they lie in memory: two bit planes and a scale, or plain floats.

Shape legend: `*lead` any leading axes (sequences and groups of heads in a cache), R rows, D channels of a row, Y and Z
bytes of a packed row, B sequences, G groups, C slots of a cache, N chosen rows.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Float16, Int, UInt8
from torch import Tensor

from multum.core import invalid
from multum.ops.bit_planes import cpu
from multum.ops.bit_planes.frame import PLAIN, RowFrame
from multum.ops.bit_planes.packing import pack, row_bytes, unpack
from multum.ops.bit_planes.quantize import LSB_BITS, join, quantize_rows, split


@dataclass(frozen=True, kw_only=True)
class PlaneRows:
    """Quantized rows: a plane of MSBs, a plane of LSBs or none, a scale per row.

    With two planes a number is `((msb << 4) + lsb) * scale`, or `((msb << 4) + 8) * scale` where the LSBs are not read;
    with one plane it is `msb * scale`.

    >>> rows = PlaneRows.quantize(torch.randn(2, 3, 5, 64), 8)
    >>> rows.msb.shape, rows.lsb.shape, rows.num_bytes
    (torch.Size([2, 3, 5, 64]), torch.Size([2, 3, 5, 32]), 2940)
    """

    msb: UInt8[Tensor, "*lead R Y"]
    """The plane that every query reads, packed."""
    lsb: UInt8[Tensor, "*lead R Z"] | None
    """The plane of 4 bits that only flat rows read, packed; None: there is none."""
    scale: Float16[Tensor, "*lead R"]
    """What one step of the whole integer is worth, by row."""
    msb_bits: int
    """Bits of the first plane: 4, 6, 8, 10 or 12."""
    width: int
    """D, channels of a row."""

    def __post_init__(self) -> None:
        shapes = [tuple(self.msb.shape), (*self.scale.shape, row_bytes(self.msb_bits, self.width))]
        if self.lsb is not None:
            shapes += [tuple(self.lsb.shape), (*self.scale.shape, row_bytes(LSB_BITS, self.width))]
        if shapes[0::2] != shapes[1::2]:
            raise invalid("the planes", f"of shapes {shapes[1::2]}", shapes[0::2])

    @classmethod
    def quantize(
        cls, rows: Float[Tensor, "*lead R D"], msb_bits: int, *, two_planes: bool = True
    ) -> "PlaneRows":
        """Quantize rows to `msb_bits`, and 4 more in a plane of their own with `two_planes`."""
        if two_planes:
            q, scale = quantize_rows(rows, msb_bits + LSB_BITS)
            msb, lsb = split(q)
            planes = pack(msb, msb_bits), pack(lsb, LSB_BITS)
            return cls(msb=planes[0], lsb=planes[1], scale=scale, msb_bits=msb_bits, width=rows.shape[-1])
        q, scale = quantize_rows(rows, msb_bits)
        return cls(msb=pack(q, msb_bits), lsb=None, scale=scale, msb_bits=msb_bits, width=rows.shape[-1])

    @classmethod
    def zeros(
        cls,
        shape: tuple[int, ...],
        width: int,
        msb_bits: int,
        *,
        two_planes: bool = True,
        device: torch.device | str | None = None,
    ) -> "PlaneRows":
        """Make rows of zeros, to be written later; `shape` ends with the number of rows."""
        msb = torch.zeros(*shape, row_bytes(msb_bits, width), dtype=torch.uint8, device=device)
        lsb = torch.zeros(*shape, row_bytes(LSB_BITS, width), dtype=torch.uint8, device=device)
        scale = torch.zeros(*shape, dtype=torch.float16, device=device)
        return cls(msb=msb, lsb=lsb if two_planes else None, scale=scale, msb_bits=msb_bits, width=width)

    @cached_property
    def place(self) -> bytes | None:
        """Where compiled kernels find the rows; None where the bytes of a row do not lie side by side."""
        return cpu.place_of_planes(self)

    def __getstate__(self) -> dict[str, Any]:
        return _fields_of(self)

    @property
    def num_bytes(self) -> int:
        """Bytes that the rows take, scales included."""
        return self.num_rows * self.bytes_per_row(use_lsb=True)

    @property
    def num_rows(self) -> int:
        """Rows, leading axes included."""
        return self.scale.numel()

    def bytes_per_row(self, *, use_lsb: bool) -> int:
        """Bytes that reading one row takes: its planes and its scale."""
        lsb_bytes = self.lsb.shape[-1] if use_lsb and self.lsb is not None else 0
        return self.msb.shape[-1] + lsb_bytes + self.scale.element_size()

    def dequantize(
        self, use_lsb: bool = True, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "*lead R D"]:
        """Give the numbers that the integers stand for; `use_lsb` has no meaning with one plane."""
        q = unpack(self.msb, self.msb_bits, self.width).to(torch.int32)
        if self.lsb is not None:
            q = join(q, unpack(self.lsb, LSB_BITS, self.width, signed=False) if use_lsb else None)
        return q.to(dtype) * self.scale.to(dtype).unsqueeze(-1)

    def select(self, index: Int[Tensor, "*N"]) -> "PlaneRows":
        """Copy chosen rows; see `select_rows` for the index."""
        return replace(
            self,
            msb=select_rows(self.msb, index),
            lsb=None if self.lsb is None else select_rows(self.lsb, index),
            scale=select_rows(self.scale.unsqueeze(-1), index).squeeze(-1),
        )

    def write(
        self, slot_B: Int[Tensor, " B"], row_BGD: Float[Tensor, "B G D"], frame: RowFrame = PLAIN
    ) -> None:
        """Quantize one new row for each sequence and group into a slot, in place; axes are (B, G, C, ...).

        Args:
            slot_B: Where it goes.
            row_BGD: The rows.
            frame: How they are changed before.
        """
        if cpu.write_row(self, slot_B, row_BGD, frame):
            return
        check_slots(slot_B, self.msb)
        row_BGD = frame.into(row_BGD[:, :, None])[:, :, 0]
        new = PlaneRows.quantize(row_BGD, self.msb_bits, two_planes=self.lsb is not None)
        batch = torch.arange(len(slot_B), device=slot_B.device)
        self.msb[batch, :, slot_B] = new.msb
        self.scale[batch, :, slot_B] = new.scale
        if self.lsb is not None and new.lsb is not None:
            self.lsb[batch, :, slot_B] = new.lsb


@dataclass(frozen=True, kw_only=True)
class FloatRows:
    """Rows that are not quantized.

    >>> FloatRows(rows=torch.randn(2, 3, 5, 64)).num_bytes
    7680
    """

    rows: Float[Tensor, "*lead R D"]
    """The numbers; float32, bfloat16 or any other floating type."""

    @cached_property
    def place(self) -> bytes | None:
        """Where compiled kernels find the rows; None where they do not read them."""
        return cpu.place_of_floats(self.rows)

    def __getstate__(self) -> dict[str, Any]:
        return _fields_of(self)

    @property
    def width(self) -> int:
        """D, channels of a row."""
        return self.rows.shape[-1]

    @property
    def num_bytes(self) -> int:
        """Bytes that the rows take."""
        return self.rows.numel() * self.rows.element_size()

    @property
    def num_rows(self) -> int:
        """Rows, leading axes included."""
        return self.rows.numel() // self.width

    def bytes_per_row(self, *, use_lsb: bool) -> int:  # noqa: ARG002 - rows of planes ask for it
        """Bytes that reading one row takes."""
        return self.width * self.rows.element_size()

    def dequantize(
        self,
        use_lsb: bool = True,  # noqa: ARG002 - rows of planes ask for it
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "*lead R D"]:
        """Give the numbers in a type."""
        return self.rows.to(dtype)

    def select(self, index: Int[Tensor, "*N"]) -> "FloatRows":
        """Copy chosen rows; see `select_rows` for the index."""
        return FloatRows(rows=select_rows(self.rows, index))

    def write(
        self, slot_B: Int[Tensor, " B"], row_BGD: Float[Tensor, "B G D"], frame: RowFrame = PLAIN
    ) -> None:
        """Put one new row for each sequence and group into a slot, in place; axes are (B, G, C, D)."""
        check_slots(slot_B, self.rows)
        row_BGD = frame.into(row_BGD[:, :, None])[:, :, 0]
        batch = torch.arange(len(slot_B), device=slot_B.device)
        self.rows[batch, :, slot_B] = row_BGD.to(self.rows.dtype)


def _fields_of(rows: "PlaneRows | FloatRows") -> dict[str, Any]:
    """What a copy takes along: not the addresses of the rows that were copied."""
    return {it.name: getattr(rows, it.name) for it in fields(rows)}


def check_slots(slot_B: Int[Tensor, " B"], rows: Tensor) -> None:
    """Refuse slots that rows (B, G, C, ...) do not have; on the CPU only, a device would have to be waited for."""
    if slot_B.is_cpu and not all(0 <= slot < rows.shape[2] for slot in slot_B.tolist()):
        raise cpu.no_such_slot(slot_B, rows.shape[2])


Rows = PlaneRows | FloatRows
"""Rows of a cache, of either kind."""


def select_rows(rows: Tensor, index: Int[Tensor, "*N"]) -> Tensor:
    """Copy rows of the last axis but one, by an index that ends with the chosen rows.

    Args:
        rows: (..., R, D).
        index: (N,), the same rows everywhere; or (..., N), whose leading axes are those of `rows` or 1.

    >>> select_rows(torch.arange(6).reshape(1, 3, 2), torch.tensor([2, 0])).tolist()
    [[[4, 5], [0, 1]]]
    """
    if index.dim() == 1:
        return rows.index_select(-2, index)
    lead = rows.shape[:-2]
    spread = index.long().expand(*lead, index.shape[-1]).unsqueeze(-1)
    return rows.gather(-2, spread.expand(*spread.shape[:-1], rows.shape[-1]))
