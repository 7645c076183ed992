"""The top-k engine's Verilog as cells, counted by Yosys, beside what the area model says of the same engine."""

from collections.abc import Mapping
from functools import partial

from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check
from multum.accelerator import Architecture, TopkEngine
from multum.accelerator.area import area_of
from multum.accelerator.cell_counts import REMEDY, count_cells, has_synthesizer

SCORE_BITS = 12
MODULES = {"topk_engine_16": "topk_engine", "zero_eliminator_16": "zero_eliminator"}


def _check(_: object) -> Check:
    return Check.holds(has_synthesizer(), "Yosys is there" if has_synthesizer() else REMEDY)


def _run(top: str, _problem: object, _setting: Setting) -> Mapping[str, float]:
    counts = count_cells(TopkEngine(), top=top, score_bits=SCORE_BITS)
    told = {name: float(count) for name, count in counts.cells.items()}
    told |= {
        "memory_bits": float(counts.memory_bits),
        "logic_mm2": 1e-6 * counts.logic_um2,
        "mm2": counts.mm2(),
    }
    if top == "topk_engine":
        parts = area_of(Architecture()).parts
        told["model_mm2"] = (parts["top-k comparators"] + parts["top-k FIFOs"]) / 2  # of the two engines
    return told


SUITE = Suite(
    name="cells",
    about="The accelerator's modules as cells, counted by Yosys, beside the area model",
    counts_only=True,
    cases=tuple(
        Case(
            name=name,
            about=f"{top}, 16 lanes, {SCORE_BITS} bits, FIFOs of 64 rows: gates, flip-flops, bits of memory",
            check=_check,
            run=partial(_run, top),
        )
        for name, top in MODULES.items()
    ),
    figures=(
        Figure(
            id="accelerator.topk_model_over_cells",
            unit="x",
            peer="cells of the synthesized Verilog, times the areas of the NanGate library",
            how="area of one engine of 16 lanes: the model's comparators and FIFOs over Yosys' cells and the same bits "
            "of memory as registers; 40 nm",
            value=lambda results: (
                results.number("topk_engine_16", "model_mm2") / results.number("topk_engine_16", "mm2")
            ),
        ),
    ),
)
