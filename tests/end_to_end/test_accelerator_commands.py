"""`multum accelerator ...` as a user calls it: numbers, tables, pictures, and one line for whatever cannot be."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from multum.accelerator import Architecture, Workload, read_layers, simulate, spatten_eighth
from multum.accelerator.simulate_command import SimulateConfig, run_simulate
from multum.accelerator.sweep_command import num_processes
from multum.accelerator.workload_columns import TRACE_KINDS
from multum.accelerator.workload_file import STRETCH_LINES, parse_workload
from multum.cli import main

NAMES = ",".join(TRACE_KINDS)
ROW = "{},0,0,64.0,10,10,8,16,-1,False,-1,3,8,True,False,False,-1"
WORK = Workload.from_counts(
    keys=[[300, 200], [301, 200]], heads=4, values=[[90, 60], [90, 60]], key_bits=12, value_bits=8
)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.csv"
    WORK.write_csv(path)
    return path


def written(folder: Path, text: str) -> Path:
    path = folder / "bad.csv"
    path.write_text(text, encoding="utf-8")
    return path


def told(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, Any]:
    """Run a command for its JSON."""
    assert main(["accelerator", *map(str, words), "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def complaint(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that cannot be done: one line, no traceback, exit code 2."""
    assert main(["accelerator", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    last = captured.err.splitlines()[-1]
    assert last.startswith("multum: error: ")
    return last


# simulate -------------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_simulation(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, run = told(capsys, "simulate", trace), simulate(WORK)
    assert (found["architecture"], found["rows"], found["cycles"]) == ("SpAtten", 16, run.cycles)
    assert found["seconds"] == run.cycles / 1e9
    assert found["utilization"] == run.utilization
    assert found["dram"]["moved_bytes"] == run.dram.moved_bytes
    assert found["dram"]["efficiency"] == run.dram_efficiency
    assert found["total_joules"] == pytest.approx(sum(found["joules"].values()))
    assert found["total_watts"] == pytest.approx(sum(found["watts"].values()))
    assert found["total_area_mm2"] == pytest.approx(sum(found["area_mm2"].values()))
    roofline = found["roofline"]
    assert roofline["bound_by"] == "memory"
    assert roofline["bound_flops"] == pytest.approx(roofline["operations_per_byte"] * 512e9)
    assert [it["cycles"] for it in found["layers"]] == [it.cycles for it in read_layers(run)]
    assert sum(it["cycles"] for it in found["layers"]) == run.cycles
    assert sum(it["joules"] for it in found["layers"]) == pytest.approx(found["total_joules"])


def test_tables_show_the_same(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accelerator", "simulate", str(trace), "--set", "hbm.channels=8"]) == 0
    page = capsys.readouterr().out
    run = simulate(WORK, spatten_of(channels=8))
    assert "SpAtten, hbm.channels = 8: 16 rows" in page
    for word in (f"{run.cycles:,}", "Row hits", "prob x V", "top-k (values)", "HBM I/O", "Roofline", "Layer"):
        assert word in page


def spatten_of(*, channels: int) -> Architecture:
    from multum.accelerator.fields import with_fields

    return with_fields(Architecture(), {"hbm.channels": channels})


def test_switches_do_what_their_names_say(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def cycles(*words: str) -> int:
        return int(told(capsys, "simulate", trace, *words)["cycles"])

    assert cycles("--ideal-dram") == simulate(WORK, ideal_dram=True).cycles
    assert cycles("--serial") == simulate(WORK, overlap=False).cycles
    assert cycles("--architecture", "spatten-1/8") == simulate(WORK, spatten_eighth()).cycles
    several = ("--set", "value_topk.parallelism=4", "--set", "clock_ghz=0.5")
    assert cycles(*several) > cycles(*several[:2]) / 2
    assert main(["accelerator", "simulate", str(trace), "--ideal-dram"]) == 0
    assert "Row hits" not in capsys.readouterr().out


def test_both_engines_can_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "short.csv"
    Workload.from_counts(keys=[[20, 10]], heads=2, values=[[6, 5]]).write_csv(path)
    words = ("simulate", path, "--impl")
    assert told(capsys, *words, "reference") == told(capsys, *words, "auto")


def test_packed_traces_are_read_whatever_their_name(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = trace.with_name("trace.bin")
    packed.write_bytes(gzip.compress(trace.read_bytes()))
    assert told(capsys, "simulate", packed) == told(capsys, "simulate", trace)


def test_a_run_folder_keeps_the_result_and_is_not_overwritten(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("simulate", trace, "--out", tmp_path / "run")
    result = told(capsys, *words)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["result"]) == ("finished", result)
    assert record["config"]["trace"] == trace.as_posix()
    assert "run holds a run; --overwrite replaces it" in complaint(capsys, *words)
    assert told(capsys, *words, "--overwrite") == result


def test_timeline_is_written(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "timeline.json"
    found = told(capsys, "simulate", trace, "--timeline", path, "--timeline-rows", "4:8")
    assert found["timeline"] == str(path)
    events = json.loads(path.read_text())["traceEvents"]
    assert {it["args"]["row"] for it in events if it["ph"] == "X"} == {4, 5, 6, 7}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "value_topk.paralelism=4"], "did you mean value_topk.parallelism"),
        (["--set", "hbm=4"], "'hbm' is a unit and no field; it has hbm.channels"),
        (["--set", "clock_ghz"], "set must be field=value; got 'clock_ghz'"),
        (["--set", "clock_ghz=1,2"], "set clock_ghz must be one value"),
        (["--set", "clock_ghz=1", "--set", "clock_ghz=2"], "set clock_ghz must be given once"),
        (["--set", "clock_ghz=fast"], "clock_ghz must be a number; got 'fast'"),
        (["--set", "hbm.channels=0"], "channels must be at least 1"),
        (["--set", "value_topk.parallelism=3"], "must be a power of two; got 3"),
        (["--architecture", "spaten"], "spatten"),
        (["--timeline-rows", "1:2"], "timeline_rows must be given together with timeline"),
        (
            ["--timeline", "t.json", "--timeline-rows", "1-2"],
            "timeline_rows must be A:B, such as 0:1000; got '1-2'",
        ),
        (
            ["--timeline", "t.json", "--timeline-rows", "99:"],
            "rows must be some of the workload's rows, 0 to 15",
        ),
        (["--overwrite"], "overwrite must be given together with out"),
        (["--ideal"], "did you mean --ideal-dram?"),
    ],
)
def test_bad_options_are_one_line(
    words: list[str], message: str, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in complaint(capsys, "simulate", trace, *words)


CELLS = ROW.format(1).split(",")


def changed(column: str, cell: str) -> str:
    """A trace whose third line has another cell."""
    cells = [*CELLS]
    cells[[*TRACE_KINDS].index(column)] = cell
    return "\n".join([NAMES, ROW.format(0), ",".join(cells), ""])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bad.csv, line 1 must be the 17 names of the columns; got 0"),
        (NAMES + "\n", "bad.csv must be a workload of at least one row"),
        (
            NAMES.replace("sentence_length_L,", ""),
            "line 1, column 5 must be 'sentence_length_L'; got 'key_fetch_num'",
        ),
        (f"{NAMES}\n{ROW.format(0)},7\n", "line 2 must be of 17 values; got '18 values'"),
        (f"{NAMES}\n{ROW.format(0)}\n\n{ROW.format(1)}\n", "line 3 must be of 17 values; got '1 values'"),
        (changed("key_fetch_num", "-4"), "line 3, key_fetch_num must be a whole number, 1 or more; got '-4'"),
        (changed("key_fetch_num", "11"), "line 3, key_fetch_num must be at most sentence_length_L; got '11'"),
        (
            changed("key_fetch_num", "ten"),
            "line 3, key_fetch_num must be a whole number, 1 or more; got 'ten'",
        ),
        (
            changed("key_fetch_num", "10.0"),
            "line 3, key_fetch_num must be a whole number, 1 or more; got '10.0'",
        ),
        (changed("if_topk", "Falsely"), "line 3, if_topk must be True or False; got 'Falsely'"),
        (changed("iteration_id", "0"), "line 3, head_id must be such that"),
    ],
)
def test_bad_traces_are_refused_with_file_line_and_column(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint(capsys, "simulate", written(tmp_path, text))
    assert message in said
    assert str(tmp_path / "bad.csv") in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(NAMES.encode() * 100)[:-9], "must be a whole gzip file"),
        (b"\x1f\x8bnot at all", "must be a whole gzip file"),
        (gzip.compress(b"\xff\xfe"), "must be UTF-8 text, packed; byte 0 is not"),
        (b"\xff\xfe", "must be UTF-8 text; byte 0 is not"),
    ],
    ids=["cut off", "not packed", "packed bytes", "bytes"],
)
def test_damaged_files_are_refused(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.gz").write_bytes(content)
    assert message in complaint(capsys, "simulate", tmp_path / "bad.gz")


def test_missing_traces_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing.csv does not exist" in complaint(capsys, "simulate", tmp_path / "nothing.csv")
    assert "cannot be read: is a directory" in complaint(capsys, "simulate", tmp_path)


def test_more_keys_than_the_buffers_hold_are_told_by_their_line_and_can_be_grown_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "long.csv"
    Workload.from_counts(keys=[[3, 2000]], heads=1).write_csv(path)
    said = complaint(capsys, "simulate", path)
    assert f"{path}, line 3, key_fetch_num must be at most 1024" in said
    assert said.endswith("take an architecture of larger buffers, --grow")
    assert told(capsys, "simulate", path, "--grow")["rows"] == 2


def test_a_million_rows_are_read_and_the_last_is_found() -> None:
    lines = [NAMES, *(ROW.format(iteration) for iteration in range(1_000_000))]
    columns, origin = parse_workload("\n".join(lines), "million.csv")
    assert origin is None
    assert int(columns["iteration_id"].sum()) == 999_999 * 500_000
    assert columns["if_accumulate_importance"].all()
    assert not columns["if_topk"].any()


def test_a_cell_is_found_in_every_stretch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (2, STRETCH_LINES + 1, STRETCH_LINES + 2, 2 * STRETCH_LINES + 3):
        lines = [NAMES, *(ROW.format(iteration) for iteration in range(2 * STRETCH_LINES + 5))]
        lines[line - 1] = lines[line - 1].replace("64.0", "wide")
        said = complaint(capsys, "simulate", written(tmp_path, "\n".join(lines)))
        assert f"line {line}, embedding_length_D must be a whole number of channels" in said


def test_it_is_a_function_too(trace: Path) -> None:
    assert run_simulate(SimulateConfig(trace=trace)).cycles == simulate(WORK).cycles


# sweep ----------------------------------------------------------------------------------------------------------------

VARY = ("--vary", "value_topk.parallelism=4,3,16", "--vary", "hbm.channels=4,16", "--processes", "1")


def test_sweep_marks_the_front_and_draws_it(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the picture needs the report extra")
    pytest.importorskip("jinja2", reason="the picture needs the report extra")
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "sweep"
    words = ("sweep", trace, *VARY, "--front", "seconds", "area_mm2", "--out", out)
    assert main(["accelerator", *map(str, words)]) == 0
    page = capsys.readouterr().out
    assert (
        "value_topk.parallelism = 3, hbm.channels = 4: value_topk: lanes must be a power of two; got 3"
        in page
    )
    assert page.count("cannot be") == 2
    assert "front in time and area" in page
    html = (out / "sweep.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert "on the front" in html
    assert str(tmp_path) not in html
    again = told(capsys, *words, "--resume")
    assert again["on_front"].count(True) >= 2
    assert again["picture"] == str(out / "sweep.html")
    assert json.loads((out / "run.json").read_text())["result"] == {
        name: value for name, value in again.items() if name != "picture"
    }
    assert "holds a finished run" in complaint(capsys, *words)
    assert told(capsys, *words, "--overwrite") == again
    fastest = min((it for it in again["points"] if it["error"] is None), key=lambda it: it["seconds"])
    assert fastest["values"] == {"value_topk.parallelism": 16, "hbm.channels": 16}
    assert fastest["cycles"] == simulate(WORK).cycles


def test_interrupted_sweep_goes_on(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from multum.accelerator import exploration

    once, evaluated = exploration.evaluate, []

    def interrupted(workload: Any, architecture: Any, values: Any, how: Any) -> Any:
        evaluated.append(values)
        if len(evaluated) == 3:
            raise KeyboardInterrupt
        return once(workload, architecture, values, how)

    monkeypatch.setattr(exploration, "evaluate", interrupted)
    words = ["accelerator", "sweep", str(trace), *VARY, "--no-picture", "--out", str(tmp_path / "run")]
    assert main(words) == 130
    assert len(json.loads((tmp_path / "run" / "points.json").read_text())["points"]) == 2
    capsys.readouterr()
    assert "--resume continues it" in complaint(capsys, *words[1:])
    result = told(capsys, *words[1:], "--resume")
    assert len(evaluated) == 3 + 4
    assert result["picture"] is None
    assert result == told(capsys, *words[1:-1], tmp_path / "undisturbed")


def test_sweep_where_nothing_can_be_says_so(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sweep", trace, "--vary", "key_sram.rows=8,16", "--out", tmp_path / "run", "--processes", 1)
    found = told(capsys, *words)
    assert found["on_front"] == [False, False]
    assert "key_fetch_num must be at most 8" in found["points"][0]["error"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "vary must be given at least once"),
        (["--vary", "value_topk.paralelism=4"], "did you mean value_topk.parallelism"),
        (["--vary", "hbm.channels=4", "--vary", "hbm.channels=8"], "vary hbm.channels must be given once"),
        (["--vary", "hbm.channels=4,4"], "the values of hbm.channels must be at least one, each once"),
        (["--vary", "hbm.channels=4,many"], "hbm.channels must be an int; got 'many'"),
        (
            ["--vary", "hbm.channels=4", "--set", "hbm.channels=8"],
            "vary hbm.channels must be of a field that is not",
        ),
        (
            ["--vary", "hbm.channels=4", "--front", "second"],
            "'second' is not an objective; did you mean seconds?",
        ),
        (["--vary", "hbm.channels=4", "--processes", "0"], "processes must be at least 1; got 0"),
    ],
)
def test_bad_sweeps_are_one_line(
    words: list[str], message: str, trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ("--out", tmp_path / "run", "--no-picture", "--processes", 1)
    said = complaint(capsys, "sweep", trace, *usual, *words)
    assert message in said
    assert told(capsys, "sweep", trace, *VARY, "--out", tmp_path / "run", "--no-picture")["front"]


def test_processes_are_those_wished_for_or_one_a_core() -> None:
    assert num_processes(7) == 7
    assert num_processes(None) >= 1


# verilog --------------------------------------------------------------------------------------------------------------


def test_verilog_is_written_with_the_engines_parameters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, "verilog", tmp_path / "rtl", "--parallelism", "8", "--score-bits", "12")
    assert [Path(it).name for it in found["files"]] == ["zero_eliminator.v", "lane_fifo.v", "topk_engine.v"]
    assert (found["top"], found["fifo_depth"], found["longest_input"]) == ("topk_engine", 128, 1024)
    text = (tmp_path / "rtl" / "topk_engine.v").read_text()
    for line in ("parameter LANES = 8,", "parameter LOG_DEPTH = 7,", "parameter WIDTH = 12,"):
        assert line in text
    assert (
        main(["accelerator", "verilog", str(tmp_path / "rtl"), "--parallelism", "8", "--score-bits", "12"])
        == 0
    )
    assert "topk_engine: 8 scores of 12 bits a cycle, rows of up to 1,024" in capsys.readouterr().out


def test_verilog_of_somebody_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "topk_engine.v").write_text("// mine\n")
    assert "topk_engine.v is there already and holds something else" in complaint(capsys, "verilog", tmp_path)
    assert not (tmp_path / "lane_fifo.v").exists()
    told(capsys, "verilog", tmp_path, "--overwrite")
    assert (tmp_path / "topk_engine.v").read_text() != "// mine\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--parallelism", "3"], "lanes must be a power of two; got 3"),
        (["--parallelism", "1"], "parallelism must be at least 2 in Verilog; got 1"),
        (["--parallelism", "0"], "lanes must be"),
        (["--fifo-depth", "48"], "fifo_depth must be a power of two, at least 2, in Verilog; got 48"),
        (["--score-bits", "65"], "score_bits must be in 1..64; got 65"),
        (["--seed", "0"], "0"),
    ],
)
def test_sizes_that_cannot_be_are_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in complaint(capsys, "verilog", tmp_path / "rtl", *words)
    assert not (tmp_path / "rtl").exists()


@pytest.mark.parametrize("verb", ["simulate", "sweep", "verilog"])
def test_dry_run_does_nothing(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accelerator", verb, str(tmp_path / "x"), "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert [*tmp_path.iterdir()] == []
