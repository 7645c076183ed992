"""What README and docs say about results is what the committed results say."""

import json
from dataclasses import replace
from pathlib import Path

import benchmarks.__main__ as command
import pytest
from benchmarks import figures as figures_module
from benchmarks import places, tables
from benchmarks.figures import HOLDS, figures_markdown, figures_of, figures_text, tell_goal
from benchmarks.registry import Plot, Suite, Table
from benchmarks.schema import (
    CaseResult,
    Check,
    FigureResult,
    Goal,
    NoNumberError,
    Paper,
    Results,
    read_results,
    write_results,
)
from benchmarks.tables import cases_markdown, refilled, stale_texts, tell_reading, update

from multum.core.errors import UserError
from multum.cost import Latency

BLOCK = "before\n<!-- results:begin tiny -->\n\nold\n\n<!-- results:end tiny -->\nafter\n"


def latency(seconds: float, spread: float = 0.0) -> Latency:
    return Latency(
        median_seconds=seconds, spread_seconds=spread, num_runs=15, num_warmup=2, num_threads=1, device="cpu"
    )


def figure(
    value: float | None, *, low: float | None = None, high: float | None = None, unit: str = "x"
) -> FigureResult:
    return FigureResult(value=value, unit=unit, goal=Goal(min=low, max=high), peer="a peer", how="somehow")


def results_of(*cases: CaseResult, **figures: FigureResult) -> Results:
    return Results(
        suite="tiny",
        about="a tiny suite",
        command="python -m benchmarks run tiny",
        device="cpu",
        num_threads=1,
        seed=0,
        provenance={
            "git": {"commit": "0123456789abcdef"},
            "device_name": "A CPU",
            "versions": {"torch": "2.13"},
        },
        cases=cases,
        figures=figures,
    )


RIGHT = CaseResult(
    name="right",
    about="sorting | merging",
    check=Check(passed=True, detail="exact"),
    readings={"ours": latency(0.0012, 0.0001), "theirs": latency(0.003)},
    ours="ours",
    peers=("theirs",),
    ratios={"theirs": 2.5},
    paper=Paper(value=3, unit="x", where="Table 1"),
)
WRONG = CaseResult(
    name="wrong", about="guessing", check=Check(passed=False, detail="off"), ours="ours", peers=("theirs",)
)


def test_readme_and_docs_are_fresh() -> None:
    stale = update(check=True)
    assert stale == [], "run python -m benchmarks tables, and commit what it writes"


def test_every_committed_result_file_is_readable_and_no_rehearsal() -> None:
    from benchmarks.places import result_files

    for path in result_files():
        assert not read_results(path).quick


def test_block_is_filled_and_its_surroundings_stay() -> None:
    assert refilled(BLOCK, lambda name: f"new {name}", Path("x")) == BLOCK.replace("old", "new tiny")


def test_filling_twice_changes_nothing() -> None:
    once = refilled(BLOCK, lambda name: "| a |\n|---|", Path("x"))
    assert refilled(once, lambda name: "| a |\n|---|", Path("x")) == once


def test_stale_text_is_found_and_fresh_text_is_not(tmp_path: Path) -> None:
    (tmp_path / "stale.md").write_text(BLOCK)
    (tmp_path / "fresh.md").write_text(BLOCK.replace("old", "new"))
    paths = [tmp_path / "stale.md", tmp_path / "fresh.md", tmp_path / "missing.md"]
    assert list(stale_texts(paths, lambda name: "new")) == [tmp_path / "stale.md"]


def test_update_writes_what_check_only_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(BLOCK)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "suite_names", list)
    assert update(check=True, render=lambda name: "new") == [readme]
    assert readme.read_text() == BLOCK
    assert update(check=False, render=lambda name: "new") == [readme]
    assert "new" in readme.read_text()
    assert update(check=True, render=lambda name: "new") == []


def test_block_without_an_end_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"README.md: the block tiny has no end; <!-- results:end tiny --> closes it"
    ):
        refilled("<!-- results:begin tiny -->\n", str, Path("README.md"))


def test_block_inside_a_block_is_refused() -> None:
    inner = "<!-- results:begin b -->\n<!-- results:end b -->\n"
    with pytest.raises(UserError, match="begins inside another one"):
        refilled(f"<!-- results:begin a -->\n{inner}<!-- results:end a -->\n", str, Path("README.md"))


def test_unknown_block_is_refused_with_near_misses() -> None:
    with pytest.raises(UserError, match="there is no block 'figurs'; did you mean figures"):
        tables.render_block("figurs")


