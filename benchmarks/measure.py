"""Measures one suite, in a process of its own.

The process is started by `benchmarks.runner` with the number of threads and OpenMP's waiting policy in its
environment, because both count only when they are set before torch is imported. Each case is a stage of a
run folder, so that an interrupted measurement continues where it stopped: with `--resume`, on the same
commit, with the same setting.
"""

import datetime as dt
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from benchmarks.peers import ENVIRONMENTS
from benchmarks.places import RUNS, load_suite, result_path
from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import (
    CHECK_FAILED,
    CaseResult,
    FigureResult,
    Goal,
    NoNumberError,
    Reading,
    Results,
    read_results,
    write_results,
)
from multum.core.config import from_dict, to_dict
from multum.core.errors import UserError
from multum.core.progress import say
from multum.core.provenance import provenance
from multum.core.run import Run
from multum.cost import Latency


def measure_suite(
    suite: Suite, setting: Setting, *, names: tuple[str, ...] = (), resume: bool = False
) -> Results:
    """Measure a suite, and write its result file unless it is a rehearsal.

    Args:
        suite: The suite.
        setting: How to measure.
        names: Cases to measure; the others keep what the result file says, if it comes from the same setting and,
            unless the suite counts only, the same machine. All when empty.
        resume: Keep the cases that an interrupted measurement has finished.

    Returns:
        The results, including cases kept from the file.

    Raises:
        UserError: When the setting does not fit the suite, a part cannot be combined with the file, or a suite that
            counts only has measured a time.
    """
    cases = suite.choose(names)
    source = provenance(seed=setting.seed, device=setting.device)
    if suite.peers:
        source["peers"] = {name: ENVIRONMENTS[name].versions() for name in suite.peers}
    kept = (
        ()
        if not names or setting.quick
        else _kept_cases(suite, setting, source, {case.name for case in cases})
    )
    key = {"suite": suite.name, "setting": to_dict(setting), **{k: source[k] for k in ("git", "versions")}}
    folder = RUNS / f"{suite.name}-{setting.device}{'-quick' if setting.quick else ''}"
    with Run.open(folder, key, resume=resume, overwrite=not resume, seed=setting.seed) as run:
        measured = [_stage(run, case, suite, setting, source) for case in cases]
        by_name = {case.name: case for case in (*kept, *measured)}
        results = Results(
            suite=suite.name,
            about=suite.about,
            command=f"python -m benchmarks run {suite.name}",
            device=setting.device,
            num_threads=setting.num_threads,
            seed=setting.seed,
            quick=setting.quick,
            provenance=source,
            cases=tuple(by_name[case.name] for case in suite.cases if case.name in by_name),
        )
        results = replace(results, figures=evaluate(suite, results))
        if not run.finished:
            run.finish(to_dict(results))
    if not setting.quick:
        write_results(results, result_path(suite, setting.device))
    return results


def measure_case(case: Case, setting: Setting) -> CaseResult:
    """Prepare, check and run one case.

    Returns:
        The result; without readings when the check is red, because a wrong answer has no speed.
    """
    torch.manual_seed(setting.seed)
    prepared = case.prepare(setting)
    check = case.check(prepared)
    readings = dict(case.run(prepared, setting)) if check.passed else {}
    return CaseResult(
        name=case.name,
        about=case.about,
        check=check,
        readings={name: it if isinstance(it, Latency) else float(it) for name, it in readings.items()},
        ours=case.ours,
        peers=case.peers,
        ratios=_ratios(case, readings),
        paper=case.paper,
        measured=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    )


def evaluate(suite: Suite, results: Results) -> dict[str, FigureResult]:
    """Read the figures of this device off the results; a figure that stands on a red check has no value."""
    return {it.id: _figure(it, results) for it in suite.figures if it.device == results.device}


def _figure(figure: Figure, results: Results) -> FigureResult:
    value, reason = None, None
    try:
        value = float(figure.value(results))
    except NoNumberError as problem:
        reason = str(problem)
    goal = Goal(min=figure.goal_min, max=figure.goal_max)
    return FigureResult(
        value=value, unit=figure.unit, goal=goal, peer=figure.peer, how=figure.how, reason=reason
    )


def _ratios(case: Case, readings: Mapping[str, Reading]) -> dict[str, float]:
    if not readings or case.ours is None:
        return {}
    for name in (case.ours, *case.peers):
        if name not in readings:
            raise UserError(
                f"case {case.name} promises a reading {name!r}; it measured {', '.join(readings)}"
            )
    return {peer: _amount(readings[peer]) / _amount(readings[case.ours]) for peer in case.peers}


def _amount(reading: Reading) -> float:
    return reading.median_seconds if isinstance(reading, Latency) else float(reading)


def _stage(run: Run, case: Case, suite: Suite, setting: Setting, source: Mapping[str, Any]) -> CaseResult:
    def measured() -> dict[str, Any]:
        result = measure_case(case, setting)
        if suite.counts_only and any(isinstance(it, Latency) for it in result.readings.values()):
            raise UserError(f"{suite.name} counts only, and its case {case.name} measured a time")
        commit = str((source["git"] or {}).get("commit") or "")
        return to_dict(replace(result, commit=commit, machine=source["device_name"]))

    if case.name not in run.stages:
        say(f"measuring {case.name}: {case.about}")
    result = from_dict(CaseResult, run.stage(case.name, measured))
    if not result.check.passed:
        say(f"{case.name}: {CHECK_FAILED}: {result.check.detail}; it gets no number")
    return result


def _kept_cases(
    suite: Suite, setting: Setting, source: Mapping[str, Any], measured_anew: set[str]
) -> tuple[CaseResult, ...]:
    """Give the cases of the result file that stay, when only some are measured again."""
    path = result_path(suite, setting.device)
    if not path.exists():
        return ()
    old = read_results(path)
    keys = ("versions",) if suite.counts_only else ("cpu", "device_name", "versions")
    here = (setting.num_threads, setting.seed, *(source[key] for key in keys))
    there = (old.num_threads, old.seed, *(old.provenance.get(key) for key in keys))
    if here != there:
        raise UserError(
            f"{path.name} comes from another machine or setting; measure all cases, without --case"
        )
    return tuple(case for case in old.cases if case.name not in measured_anew)


def main(text: str) -> int:
    """Measure what a JSON text asks for; the text is written by `benchmarks.runner`."""
    wish = json.loads(text)
    setting = from_dict(Setting, wish["setting"])
    if setting.device == "cuda" and not torch.cuda.is_available():
        raise UserError("this measurement needs a CUDA device, and torch finds none")
    torch.set_num_threads(setting.num_threads)
    measure_suite(load_suite(wish["suite"]), setting, names=tuple(wish["names"]), resume=wish["resume"])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except UserError as problem:
        print(f"benchmarks: error: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
