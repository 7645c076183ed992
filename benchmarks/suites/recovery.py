"""Accuracy recovery: what pruned and tuned models lose against dense ones, on texts that nothing was tuned on.

The trainings go through the recipes of `multum attention adapt` into folders below `runs/recovery`, each of which goes
on where it was interrupted; what is finished there is only measured. Choices (schedules, rates, epochs) were made on
the development parts; the test parts are only read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.places import ROOT, data_folder
from benchmarks.recovery_curve import curve_table, draw_curve, milder_losses
from benchmarks.registry import Case, Figure, Plot, Setting, Suite, Table
from benchmarks.schema import Check
from multum.attention import (
    AdaptConfig,
    SentenceEncoder,
    TokenSchedule,
    adapt,
    adapted_classifier,
    adapted_encoder,
    load_delta,
    load_schedule,
)
from multum.attention.recovery import TokenizedTexts
from multum.attention.recovery_labels import pair_correlation
from multum.attention.recovery_scores import make_clozes, rank_of_own, reached_reduction, recall_at_1
from multum.core import say
from multum.cost import Latency
from multum.data import minilm_folder, read_sst2, read_stsb, read_wikitext2
from multum.recipes.attention import passages_at_a_third, sst2_at_half, stsb_at_two_thirds
from multum.training import METRICS_FILE, read_metrics

TRAININGS = ROOT / "runs" / "recovery"
"""Run folders of the trainings; git ignores them."""
SEEDS = (0, 1, 2)
LEAST_TOKENS, MOST_TOKENS = 120, 256
"""Length of the paragraphs that are looked for, first sentence included."""
QUICK_TEXTS = 48

Readings = Mapping[str, Latency | float]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished training."""

    config: AdaptConfig
    """What was asked for."""
    folder: Path
    """Where its delta and schedule lie."""

    @property
    def schedule(self) -> TokenSchedule:
        """What it was trained through, its common tokens counted."""
        found = load_schedule(self.folder)
        assert isinstance(found, TokenSchedule)
        return found


def trained(config: AdaptConfig, name: str, setting: Setting) -> Trained:
    """Train by a recipe, or take what was trained; an interrupted training goes on."""
    if setting.quick:
        loop = replace(config.recovery.loop, num_epochs=1)
        config = replace(config, recovery=replace(config.recovery, loop=loop), num_texts=QUICK_TEXTS)
        name = f"{name}-quick"
    folder = TRAININGS / name
    say(f"training {name}")
    adapt(config, folder, resume=True)
    return Trained(config=config, folder=folder)


def _seeded(config: AdaptConfig, seed: int) -> AdaptConfig:
    loop = replace(config.recovery.loop, seed=seed)
    return replace(config, recovery=replace(config.recovery, loop=loop))


def _prepare_sst2(setting: Setting) -> list[Trained]:
    config = replace(sst2_at_half(), data=data_folder("glue_sst2"))
    seeds = SEEDS[:1] if setting.quick else SEEDS
    return [trained(_seeded(config, seed), f"sst2-{seed}", setting) for seed in seeds]


def _prepare_stsb(setting: Setting) -> list[Trained]:
    return [trained(replace(stsb_at_two_thirds(), data=data_folder("stsb_en")), "stsb", setting)]


def _prepare_passages(setting: Setting) -> list[Trained]:
    return [trained(replace(passages_at_a_third(), data=data_folder("wikitext2")), "passages", setting)]


def _check_deltas(runs: list[Trained]) -> Check:
    """A delta leaves the embeddings alone, fits its base, and is smaller than it."""
    base = SentenceEncoder.load(minilm_folder()).model
    base_bytes = sum(it.numel() * it.element_size() for it in base.parameters())
    for run in runs:
        delta = load_delta(run.folder)
        model = adapted_encoder(minilm_folder(), delta).model
        same = torch.equal(model.get_input_embeddings().weight, base.get_input_embeddings().weight)
        if not same or delta.num_bytes >= base_bytes:
            return Check.holds(False, f"{run.folder.name}: the delta is not what it should be")
    return Check.holds(True, f"{len(runs)} deltas fit their base")


