"""`multum demo`: the main job, and a report to look at."""

from pathlib import Path

from multum.cli.verb import Outcome, RunFolder, RunVerb
from multum.demo import DemoConfig, run_demo


def _demo(config: DemoConfig, folder: RunFolder) -> Outcome:
    result = run_demo(config, folder.out, resume=folder.resume, overwrite=folder.overwrite)
    return Outcome(result=result, text=f"report: {result['report']}")


DEMO = RunVerb(options=DemoConfig, execute=_demo, out=Path("runs/demo"), recipes="demo")
