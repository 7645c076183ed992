"""The Q-K-V fetcher: which transactions bring a head's keys and values, and in which order.

Every (layer, head) has three regions of memory: the most significant plane of its keys, their second plane, and its
values. A region begins on a row of its own in all channels, and token t of it is t rows from its start, pruned tokens
leaving holes: nothing is moved when a token goes. So a fetch walks over the surviving tokens in their order, and its
transactions fall on neighbouring channels.

Bits in memory: keys of 9 to 12 are stored as planes of 8 and 4, values of 9 to 12 as 8, what is not quantized as 32. A
row that is no whole number of transactions (6 bits of 64 channels: 48 bytes) is stored together with that of the next
head; the first head of a pair fetches the transaction that both share.

Which tokens survive is not in a workload, only how many; here it is a random choice, the same for all heads of a layer
and, among its keys, another one for each head's values.

Shape legend: R rows of the workload.

Source: SpAtten (HPCA 2021), section IV-A; the authors' open hardware description for the planes and the pairs of heads.
Differs from the paper: which does not say where in memory a token lies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.bitwidth_converter import CHIP_BITS
from multum.accelerator.hbm import HbmShape
from multum.accelerator.workload import FLOAT_BITS, Workload
from multum.accelerator.workload_columns import UNSET

PLANE_BITS: Final = 8
"""Bits of the plane that keys and values of more are cut to."""
ADDRESS_CYCLES: Final = 1
"""From a request to its channel: the address crossbar."""
DATA_CYCLES: Final = 2
"""From the last data of a channel to the memory on the chip: the data crossbar and the converter."""

_MASK: Final = (1 << 64) - 1

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Where the rows of a plane lie, for each row of a workload, (R,); all in transactions."""

    start: Ints
    """The transaction of the region's first token."""
    stride: Ints
    """Transactions from a token to the next."""
    offset: Ints
    """From a token's start to what this head fetches of it."""
    count: Ints
    """Transactions that it fetches of a token; 0 where the head has no such plane."""
    row_bits: Ints
    """Bits of a token in this plane."""


def stored_bits(workload: Workload) -> tuple[Ints, Ints, Ints]:
    """Bits a number has in memory: of the keys' first plane, of their second, and of the values, (R,) each."""
    keys, values = workload.quant_key_bit, workload.quant_value_bit
    wide = (keys > PLANE_BITS) & (keys <= CHIP_BITS)
    first = np.where(keys == UNSET, FLOAT_BITS, np.where(wide, PLANE_BITS, keys))
    second = np.where(
        workload.if_requant,
        np.maximum(workload.auto_requant_incre, 0),
        np.where(wide, CHIP_BITS - PLANE_BITS, 0),
    )
    narrow = np.where((values > PLANE_BITS) & (values <= CHIP_BITS), PLANE_BITS, values)
    return first, second, np.where(values == UNSET, FLOAT_BITS, narrow)


def regions_of(workload: Workload, shape: HbmShape) -> tuple[Regions, Regions, Regions]:
    """Lay out the keys' first plane, their second, and the values."""
    planes = [_rows_in_memory(workload, bits, shape.transaction_bytes) for bits in stored_bits(workload)]
    row_of_all_channels = shape.columns * shape.num_channels
    longest = int(workload.sentence_length_L.max()) * max(int(stride.max()) for stride, *_ in planes)
    size = -(-longest // row_of_all_channels) * row_of_all_channels
    heads = int(workload.head_id.max()) + 1
    regions = []
    for place, (stride, offset, count, bits) in enumerate(planes):
        owner = np.where(
            offset > 0, workload.head_id - 1, workload.head_id
        )  # the second of a pair lies with the first
        start = ((workload.layer_id * heads + owner) * len(planes) + place) * size
        regions.append(Regions(start=start, stride=stride, offset=offset, count=count, row_bits=bits))
    return regions[0], regions[1], regions[2]


def _rows_in_memory(workload: Workload, bits: Ints, transaction_bytes: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Stride, offset and count of a plane, in transactions, and the bits of its rows."""
    row_bits = workload.embedding_length_D.astype(np.int64) * bits
    transaction_bits = 8 * transaction_bytes
    alone = -(-row_bits // transaction_bits)
    paired = row_bits % transaction_bits != 0
    both = -(-2 * row_bits // transaction_bits)
    second = paired & (workload.head_id % 2 == 1)
    stride = np.where(paired, both, alone)
    offset = np.where(second, alone, 0)
    return stride, offset, np.where(second, both - alone, alone), row_bits


def surviving(seed: int, num_tokens: int, num_kept: int) -> Iterator[int]:
    """Choose tokens at random, in their order: every choice of so many has the same chance.

    A token is kept with the chance of (still wanted) / (still to come); the random number is a hash of seed and
    token, so that any language gives the same.

    Source: selection sampling (D. E. Knuth, The Art of Computer Programming 2, Algorithm S); splitmix64's mixing.

    >>> list(surviving(1, 10, 4))
    [1, 2, 3, 7]
    """
    wanted = num_kept
    for token in range(num_tokens):
        if _hash(seed, token) * (num_tokens - token) >> 32 < wanted:
            wanted -= 1
            yield token


def _hash(seed: int, token: int) -> int:
    """32 bits."""
    word = (seed * 0x9E3779B97F4A7C15 + token * 0xD1B54A32D192ED03) & _MASK
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _MASK
    return (word ^ word >> 31) >> 32


def transactions_of(region: Regions, row: int, tokens: Sequence[int]) -> list[int]:
    """Transactions that bring these tokens of a workload's row, in their order."""
    start, stride = int(region.start[row] + region.offset[row]), int(region.stride[row])
    return [start + token * stride + part for token in tokens for part in range(int(region.count[row]))]
