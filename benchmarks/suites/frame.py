"""The main job's figures: token pruning against the dense model under torch's SDPA, with the same linear layers.

Ours and the middle column use the same linear layers (oneDNN's); the first column is the dense model as a user gets it.
On processors whose stock linear layers are fast already the two columns are alike; the ratio that counts is still the
one to the middle column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.baselines import OURS, SAME_LINEARS, THREE_COLUMNS, three_columns
from benchmarks.bert_problem import BERT_SCHEDULE, TWIN_TOLERANCE, BertProblem, bert_problem, check_bert
from benchmarks.quiet_axes import quiet
from benchmarks.registry import Case, Figure, Plot, Setting, Suite, Table
from benchmarks.schema import Check, Paper, Results
from multum.attention import SentenceEncoder, TokenSchedule, embedding_schedule, prune
from multum.attention.reference import masked_dense
from multum.core import published
from multum.cost import Latency, measure
from multum.data import load_passages, minilm_folder
from multum.demo.retrieval import measure_retrieval
from multum.demo.timing import runner, total_macs
from multum.ops import measure_fma_peak

MINILM_KEEP_RATIO = 0.4
"""Half the tokens on average over six layers: a token reduction of 2."""


def _run_bert(problem: BertProblem, setting: Setting, num_threads: int) -> Mapping[str, Latency | float]:
    dense = measure(problem.model, (problem.tokens,), latency=False)
    with prune(problem.model, BERT_SCHEDULE):
        pruned = measure(problem.model, (problem.tokens,), latency=False)
    times = three_columns(
        setting,
        shipped=problem.forward,
        same_linears=lambda: problem.forward(fast=True),
        ours=lambda: problem.forward(BERT_SCHEDULE, fast=True),
        num_threads=num_threads,
    )
    floor = 2 * pruned.macs / (measure_fma_peak().flops_per_second * num_threads)
    return {
        **times,
        "mac_reduction": dense.macs / pruned.macs,
        "mac_floor_seconds": floor,
        "times_mac_floor": times[OURS].median_seconds / floor,
        "dense_times_mac_floor": times[SAME_LINEARS].median_seconds / (floor * dense.macs / pruned.macs),
    }


def _paper() -> Paper:
    """The largest speed-up in software that the paper reports at the same token pruning (another machine and peer)."""
    said = published("spatten", "software_speedup")
    return Paper(value=said.number, unit=said.unit, where=f"SpAtten, {said.where}")


def _bert_case(num_threads: int) -> Case:
    word = "one thread" if num_threads == 1 else f"{num_threads} threads"
    return Case(
        name=f"bert_base_384_b8_{num_threads}_thread",
        about=f"BERT-Base, 8 x 384 tokens, layers on 384, 384, then 77 tokens, {word}",
        prepare=bert_problem,
        check=check_bert,
        run=lambda problem, setting: _run_bert(problem, setting, num_threads),
        ours=OURS,
        peers=THREE_COLUMNS,
        paper=_paper(),
    )


@dataclass(frozen=True, kw_only=True)
class Passages:
    """The bundled passages and the real model."""

    encoder: SentenceEncoder
    """all-MiniLM-L6-v2."""
    texts: tuple[str, ...]
    """Texts of the passages."""

    @property
    def schedule(self) -> TokenSchedule:
        """The schedule for embeddings at half the tokens."""
        return embedding_schedule(self.encoder.model.config.num_hidden_layers, MINILM_KEEP_RATIO)


def _passages(setting: Setting) -> Passages:
    texts = tuple(passage.text for passage in load_passages())
    encoder = SentenceEncoder.load(minilm_folder())
    return Passages(encoder=encoder, texts=texts[:8] if setting.quick else texts)


def _check_passages(passages: Passages) -> Check:
    """The first passage against the masked dense twin, alone and inside a batch."""
    encoder, schedule = passages.encoder, passages.schedule
    tokens = encoder.tokenize(passages.texts[:1])["input_ids"][0]
    with torch.inference_mode():
        twin = masked_dense(encoder.model, tokens, schedule)
        with prune(encoder.model, schedule) as run:
            hidden = encoder.model(**encoder.tokenize(passages.texts[:4])).last_hidden_state[0]
    mask = run.mask[0]
    kept = run.positions[0][mask].tolist()
    if kept != list(twin.kept[-1]):
        return Check.holds(False, "the kept tokens are not those of the masked dense twin")
    return Check.close(hidden[mask], twin.hidden_ND[kept], allowed=TWIN_TOLERANCE)


def _run_retrieval(passages: Passages, setting: Setting) -> Mapping[str, Latency | float]:  # noqa: ARG001
    rows = measure_retrieval(passages.encoder, load_passages(), (0.7, 0.5, MINILM_KEEP_RATIO, 0.3))
    readings: dict[str, Latency | float] = {}
    for row in rows:
        name = row.schedule.replace(",", "").replace("'", "").replace(" ", "_")
        readings[f"{name}.recall_at_1"] = row.recall_at_1
        readings[f"{name}.token_reduction"] = row.token_reduction
    return readings


def _run_passages(passages: Passages, setting: Setting) -> Mapping[str, Latency | float]:
    encoder, texts, schedule = passages.encoder, passages.texts, passages.schedule
    dense_macs, pruned_macs = (total_macs(encoder, texts, plan) for plan in (None, schedule))
    times = three_columns(
        setting,
        shipped=runner(encoder, texts, None, fast=False),
        same_linears=runner(encoder, texts, None, fast=True),
        ours=runner(encoder, texts, schedule, fast=True),
    )
    floor = 2 * pruned_macs / measure_fma_peak().flops_per_second
    return {
        **times,
        "mac_reduction": dense_macs / pruned_macs,
        "mac_floor_seconds": floor,
        "times_mac_floor": times[OURS].median_seconds / floor,
    }


def _share_of_mac_ratio(results: Results) -> float:
    case = "bert_base_384_b8_1_thread"
    return results.ratio(case, SAME_LINEARS) / results.number(case, "mac_reduction")


FAMILIES = {
    "by_value": "flat, by value",
    "papers_score": "flat, paper's score",
    "papers_rule": "linear, paper's rule",
}


def _retrieval_rows(results: Results) -> list[tuple[str, float, float]]:
    """Name, token reduction and recall of every schedule, dense first, in the order of the file."""
    readings = results.case("minilm_retrieval").readings
    names = [name.removesuffix(".recall_at_1") for name in readings if name.endswith(".recall_at_1")]
    return [
        (
            name,
            results.number("minilm_retrieval", f"{name}.token_reduction"),
            results.number("minilm_retrieval", f"{name}.recall_at_1"),
        )
        for name in names
    ]


def _retrieval_table(results: Results) -> str:
    """Retrieval under each schedule as Markdown."""
    rows = _retrieval_rows(results)
    dense = rows[0][2]
    lines = ["| schedule | token reduction | R@1 | points |", "|---|---:|---:|---:|"]
    for name, reduction, recall in rows:
        words = name.replace("_", " ").replace("papers", "paper's")
        points = 100 * (recall - dense)
        lines.append(f"| {words} | {reduction:.2f}x | {100 * recall:.1f} % | {points:+.1f} |")
    return "\n".join(lines)


def _draw_retrieval(results: Results) -> Any:
    """Recall against token reduction, one line for each family of schedules."""
    from matplotlib.figure import Figure as Drawing

    rows = _retrieval_rows(results)
    drawing = Drawing(figsize=(7, 3.4), layout="constrained")
    axes = drawing.subplots()
    colours = ("#0f7285", "#c2611f", "#7a4fa3")
    for (key, label), colour, marker in zip(FAMILIES.items(), colours, "os^", strict=True):
        family = [row for row in rows if row[0].endswith(key)]
        points = ([rows[0], *family] if key != "papers_rule" else family) if family else []
        axes.plot(
            [row[1] for row in points],
            [100 * row[2] for row in points],
            marker=marker,
            color=colour,
            label=label,
        )
    axes.grid(axis="y", color="#777777", alpha=0.3)
    quiet(drawing, axes, x="token reduction (dense = 1)", y="queries that find their passage first, %")
    return drawing


def _retrieval_loss(results: Results) -> float:
    dense = results.number("minilm_retrieval", "dense.recall_at_1")
    return 100 * (dense - results.number("minilm_retrieval", "flat_0.4_by_value.recall_at_1"))


SUITE = Suite(
    name="frame",
    about="Cascade token pruning of encoders: BERT-Base at a third of the tokens, MiniLM on real passages",
    cases=(
        _bert_case(1),
        _bert_case(2),
        Case(
            name="minilm_retrieval",
            about="all-MiniLM-L6-v2 on the bundled passages: part of the queries that find theirs first",
            prepare=_passages,
            check=_check_passages,
            run=_run_retrieval,
        ),
        Case(
            name="minilm_passages",
            about="all-MiniLM-L6-v2 on the bundled passages, batches of 8, half the tokens, one thread",
            prepare=_passages,
            check=_check_passages,
            run=_run_passages,
            ours=OURS,
            peers=THREE_COLUMNS,
        ),
    ),
    figures=(
        Figure(
            id="frame.bert_base_384_b8_keep33_vs_sdpa_same_linears",
            unit="x",
            goal_min=2.4,
            peer="the dense model under SDPA with the same linear layers",
            how="median of interleaved rounds, one thread, tokens per layer 384, 384, then 77 x 10, no padding",
            value=lambda results: results.ratio("bert_base_384_b8_1_thread", SAME_LINEARS),
        ),
        Figure(
            id="frame.bert_base_384_b8_keep33_share_of_mac_ratio",
            unit="",
            goal_min=0.8,
            peer="the reduction of multiply-accumulates, attention counted",
            how="that speed-up over the reduction that multum.cost measures",
            value=_share_of_mac_ratio,
        ),
        Figure(
            id="frame.bert_base_384_b8_keep33_vs_sdpa_same_linears_two_threads",
            unit="x",
            peer="the dense model under SDPA with the same linear layers",
            how="as with one thread",
            value=lambda results: results.ratio("bert_base_384_b8_2_thread", SAME_LINEARS),
        ),
        Figure(
            id="frame.minilm_retrieval_loss_points_at_2x",
            unit="points",
            goal_max=2,
            peer="the dense model",
            how="100 x (R@1 dense - R@1 pruned), bundled passages, schedule for embeddings at keep ratio 0.4",
            value=_retrieval_loss,
        ),
        Figure(
            id="frame.minilm_passages_vs_sdpa_same_linears_at_2x",
            unit="x",
            goal_min=1.6,
            peer="the dense model under SDPA with the same linear layers",
            how="median of interleaved rounds over all passages, batches of 8 of like length, one thread",
            value=lambda results: results.ratio("minilm_passages", SAME_LINEARS),
        ),
    ),
    tables=(Table(name="retrieval", render=_retrieval_table),),
    plots=(Plot(path=Path("docs/images/retrieval.svg"), draw=_draw_retrieval),),
)
