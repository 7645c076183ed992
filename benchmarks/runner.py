"""Starts measurements: each suite in a fresh process with the right environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.places import ROOT, RUNS, load_suite, result_path
from benchmarks.registry import Device, Setting, Suite
from benchmarks.schema import Results, read_results
from multum.core.config import from_dict, to_dict
from multum.core.errors import UserError
from multum.core.files import read_json
from multum.core.run import RUN_FILE


def setting_for(suite: Suite, *, device: Device | None, quick: bool) -> Setting:
    """Choose how a suite is measured.

    Raises:
        UserError: When it cannot be measured on that device.
    """
    chosen = device or suite.devices[0]
    if chosen not in suite.devices:
        raise UserError(f"suite {suite.name} is measured on {', '.join(suite.devices)}; not on {chosen}")
    return Setting(device=chosen, num_threads=suite.num_threads, seed=suite.seed, quick=quick)


def run_suite(
    name: str, *, cases: tuple[str, ...], device: Device | None, quick: bool, resume: bool
) -> Results:
    """Measure a suite in a process of its own.

    Args:
        name: The suite.
        cases: Names of the cases; all when empty.
        device: Where; the suite's usual device when None.
        quick: Rehearse: fewer rounds, and the committed results stay as they are.
        resume: Keep what an interrupted measurement has finished.

    Returns:
        The results.

    Raises:
        UserError: When the wish does not fit the suite, or the measurement failed.
        KeyboardInterrupt: When the measurement was interrupted.
    """
    suite = load_suite(name)
    suite.choose(cases)
    setting = setting_for(suite, device=device, quick=quick)
    wish = {"suite": name, "setting": to_dict(setting), "names": list(cases), "resume": resume}
    command = [sys.executable, "-m", "benchmarks.measure", json.dumps(wish)]
    code = subprocess.run(command, cwd=ROOT, env=environment(setting), check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise UserError(
            f"the measurement of {name} failed (exit code {code}); --resume keeps what it finished"
        )
    if quick:
        return from_dict(Results, read_json(rehearsal_path(suite, setting.device))["result"])
    return read_results(result_path(suite, setting.device))


def rehearsal_path(suite: Suite, device: Device) -> Path:
    """Say where a quick measurement leaves its result."""
    return RUNS / f"{suite.name}-{device}-quick" / RUN_FILE


def environment(setting: Setting) -> dict[str, str]:
    """Give the environment of a measuring process.

    OpenMP's threads wait for work by spinning, which on a shared machine takes the core from whoever has
    work: about 8 ms per parallel region here. `passive` lets them sleep.
    """
    threads = str(setting.num_threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "passive",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
