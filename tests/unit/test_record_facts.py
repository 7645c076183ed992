"""Sums over the records of a generation agree with sums by hand."""

import pytest

from multum.attention import LayerRecord
from multum.attention.record_facts import (
    bytes_held_by_step,
    bytes_read_by_step,
    dense_cache_bytes,
    flat_rates,
    rows_by_layer,
)
from multum.core import UserError


def record(iteration: int, layer: int, rows: int, *, flat: tuple[int, ...] | None = None) -> LayerRecord:
    """Two heads, two sentences of which the second has one row fewer."""
    return LayerRecord(
        iteration=iteration,
        layer=layer,
        head_width=4,
        heads=((0, 1), (0, 1)),
        num_queries=(1, 1),
        num_keys=(rows, rows - 1),
        num_values=(rows, rows - 1),
        tokens_kept=(None, None),
        heads_kept=(None, None),
        flat_rows=None if flat is None else (flat, (0, 0)),
        cache_bytes_read=10 * rows if iteration else 0,
        cache_bytes_held=20 * rows,
    )


RECORDS = [
    record(0, 0, 8, flat=(9, 9)),
    record(0, 1, 8, flat=(9, 9)),
    record(1, 0, 9, flat=(1, 1)),
    record(1, 1, 4, flat=(0, 0)),
    record(2, 0, 10, flat=(1, 0)),
    record(2, 1, 5, flat=(0, 0)),
]


def test_bytes_are_summed_over_layers_step_by_step() -> None:
    assert bytes_read_by_step(RECORDS) == (0, 130, 150)
    assert bytes_held_by_step(RECORDS) == (320, 260, 300)


def test_rows_are_those_of_one_sentence() -> None:
    assert rows_by_layer(RECORDS) == ((8, 9, 10), (8, 4, 5))
    assert rows_by_layer(RECORDS, sentence=1) == ((7, 8, 9), (7, 3, 4))


def test_flat_rows_are_counted_of_generated_tokens_only() -> None:
    assert flat_rates(RECORDS) == (3 / 8, 0.0)
    assert flat_rates([record(1, 0, 3)]) == ()
    assert flat_rates(RECORDS[:2]) == ()


def test_dense_cache_holds_keys_and_values_of_every_group() -> None:
    assert dense_cache_bytes(10, num_layers=2, num_groups=3, head_width=4) == 10 * 2 * 3 * 4 * 4 * 2


def test_no_records_are_refused() -> None:
    with pytest.raises(UserError, match="of at least one layer"):
        bytes_read_by_step([])
