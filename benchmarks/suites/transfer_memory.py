"""Memory of training ProxylessNAS-Mobile: by the paper's accounting, and what autograd and the process really keep.

Bytes are counted, so they do not depend on the machine; the growth of a process hardly does.
"""

import json
from collections.abc import Mapping
from functools import partial

import torch

from benchmarks.places import ROOT
from benchmarks.registry import Case, Figure, Setting, Suite, Table
from benchmarks.schema import Check, Paper, Results
from benchmarks.transfer_problem import Network, build, gradient_errors, stock_twin
from multum.core import published
from multum.cost.witness import ask_child, growth_of, kept_by_autograd
from multum.transfer import MODES, Mode, PaperLedger, paper_ledger, paper_network

BATCH, SIZE = 8, 224
GRADIENT_BATCH, GRADIENT_SIZE = 2, 96
TRAINED, FROZEN = 1_962_310, 2_784_280
"""Of lite+bias with 102 classes, by the paper's accounting."""
EXACT_MODES: tuple[Mode, ...] = ("norm+last", "bias", "lite", "lite+bias", "full")
GROWING: tuple[tuple[str, Mode | None], ...] = (
    ("plain_full", None),
    ("lite_bias", "lite+bias"),
    ("bias", "bias"),
)


def _slug(mode: str) -> str:
    return mode.replace("+", "_")


def _paper(mode: str) -> Paper:
    number = published("tinytl", f"memory_{_slug(mode)}")
    return Paper(value=number.number, unit=number.unit, where=f"TinyTL (NeurIPS 2020), {number.where}")


def _check_paper(ledger: PaperLedger) -> Check:
    count = ledger.num_trained + ledger.num_frozen
    return Check.holds(count == TRAINED + FROZEN, f"{count:,} parameters, lite residuals in every mode")


def _run_paper(ledger: PaperLedger, _setting: Setting) -> Mapping[str, float]:
    return {
        "mb": ledger.total_mb(BATCH),
        "num_trained": float(ledger.num_trained),
        "num_frozen": float(ledger.num_frozen),
    }


def _check_kept(network: Network) -> Check:
    """Outputs of lean and stock layers are the same but for rounding."""
    with stock_twin(network) as stock, torch.no_grad():
        ours, theirs = network.model(network.pictures), stock.model(network.pictures)
    apart = float((ours - theirs).norm() / theirs.norm())
    return Check.holds(apart < 1e-4, f"outputs are {apart:.1e} apart")


def _run_kept(network: Network, _setting: Setting) -> Mapping[str, float]:
    lean = kept_by_autograd(network.loss(), known=network.own)
    with stock_twin(network) as stock:
        kept = kept_by_autograd(stock.loss(), known=stock.own)
    return {"kept_mb": lean / 1e6, "stock_kept_mb": kept / 1e6}


def _worst_gradient(mode: Mode, _setting: Setting) -> Mapping[str, float]:
    """Per tensor, in norm, of everything that trains."""
    ours = build(mode, batch=GRADIENT_BATCH, size=GRADIENT_SIZE, dtype=torch.float64)
    ours.step()
    with stock_twin(ours) as stock:
        stock.step()
        errors = gradient_errors(ours.model, stock.model)
        numbers = sum(it.grad is not None for it in stock.model.parameters())
    assert len(errors) == numbers, "both have gradients of the same tensors"
    return {"worst_relative_error": max(errors), "tensors": float(len(errors))}


def _run_gradients(_: object, setting: Setting) -> Mapping[str, float]:
    found = {mode: _worst_gradient(mode, setting) for mode in EXACT_MODES}
    readings = {f"{_slug(mode)}_worst": it["worst_relative_error"] for mode, it in found.items()}
    return {**readings, "worst_relative_error": max(readings.values())}


