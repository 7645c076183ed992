"""Verilog against Python: random vectors through both, equal to the cycle or not."""

from collections.abc import Mapping
from functools import partial

from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check
from benchmarks.verilog_problem import REMEDY, equal_vectors, has_simulator
from multum.accelerator import TopkEngine

VECTORS, QUICK_VECTORS = 1000, 20
ENGINES = {
    "topk_16": ("topk_engine", TopkEngine(), 400),
    "topk_4": ("topk_engine", TopkEngine(parallelism=4, fifo_depth=32, seed=7), 128),
    "zero_eliminator_16": ("zero_eliminator", TopkEngine(), 16),
}
"""Module, its size, and scores of the longest vector."""


def _check(_: object) -> Check:
    return Check.holds(has_simulator(), "Icarus Verilog is there" if has_simulator() else REMEDY)


def _run(name: str, _problem: object, setting: Setting) -> Mapping[str, float]:
    top, engine, most = ENGINES[name]
    vectors = QUICK_VECTORS if setting.quick else VECTORS
    equal = equal_vectors(top, engine, vectors=vectors, most=most, seed=setting.seed)
    return {"vectors": float(vectors), "equal_vectors": float(equal)}


SUITE = Suite(
    name="verilog",
    about="The accelerator's modules in Verilog against their Python twins, cycle for cycle",
    counts_only=True,
    cases=tuple(
        Case(
            name=name,
            about=f"{top}, {engine.parallelism} lanes, up to {most} scores, with and without ties",
            check=_check,
            run=partial(_run, name),
        )
        for name, (top, engine, most) in ENGINES.items()
    ),
    figures=(
        Figure(
            id="accelerator.rtl_equal_vectors",
            unit="",
            goal_min=1000,
            peer="the Python units",
            how="the fewest of three modules: random vectors on which survivors, packed scores, threshold and both "
            "times are equal; pivots from one register with the same seed",
            value=lambda results: min(results.number(name, "equal_vectors") for name in ENGINES),
        ),
    ),
)
