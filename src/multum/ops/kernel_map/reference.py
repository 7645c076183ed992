"""Sorted voxels and their kernel maps in plain torch: what the compiled path has to give, to the bit.

A voxel is four whole numbers: its place in the batch, and x, y, z in voxels. Packed into one key they sort by batch, x,
y and z, and two voxels have the same key only if they are the same.

A kernel map lists, for every offset of a kernel, the pairs of voxels that meet there:

    source = stride * target + offset

Pairs of an offset are sorted by their targets, and so by their sources too. Blocks of `BLOCK` voxels, in the sorted
order, are where a kernel that goes over the targets begins and ends.

Shape legend: N voxels as given, M different ones in sorted order, K offsets, P pairs, B blocks.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from multum.core import invalid

BITS = 17
BATCHES = 2**12
"""Scans of a batch, at most."""
REACH = 2 ** (BITS - 1)
LARGEST = 65_000
"""Coordinates of voxels lie between minus this and this."""
LARGEST_OFFSET = 500
"""Offsets of kernels lie between minus this and this, so that no key runs over into another coordinate."""
BLOCK = 256
"""Voxels of a block."""


class SortedVoxels(NamedTuple):
    """Different voxels in ascending order."""

    key_M: Tensor
    """Packed, int64, ascending."""
    row_M: Tensor
    """The first row of what was given that has this voxel, int32."""
    rank_N: Tensor
    """Place of each row's voxel in the sorted order, int32."""

    def distinct(self) -> "SortedVoxels":
        """The different voxels alone, their rows in sorted order.

        >>> sort_voxels_reference(torch.tensor([[0, 2, 0, 0], [0, 2, 0, 0]], dtype=torch.int32)).distinct().row_M
        tensor([0], dtype=torch.int32)
        """
        row_M = torch.arange(len(self.key_M), dtype=torch.int32, device=self.key_M.device)
        return SortedVoxels(self.key_M, row_M, row_M)


@dataclass(frozen=True, kw_only=True)
class KernelMap:
    """Which rows meet at which offset of a kernel, by offset, then target."""

    source_P: Int[Tensor, " P"]
    """Row of what is read, int32."""
    target_P: Int[Tensor, " P"]
    """Row of what is written, int32."""
    starts_KB: Int[Tensor, "K B1"]
    """Pair at which each block of targets begins in the list of an offset, and where the last one ends, int64."""
    back_starts_KB: Int[Tensor, "K B2"]
    """The same of blocks of sources."""
    source_row_N: Int[Tensor, " N"]
    """Rows that can be read, in the order of the sources' voxels, int32."""
    target_row_M: Int[Tensor, " M"]
    """Rows that can be written, in the order of the targets' voxels, int32."""
    tables: dict[bool, Tensor] = field(default_factory=dict, repr=False, compare=False)
    """What `neighbours` made, by direction; shared with the transposed map."""
    is_turned: bool = field(default=False, repr=False, compare=False)
    """Which of both directions of the tables is this map's."""

    @property
    def num_sources(self) -> int:
        """Rows that can be read."""
        return len(self.source_row_N)

    @property
    def num_targets(self) -> int:
        """Rows that can be written."""
        return len(self.target_row_M)

    @property
    def num_pairs(self) -> int:
        """Pairs of all offsets: multiply-accumulates of one input and one output channel."""
        return len(self.source_P)

    @property
    def num_offsets(self) -> int:
        """Voxels of the kernel."""
        return len(self.starts_KB)

    @property
    def pairs_of_offset_K(self) -> Tensor:
        """Number of pairs of each offset."""
        return self.starts_KB[:, -1] - self.starts_KB[:, 0]

    @property
    def offset_P(self) -> Tensor:
        """The offset of each pair."""
        index_K = torch.arange(self.num_offsets, device=self.source_P.device)
        return index_K.repeat_interleave(self.pairs_of_offset_K, output_size=self.num_pairs)

    def neighbours(self, *, back: bool = False) -> Tensor:
        """The dense table of `pack_neighbours`, made once: of this map, or of the transposed one."""
        from multum.ops.kernel_map.neighbours import pack_neighbours

        way = self.is_turned != back
        if way not in self.tables:
            self.tables[way] = pack_neighbours(self.transposed() if back else self)
        return self.tables[way]

    def transposed(self) -> "KernelMap":
        """The map that goes back: of a transposed convolution, and of the gradient of an input."""
        return KernelMap(
            source_P=self.target_P,
            target_P=self.source_P,
            starts_KB=self.back_starts_KB,
            back_starts_KB=self.starts_KB,
            source_row_N=self.target_row_M,
            target_row_M=self.source_row_N,
            tables=self.tables,
            is_turned=not self.is_turned,
        )


