"""A workload: its file to the byte, its sums, and what it refuses, each with the line and the column."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from multum.accelerator import Workload
from multum.accelerator.workload_columns import KINDS, TRACE_KINDS
from multum.core import UserError

NAMES = ",".join(TRACE_KINDS)
SAMPLE = f"""{NAMES}
0,0,0,64.0,10,10,12,16,-1,False,-1,3,8,True,False,False,-1
0,0,1,64.0,10,10,12,16,-1,False,-1,3,8,True,False,True,5
1,0,0,64.0,11,11,8,-1,0.05,True,4,11,8,False,True,False,-1
1,1,0,64.0,11,5,8,-1,0.05,False,4,5,-1,False,False,False,-1
"""
LAST_LINE = "configs/of/somebody.yml" + "," * 16 + "\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "work.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("last", "origin"), [("", None), (LAST_LINE, "configs/of/somebody.yml")])
def test_file_comes_back_to_the_byte(last: str, origin: str | None, tmp_path: Path) -> None:
    work = Workload.read_csv(write(tmp_path, SAMPLE + last))
    assert work.origin == origin
    work.write_csv(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text(encoding="utf-8") == SAMPLE + last
    assert Workload.read_csv(tmp_path / "again.csv") == work


def test_columns_are_those_of_the_file_in_its_order() -> None:
    assert len(TRACE_KINDS) == 17
    assert [*KINDS] == [*TRACE_KINDS, "num_queries"]
    assert [*Workload.__dataclass_fields__] == [*KINDS, "origin"]


def test_rows_and_sums_are_plain_numbers(tmp_path: Path) -> None:
    work = Workload.read_csv(write(tmp_path, SAMPLE))
    rows = list(work)
    assert (len(work), rows[2].auto_requant_thres, rows[2].if_requant, rows[1].topk) == (4, 0.05, True, 5)
    assert type(rows[0].key_fetch_num) is int
    assert (work.key_rows, work.value_rows) == (36, 22)
    assert work.key_bytes == 64 * (20 * 12 + 11 * (8 + 4) + 5 * 8) // 8
    assert work.value_bytes == 64 * (6 * 8 + 11 * 8 + 5 * 32) // 8


def test_many_queries_are_an_eighteenth_column(tmp_path: Path) -> None:
    work = Workload.from_counts(keys=[[7, 4]], heads=2, num_queries=[[7, 4]])
    work.write_csv(tmp_path / "work.csv")
    text = (tmp_path / "work.csv").read_text(encoding="utf-8").splitlines()
    assert text[0] == f"{NAMES},num_queries"
    assert text[1].endswith(",False,-1,7")
    again = Workload.read_csv(tmp_path / "work.csv")
    assert again == work
    assert again.num_queries.tolist() == [7, 7, 4, 4]


def changed(line: int, column: str, cell: str) -> str:
    """The sample with one cell replaced; line 1 is the header."""
    lines = SAMPLE.splitlines()
    cells = lines[line - 1].split(",")
    cells[[*TRACE_KINDS].index(column)] = cell
    lines[line - 1] = ",".join(cells)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, must be|line 1 must be the 17 names"),
        (NAMES + "\n", "a workload of at least one row"),
        (SAMPLE.replace("head_id", "head"), "line 1, column 3 must be 'head_id'; got 'head'"),
        (SAMPLE + "1,2\n", "line 6 must be of 17 values; got '2 values'"),
        (
            changed(3, "key_fetch_num", "ten"),
            "line 3, key_fetch_num must be a whole number, 1 or more; got 'ten'",
        ),
        (
            changed(3, "key_fetch_num", "0"),
            "line 3, key_fetch_num must be a whole number, 1 or more; got '0'",
        ),
        (
            changed(2, "embedding_length_D", "6.5"),
            "line 2, embedding_length_D must be a whole number of channels",
        ),
        (
            changed(2, "embedding_length_D", "nan"),
            "line 2, embedding_length_D must be a whole number of channels",
        ),
        (changed(4, "quant_key_bit", "0"), "line 4, quant_key_bit must be a number of bits in 1..32, or -1"),
        (changed(4, "auto_requant_thres", "1.5"), r"line 4, auto_requant_thres must be in \[0, 1\], or -1"),
        (changed(4, "if_requant", "yes"), "line 4, if_requant must be True or False; got 'yes'"),
        (
            changed(4, "auto_requant_incre", "-1"),
            "line 4, auto_requant_incre must be set where if_requant is True",
        ),
        (changed(3, "topk", "-1"), "line 3, topk must be set where if_topk is True, and only there"),
        (changed(2, "topk", "4"), "line 2, topk must be set where if_topk is True, and only there; got '4'"),
        (
            changed(5, "value_fetch_num", "6"),
            "line 5, value_fetch_num must be at most key_fetch_num; got '6'",
        ),
        (
            changed(5, "sentence_length_L", "4"),
            "line 5, key_fetch_num must be at most sentence_length_L; got '5'",
        ),
        (
            changed(3, "head_id", "0"),
            "line 3, head_id must be such that .* increases from row to row; got '0'",
        ),
        (changed(3, "key_fetch_num", "9" * 30), "line 3, key_fetch_num must be a whole number"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        Workload.read_csv(write(tmp_path, text))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        Workload.read_csv(tmp_path / "nothing.csv")


def test_counts_spread_over_heads_and_only_the_last_head_chooses() -> None:
    work = Workload.from_counts(
        keys=[[6, 6], [7, 3]],
        heads=[2, 1],
        values=[[6, 2], [3, 3]],
        topk=[[-1, -1], [3, -1]],
        accumulate=[[True, False], [True, False]],
        key_bits=8,
        lsb_bits=4,
        threshold=0.1,
        requant=[[False], [True]],
        head_width=32,
    )
    assert work.layer_id.tolist() == [0, 0, 1, 0, 0, 1]
    assert work.head_id.tolist() == [0, 1, 0, 0, 1, 0]
    assert work.sentence_length_L.tolist() == [6, 6, 6, 7, 7, 7]
    assert work.topk.tolist() == [-1, -1, -1, -1, 3, -1]
    assert work.if_topk.tolist() == [False] * 4 + [True, False]
    assert work.if_accumulate_importance.tolist() == [True, True, False] * 2
    assert work.key_bytes == 32 * (18 * 8 + 17 * 12) // 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": [3, 4]}, "keys must be a list of layers for each iteration"),
        ({"heads": 0}, "heads must be at least 1 in every layer"),
        ({"heads": [1, 2, 3]}, r"heads must be of shape \(1, 2\), or such that it spreads to it"),
        ({"values": [[9, 1]]}, "row 0, value_fetch_num must be at most key_fetch_num; got 9"),
        ({"lengths": [3]}, "row 1, key_fetch_num must be at most sentence_length_L; got 4"),
        ({"head_width": 0}, "row 0, embedding_length_D must be a whole number of channels"),
        ({"requant": True}, "row 0, auto_requant_incre must be set where if_requant is True"),
        ({"origin": "a,b"}, "origin must be a path without commas"),
        ({"origin": ""}, "origin must be a path without commas"),
    ],
)
def test_impossible_counts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Workload.from_counts(**({"keys": [[3, 4]], "heads": 1} | changes))


def test_columns_cannot_be_written_and_are_not_shared() -> None:
    work = Workload.from_counts(keys=[[3, 4]], heads=1)
    with pytest.raises(ValueError, match="read-only"):
        work.key_fetch_num[0] = 9
    columns = {name: np.array(column) for name, column in work.columns().items()}
    other = Workload(**columns)  # type: ignore[arg-type]
    columns["key_fetch_num"][0] = 1
    assert other.key_fetch_num[0] == 3
    assert other == work
    assert work != "a workload"


def test_columns_of_different_lengths_are_refused() -> None:
    columns = Workload.from_counts(keys=[[3, 4]], heads=1).columns()
    with pytest.raises(UserError, match="the columns must be of one length"):
        Workload(**(columns | {"head_id": np.array([0])}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "message"),
    [([[5, 5], [5]], "keys must be rows of one length"), ([["a", "b"]], "keys must be numbers")],
)
def test_counts_that_are_no_table_of_numbers_are_refused(keys: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Workload.from_counts(keys=keys, heads=2)
