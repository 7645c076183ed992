"""Verilog and Python side by side: builds the modules with Icarus Verilog, and lets cocotb drive them."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.places import ROOT
from multum.accelerator import TopkEngine
from multum.accelerator.verilog import write_topk_engine_verilog
from multum.core import UserError

SIMULATOR = "iverilog"
REMEDY = "Icarus Verilog is not installed (Debian: apt-get install iverilog), or cocotb (pip install cocotb) is not"
"""What to say where there is no simulator."""

DRIVER = """
import sys
from cocotb_tools.runner import get_runner
folder, top, *sources = sys.argv[1:]
runner = get_runner("icarus")
runner.build(sources=sources, hdl_toplevel=top, build_dir=folder, timescale=("1ns", "1ps"), build_args=["-g2005"])
runner.test(hdl_toplevel=top, test_module="benchmarks.verilog_bench", testcase=top, build_dir=folder)
"""


def has_simulator() -> bool:
    """Whether Verilog can be simulated here."""
    return shutil.which(SIMULATOR) is not None and importlib.util.find_spec("cocotb") is not None


def equal_vectors(
    top: str, engine: TopkEngine, *, vectors: int, most: int, score_bits: int = 16, seed: int = 0
) -> int:
    """Count the random vectors on which a module and its Python twin agree to the cycle.

    Args:
        top: The module: `topk_engine` or `zero_eliminator`.
        engine: Its size.
        vectors: How many are drawn.
        most: Scores of the longest of them.
        score_bits: Width of a score.
        seed: Of the drawing.

    Raises:
        UserError: No simulator, or one that could not build or run the modules; the message ends with what it said.
    """
    if not has_simulator():
        raise UserError(REMEDY)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = write_topk_engine_verilog(engine, folder, score_bits=score_bits)
        result = folder / "result.json"
        wish = {
            "engine": asdict(engine),
            "vectors": vectors,
            "most": most,
            "score_bits": score_bits,
            "seed": seed,
            "result": str(result),
        }
        surroundings = os.environ | {
            "MULTUM_VERILOG_WISH": json.dumps(wish),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        }
        command = [sys.executable, "-c", DRIVER, str(folder / "build"), top, *map(str, sources)]
        done = subprocess.run(
            command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False
        )
        if not result.exists():
            raise UserError(f"the simulator failed: {(done.stdout + done.stderr)[-2000:]}")
        equal: int = json.loads(result.read_text())["equal"]
        return equal
