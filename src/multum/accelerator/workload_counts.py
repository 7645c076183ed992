"""From counts of rows, one for each iteration and layer, to the columns of a workload, one row for each head.

Shape legend: I iterations, N layers, R rows of the workload.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.workload_columns import FORMS, KINDS, UNSET, Column
from multum.core import invalid

Counts = int | Sequence[Any] | NDArray[Any]
"""One whole number (or flag), or nested lists or an array of them."""


def layer_columns(
    values: Counts, num_queries: Counts, flags: tuple[Counts, Counts, Counts], topk: Counts
) -> dict[str, Counts]:
    """Columns that differ from layer to layer, by name; flags are re-quantized, accumulate, rescale."""
    requant, accumulate, rescale = flags
    return {
        "value_fetch_num": values,
        "num_queries": num_queries,
        "if_requant": requant,
        "if_accumulate_importance": accumulate,
        "if_rescale_previous_importance": rescale,
        "topk": topk,
    }


def same_columns(
    head_width: int,
    query_bits: int | None,
    key_bits: int | None,
    value_bits: int | None,
    lsb_bits: int | None,
    threshold: float | None,
) -> dict[str, int | float | None]:
    """Columns with one value in all rows, by name."""
    return {
        "embedding_length_D": head_width,
        "quant_query_bit": query_bits,
        "quant_key_bit": key_bits,
        "quant_value_bit": value_bits,
        "auto_requant_incre": lsb_bits,
        "auto_requant_thres": threshold,
    }


def columns_of_counts(
    *,
    keys: Counts,
    heads: Counts,
    lengths: Counts | None,
    by_layer: Mapping[str, Counts],
    same: Mapping[str, int | float | None],
) -> dict[str, Column]:
    """Repeat what holds for a layer over its heads.

    Args:
        keys: Key rows of every iteration and layer.
        heads: Heads computed, of that shape or spreading to it.
        lengths: Tokens of the sentence in each iteration; None: the most keys of any of its layers.
        by_layer: Further columns that differ from layer to layer, of that shape or spreading to it; `topk` holds
            for the last head of a layer only.
        same: Columns with one value in all rows; None is "not set".

    Returns:
        All columns by name.

    Raises:
        UserError: Shapes that do not fit, no heads.
    """
    keys_IN = _numbers("keys", keys)
    if keys_IN.ndim != 2 or not keys_IN.size:
        raise invalid("keys", "a list of layers for each iteration", keys)
    length_I: Column = keys_IN.max(axis=1) if lengths is None else _numbers("lengths", lengths)
    length_IN = _spread("lengths", length_I[:, None] if length_I.ndim == 1 else length_I, keys_IN.shape)
    heads_R = _spread("heads", heads, keys_IN.shape).ravel()
    if heads_R.dtype.kind not in "iu" or (heads_R < 1).any():
        raise invalid("heads", "at least 1 in every layer", heads)
    index_2IN: Column = np.indices(keys_IN.shape)
    grid: dict[str, Column] = {
        "iteration_id": index_2IN[0],
        "layer_id": index_2IN[1],
        "key_fetch_num": keys_IN,
        "sentence_length_L": length_IN,
        **{name: _spread(name, value, keys_IN.shape) for name, value in by_layer.items()},
    }
    columns = {name: np.repeat(value.ravel(), heads_R) for name, value in grid.items()}
    columns["head_id"] = np.arange(heads_R.sum()) - np.repeat(heads_R.cumsum() - heads_R, heads_R)
    is_last_R = columns["head_id"] == np.repeat(heads_R, heads_R) - 1
    columns["topk"] = np.where(is_last_R, columns["topk"], UNSET)
    columns["if_topk"] = columns["topk"] != UNSET
    for name, value in same.items():
        dtype = FORMS[KINDS[name]].dtype
        columns[name] = np.full(len(is_last_R), UNSET if value is None else value, dtype)
    return columns


def _numbers(name: str, value: Any) -> Column:
    """An array of numbers or flags."""
    try:
        numbers: Column = np.asarray(value)
    except ValueError as problem:
        raise invalid(name, "rows of one length", value, "give every iteration all layers") from problem
    if numbers.dtype.kind not in "biuf":
        raise invalid(name, "numbers", value)
    return numbers


def _spread(name: str, value: Any, shape: tuple[int, ...]) -> Column:
    numbers = _numbers(name, value)
    try:
        spread: Column = np.broadcast_to(numbers, shape)
    except ValueError as problem:
        given = numbers.shape
        raise invalid(name, f"of shape {shape}, or such that it spreads to it", given) from problem
    return spread
