"""Where things lie: the suites, the committed results, and the runs in progress."""

import importlib
import os
import pkgutil
from pathlib import Path

from benchmarks import suites
from benchmarks.registry import Device, Suite
from multum.core.errors import UserError, did_you_mean

ROOT = Path(__file__).resolve().parents[1]
"""The repository."""

RESULTS = ROOT / "benchmarks" / "results"
"""Committed results."""

RUNS = ROOT / "runs" / "benchmarks"
"""Work in progress and rehearsals; git ignores it."""


def suite_names() -> list[str]:
    """List the suites without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(suites.__path__))


def load_suite(name: str) -> Suite:
    """Import a suite.

    Raises:
        UserError: When there is none of this name.
    """
    if name not in suite_names():
        raise UserError(f"{name!r} is not a suite; {did_you_mean(name, suite_names())}")
    suite: Suite = importlib.import_module(f"{suites.__name__}.{name}").SUITE
    return suite


def result_path(suite: Suite, device: Device) -> Path:
    """Say where committed results are: `SUITE.json`, or `SUITE.DEVICE.json` away from the suite's usual device."""
    ending = "" if device == suite.devices[0] else f".{device}"
    return RESULTS / f"{suite.name}{ending}.json"


def result_files() -> list[Path]:
    """List the committed result files."""
    return sorted(RESULTS.glob("*.json"))


def data_folder(name: str) -> Path:
    """Find a real data set: below `MULTUM_DATA`, or below `../shared/data` beside the repository.

    Raises:
        UserError: It is not there.
    """
    folder = Path(os.environ.get("MULTUM_DATA") or ROOT.parent / "shared" / "data") / name
    if not folder.is_dir():
        raise UserError(f"the data set {name} is not there; set MULTUM_DATA to the folder that holds it")
    return folder
