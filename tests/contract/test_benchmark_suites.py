"""What every suite of benchmarks has to keep, whoever writes it."""

import re
from pathlib import Path

import pytest
from benchmarks.places import load_suite, result_path, suite_names
from benchmarks.registry import Suite
from benchmarks.schema import read_results

SUITES = suite_names()
FIGURE_ID = re.compile(r"[a-z]+\.[a-z0-9_]+")


@pytest.fixture(
    params=SUITES or [pytest.param(None, marks=pytest.mark.skip(reason="there are no suites yet"))]
)
def suite(request: pytest.FixtureRequest) -> Suite:
    return load_suite(request.param)


def test_suite_is_named_like_its_module(suite: Suite, request: pytest.FixtureRequest) -> None:
    assert suite.name in SUITES
    assert suite.name in request.node.name


def test_suite_and_cases_say_what_they_are(suite: Suite) -> None:
    assert suite.about
    assert suite.cases
    for case in suite.cases:
        assert len(case.about) > 10, f"{case.name} says too little"
        assert "\n" not in case.about


def test_comparisons_have_both_sides(suite: Suite) -> None:
    for case in suite.cases:
        assert bool(case.ours) == bool(case.peers), f"{case.name} compares with nothing, or nothing compares"
        assert case.ours not in case.peers


def test_figures_are_spelled_measured_and_explained(suite: Suite) -> None:
    for figure in suite.figures:
        assert FIGURE_ID.fullmatch(figure.id), figure.id
        assert len(figure.how) > 10, f"{figure.id} does not say how it is measured"
        assert figure.device in suite.devices, f"{figure.id} is measured on {figure.device}"
        if figure.goal_min is not None and figure.goal_max is not None:
            assert figure.goal_min <= figure.goal_max


def test_figures_of_all_suites_have_different_names() -> None:
    names = [figure.id for name in SUITES for figure in load_suite(name).figures]
    assert len(names) == len(set(names))


def test_committed_results_fit_the_suite(suite: Suite) -> None:
    paths = {device: result_path(suite, device) for device in suite.devices}
    present = {device: path for device, path in paths.items() if path.exists()}
    for device, path in present.items():
        results = read_results(path)
        assert (results.suite, results.device) == (suite.name, device)
        assert not results.quick
        declared = {
            figure.id: (figure.goal_min, figure.goal_max)
            for figure in suite.figures
            if figure.device == device
        }
        told = {name: (figure.goal.min, figure.goal.max) for name, figure in results.figures.items()}
        assert told == declared, f"{path.name} was measured for other figures; measure again"
        assert {case.name for case in results.cases} <= {case.name for case in suite.cases}


def test_committed_results_tell_commit_and_machine_but_no_place(suite: Suite) -> None:
    for path in filter(Path.exists, (result_path(suite, device) for device in suite.devices)):
        source = read_results(path).provenance
        assert source["git"]["commit"], f"{path.name} was measured outside a checkout"
        assert source["cpu"]["model"]
        assert not re.search(r'"/(home|root|work|tmp|Users)/', path.read_text())
