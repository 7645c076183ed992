"""Memory of training a Transformer by biases and by adapters: ours, torch's own and peft's.

Bytes are counted, so they do not depend on the machine; the growth of a process hardly does.
"""

import copy
from collections.abc import Mapping
from functools import partial

from benchmarks.registry import Case, Figure, Setting, Suite, Table
from benchmarks.schema import Check, Results
from benchmarks.transfer_adapters_problem import (
    BATCH,
    SHAPES,
    WAYS,
    Problem,
    adapted,
    build,
    byte_errors,
    in_a_child,
)
from benchmarks.transfer_peft import PEFT, RANK
from benchmarks.transfer_problem import gradient_errors


def _check(shape: str, _: Setting) -> Check:
    """Biases have the gradients that stock layers give them, in float64."""
    stock = adapted(_double(build(shape, quick=True)), "stock_bias")
    ours = adapted(_double(build(shape, quick=True)), "bias")
    for it in (stock, ours):
        it.loss().backward()
    errors = gradient_errors(ours.model, stock.model)
    return Check.holds(len(errors) > 20 and max(errors) < 1e-9, f"gradients are {max(errors):.1e} apart")


def _double(problem: Problem) -> Problem:
    model, example = copy.deepcopy(problem.model).double(), problem.example
    return Problem(model=model, example=example.double() if example.is_floating_point() else example)


def _run(shape: str, way: str, setting: Setting) -> Mapping[str, float]:
    return in_a_child(shape, way, quick=setting.quick)


def adapters_table(results: Results) -> str:
    """What every way keeps, and by how much the process grows."""
    lines = [
        "| network | way | trained | kept for backward, MB | growth in a step, MB |",
        "|---|---|---:|---:|---:|",
    ]
    for shape, about in SHAPES.items():
        for way in WAYS:
            case = f"{shape}_{way}"
            lines.append(
                f"| {about} | {_TOLD[way]} | {results.number(case, 'num_trained'):,.0f} "
                f"| {results.number(case, 'kept_mb'):.1f} | {results.number(case, 'growth_mb'):.0f} |"
            )
    return "\n".join(lines)


_TOLD = {
    "stock_full": "torch, everything",
    "stock_bias": "torch, biases",
    "peft_lora": "peft, LoRA",
    "bias": "biases",
    "bias_8bit": "biases, bytes for norms and GELU",
    "lora": "LoRA",
    "lora_fa": "LoRA-FA",
    "lora_fa_8bit": "LoRA-FA, bytes for norms and GELU",
}
"""Where nobody is named, it is ours."""


def _ratio(results: Results, ours: str, theirs: str) -> float:
    return results.number(f"bert_{ours}", "kept_mb") / results.number(f"bert_{theirs}", "kept_mb")


def _figure(name: str, ours: str, theirs: str, peer: str) -> Figure:
    return Figure(
        id=f"transfer.{name}",
        unit="",
        peer=peer,
        how=f"BERT-Base, {BATCH} x 128 tokens, no dropout; what autograd keeps, {_TOLD[ours]}; less is better",
        value=lambda results: _ratio(results, ours, theirs),
    )


SUITE = Suite(
    name="transfer_adapters",
    about="Memory of training BERT-Base and ViT-Small by biases, LoRA and LoRA-FA: ours, torch's, peft's",
    counts_only=True,
    peers=(PEFT,),
    cases=(
        *(
            Case(
                name=f"{shape}_{way}",
                about=f"{about}, batch {BATCH}, {_TOLD[way]}: what autograd keeps, and the growth of a process",
                prepare=lambda setting: setting,
                check=partial(_check, shape),
                run=partial(lambda shape, way, _, setting: _run(shape, way, setting), shape, way),
            )
            for shape, about in SHAPES.items()
            for way in WAYS
        ),
        Case(
            name="bert_byte_errors",
            about="BERT-Base, batch 2, bytes for norms and GELU: relative error of gradients, median and worst tensor",
            check=partial(_check, "bert"),
            run=lambda _, setting: byte_errors("bert", quick=setting.quick),
        ),
    ),
    tables=(Table(name="adapters", render=adapters_table),),
    figures=(
        _figure("bert_bias_kept_vs_stock", "bias", "stock_bias", "torch's layers, the same biases"),
        _figure("bert_bias_8bit_kept_vs_stock", "bias_8bit", "stock_bias", "torch's layers, the same biases"),
        _figure("bert_lora_kept_vs_peft", "lora", "peft_lora", f"peft's LoRA, rank {RANK}, the same layers"),
        _figure("bert_lora_fa_8bit_kept_vs_peft", "lora_fa_8bit", "peft_lora", "peft's LoRA, likewise"),
    ),
)
