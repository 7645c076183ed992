"""Time and memory of a step of ProxylessNAS-Mobile in lite+bias, against torch's ways, checkpointing and peft's LoRA.

The floor is the operations of the step over the core's FMA peak of the same run. All layers see channels inmost, which
is the faster layout for torch's too.
"""

from collections.abc import Mapping
from functools import partial

import torch

from benchmarks.registry import Case, Figure, Setting, Suite, Table
from benchmarks.schema import Check, Results
from benchmarks.transfer_peft import LORA, PEFT
from benchmarks.transfer_problem import Network, build, gradient_errors, stock_twin
from benchmarks.transfer_step_problem import (
    BATCH,
    CHECKPOINTED_FULL,
    CHECKPOINTED_LITE_BIAS,
    OURS,
    RIVALS,
    STOCK_BIAS,
    STOCK_FULL,
    STOCK_LITE_BIAS,
    grown_mb,
    lora_times,
    steps,
)
from multum.cost import Latency, measure
from multum.ops import measure_fma_peak

SIZES = (160, 224)
QUICK_SIZE = 64
LITE_BIAS, BIAS = "lite_bias", "bias"
TOLD = {
    LITE_BIAS: "lite+bias, ours",
    BIAS: "bias, ours",
    "last": "last, ours",
    STOCK_FULL: "everything, torch",
    CHECKPOINTED_FULL: "everything, torch, blocks computed again",
    STOCK_LITE_BIAS: "lite+bias, torch",
    CHECKPOINTED_LITE_BIAS: "lite+bias, torch, blocks computed again",
    STOCK_BIAS: "bias, torch",
    LORA: "LoRA, peft",
}


def _size(size: int, setting: Setting) -> int:
    return QUICK_SIZE if setting.quick else size


def _check(network: Network) -> Check:
    """Loss and gradients of a step are those of torch's layers, in float64."""
    network.step()
    with stock_twin(network) as stock:
        stock.step()
        errors = gradient_errors(network.model, stock.model)
    return Check.holds(len(errors) > 60 and max(errors) < 1e-9, f"gradients are {max(errors):.1e} apart")


def _step_flops(size: int) -> float:
    network = build("lite+bias", batch=BATCH, size=size)
    return 2.0 * measure(network.model, network.pictures, mode="training", latency=False).macs


def _run(size: int, _: Network, setting: Setting) -> Mapping[str, Latency | float]:
    size = _size(size, setting)
    times = setting.times(steps((*OURS, *RIVALS), size))
    lora = lora_times(size, rounds=setting.rounds)
    floor = _step_flops(size) / measure_fma_peak().flops_per_second
    return {
        **times,
        "lora_over_full": lora[LORA] / lora[STOCK_FULL],
        "floor_seconds": floor,
        "times_floor": times[LITE_BIAS].median_seconds / floor,
        **{f"{way}_mb": grown_mb(way, size) for way in (*OURS, *RIVALS, LORA)},
    }


def _over(results: Results, way: str, other: str, case: str = "step_160") -> float:
    return results.number(case, way) / results.number(case, other)


def ways_table(results: Results) -> str:
    """Time and growth of every way, at both sizes, over torch's training of everything."""
    lines = [
        "| what trains, and how | " + " | ".join(f"time, {it} px | growth, {it} px" for it in SIZES) + " |",
        "|---|" + "---:|---:|" * len(SIZES),
    ]
    for way, told in TOLD.items():
        cells = []
        for size in SIZES:
            case = f"step_{size}"
            time = (
                results.number(case, "lora_over_full")
                if way == LORA
                else _over(results, way, STOCK_FULL, case)
            )
            cells += [f"{time:.2f}x", f"{results.number(case, f'{way}_mb'):.0f} MB"]
        lines.append(f"| {told} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(name: str, goal_max: float, other: str) -> Figure:
    return Figure(
        id=f"transfer.step_time_vs_{name}",
        unit="",
        goal_max=goal_max,
        peer=f"{TOLD[other]}, channels inmost",
        how=f"ProxylessNAS-Mobile, 160 px, {BATCH} pictures, forward and backward of lite+bias; median of interleaved "
        "rounds, one thread",
        value=partial(_over, way=LITE_BIAS, other=other),
    )


SUITE = Suite(
    name="transfer_step",
    about="Time and memory of a step of lite+bias, against torch's own layers, checkpointing and peft's LoRA",
    peers=(PEFT,),
    cases=tuple(
        Case(
            name=f"step_{size}",
            about=f"ProxylessNAS-Mobile, {size} px, {BATCH} pictures, one thread: a step in every way",
            prepare=lambda _: build("lite+bias", batch=2, size=96, dtype=torch.float64),
            check=_check,
            run=partial(_run, size),
            ours=LITE_BIAS,
            peers=(STOCK_FULL, STOCK_LITE_BIAS, CHECKPOINTED_LITE_BIAS, CHECKPOINTED_FULL),
        )
        for size in SIZES
    ),
    tables=(Table(name="ways", render=ways_table),),
    figures=(
        _figure("full", 0.6, STOCK_FULL),
        _figure("stock_lite_bias", 0.9, STOCK_LITE_BIAS),
        _figure("checkpoint", 0.55, CHECKPOINTED_LITE_BIAS),
    ),
)