def _run_sst2(runs: list[Trained], setting: Setting) -> Readings:
    sentences = read_sst2(data_folder("glue_sst2"), "test")
    sentences = sentences[:QUICK_TEXTS] if setting.quick else sentences
    readings: dict[str, float] = {}
    curves: list[dict[str, float]] = []
    for run in runs:
        seed, schedule = run.config.recovery.loop.seed, run.schedule
        dense, longer, tuned = (
            adapted_classifier(minilm_folder(), load_delta(folder))
            for folder in (run.folder / "dense", run.folder / "longer", run.folder)
        )
        lengths = TokenizedTexts.of(dense.encoder, [it.text for it in sentences]).lengths
        untuned, recovered = (cache(partial(it.accuracy, sentences)) for it in (dense, tuned))
        readings |= {
            f"seed_{seed}.dense_accuracy": dense.accuracy(sentences, None),
            f"seed_{seed}.dense_longer_accuracy": longer.accuracy(sentences, None),
            f"seed_{seed}.pruned_only_accuracy": untuned(schedule),
            f"seed_{seed}.tuned_accuracy": recovered(schedule),
            "token_reduction": reached_reduction(schedule, lengths),
            "delta_bytes": load_delta(run.folder).num_bytes,
        }
        curves.append(
            milder_losses(
                schedule,
                readings[f"seed_{seed}.dense_longer_accuracy"],
                pruned_only=untuned,
                tuned=recovered,
                reduction=partial(reached_reduction, lengths=lengths),
            )
        )
    losses = [
        100 * (readings[f"{name}.dense_longer_accuracy"] - readings[f"{name}.tuned_accuracy"])
        for name in (f"seed_{run.config.recovery.loop.seed}" for run in runs)
    ]
    spread = torch.tensor(losses).std(correction=1).item() if len(losses) > 1 else 0.0
    mean_curve = {name: sum(it[name] for it in curves) / len(curves) for name in curves[0]}
    return {**readings, **mean_curve, "loss_points": sum(losses) / len(losses), "loss_points_spread": spread}


def _run_stsb(runs: list[Trained], setting: Setting) -> Readings:
    (run,) = runs
    pairs = read_stsb(data_folder("stsb_en"), "test")
    pairs = pairs[:QUICK_TEXTS] if setting.quick else pairs
    base = SentenceEncoder.load(minilm_folder())
    dense, longer, tuned = (
        adapted_encoder(minilm_folder(), load_delta(folder))
        for folder in (run.folder / "dense", run.folder / "longer", run.folder)
    )
    schedule = run.schedule
    recovered, reduction = pair_correlation(tuned, pairs, schedule)
    readings = {
        "untuned_dense_spearman": pair_correlation(base, pairs, None)[0],
        "untuned_pruned_spearman": pair_correlation(base, pairs, schedule)[0],
        "dense_spearman": pair_correlation(dense, pairs, None)[0],
        "dense_longer_spearman": pair_correlation(longer, pairs, None)[0],
        "pruned_only_spearman": pair_correlation(dense, pairs, schedule)[0],
        "tuned_spearman": recovered,
        "token_reduction": reduction,
        "delta_bytes": load_delta(run.folder).num_bytes,
    }
    best = max(readings["dense_spearman"], readings["dense_longer_spearman"])
    milder = milder_losses(
        schedule,
        best,
        pruned_only=lambda plan: pair_correlation(dense, pairs, plan)[0],
        tuned=lambda plan: pair_correlation(tuned, pairs, plan)[0],
        reduction=lambda plan: pair_correlation(tuned, pairs, plan)[1],
    )
    return {**readings, **_curve(run.folder), **milder, "loss_points": 100 * (best - recovered)}


def _curve(folder: Path) -> dict[str, float]:
    """Spearman's correlation after each epoch, on the development part; the first epochs are the dense model's."""
    curves = {
        part: [it["spearman"] for it in read_metrics(folder / part / METRICS_FILE) if "spearman" in it]
        for part in ("dense", "longer", "pruned")
    }
    return {
        f"dev.{part}_after_epoch_{epoch}": score
        for part, scores in curves.items()
        for epoch, score in enumerate(scores, 1)
    }


