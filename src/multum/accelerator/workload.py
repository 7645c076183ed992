"""What the accelerator is asked to do: one row for each head of each layer of each iteration.

A workload says how many key and value rows a head fetches, at how many bits, whether the second plane of the keys is
fetched as well, whether importance is added up, and where a top-k follows. It knows no model and no number of the
network: counts are all that the hardware's time and energy depend on.

Source: the columns of the traces that SpAtten's authors published (github.com/mit-han-lab/spatten, MIT licence).
Differs from the traces: `num_queries`, so that a prompt and an encoder's sentence, which have many query rows for one
set of keys, can be told as well; it is written only where some row has more than one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.workload_columns import FORMS, KINDS, UNSET, Column, find_flaw
from multum.accelerator.workload_counts import Counts, columns_of_counts, layer_columns, same_columns
from multum.accelerator.workload_file import check_origin, format_workload, parse_workload, read_workload_text
from multum.core import invalid, write_text_atomic

FLOAT_BITS = 32
"""Bits of a value that is not quantized, where bytes are summed."""


class WorkloadRow(NamedTuple):
    """One head of one layer of one iteration, in plain numbers; -1 is "not set"."""

    iteration_id: int
    layer_id: int
    head_id: int
    embedding_length_D: float
    sentence_length_L: int
    key_fetch_num: int
    quant_key_bit: int
    quant_query_bit: int
    auto_requant_thres: float
    if_requant: bool
    auto_requant_incre: int
    value_fetch_num: int
    quant_value_bit: int
    if_accumulate_importance: bool
    if_rescale_previous_importance: bool
    if_topk: bool
    topk: int
    num_queries: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload:
    """The rows, column by column; columns are read-only and of one length.

    Raises:
        UserError: Columns of different lengths, a value that cannot be, rows out of order; the message names row and
            column.

    >>> step = Workload.from_counts(keys=[[993, 993], [994, 921]], heads=2, values=[[307, 307], [307, 276]])
    >>> len(step), step.key_rows, step.value_rows
    (8, 7802, 2394)
    """

    iteration_id: NDArray[np.int64]
    """0 for a prompt or an encoder's forward, t for the t-th generated token."""
    layer_id: NDArray[np.int64]
    """The layer."""
    head_id: NDArray[np.int64]
    """The head."""
    embedding_length_D: NDArray[np.float64]
    """Channels of a head."""
    sentence_length_L: NDArray[np.int64]
    """Tokens of the whole sequence so far, pruned ones included."""
    key_fetch_num: NDArray[np.int64]
    """Key rows that the head fetches."""
    quant_key_bit: NDArray[np.int64]
    """Bits of a key that every query reads; -1: not quantized."""
    quant_query_bit: NDArray[np.int64]
    """Bits of a query; -1: not quantized."""
    auto_requant_thres: NDArray[np.float64]
    """Largest probability below which a row fetches more bits of the keys; -1: never."""
    if_requant: NDArray[np.bool_]
    """Whether this head fetched them."""
    auto_requant_incre: NDArray[np.int64]
    """How many more bits; -1: there are none."""
    value_fetch_num: NDArray[np.int64]
    """Value rows that a query multiplies."""
    quant_value_bit: NDArray[np.int64]
    """Bits of a value; -1: not quantized."""
    if_accumulate_importance: NDArray[np.bool_]
    """Whether the probabilities are added to the importance of the tokens."""
    if_rescale_previous_importance: NDArray[np.bool_]
    """Whether earlier importance is multiplied by a factor first."""
    if_topk: NDArray[np.bool_]
    """Whether tokens are chosen after this head."""
    topk: NDArray[np.int64]
    """How many; -1 where none are chosen."""
    num_queries: NDArray[np.int64]
    """Query rows that meet the keys: 1 in generation."""
    origin: str | None = None
    """Path of the configuration that the rows came from, where a file says so."""

    def __post_init__(self) -> None:
        columns = {name: _as_column(name, getattr(self, name)) for name in KINDS}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise invalid("the columns", "of one length", lengths)
        if not lengths["head_id"]:
            raise invalid("a workload", "of at least one row", "none")
        flaw = find_flaw(columns)
        if flaw is not None:
            value = columns[flaw.column][flaw.row].item()
            raise invalid(f"row {flaw.row}, {flaw.column}", flaw.constraint, value)
        check_origin(self.origin)
        for name, column in columns.items():
            column.setflags(write=False)
            object.__setattr__(self, name, column)

    @classmethod
    def read_csv(cls, path: Path | str) -> "Workload":
        """Read a file with the columns of the published traces, packed by gzip or not.

        Raises:
            UserError: The file cannot be read, or a line does not fit; the message names line and column.
        """
        columns, origin = parse_workload(read_workload_text(Path(path)), str(path))
        return cls(**columns, origin=origin)

    def write_csv(self, path: Path | str) -> None:
        """Write a file as the authors do, atomically; `num_queries` only where some row has more than one query."""
        write_text_atomic(Path(path), format_workload(self.columns(), self.origin))

    @classmethod
    def from_counts(
        cls,
        *,
        keys: Counts,
        heads: Counts,
        values: Counts | None = None,
        lengths: Counts | None = None,
        head_width: int = 64,
        num_queries: Counts = 1,
        query_bits: int | None = None,
        key_bits: int | None = None,
        value_bits: int | None = None,
        lsb_bits: int | None = None,
        threshold: float | None = None,
        requant: Counts = False,
        accumulate: Counts = False,
        rescale: Counts = False,
        topk: Counts = UNSET,
        origin: str | None = None,
    ) -> "Workload":
        """Make a workload from counts alone, without a model.

        Every array-like has one entry for each (iteration, layer), or spreads to that shape.

        Args:
            keys: Key rows that each head of a layer fetches, one list a layer for each iteration.
            heads: Heads that are computed.
            values: Value rows that a query multiplies; None: as many as keys.
            lengths: Tokens of the sequence in each iteration; None: the most keys of any of its layers.
            head_width: Channels of a head.
            num_queries: Query rows.
            query_bits: Bits of a query; None: not quantized.
            key_bits: Bits of a key that every query reads; None: not quantized.
            value_bits: Bits of a value; None: not quantized.
            lsb_bits: Bits of the keys' second plane; None: there is none.
            threshold: Largest probability below which a row asks for the second plane.
            requant: Whether the second plane was fetched.
            accumulate: Whether importance is added up.
            rescale: Whether earlier importance is multiplied by a factor first.
            topk: Tokens chosen after the layer's last head; -1: none are chosen.
            origin: See `Workload`.

        Raises:
            UserError: Shapes that do not fit, or values that cannot be.

        >>> dense = Workload.from_counts(keys=[[100] * 12], heads=12, num_queries=100)
        >>> dense.key_rows, dense.key_bytes
        (14400, 3686400)
        """
        flags = requant, accumulate, rescale
        by_layer = layer_columns(keys if values is None else values, num_queries, flags, topk)
        same = same_columns(head_width, query_bits, key_bits, value_bits, lsb_bits, threshold)
        columns = columns_of_counts(keys=keys, heads=heads, lengths=lengths, by_layer=by_layer, same=same)
        return cls(**columns, origin=origin)

    def columns(self) -> dict[str, Column]:
        """All columns by name, in the order of the file."""
        return {name: getattr(self, name) for name in KINDS}

    def __len__(self) -> int:
        return len(self.iteration_id)

    def __iter__(self) -> Iterator[WorkloadRow]:
        for values in zip(*(column.tolist() for column in self.columns().values()), strict=True):
            yield WorkloadRow(*values)

    def __eq__(self, other: object) -> bool:
        """Whether all columns are equal; where they came from does not matter."""
        if not isinstance(other, Workload):
            return NotImplemented
        return all(np.array_equal(column, getattr(other, name)) for name, column in self.columns().items())

    __hash__ = None  # type: ignore[assignment]

    @property
    def key_rows(self) -> int:
        """Key rows fetched, summed over rows of the workload."""
        return int(self.key_fetch_num.sum())

    @property
    def value_rows(self) -> int:
        """Value rows that one query of each head multiplies, summed over rows of the workload."""
        return int(self.value_fetch_num.sum())

    @property
    def key_bytes(self) -> int:
        """Bytes of the key rows fetched, the second plane included where it was; scales are not counted."""
        base = np.where(self.quant_key_bit == UNSET, FLOAT_BITS, self.quant_key_bit)
        bits = base + np.where(self.if_requant, self.auto_requant_incre, 0)
        return _bytes(self.key_fetch_num, self.embedding_length_D, bits)

    @property
    def value_bytes(self) -> int:
        """Bytes of the value rows that one query of each head multiplies; scales are not counted."""
        bits = np.where(self.quant_value_bit == UNSET, FLOAT_BITS, self.quant_value_bit)
        return _bytes(self.value_fetch_num, self.embedding_length_D, bits)


def _bytes(rows: Column, width: Column, bits: Column) -> int:
    return int((rows * width.astype(np.int64) * bits).sum()) // 8


def _as_column(name: str, values: Any) -> Column:
    """A column of its own type, copied; a number that would change on the way is refused."""
    form = FORMS[KINDS[name]]
    given = np.asarray(values)
    if given.ndim != 1 or given.dtype.kind not in ("b" if form.dtype is np.bool_ else "iuf"):
        raise invalid(name, f"one value a row, each {form.said}", values)
    column = given.astype(form.dtype)
    if not np.array_equal(column, given, equal_nan=given.dtype.kind == "f"):
        raise invalid(name, f"one value a row, each {form.said}", values)
    return column
