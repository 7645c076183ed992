"""`multum accelerator reproduce`: everything is run and told, in lines, in JSON and as a page with figures."""

import json
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from multum.accelerator.architecture import Architecture
from multum.accelerator.energy import GROUPS, Energy
from multum.accelerator.fully_connected import Table4, table4
from multum.accelerator.hbm import HbmTimings
from multum.accelerator.paper import (
    ASSUMED,
    Assumptions,
    Benchmark,
    BenchmarkResult,
    Effect,
    Measured,
    Point,
    Reproduction,
    Row,
    Sensitivity,
    Step,
    Sweep,
    Table,
    measured,
    reproduce,
    sensitivity,
    step_tables,
    thirty_benchmarks,
)
from multum.accelerator.paper.scenarios import FLAT_ROWS, KEY_BITS, PRUNING
from multum.accelerator.paper.sensitivity import vary
from multum.accelerator.paper.sweeps import sweep_sram, sweep_topk
from multum.accelerator.reproduce_command import (
    INPUT,
    ReproduceConfig,
    letters,
    reproduce_paper,
    reproduction_dict,
    told,
)
from multum.accelerator.workload import Workload
from multum.core import UserError, load_paper
from multum.report import plot
from multum.report.accelerator_plots import (
    benchmark_columns,
    breakdown_bars,
    ratio_dumbbells,
    roofline_scatter,
    sweep_line,
    tornado,
)
from multum.report.reproduction_page import reproduction_page

SMALL_TRACE = Workload.from_counts(keys=[[20, 10]], heads=2, values=[[8, 4]], key_bits=12, value_bits=8)

ROWS = (
    Row(what="DRAM access", key="dram_reduction", ours=8.0, depends_on=("lengths", "bits")),
    Row(what="computation", key="computation_reduction", ours=2.5, depends_on=("lengths",)),
    Row(what="heads", key="heads_reduction", ours=1.1, depends_on=("ratios",), is_input=True),
    Row(what="quantization", key="quantization_saving", ours=5.0, depends_on=("bits",)),
)
RESULTS = tuple(
    BenchmarkResult(
        name=name,
        generates=generates,
        num_tokens=10,
        seconds=1e-5,
        teraflops=teraflops,
        operations_per_byte=intensity,
        dram_reduction=8.0,
        computation_reduction=2.0,
        watts=3.0,
        titan_xp_speedup=100.0,
    )
    for name, generates, teraflops, intensity in (("BERT, a", False, 1.5, 20.0), ("GPT-2, b", True, 0.4, 1.0))
)
STEPS = (
    Step(name="dense, float32", seconds=4e-3, moved_bytes=8.0, joules=2.0, dram_efficiency=0.9),
    Step(name="token pruning", seconds=1e-3, moved_bytes=2.0, joules=1.0, dram_efficiency=0.5),
)
SWEEP = Sweep(
    name="comparators",
    benchmark="GPT-2-Medium",
    points=(
        Point(value=8.0, seconds=3e-3, area_mm2=4.9, is_paper=False),
        Point(value=16.0, seconds=2e-3, area_mm2=5.0, is_paper=True),
    ),
)
SENSITIVITY = Sensitivity(
    what="DRAM access",
    key="dram_reduction",
    ours=8.0,
    effects=(Effect(name="lengths", low="-25 %", low_value=7.0, high="+25 %", high_value=9.0),),
)
SAMPLE = Reproduction(
    tables=(Table(title="What is saved", rows=ROWS, note="A note."),),
    benchmarks=RESULTS,
    generation_steps=STEPS,
    sentence_steps=STEPS,
    sweeps=(SWEEP,),
    sensitivities=(SENSITIVITY,),
)
FIGURES: dict[str, Callable[[], Figure]] = {
    "dumbbells": lambda: ratio_dumbbells(ROWS),
    "benchmarks": lambda: benchmark_columns(RESULTS),
    "breakdown": lambda: breakdown_bars(STEPS),
    "roofline": lambda: roofline_scatter(RESULTS, roof_teraflops=2.048, bytes_per_second=512e9),
    "sweep": lambda: sweep_line(SWEEP),
    "tornado": lambda: tornado(SENSITIVITY),
}


