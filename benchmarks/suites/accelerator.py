"""The accelerator's simulator: against bounds by hand, one engine against the other, the paper's numbers beside ours.

Everything here is a count or follows from counts, so it does not depend on the machine that counts.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from benchmarks.accelerator_paper import (
    beside_table,
    check_dense,
    check_layers,
    check_thirty,
    run_dense,
    run_layers,
    run_thirty,
)
from benchmarks.accelerator_problem import random_workload, row_bounds, small_machine
from benchmarks.places import data_folder
from benchmarks.registry import Case, Figure, Setting, Suite, Table
from benchmarks.schema import Check, Paper
from benchmarks.trace_problem import MEDIUM, SMALL, Trace
from multum.accelerator import Architecture, Workload
from multum.accelerator.fields import with_fields
from multum.accelerator.fully_connected import table4
from multum.accelerator.paper import assumed, measure_workload
from multum.accelerator.paper.step_tables import gpt2_medium_benchmark
from multum.accelerator.paper.sweeps import PARALLELISMS
from multum.accelerator.simulator import simulate
from multum.core import published

TRACES: Mapping[str, Trace] = {"medium": MEDIUM, "small": SMALL}
EQUAL_ROWS, QUICK_EQUAL_ROWS = 4000, 1000
"""Random rows on which the two engines are compared, at least."""


def _paper(key: str) -> Paper:
    number = published("spatten", key)
    return Paper(value=number.number, unit=number.unit, where=f"SpAtten (HPCA 2021), {number.where}")


def _read(name: str, _setting: Setting) -> Workload:
    return TRACES[name].read(data_folder("spatten_traces"))


def _check_trace(name: str, trace: Workload) -> Check:
    known = TRACES[name]
    sums = (trace.key_rows, trace.value_rows)
    return Check.holds(sums == (known.key_rows, known.value_rows), f"the file's sums of rows are {sums}")


def _run_trace(trace: Workload, _setting: Setting) -> Mapping[str, float]:
    bound = row_bounds(trace)
    cycles = simulate(trace, ideal_dram=True).row_cycles
    apart = np.abs(cycles / bound - 1)
    real = measure_workload(trace)
    return {
        "rows": float(len(trace)),
        "worst_row_error": float(apart.max()),
        "mean_row_error": float(apart.mean()),
        "sum_error": float(cycles.sum() / bound.sum() - 1),
        "ideal_memory_ms": float(cycles.sum()) / 1e6,
        "hbm_ms": 1e3 * real.seconds,
        "hbm_efficiency": real.dram_efficiency,
        "watts": real.watts,
    }


def _run_parallelism(trace: Workload, _setting: Setting) -> Mapping[str, float]:
    designs = {
        width: with_fields(Architecture(), {"value_topk.parallelism": width}) for width in PARALLELISMS
    }
    return {f"ms_{width}": 1e3 * simulate(trace, design).seconds for width, design in designs.items()}


def _check_engines(_: object) -> Check:
    from multum.accelerator.engine.fast import SOURCE
    from multum.native import load_native

    return Check.holds(load_native(SOURCE) is not None, "the compiled engine is there")


def _run_engines(_: object, setting: Setting) -> Mapping[str, float]:
    generator = np.random.default_rng(setting.seed)
    wanted = QUICK_EQUAL_ROWS if setting.quick else EQUAL_ROWS
    rows = equal = flat = runs = 0
    while rows < wanted:
        machine, work = small_machine(generator), random_workload(generator)
        slow, fast = (
            simulate(
                work,
                machine.architecture,
                ideal_dram=machine.ideal_dram,
                overlap=machine.overlap,
                impl=impl,
            )
            for impl in ("reference", "cpu")
        )
        same = slow.unit_busy_cycles == fast.unit_busy_cycles and slow.dram == fast.dram
        equal += int((slow.times == fast.times).all(axis=1).sum()) if same else 0
        rows += len(work)
        flat += int(work.if_requant.sum())
        runs += 1
    return {
        "rows": float(rows),
        "equal_rows": float(equal),
        "flat_rows": float(flat),
        "machines": float(runs),
    }


def _reported(name: str, unit: str, case: str, reading: str, peer: str, how: str) -> Figure:
    return Figure(
        id=f"accelerator.{name}",
        unit=unit,
        peer=peer,
        how=how,
        value=lambda results: results.number(case, reading),
    )


OF_RULE = "one rule of ratios by length, lengths of BERT's tasks assumed (multum/accelerator/paper)"

SUITE = Suite(
    name="accelerator",
    about="The accelerator's simulator: bounds by hand, both engines, and the paper's numbers",
    counts_only=True,
    cases=(
        *(
            Case(
                name=f"trace_{name}",
                about=f"the public trace of GPT-2-{name.title()}, every row against its bound, ideal memory and HBM2",
                prepare=partial(_read, name),
                check=partial(_check_trace, name),
                run=_run_trace,
                paper=_paper("wikitext2_attention_time") if name == "medium" else None,
            )
            for name in TRACES
        ),
        Case(
            name="engines",
            about=f"{EQUAL_ROWS:,} random rows on random small machines, the reference against the compiled engine",
            check=_check_engines,
            run=_run_engines,
        ),
        Case(
            name="topk_parallelism",
            about="the public trace of GPT-2-Medium, by comparators of an array of the top-k engine",
            prepare=partial(_read, "medium"),
            check=partial(_check_trace, "medium"),
            run=_run_parallelism,
        ),
        Case(
            name="dense_step",
            about="GPT-2-Medium's attention while 32 tokens are generated, nothing pruned, float32",
            prepare=lambda _: gpt2_medium_benchmark(),
            check=check_dense,
            run=run_dense,
            paper=_paper("dense_step_time"),
        ),
        Case(
            name="fully_connected",
            about="GPT-2-Medium's fully connected layers while 32 tokens are generated, weights of 8 bits",
            prepare=lambda _: table4(),
            check=check_layers,
            run=run_layers,
            paper=_paper("table_4_fc_time"),
        ),
        Case(
            name="thirty",
            about="the paper's 30 benchmarks on SpAtten and SpAtten-1/8, dense on A3 and MNNFast",
            prepare=lambda _: assumed().benchmarks,
            check=check_thirty,
            run=run_thirty,
        ),
    ),
    tables=(Table(name="beside", render=beside_table),),
    figures=(
        Figure(
            id="accelerator.trace_closed_form_worst_error",
            unit="",
            goal_max=0.02,
            peer="the bound of the reference model and the pipeline's fill, by hand",
            how="largest relative error of any row's cycles, both public traces, ideal memory",
            value=lambda results: max(results.number(f"trace_{name}", "worst_row_error") for name in TRACES),
        ),
        Figure(
            id="accelerator.engines_equal_rows",
            unit="",
            goal_min=1000,
            peer="the compiled engine",
            how="random rows in which all times are equal, in runs in which busy cycles of every unit and all counts "
            "of the memory are; small machines, short refresh intervals",
            value=lambda results: results.number("engines", "equal_rows"),
        ),
        _reported(
            "medium_trace_ms",
            "ms",
            "trace_medium",
            "hbm_ms",
            "2.716 ms, derived from the paper's tables",
            "the public trace of GPT-2-Medium on SpAtten with HBM2; how rows of a layer overlap moves it most",
        ),
        _reported(
            "fc_dram_efficiency",
            "",
            "fully_connected",
            "dram_efficiency",
            "0.73, implied by Table IV",
            "bytes of weights over what the buses could carry; a stream through the model loses only refreshes",
        ),
        _reported(
            "dense_step_dram_efficiency",
            "",
            "dense_step",
            "dram_efficiency",
            "0.75, implied by the breakdown",
            "bytes of keys and values over what the buses could carry in all the time",
        ),
        _reported(
            "table4_fc_ms",
            "ms",
            "fully_connected",
            "ms",
            "25.75 ms, Table IV",
            "layers of the 24 blocks, without the language-model head; the density of a channel moves it most",
        ),
        _reported(
            "total_power_watts",
            "W",
            "thirty",
            "watts",
            "8.30 W",
            f"arithmetic mean of 30 benchmarks, published energies, no leakage; {OF_RULE}",
        ),
        _reported("dram_reduction_geomean", "x", "thirty", "dram_reduction", "10.0x", OF_RULE),
        _reported("computation_reduction_geomean", "x", "thirty", "computation_reduction", "2.1x", OF_RULE),
        _reported(
            "speedup_vs_a3_geomean",
            "x",
            "thirty",
            "speedup_a3",
            "1.6x",
            f"SpAtten-1/8 over A3's milder setting, 30 benchmarks; {OF_RULE}",
        ),
        _reported(
            "speedup_vs_mnnfast_geomean",
            "x",
            "thirty",
            "speedup_mnnfast",
            "3.0x",
            f"SpAtten-1/8 over MNNFast that keeps every value, 30 benchmarks; {OF_RULE}",
        ),
    ),
)
