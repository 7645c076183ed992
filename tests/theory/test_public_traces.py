"""The two public traces: read, written back to the byte, and made again from their schedules, in every column."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.trace_problem import MEDIUM, SMALL, Trace

from multum.core import published

BOTH = pytest.mark.parametrize("trace", [MEDIUM, SMALL], ids=["medium", "small"])


@pytest.fixture(scope="module")
def traces(data_folder: Path) -> Path:
    folder = data_folder / "spatten_traces"
    if not folder.is_dir():
        pytest.skip(f"the public traces are not at {folder}")
    return folder


@BOTH
@pytest.mark.data
def test_public_trace_comes_back_to_the_byte(trace: Trace, traces: Path, tmp_path: Path) -> None:
    work = trace.read(traces)
    work.write_csv(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (traces / trace.file).read_bytes()
    assert work.origin is not None
    assert work.origin.endswith(".yml")


@BOTH
@pytest.mark.data
def test_schedule_makes_the_public_trace_again_in_every_column(trace: Trace, traces: Path) -> None:
    published, made = trace.read(traces), trace.made_from_schedule()
    for name, column in published.columns().items():
        np.testing.assert_array_equal(getattr(made, name), column, err_msg=name)
    assert made == published


@BOTH
def test_schedule_makes_the_published_sums(trace: Trace) -> None:
    made = trace.made_from_schedule()
    assert (made.key_rows, made.value_rows) == (trace.key_rows, trace.value_rows)
    rows = {MEDIUM: "trace_medium_rows", SMALL: "trace_small_rows"}[trace]
    assert len(made) == published("spatten", rows).number


def test_medium_trace_has_the_counts_of_its_description() -> None:
    made = MEDIUM.made_from_schedule()
    first, last = made.iteration_id == 0, made.iteration_id == 31
    assert np.bincount(made.layer_id[first]).tolist() == [16] * 16 + [13] * 6 + [10] * 2
    assert set(made.key_fetch_num[first].tolist()) == {993}
    assert set(made.value_fetch_num[first].tolist()) == {307}
    assert sorted(set(made.key_fetch_num[last].tolist())) == [307, 614, 819, 921, 1024]
    assert sorted(set(made.value_fetch_num[last].tolist())) == [92, 184, 245, 276, 307]
    assert made.if_topk.sum() == 31 * 4
    assert made.topk[made.if_topk][:4].tolist() == [921, 819, 614, 307]
    assert not made.if_accumulate_importance[last & (made.layer_id > 10)].any()
    assert made.if_accumulate_importance[~last].all()
