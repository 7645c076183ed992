"""The key and value memories on the chip: two buffers each, so that one fills while the other is read.

A buffer holds 1,024 rows of 64 numbers of 12 bits. While a prompt is read, the surviving keys and values of a head are
loaded once and met by all queries; while tokens are generated, nothing is met twice and the buffers only part the
fetcher's time from the multipliers'.

Source: SpAtten (HPCA 2021), section IV-D and Table I (196 KB each).
"""

from dataclasses import dataclass

from multum.accelerator.bitwidth_converter import CHIP_BITS
from multum.accelerator.counts import check_counts
from multum.core import invalid


@dataclass(frozen=True, kw_only=True)
class DoubleBuffer:
    """One of the two memories.

    Raises:
        UserError: A count below 1.

    >>> DoubleBuffer().num_bytes
    196608
    """

    rows: int = 1024
    """Rows of a buffer."""
    width: int = 64
    """Numbers of a row."""
    buffers: int = 2
    """1: nothing is fetched while a buffer is read."""

    def __post_init__(self) -> None:
        check_counts(self)

    @property
    def num_bytes(self) -> int:
        """Bytes of all buffers: buffers x rows x width x 12 bits."""
        return self.buffers * self.rows * self.width * CHIP_BITS // 8

    def num_loads(self, num_rows: int, width: int) -> int:
        """Buffers that a head's rows fill: ceil(num_rows / rows that fit); wider rows take the place of several.

        >>> DoubleBuffer().num_loads(993, 64), DoubleBuffer().num_loads(1025, 64), DoubleBuffer().num_loads(600, 128)
        (1, 2, 2)
        """
        fitting = self.rows // -(-width // self.width)
        if fitting < 1:
            raise invalid("width", f"at most {self.rows * self.width}, a buffer", width)
        return -(-num_rows // fitting)

    def finish_cycles(self, fetch_cycles: list[int], read_cycles: list[int]) -> list[int]:
        """When each load has been read, if each is fetched as soon as a buffer is free.

        With two buffers a fetch waits until the load before the last has been read:

            fetched(i) = max(fetched(i - 1), done(i - buffers)) + fetch_cycles(i)
            done(i) = max(fetched(i), done(i - 1)) + read_cycles(i)

        >>> DoubleBuffer().finish_cycles([10, 10, 10], [4, 4, 4])
        [14, 24, 34]
        >>> DoubleBuffer(buffers=1).finish_cycles([10, 10, 10], [4, 4, 4])
        [14, 28, 42]
        """
        fetched = 0
        done: list[int] = []
        for index, (fetch, read) in enumerate(zip(fetch_cycles, read_cycles, strict=True)):
            free = done[index - self.buffers] if index >= self.buffers else 0
            fetched = max(fetched, free) + fetch
            done.append(max(fetched, done[-1] if done else 0) + read)
        return done
