"""Calls the compiled kernel `cpu.cpp` through ctypes. Shape legend as in `reference.py`."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multum.native import NativeLibrary, load_native
from multum.ops.weighted_rows.reference import RowLists

SOURCE = Path(__file__).with_name("cpu.cpp")
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64


def library() -> NativeLibrary | None:
    """The compiled kernel, or None where it cannot be had."""
    return load_native(SOURCE)


def weighted_rows(x_NC: Tensor, starts_M1: Tensor, column_E: Tensor, weight_E: Tensor) -> Tensor:
    """Sums of rows; everything dense and float32."""
    rows, channels = len(starts_M1) - 1, x_NC.shape[1]
    y_MC = x_NC.new_empty(rows, channels)
    lists = (it.data_ptr() for it in (starts_M1, column_E, weight_E))
    threads = torch.get_num_threads()
    _functions().sum(x_NC.data_ptr(), *lists, rows, channels, threads, y_MC.data_ptr())
    return y_MC


def turn_rows(lists: RowLists) -> RowLists:
    """As `turn_rows_reference`."""
    starts_N1 = torch.empty(lists.num_columns + 1, dtype=torch.int64)
    row_E, weight_E = torch.empty_like(lists.column_E), torch.empty_like(lists.weight_E)
    given = (it.data_ptr() for it in (lists.starts_M1, lists.column_E, lists.weight_E))
    made = (it.data_ptr() for it in (starts_N1, row_E, weight_E))
    inside = _functions().turn(*given, lists.num_rows, lists.num_columns, *made)
    assert inside, "a list that reads a row that is not there"
    return RowLists(starts_N1, row_E, weight_E, lists.num_rows)


class _Functions:
    """Both functions of the library, with their arguments declared."""

    def __init__(self, handle: ctypes.CDLL) -> None:
        self.sum: Any = handle.multum_weighted_rows
        self.sum.argtypes, self.sum.restype = [*[_POINTER] * 4, _LONG, _LONG, ctypes.c_int, _POINTER], None
        self.turn: Any = handle.multum_turn_rows
        self.turn.argtypes, self.turn.restype = [*[_POINTER] * 3, _LONG, _LONG, *[_POINTER] * 3], ctypes.c_int


@cache
def _functions() -> _Functions:
    loaded = library()
    assert loaded is not None, "dispatch asked for a kernel that is not there"
    return _Functions(loaded.handle)