def test_table_of_cases_shows_times_ratios_paper_and_refuses_wrong_ones() -> None:
    lines = cases_markdown(results_of(RIGHT, WRONG)).splitlines()
    assert lines[0] == "| Case | Ours | Theirs | Paper |"
    assert lines[2] == "| sorting \\| merging | 1.2 ± 0.05 ms | 3 ± 0 ms (2.50x) | 3x |"
    assert lines[3] == "| guessing | check failed |  |  |"
    assert "A CPU, 1 thread, torch 2.13; commit 0123456789;" in lines[-1]


def test_table_of_cases_leaves_out_what_is_compared_with_nothing_unless_there_is_nothing_else() -> None:
    alone = replace(RIGHT, about="a count", ours=None, peers=(), ratios={}, paper=None)
    assert "a count" not in cases_markdown(results_of(RIGHT, alone))
    assert "| a count | ours 1.2 ± 0.05 ms, theirs 3 ± 0 ms |" in cases_markdown(results_of(alone))


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.0, "2 ± 0 s"), (2e-3, "2 ± 0 ms"), (2e-6, "2 ± 0 µs"), (2e-10, "0.2 ± 0 ns")]
)
def test_times_have_a_fitting_unit(seconds: float, text: str) -> None:
    assert tell_reading(latency(seconds)) == text


def test_figures_tell_goals_met_missed_and_without_a_number() -> None:
    told = figures_text(
        {
            "a.met": figure(2.5, low=2),
            "b.missed": figure(3, high=2, unit="points"),
            "c.between": figure(1, low=0.5, high=2),
            "d.reported": figure(7),
            "e.none": FigureResult(
                value=None, unit="x", goal=Goal(min=1), peer="", how="", reason="check failed"
            ),
        }
    ).splitlines()
    assert [line.split("  ")[0] for line in told[1:-1]] == [
        "a.met",
        "b.missed",
        "c.between",
        "d.reported",
        "e.none",
    ]
    assert "2.5x" in told[1]
    assert ">= 2x" in told[1]
    assert " yes " in told[1]
    assert "MISSED" in told[2]
    assert "reported only" in told[4]
    assert "check failed" in told[5]
    assert "MISSED" in told[5]
    assert told[-1] == "2 of 4 goals hold"


@pytest.mark.parametrize(("value", "holds"), [(1.0, True), (2.0, True), (0.99, False), (2.01, False)])
def test_goals_include_their_bounds(value: float, holds: bool) -> None:
    assert figure(value, low=1, high=2).holds is holds


def test_goal_is_told_with_its_unit() -> None:
    assert tell_goal(figure(1, low=1, high=2)) == ">= 1x and <= 2x"
    assert HOLDS[figure(1).holds] == "-"


def test_figures_in_markdown_escape_their_bars() -> None:
    table = figures_markdown({"a.b": FigureResult(value=1, unit="", goal=Goal(), peer="a | b", how="")})
    assert table.splitlines()[2] == "| `a.b` | 1 | reported only | - | a \\| b |"


def test_figure_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_results(results_of(**{"x.y": figure(1)}), tmp_path / name)
    assert set(figures_module.figures_of([tmp_path / "a.json"])) == {"x.y"}
    with pytest.raises(UserError, match="stands in another result file"):
        figures_of([tmp_path / "a.json", tmp_path / "b.json"])


def test_results_survive_the_file(tmp_path: Path) -> None:
    results = results_of(RIGHT, WRONG, **{"x.y": figure(1 / 3, low=0)})
    write_results(results, tmp_path / "tiny.json")
    assert read_results(tmp_path / "tiny.json") == results


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "multum.benchmark/2"}, "must be 'multum.benchmark/1'; got 'multum.benchmark/2'"),
        ({"schema": None}, "got None; measure the suite again"),
        ({"sede": 1}, "sede is not a key of Results; did you mean seed"),
        ({"cases": [{"name": "x"}]}, r"cases\[0\].about is missing"),
        ({"figures": {"x.y": {"value": "fast"}}}, "figures.x.y"),
    ],
)
def test_unknown_schema_and_misfits_are_refused_with_file_and_key(
    tmp_path: Path, change: dict, message: str
) -> None:
    path = tmp_path / "tiny.json"
    write_results(results_of(RIGHT), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=message) as caught:
        read_results(path)
    assert "tiny.json" in str(caught.value)


def test_result_file_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserError, match=r"the schema of .* must be"):
        read_results(tmp_path / "list.json")


