"""`python -m benchmarks run SUITE | list | figures | tables`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import figures_of, figures_text
from benchmarks.places import ROOT, load_suite, result_files, suite_names
from benchmarks.runner import run_suite
from benchmarks.schema import CaseResult, Results
from benchmarks.tables import tell_reading, update
from multum.core.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line of the benchmarks; returns the exit code."""
    wish = _parser().parse_args(argv)
    try:
        code: int = wish.do(wish)
    except UserError as problem:
        print(f"benchmarks: error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: interrupted; --resume keeps what is finished", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    run = verbs.add_parser("run", help="measure a suite, and write its result file")
    run.add_argument("suite", metavar="SUITE")
    run.add_argument(
        "--case", action="append", default=[], metavar="NAME", help="only this case; may be repeated"
    )
    run.add_argument(
        "--quick", action="store_true", help="rehearse: fewer rounds, and no result file is written"
    )
    run.add_argument(
        "--resume", action="store_true", help="keep what an interrupted measurement has finished"
    )
    run.add_argument(
        "--device", choices=["cpu", "cuda"], help="where to measure; the suite's usual device otherwise"
    )
    run.set_defaults(do=_run)

    listing = verbs.add_parser("list", help="list suites and their cases")
    listing.set_defaults(do=lambda _: _list())

    figures = verbs.add_parser("figures", help="print every figure with its goal, and whether it holds")
    figures.set_defaults(do=lambda _: _figures())

    tables = verbs.add_parser("tables", help="write README tables and plots from the result files")
    tables.add_argument(
        "--check", action="store_true", help="only say what is stale; exit code 1 if anything is"
    )
    tables.set_defaults(do=_tables)
    return parser


def _run(wish: argparse.Namespace) -> int:
    results = run_suite(
        wish.suite, cases=tuple(wish.case), device=wish.device, quick=wish.quick, resume=wish.resume
    )
    print(results_text(results))
    return 0 if all(case.check.passed for case in results.cases) else 1


def results_text(results: Results) -> str:
    """Tell results in lines of text: every case with its readings and ratios, then the figures."""
    lines = [line for case in results.cases for line in _case_lines(case)]
    return "\n".join([*lines, "", figures_text(results.figures)] if results.figures else lines)


def _case_lines(case: CaseResult) -> list[str]:
    verdict = "right" if case.check.passed else "WRONG, no number"
    readings = [
        f"    {name}: {tell_reading(reading)}"
        + (f"  ({case.ratios[name]:.2f}x ours)" if name in case.ratios else "")
        for name, reading in case.readings.items()
    ]
    return [f"{case.name}: {case.about}", f"    check: {verdict}; {case.check.detail}", *readings]


def _list() -> int:
    for name in suite_names():
        suite = load_suite(name)
        print(f"{name} ({', '.join(suite.devices)}): {suite.about}")
        for case in suite.cases:
            print(f"    {case.name}: {case.about}")
    return 0


def _figures() -> int:
    print(figures_text(figures_of(result_files())))
    return 0


def _tables(wish: argparse.Namespace) -> int:
    stale = update(check=wish.check)
    for path in stale:
        shown = path.relative_to(ROOT) if Path(path).is_absolute() else path
        print(
            f"{shown} {'is stale; python -m benchmarks tables' if wish.check else 'was brought up to date'}"
        )
    return 1 if wish.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