GROWTH = """
import sys
from benchmarks.suites.transfer_memory import grow
grow(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


def grow(name: str, batch: int, size: int) -> None:
    """Print by how much this process grows in a step; run by a process of its own."""
    mode = dict(GROWING)[name]
    torch.set_num_threads(1)
    warm, network = build(mode, batch=1, size=64), build(mode, batch=batch, size=size)
    warm.step()  # what libraries set up once
    for it in network.model.parameters():
        if it.requires_grad:
            it.grad = torch.zeros_like(it)  # there in every step but the first
    print(json.dumps({"bytes": growth_of(lambda: network.loss().backward()).most_bytes}))


def _run_growth(_: object, setting: Setting) -> Mapping[str, float]:
    batch, size = (2, 96) if setting.quick else (BATCH, SIZE)
    found = {}
    for name, _mode in GROWING:
        grown = ask_child(GROWTH, name, str(batch), str(size), folder=ROOT)
        found[f"{name}_mb"] = grown["bytes"] / 1e6
    return found


def modes_table(results: Results) -> str:
    """The paper's accounting beside what autograd keeps."""
    lines = [
        "| mode | paper, MB | our calculator, MB | trained | kept for backward, MB | the same of stock layers, MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for mode in MODES:
        paper, kept = f"paper_{_slug(mode)}", f"kept_{_slug(mode)}"
        lines.append(
            f"| {mode} | {_paper(mode).value:g} | {results.number(paper, 'mb'):.2f} "
            f"| {results.number(paper, 'num_trained'):,.0f} | {results.number(kept, 'kept_mb'):.2f} "
            f"| {results.number(kept, 'stock_kept_mb'):.1f} |"
        )
    return "\n".join(lines)


def _is_exact(results: Results) -> float:
    case = "paper_lite_bias"
    counts = (results.number(case, "num_trained"), results.number(case, "num_frozen"))
    return float(counts == (TRAINED, FROZEN))


SUITE = Suite(
    name="transfer_memory",
    about="Memory of training ProxylessNAS-Mobile in every mode: the paper's accounting, autograd's, the process's",
    counts_only=True,
    cases=(
        *(
            Case(
                name=f"paper_{_slug(mode)}",
                about=f"{mode}, {SIZE} pixels, {BATCH} pictures, charged as the paper does",
                prepare=lambda _, mode=mode: paper_ledger(paper_network(mode), SIZE),  # type: ignore[misc]
                check=_check_paper,
                run=_run_paper,
                paper=_paper(mode),
            )
            for mode in MODES
        ),
        *(
            Case(
                name=f"kept_{_slug(mode)}",
                about=f"{mode}, {SIZE} pixels, {BATCH} pictures: what autograd's graph keeps alive",
                prepare=partial(lambda mode, _: build(mode, batch=BATCH, size=SIZE), mode),
                check=_check_kept,
                run=_run_kept,
            )
            for mode in MODES
        ),
        Case(
            name="gradients",
            about=f"every mode in float64, {GRADIENT_BATCH} pictures of {GRADIENT_SIZE} pixels, against stock autograd",
            prepare=lambda _: build(
                "lite+bias", batch=GRADIENT_BATCH, size=GRADIENT_SIZE, dtype=torch.float64
            ),
            check=_check_kept,
            run=_run_gradients,
        ),
        Case(
            name="growth",
            about=f"growth of a process in a step, {SIZE} pixels, {BATCH} pictures, against the plain network in full",
            prepare=lambda _: build("lite+bias", batch=1, size=SIZE),
            check=_check_kept,
            run=_run_growth,
        ),
    ),
    tables=(Table(name="modes", render=modes_table),),
    figures=(
        Figure(
            id="transfer.paper_full_mb",
            unit="MB",
            goal_min=390.74,
            goal_max=390.94,
            peer="390.84, recomputed from the paper's public accounting",
            how=f"ProxylessNAS-Mobile, 102 classes, {SIZE} pixels, {BATCH} pictures",
            value=lambda results: results.number("paper_full", "mb"),
        ),
        Figure(
            id="transfer.paper_lite_bias_mb",
            unit="MB",
            goal_min=37.03,
            goal_max=37.23,
            peer="37.13, recomputed likewise",
            how="the same network and pictures",
            value=lambda results: results.number("paper_lite_bias", "mb"),
        ),
        Figure(
            id="transfer.paper_trainable_exact",
            unit="",
            goal_min=1,
            goal_max=1,
            peer=f"{TRAINED:,} trained and {FROZEN:,} frozen parameters",
            how="1 where both counts of lite+bias are exact",
            value=_is_exact,
        ),
        Figure(
            id="transfer.kept_mb_lite_bias",
            unit="MB",
            goal_max=22,
            peer="stock layers, which keep 510 MB",
            how="unique storages in autograd's graph, parameters, buffers and pictures not counted; fixed statistics",
            value=lambda results: results.number("kept_lite_bias", "kept_mb"),
        ),
        Figure(
            id="transfer.grad_worst_relative_error",
            unit="",
            goal_max=1e-5,
            peer="stock autograd in float64",
            how="norm of the difference over the norm, the worst tensor of five modes",
            value=lambda results: results.number("gradients", "worst_relative_error"),
        ),
        Figure(
            id="transfer.process_growth_vs_full",
            unit="",
            goal_max=0.2,
            peer="stock full fine-tuning of the plain network",
            how="peak growth of a child process in forward and backward, lite+bias; gradients were there before",
            value=lambda results: (
                results.number("growth", "lite_bias_mb") / results.number("growth", "plain_full_mb")
            ),
        ),
    ),
)