def pack_voxels(voxel_N4: Int[Tensor, "N 4"]) -> Int[Tensor, " N"]:
    """Keys that sort as voxels do, by batch, x, y and z.

    >>> pack_voxels(torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.int32)).diff().item()
    -1
    """
    batch, x, y, z = voxel_N4.long().unbind(dim=1)
    return (batch << 3 * BITS) + _delta(x + REACH, y + REACH, z + REACH)


def unpack_voxels(key_M: Int[Tensor, " M"]) -> Int[Tensor, "M 4"]:
    """Voxels of keys, int32.

    >>> unpack_voxels(pack_voxels(torch.tensor([[3, -5, 0, 9]], dtype=torch.int32))).tolist()
    [[3, -5, 0, 9]]
    """
    fields = [(key_M >> place * BITS & 2**BITS - 1) - REACH for place in (2, 1, 0)]
    return torch.stack([key_M >> 3 * BITS, *fields], dim=1).int()


def sort_voxels_reference(voxel_N4: Int[Tensor, "N 4"]) -> SortedVoxels:
    """Twin of `sort_voxels`, by torch's own sort."""
    check_range(voxel_N4)
    key_N, row_N = pack_voxels(voxel_N4).sort(stable=True)
    is_new_N = torch.ones_like(key_N, dtype=torch.bool)
    is_new_N[1:] = key_N[1:] != key_N[:-1]
    rank_N = torch.empty_like(row_N).scatter_(0, row_N, is_new_N.cumsum(0) - 1)
    first_M = is_new_N.nonzero().squeeze(1)  # once: a device has to be waited for
    return SortedVoxels(key_N[first_M], row_N[first_M].int(), rank_N.int())


def check_range(voxel_N4: Tensor) -> None:
    """Refuse voxels that have no key."""
    low = voxel_N4.new_tensor([0, -LARGEST, -LARGEST, -LARGEST])
    high = voxel_N4.new_tensor([BATCHES - 1, LARGEST, LARGEST, LARGEST])
    bad_N = ((voxel_N4 < low) | (voxel_N4 > high)).any(dim=1)
    if bool(bad_N.any()):
        refuse(voxel_N4, int(bad_N.nonzero()[0]))


def refuse(voxel_N4: Tensor, row: int) -> None:
    """Say which voxel is out of range, and what would help."""
    raise invalid(
        f"voxel {row}",
        f"(batch, x, y, z) with batch in [0, {BATCHES - 1}] and the others in [-{LARGEST}, {LARGEST}]",
        tuple(voxel_N4[row].tolist()),
        "take larger voxels, or move the points to where the sensor is",
    )


def kernel_map_reference(
    source: SortedVoxels,
    target: SortedVoxels,
    offset_K3: Int[Tensor, "K 3"],
    stride: tuple[int, int, int] = (1, 1, 1),
) -> KernelMap:
    """Twin of `kernel_map`: of every target and offset the source is searched for by bisection."""
    key_MK = _scaled(target.key_M, stride)[:, None] + _delta(*offset_K3.long().unbind(dim=1))
    place_MK = torch.searchsorted(source.key_M, key_MK)
    beyond = source.key_M.new_full((1,), torch.iinfo(torch.int64).min)  # is nobody's key
    met_MK = torch.cat([source.key_M, beyond])[place_MK] == key_MK
    offset_P, target_P = met_MK.T.nonzero(as_tuple=True)
    source_P = place_MK[target_P, offset_P]
    return KernelMap(
        source_P=source.row_M[source_P],
        target_P=target.row_M[target_P],
        starts_KB=_starts(offset_P, target_P, len(offset_K3), len(target.key_M)),
        back_starts_KB=_starts(offset_P, source_P, len(offset_K3), len(source.key_M)),
        source_row_N=source.row_M,
        target_row_M=target.row_M,
    )


def _delta(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return (x << 2 * BITS) + (y << BITS) + z


def _scaled(key_M: Tensor, stride: tuple[int, int, int]) -> Tensor:
    voxel_M4 = unpack_voxels(key_M).long()
    voxel_M4[:, 1:] *= voxel_M4.new_tensor(stride)
    return pack_voxels(voxel_M4)


def _starts(offset_P: Tensor, rank_P: Tensor, num_offsets: int, num_ranks: int) -> Tensor:
    """Where each block begins: pairs are sorted by offset and block, so that bisection finds it."""
    num_blocks = -(-num_ranks // BLOCK)
    offset_P = offset_P.contiguous()  # as bisection wants them
    block_P = offset_P * num_blocks + rank_P // BLOCK
    index_KB = torch.arange(num_offsets * num_blocks, device=block_P.device).view(num_offsets, num_blocks)
    index_K1 = torch.arange(num_offsets, device=block_P.device)[:, None]
    end_KB = torch.searchsorted(block_P, index_KB, right=True)
    return torch.cat([torch.searchsorted(offset_P, index_K1), end_KB], dim=1)