def test_numbers_of_wrong_or_missing_cases_are_refused() -> None:
    results = results_of(RIGHT, WRONG)
    assert results.number("right", "ours") == 0.0012
    with pytest.raises(NoNumberError, match="check failed"):
        results.number("wrong", "ours")
    with pytest.raises(NoNumberError, match="not measured"):
        results.ratio("missing", "theirs")


def test_plot_is_drawn_once_for_the_same_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="drawing needs the report extra")
    from matplotlib.figure import Figure as Drawing

    def draw(results: Results) -> Drawing:
        drawing = Drawing()
        drawing.subplots().plot([case.ratios.get("theirs", 0) for case in results.cases])
        return drawing

    monkeypatch.setattr(tables, "ROOT", tmp_path)
    plot = Plot(path=Path("docs/images/tiny.svg"), draw=draw)
    assert tables._draw(plot, results_of(RIGHT), check=True)
    assert not (tmp_path / plot.path).exists()
    assert tables._draw(plot, results_of(RIGHT), check=False)
    first = (tmp_path / plot.path).read_bytes()
    assert not tables._draw(plot, results_of(RIGHT), check=True)
    assert tables._draw(plot, results_of(RIGHT, WRONG), check=True)
    (tmp_path / plot.path).unlink()
    tables._draw(plot, results_of(RIGHT), check=False)
    assert (tmp_path / plot.path).read_bytes() == first


@pytest.fixture
def tiny_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a repository with one suite, its results and a README; return its root."""
    pytest.importorskip("matplotlib", reason="drawing needs the report extra")
    from matplotlib.figure import Figure as Drawing

    suite = Suite(
        name="tiny",
        about="a tiny suite",
        cases=(),
        tables=(
            Table(name="short", render=lambda results: f"{len(results.cases)} case on {results.device}"),
        ),
        plots=(Plot(path=Path("docs/images/tiny.svg"), draw=lambda results: Drawing()),),
        devices=("cpu", "cuda"),
    )
    write_results(results_of(RIGHT, **{"tiny.ratio": figure(2.5, low=2)}), tmp_path / "tiny.json")
    write_results(replace(results_of(RIGHT), device="cuda"), tmp_path / "tiny.cuda.json")
    (tmp_path / "README.md").write_text(BLOCK.replace("tiny", "tiny.short"))
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(places, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "suite_names", lambda: ["tiny"])
    monkeypatch.setattr(tables, "load_suite", lambda name: suite)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    return tmp_path


def test_blocks_of_cases_figures_devices_and_own_tables_are_rendered(tiny_suite: Path) -> None:
    assert "(2.50x)" in tables.render_block("tiny")
    assert "| `tiny.ratio` | 2.5x | >= 2x | yes |" in tables.render_block("figures")
    assert tables.render_block("tiny.short") == "1 case on cpu"
    assert tables.render_block("tiny@cuda.short") == "1 case on cuda"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny.shrt", "'shrt' is not a table of tiny; did you mean short"),
        ("tiny@tpu", "'tpu' is not a device of tiny; did you mean cpu"),
        ("tinny", "there is no block 'tinny'; did you mean tiny"),
    ],
)
def test_unknown_tables_and_devices_are_refused(tiny_suite: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tables.render_block(name)


def test_plot_of_what_was_not_measured_yet_is_left_out(
    tiny_suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(results: Results) -> None:
        raise NoNumberError("nothing there")

    suite = replace(tables.load_suite("tiny"), plots=(Plot(path=Path("docs/images/tiny.svg"), draw=draw),))
    monkeypatch.setattr(tables, "load_suite", lambda name: suite)
    assert tables.write_plots(check=True) == tables.write_plots(check=False) == []
    assert not (tiny_suite / "docs").exists()


def test_block_of_a_suite_that_was_not_measured_is_refused(tiny_suite: Path) -> None:
    (tiny_suite / "tiny.cuda.json").unlink()
    with pytest.raises(UserError, match=r"tiny\.cuda\.json does not exist"):
        tables.render_block("tiny@cuda")


def test_command_writes_tables_and_plots_and_then_finds_them_fresh(
    tiny_suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["tables", "--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "README.md is stale; python -m benchmarks tables",
        "docs/images/tiny.svg is stale; python -m benchmarks tables",
    ]
    assert command.main(["tables"]) == 0
    assert "1 case on cpu" in (tiny_suite / "README.md").read_text()
    assert (tiny_suite / "docs" / "images" / "tiny.svg").read_text().rstrip().endswith("-->")
    assert command.main(["tables", "--check"]) == 0