def pretended(
    benchmark: Benchmark, techniques: Collection[str], rule: Assumptions, architecture: Architecture
) -> Measured:
    """A run that takes no time, and depends on everything that it is told."""
    size = (
        benchmark.num_tokens * (7 - len(techniques)) * (rule.msb_bits + rule.flat_rows + rule.sentence_bits)
    )
    size *= rule.average_reduction * architecture.hbm_timings.rfc
    energy = Energy(joules=dict.fromkeys(GROUPS, 1e-9 * size**0.5), seconds=1e-9 * size)
    return Measured(
        seconds=1e-9 * size,
        operations=1e6,
        moved_bytes=int(10 * size),
        dram_efficiency=0.5,
        energy=energy,
    )


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks are not really run, and weights stream through a memory that is refreshed often."""
    quick = table4(architecture=replace(Architecture(), hbm_timings=HbmTimings(refi=400, rfc=60)))

    def pretended_table4(architecture: Architecture | None = None) -> Table4:
        factor = (architecture or Architecture()).hbm_timings.rfc
        return replace(quick, blocks=replace(quick.blocks, cycles=quick.blocks.cycles * factor))

    monkeypatch.setattr(measured, "_measured", pretended)
    for module in (sensitivity, step_tables):
        monkeypatch.setattr(module, "table4", pretended_table4)


class TestWhole:
    def test_everything_is_there_and_shows_published_numbers(
        self, pretend: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        SMALL_TRACE.write_csv(tmp_path / "trace.csv")
        found = reproduce_paper(ReproduceConfig(trace=tmp_path / "trace.csv"))
        assert "reproducing: platforms" in capsys.readouterr().err
        assert len(found.benchmarks) == 30
        assert len(found.tables) == 9
        numbers, shown = load_paper("spatten").numbers, [row for table in found.tables for row in table.rows]
        assert all(row.paper == numbers[row.key].number for row in shown)
        assert all(row.fitted_to != row.key for row in shown)
        keys = {row.key for row in shown}
        assert {key for key in numbers if key.startswith(("speedup_", "energy_", "power_", "area"))} <= keys
        assert {key for key in numbers if key.startswith(("table_4_", "tflops_"))} <= keys
        assert {it.key for it in found.sensitivities} <= keys
        assert all(it.effects for it in found.sensitivities)
        assert {name for row in shown for name in row.depends_on} == set(ASSUMED)

    def test_sweeps_and_sensitivity_can_be_left_out(self, pretend: None) -> None:
        found = reproduce(SMALL_TRACE, with_sweeps=False, with_sensitivity=False)
        assert found.sweeps == found.sensitivities == ()
        assert "What moves the results" not in told(found)

    def test_a_trace_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"nothing\.csv"):
            reproduce_paper(ReproduceConfig(trace=tmp_path / "nothing.csv"))


class TestSensitivity:
    def test_effects_are_the_results_at_both_ends_the_strongest_first(self) -> None:
        found = vary(
            "x",
            "dram_reduction",
            lambda it: it.rule.flat_rows + 10 * it.rule.msb_bits,
            (FLAT_ROWS, KEY_BITS, PRUNING),
        )
        assert [it.name for it in found.effects] == [KEY_BITS, FLAT_ROWS], "what moves nothing is left out"
        assert (found.effects[1].low_value, found.effects[1].high_value) == (60.0, 60.2)
        assert found.ours == pytest.approx(60.059)
        assert (found.paper, found.unit) == (10.0, "x less")


class TestSweeps:
    def test_the_papers_own_design_is_among_them(self) -> None:
        short = thirty_benchmarks()[0]
        for sweep in (sweep_topk(short, (8, 16)), sweep_sram(short, (1, 2))):
            assert [point.is_paper for point in sweep.points] == [False, True]
            assert sweep.points[0].area_mm2 < sweep.points[1].area_mm2
            assert sweep.points[0].seconds >= sweep.points[1].seconds


class TestTold:
    def test_each_row_has_paper_ours_error_and_letters(self) -> None:
        letter = letters()
        line = next(it for it in told(SAMPLE).splitlines() if "DRAM access" in it)
        assert line.split() == [
            *("DRAM", "access", "10", "8", "x", "less", "-20%"),
            letter["lengths"] + letter["bits"],
        ]

    def test_inputs_have_no_error(self) -> None:
        assert re.search(rf"heads +1\.1 +1\.1 +x less +{INPUT}", told(SAMPLE))

    def test_every_letter_is_explained(self) -> None:
        text = told(SAMPLE)
        for name, letter in letters().items():
            assert f"  {letter}  {name}: " in text

    def test_everything_else_is_told_too(self) -> None:
        text = told(SAMPLE)
        for part in ("A note.", "4.00x faster", "the paper's", "lengths: -25 % 7, +25 % 9"):
            assert part in text

    def test_json_has_what_the_dataclasses_work_out(self) -> None:
        data = json.loads(json.dumps(reproduction_dict(SAMPLE)))
        first, _, heads, _ = data["tables"][0]["rows"]
        assert first == {
            "what": "DRAM access",
            "paper": 10.0,
            "ours": 8.0,
            "unit": "x less",
            "error": pytest.approx(-0.2),
            "depends_on": ["lengths", "bits"],
            "fitted_to": "",
            "key": "dram_reduction",
            "where": "abstract; average over 30 benchmarks",
        }
        assert heads["error"] is None
        assert data["sensitivities"][0]["paper"] == 10.0
        assert data["assumptions"] == dict(ASSUMED)


class TestFigures:
    @pytest.mark.parametrize("name", FIGURES)
    def test_figures_follow_the_page_and_fit_a_phone(self, name: str) -> None:
        markup = plot(FIGURES[name](), "caption", "description").markup
        assert re.findall(r"#[0-9a-f]{6}\b", " ".join(re.findall(r'style="([^"]*)"', markup))) == []
        assert markup == plot(FIGURES[name](), "caption", "description").markup
        assert "$" not in markup, "ticks are plain numbers"

    def test_inputs_are_not_compared(self) -> None:
        assert "heads" not in plot(ratio_dumbbells(ROWS), "", "description").markup
        with pytest.raises(UserError, match="at least one that is no input"):
            ratio_dumbbells(ROWS[2:3])

    @pytest.mark.parametrize(
        "draw",
        [
            lambda: breakdown_bars(()),
            lambda: roofline_scatter((), roof_teraflops=1, bytes_per_second=1),
            lambda: sweep_line(replace(SWEEP, points=())),
            lambda: tornado(replace(SENSITIVITY, effects=())),
        ],
    )
    def test_nothing_to_draw_is_refused(self, draw: Callable[[], Figure]) -> None:
        with pytest.raises(UserError, match="at least one"):
            draw()

    def test_the_page_holds_every_table_and_explains_every_letter(self) -> None:
        page = reproduction_page(SAMPLE, {"commit": "abc"}).to_html()
        for part in ("What is saved", "A note.", "Designs", "What moves the results", "SpAtten, reproduced"):
            assert part in page
        for name, letter in letters().items():
            assert f"{letter}: {name}" in page