def _run_passages(runs: list[Trained], setting: Setting) -> Readings:
    (run,) = runs
    base, tuned = (
        SentenceEncoder.load(minilm_folder()),
        adapted_encoder(minilm_folder(), load_delta(run.folder)),
    )
    paragraphs = read_wikitext2(data_folder("wikitext2"), "test")
    paragraphs = paragraphs[: 4 * QUICK_TEXTS] if setting.quick else paragraphs
    lengths = TokenizedTexts.of(base, paragraphs).lengths
    clozes = make_clozes(paragraphs, lengths, least_tokens=LEAST_TOKENS, most_tokens=MOST_TOKENS)
    queries, rests = [it.query for it in clozes], [it.rest for it in clozes]
    schedule = run.schedule
    query_QD, _ = base.embed(queries)
    own_Q = torch.arange(len(clozes))

    def recall(encoder: SentenceEncoder, how: TokenSchedule | None, asked_QD: Tensor) -> tuple[float, float]:
        passage_PD, reduction = encoder.embed(rests, schedule=how)
        return recall_at_1(rank_of_own(asked_QD, passage_PD, own_Q)), reduction

    dense, _ = recall(base, None, query_QD)
    pruned, _ = recall(base, schedule, query_QD)
    distilled, reduction = recall(tuned, schedule, query_QD)
    both, _ = recall(tuned, schedule, tuned.embed(queries, schedule=schedule)[0])
    return {
        "dense_r1": dense,
        "pruned_only_r1": pruned,
        "distilled_r1": distilled,
        "distilled_r1_queries_pruned_too": both,
        "token_reduction": reduction,
        "num_passages": len(clozes),
        "delta_bytes": load_delta(run.folder).num_bytes,
        "loss_points": 100 * (dense - distilled),
    }


def _figure(name: str, case: str, how: str, peer: str, goal_max: float | None) -> Figure:
    return Figure(
        id=f"attention.{name}",
        unit="points",
        goal_max=goal_max,
        peer=peer,
        how=how,
        value=lambda results: results.number(case, "loss_points"),
    )


SUITE = Suite(
    name="recovery",
    about="Accuracy recovery: pruned and tuned MiniLM against the dense one, on SST-2, STS-B and WikiText-2 passages",
    counts_only=True,
    cases=(
        Case(
            name="sst2",
            about="SST-2 test set with its labels: accuracy, [CLS], half the tokens, three seeds",
            prepare=_prepare_sst2,
            check=_check_deltas,
            run=_run_sst2,
        ),
        Case(
            name="stsb",
            about="STS-B test set: Spearman's correlation of cosines, mean-pooled sentences, two thirds of the tokens",
            prepare=_prepare_stsb,
            check=_check_deltas,
            run=_run_stsb,
        ),
        Case(
            name="passages",
            about="WikiText-2 test paragraphs of 120-256 tokens, found by their first sentence, a third of the tokens",
            prepare=_prepare_passages,
            check=_check_deltas,
            run=_run_passages,
        ),
    ),
    figures=(
        _figure(
            "sst2_loss_points_at_2x",
            "sst2",
            "100 x (accuracy dense - pruned), test set, mean of three seeds; both tuned on all 67,349 "
            "phrases for as many epochs, the pruned one through its pruning in the second half of them; tokens "
            "unpadded, summed over layers",
            "the dense model tuned the same way",
            0.5,
        ),
        _figure(
            "stsb_tuned_loss_points_at_1p5x",
            "stsb",
            "100 x (Spearman dense - pruned), test set; both tuned on all training pairs for as many epochs, the "
            "pruned one through its pruning in the second half of them; the better of the dense model after half of "
            "the epochs and after all",
            "the dense model tuned the same way",
            None,
        ),
        _figure(
            "passages_r1_loss_points_at_3x",
            "passages",
            "100 x (R@1 dense - pruned), self-distilled on the validation text; queries embedded by the dense model in "
            "both",
            "the dense model",
            1.0,
        ),
    ),
    tables=(Table(name="curve", render=curve_table),),
    plots=(Plot(path=Path("docs/images/recovery.svg"), draw=draw_curve),),
)
