"""The columns of a workload: their names, what each may hold, and how they must agree with each other.

Source: the traces that SpAtten's authors published (github.com/mit-han-lab/spatten, MIT licence). Whole numbers are
written as such, flags as `True` and `False`, the width of a head as a float (`64.0`), and -1 stands for "not
quantized" and "not set".
Differs from the traces: an 18th column, `num_queries`, is known; where it is absent every row has one query.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
"""One column of a workload: int64, float64 or bool."""

Kind = Literal["index", "size", "width", "bits", "threshold", "flag", "optional size"]
"""What a column holds, and so how it is written and what is allowed in it."""

QUERIES: Final = "num_queries"
"""The column that the published files do not have."""

UNSET: Final = -1
"""How the files say "not quantized" and "not set"."""

MOST_BITS: Final = 32
"""No column of bits goes beyond this."""

TRACE_KINDS: Final[Mapping[str, Kind]] = {
    "iteration_id": "index",
    "layer_id": "index",
    "head_id": "index",
    "embedding_length_D": "width",
    "sentence_length_L": "size",
    "key_fetch_num": "size",
    "quant_key_bit": "bits",
    "quant_query_bit": "bits",
    "auto_requant_thres": "threshold",
    "if_requant": "flag",
    "auto_requant_incre": "bits",
    "value_fetch_num": "size",
    "quant_value_bit": "bits",
    "if_accumulate_importance": "flag",
    "if_rescale_previous_importance": "flag",
    "if_topk": "flag",
    "topk": "optional size",
}
"""The 17 columns of the published files, in their order."""

KINDS: Final[Mapping[str, Kind]] = {**TRACE_KINDS, QUERIES: "size"}
"""All columns that a workload has."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """How values of one kind are held, and what a complaint calls them."""

    dtype: type[np.generic]
    """Type of the column."""
    said: str
    """What a value must be, in words."""


FORMS: Final[Mapping[Kind, Form]] = {
    "index": Form(dtype=np.int64, said="a whole number, 0 or more"),
    "size": Form(dtype=np.int64, said="a whole number, 1 or more"),
    "width": Form(dtype=np.float64, said="a whole number of channels, such as 64.0"),
    "bits": Form(dtype=np.int64, said=f"a number of bits in 1..{MOST_BITS}, or -1 for unset"),
    "threshold": Form(dtype=np.float64, said="in [0, 1], or -1 for unset"),
    "flag": Form(dtype=np.bool_, said="True or False"),
    "optional size": Form(dtype=np.int64, said="a whole number, 1 or more, or -1 for unset"),
}
"""The form of every kind."""


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """The first value of a workload that cannot be."""

    row: int
    """Its row, from 0."""
    column: str
    """Its column."""
    constraint: str
    """What it must be."""


def find_flaw(columns: Mapping[str, Column]) -> Flaw | None:
    """Find a value that its kind does not allow, or that does not agree with its row; None when all is well.

    Args:
        columns: All columns by name, of one length.
    """
    flaws = [flaw for name in KINDS if (flaw := _flaw_of_kind(name, columns[name])) is not None]
    return next(iter((*flaws, *_flaws_between(columns), *_flaws_of_order(columns))), None)


def _flaw_of_kind(name: str, column: Column) -> Flaw | None:
    kind = KINDS[name]
    if kind == "flag":
        return None
    unset = column == UNSET
    good = {
        "index": lambda: column >= 0,
        "size": lambda: column >= 1,
        "width": lambda: (column >= 1) & (column == np.floor(column)) & np.isfinite(column),
        "bits": lambda: unset | ((column >= 1) & (column <= MOST_BITS)),
        "threshold": lambda: unset | ((column >= 0) & (column <= 1)),
        "optional size": lambda: unset | (column >= 1),
    }[kind]()
    return None if good.all() else Flaw(row=int(np.argmin(good)), column=name, constraint=FORMS[kind].said)


def _flaws_between(columns: Mapping[str, Column]) -> Iterator[Flaw]:
    chosen, counted = columns["if_topk"], columns["topk"] != UNSET
    demands = (
        (
            "key_fetch_num",
            "at most sentence_length_L",
            columns["key_fetch_num"] <= columns["sentence_length_L"],
        ),
        ("value_fetch_num", "at most key_fetch_num", columns["value_fetch_num"] <= columns["key_fetch_num"]),
        ("topk", "set where if_topk is True, and only there", chosen == counted),
        (
            "auto_requant_incre",
            "set where if_requant is True",
            ~columns["if_requant"] | (columns["auto_requant_incre"] != UNSET),
        ),
    )
    for column, constraint, holds in demands:
        if not holds.all():
            yield Flaw(row=int(np.argmin(holds)), column=column, constraint=constraint)


def _flaws_of_order(columns: Mapping[str, Column]) -> Iterator[Flaw]:
    """Rows come iteration by iteration, layer by layer, head by head, each once."""
    later = np.zeros(max(len(columns["head_id"]) - 1, 0), dtype=np.bool_)
    for name in ("head_id", "layer_id", "iteration_id"):  # the most significant last
        step = np.diff(columns[name])
        later = (step > 0) | ((step == 0) & later)
    if not later.all():
        row = int(np.argmin(later)) + 1
        constraint = "such that (iteration_id, layer_id, head_id) increases from row to row"
        yield Flaw(row=row, column="head_id", constraint=constraint)
