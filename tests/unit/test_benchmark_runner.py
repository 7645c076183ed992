"""The runner measures what is right, refuses what is wrong, and continues where it was stopped."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks import measure, places, runner, suites
from benchmarks.__main__ import main
from benchmarks.baselines import OURS, SAME_LINEARS, SHIPPED, THREE_COLUMNS, three_columns
from benchmarks.measure import evaluate, measure_case, measure_suite
from benchmarks.registry import FULL_ROUNDS, QUICK_ROUNDS, Case, Figure, Setting, Suite
from benchmarks.runner import environment, setting_for
from benchmarks.schema import Check, Paper, read_results

from multum.core.errors import UserError
from multum.cost import Latency

QUICK = Setting(quick=True)


def right(prepared: object) -> Check:
    return Check.holds(True, "it is right")


def wrong(prepared: object) -> Check:
    return Check.holds(False, "off by one")


def counting(name: str = "counting", check=right, ours: float = 2.0, peer: float = 6.0) -> Case:
    return Case(
        name=name,
        about="counting things",
        check=check,
        run=lambda prepared, setting: {"ours": ours, "theirs": peer},
        ours="ours",
        peers=("theirs",),
        paper=Paper(value=4.0, unit="x", where="Table 1"),
    )


def ratio_figure(case: str = "counting", **changes: object) -> Figure:
    settings = {
        "id": "tiny.ratio",
        "unit": "x",
        "goal_min": 2.0,
        "peer": "theirs",
        "how": "by counting",
        "value": lambda results: results.ratio(case, "theirs"),
    }
    return Figure(**{**settings, **changes})


def suite_of(*cases: Case, figures: tuple[Figure, ...] = ()) -> Suite:
    return Suite(name="tiny", about="a tiny suite", cases=cases, figures=figures)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(measure, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(places, "RESULTS", tmp_path / "results")
    return tmp_path


def test_result_file_tells_the_whole_story(folders: Path) -> None:
    measure_suite(suite_of(counting(), figures=(ratio_figure(),)), Setting(seed=5))
    told = json.loads((folders / "results" / "tiny.json").read_text())
    assert told["schema"] == "multum.benchmark/1"
    assert told["command"] == "python -m benchmarks run tiny"
    assert (told["device"], told["num_threads"], told["seed"], told["quick"]) == ("cpu", 1, 5, False)
    assert {"git", "versions", "cpu", "device_name", "num_threads", "time"} <= set(told["provenance"])
    (case,) = told["cases"]
    assert case["check"] == {"passed": True, "detail": "it is right"}
    assert case["readings"] == {"ours": 2.0, "theirs": 6.0}
    assert case["ratios"] == {"theirs": 3.0}
    assert case["paper"] == {"value": 4.0, "unit": "x", "where": "Table 1"}
    assert told["figures"]["tiny.ratio"] == {
        "value": 3.0,
        "unit": "x",
        "goal": {"min": 2.0, "max": None},
        "peer": "theirs",
        "how": "by counting",
        "reason": None,
    }


def test_result_file_reads_back_as_what_was_measured(folders: Path) -> None:
    timed = Case(
        name="timed", about="t", check=right, run=lambda prepared, setting: setting.times({"a": lambda: None})
    )
    results = measure_suite(suite_of(timed, counting()), Setting())
    assert read_results(folders / "results" / "tiny.json") == results
    reading = results.cases[0].readings["a"]
    assert isinstance(reading, Latency)
    assert reading.num_runs == FULL_ROUNDS


def test_wrong_answer_is_not_even_timed_and_its_figure_has_a_reason() -> None:
    def run(prepared: object, setting: Setting) -> dict[str, float]:
        raise AssertionError("a wrong answer has no speed")

    case = replace(counting(check=wrong), run=run)
    results = measure_suite(suite_of(case, figures=(ratio_figure(),)), QUICK)
    assert results.cases[0].readings == {}
    assert results.cases[0].ratios == {}
    figure = results.figures["tiny.ratio"]
    assert figure.value is None
    assert figure.reason == "check failed"
    assert figure.holds is False


def test_figure_of_a_case_that_was_not_measured_has_a_reason() -> None:
    suite = suite_of(counting(), counting("other"), figures=(ratio_figure("other"),))
    figures = measure_suite(suite, QUICK, names=("counting",)).figures
    assert figures["tiny.ratio"].reason == "not measured"


def test_figures_are_evaluated_only_on_their_device() -> None:
    suite = suite_of(counting(), figures=(ratio_figure(), ratio_figure(id="tiny.gpu_ratio")))
    assert set(measure_suite(suite, QUICK).figures) == {"tiny.ratio"}


def test_figure_that_asks_for_an_unknown_peer_is_our_mistake_and_told() -> None:
    figure = ratio_figure(value=lambda results: results.ratio("counting", "thiers"))
    with pytest.raises(UserError, match="did you mean theirs"):
        measure_suite(suite_of(counting(), figures=(figure,)), QUICK)


def test_promised_reading_that_was_not_measured_is_told() -> None:
    case = replace(counting(), peers=("nobody",))
    with pytest.raises(UserError, match="promises a reading 'nobody'; it measured ours, theirs"):
        measure_case(case, QUICK)


def test_rehearsal_leaves_the_committed_results_alone(folders: Path) -> None:
    measure_suite(suite_of(counting()), QUICK)
    assert not (folders / "results").exists()
    assert QUICK.rounds == QUICK_ROUNDS < FULL_ROUNDS


def test_single_case_is_measured_again_and_the_others_stay(folders: Path) -> None:
    measure_suite(suite_of(counting("a"), counting("b")), Setting())
    again = suite_of(counting("a", ours=1.0), counting("b", ours=1.0), figures=(ratio_figure("b"),))
    results = measure_suite(again, Setting(), names=("b",))
    assert [(case.name, case.ratios["theirs"]) for case in results.cases] == [("a", 3.0), ("b", 6.0)]
    assert results.figures["tiny.ratio"].value == 6.0


def test_cases_of_different_settings_are_not_mixed() -> None:
    suite = suite_of(counting("a"), counting("b"))
    measure_suite(suite, Setting())
    with pytest.raises(UserError, match="another machine or setting; measure all cases"):
        measure_suite(suite, Setting(seed=1), names=("b",))


def test_counts_of_another_machine_stay_and_times_do_not(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = suite_of(counting("a"), counting("b"))
    measure_suite(suite, Setting())
    here = measure.provenance()
    monkeypatch.setattr(measure, "provenance", lambda **_: {**here, "device_name": "another"})
    with pytest.raises(UserError, match="another machine or setting"):
        measure_suite(suite, Setting(), names=("b",))
    results = measure_suite(replace(suite, counts_only=True), Setting(), names=("b",))
    assert [case.machine for case in results.cases] == [here["device_name"], "another"]
    assert {case.commit for case in results.cases} == {here["git"]["commit"] or ""}


def test_suite_that_only_counts_refuses_a_time() -> None:
    timed = replace(
        counting(),
        run=lambda prepared, setting: setting.times({"ours": lambda: None, "theirs": lambda: None}),
    )
    with pytest.raises(UserError, match="tiny counts only, and its case counting measured a time"):
        measure_suite(replace(suite_of(timed), counts_only=True), QUICK)


def test_interrupted_measurement_continues_on_request() -> None:
    calls: list[str] = []

    def noted(name: str, *, interrupt: bool) -> Case:
        def run(prepared: object, setting: Setting) -> dict[str, float]:
            calls.append(name)
            if interrupt:
                raise KeyboardInterrupt
            return {"ours": 1.0, "theirs": 2.0}

        return replace(counting(name), run=run)

    with pytest.raises(KeyboardInterrupt):
        measure_suite(suite_of(noted("a", interrupt=False), noted("b", interrupt=True)), QUICK)
    healthy = suite_of(noted("a", interrupt=False), noted("b", interrupt=False))
    results = measure_suite(healthy, QUICK, resume=True)
    assert calls == ["a", "b", "b"]
    assert [case.name for case in results.cases] == ["a", "b"]
    measure_suite(healthy, QUICK)
    assert calls == ["a", "b", "b", "a", "b"]


def test_cases_start_from_the_same_seed() -> None:
    def drawing(name: str) -> Case:
        return Case(
            name=name,
            about="a",
            prepare=lambda _: torch.rand(()).item(),
            check=right,
            run=lambda it, _: {"drawn": it},
        )

    first, second = measure_suite(suite_of(drawing("a"), drawing("b")), QUICK).cases
    assert first.readings == second.readings


def test_three_columns_are_timed_in_one_round_robin() -> None:
    order: list[str] = []
    calls = {
        name: (lambda name=name: order.append(name) or sum(range(200_000)))
        for name in ("shipped", "same_linears", "ours")
    }
    times = three_columns(QUICK, **calls)
    assert set(times) == {SHIPPED, SAME_LINEARS, OURS}
    assert set(THREE_COLUMNS) == {SHIPPED, SAME_LINEARS}
    assert {len({*order[i : i + 3]}) for i in range(len(order) - 3 * QUICK_ROUNDS, len(order), 3)} == {3}


def test_check_compares_values_shapes_and_nan() -> None:
    one = torch.ones(3)
    assert Check.close(one, one + 1e-7, allowed=1e-6).passed
    assert not Check.close(one, one + 1e-5, allowed=1e-6).passed
    assert not Check.close(one * float("nan"), one, allowed=1e-6).passed
    assert not Check.close(one[:1], one, allowed=1e-6).passed
    assert "allowed 1.0e-06" in Check.close(one, one, allowed=1e-6).detail


def test_suite_refuses_names_that_collide_or_are_no_file_names() -> None:
    with pytest.raises(UserError, match="more than one case called counting"):
        suite_of(counting(), counting())
    with pytest.raises(UserError, match="more than one figure called"):
        suite_of(counting(), figures=(ratio_figure(), ratio_figure()))
    with pytest.raises(UserError, match="the name of a suite or case must be"):
        suite_of(counting("Not a name"))


def test_unknown_case_and_device_are_refused() -> None:
    suite = suite_of(counting())
    with pytest.raises(UserError, match="did you mean counting"):
        suite.choose(("countin",))
    with pytest.raises(UserError, match="is measured on cpu; not on cuda"):
        setting_for(suite, device="cuda", quick=False)


def test_environment_sets_threads_before_torch_is_imported() -> None:
    told = environment(Setting(num_threads=2))
    assert told["OMP_NUM_THREADS"] == told["MKL_NUM_THREADS"] == "2"
    assert told["OMP_WAIT_POLICY"] == "passive"


def test_evaluate_reads_numbers_as_well_as_ratios() -> None:
    figure = ratio_figure(value=lambda results: results.number("counting", "ours"), goal_min=None, unit="")
    results = measure_suite(suite_of(counting()), QUICK)
    assert evaluate(suite_of(counting(), figures=(figure,)), results)["tiny.ratio"].value == 2.0


TINY_SUITE = '''
"""A suite for a test."""
import os
import torch
from benchmarks.registry import Case, Figure, Suite
from benchmarks.schema import Check

SUITE = Suite(
    name="tiny", about="a tiny suite", num_threads=2,
    cases=(
        Case(name="threads", about="what a case sees", check=lambda _: Check.holds(True, "nothing to check"),
             run=lambda _, setting: {
                 "threads": torch.get_num_threads(), "passive": os.environ["OMP_WAIT_POLICY"] == "passive"}),
        Case(name="wrong", about="is wrong", check=lambda _: Check.holds(False, "always"), run=lambda _, setting: {}),
    ),
    figures=(
        Figure(id="tiny.threads", unit="", how="asked", goal_max=1, value=lambda r: r.number("threads", "threads")),
    ),
)
'''


@pytest.fixture
def checkout(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Copy the runner beside a suite of the test's own, and let this process and its children work there."""
    without = shutil.ignore_patterns("suites", "results", "__pycache__")
    shutil.copytree(repository / "benchmarks", tmp_path / "benchmarks", ignore=without)
    folder = tmp_path / "benchmarks" / "suites"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "tiny.py").write_text(TINY_SUITE)
    monkeypatch.setattr(suites, "__path__", [str(folder)])
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "RUNS", tmp_path / "runs" / "benchmarks")
    monkeypatch.setattr(places, "RESULTS", tmp_path / "benchmarks" / "results")
    yield tmp_path
    sys.modules.pop("benchmarks.suites.tiny", None)


