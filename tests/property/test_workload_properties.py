"""Whatever the counts: a workload survives its file, and its sums are those of its counts."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multum.accelerator import Workload


@st.composite
def counts(draw: st.DrawFn) -> dict[str, Any]:
    """Keyword arguments of `Workload.from_counts`."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    size = shape[0] * shape[1]

    def whole(low: int, high: int) -> st.SearchStrategy[list[int]]:
        return st.lists(st.integers(low, high), min_size=size, max_size=size)

    keys = np.reshape(draw(whole(1, 40)), shape)
    values = np.minimum(np.reshape(draw(whole(1, 40)), shape), keys)
    chosen = np.reshape(draw(whole(0, 20)), shape)
    return {
        "keys": keys,
        "values": values,
        "heads": np.reshape(draw(whole(1, 4)), shape),
        "num_queries": np.reshape(draw(whole(1, 3)), shape),
        "topk": np.where(chosen == 0, -1, chosen),
        "accumulate": draw(st.booleans()),
        "rescale": draw(st.booleans()),
        "key_bits": draw(st.none() | st.sampled_from([4, 8, 12])),
        "value_bits": draw(st.none() | st.integers(2, 16)),
        "query_bits": draw(st.none() | st.integers(2, 16)),
        "threshold": draw(st.none() | st.floats(0, 1)),
        "lsb_bits": 4,
        "requant": draw(st.booleans()),
        "head_width": draw(st.integers(1, 128)),
        "origin": draw(st.none() | st.just("configs/some.yml")),
    }


@given(counts())
def test_workload_survives_its_file(given_counts: dict[str, Any]) -> None:
    work = Workload.from_counts(**given_counts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "work.csv"
        work.write_csv(path)
        again = Workload.read_csv(path)
        again.write_csv(path)
        assert Workload.read_csv(path) == work
    assert again == work
    assert again.origin == work.origin


@given(counts())
def test_sums_are_those_of_the_counts(given_counts: dict[str, Any]) -> None:
    work, heads = Workload.from_counts(**given_counts), given_counts["heads"]
    assert len(work) == heads.sum()
    assert work.key_rows == (given_counts["keys"] * heads).sum()
    assert work.value_rows == (given_counts["values"] * heads).sum()
    bits = (given_counts["key_bits"] or 32) + 4 * given_counts["requant"]
    assert work.key_bytes == work.key_rows * given_counts["head_width"] * bits // 8
    assert sum(row.key_fetch_num for row in work) == work.key_rows