def test_command_measures_prints_figures_and_exits_red_for_a_wrong_case(checkout: Path, capfd) -> None:
    assert main(["run", "tiny"]) == 1
    told = capfd.readouterr()
    assert "check: WRONG, no number; always" in told.out
    assert "measuring threads: what a case sees" in told.err
    path = checkout / "benchmarks" / "results" / "tiny.json"
    assert read_results(path).cases[0].readings == {"threads": 2.0, "passive": 1.0}

    assert main(["figures"]) == 0
    told = capfd.readouterr()
    assert "tiny.threads  2      <= 1  MISSED" in told.out
    assert told.out.endswith("0 of 1 goals hold\n")

    path.write_text('{"schema": "multum.benchmark/0"}')
    assert main(["figures"]) == 2
    assert "must be 'multum.benchmark/1'; got 'multum.benchmark/0'" in capfd.readouterr().err


def test_command_rehearses_a_single_case(checkout: Path, capfd) -> None:
    assert main(["run", "tiny", "--quick", "--case", "threads"]) == 0
    assert "check: right; nothing to check" in capfd.readouterr().out
    assert not (checkout / "benchmarks" / "results").exists()


def test_failed_measurement_is_one_sentence(checkout: Path, capfd) -> None:
    suite = checkout / "benchmarks" / "suites" / "tiny.py"
    suite.write_text(TINY_SUITE.replace("torch.get_num_threads()", "1 // 0"))
    assert main(["run", "tiny", "--quick"]) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert (
        last
        == "benchmarks: error: the measurement of tiny failed (exit code 1); --resume keeps what it finished"
    )


def test_command_lists_suites_and_refuses_unknown_ones(checkout: Path, capsys) -> None:
    assert main(["list"]) == 0
    assert "    threads: what a case sees" in capsys.readouterr().out
    assert main(["run", "tyni"]) == 2
    assert capsys.readouterr().err == "benchmarks: error: 'tyni' is not a suite; did you mean tiny?\n"
