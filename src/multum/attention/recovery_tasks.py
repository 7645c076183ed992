"""The three tasks of `adapt`, stage by stage of a run folder: what is trained, from where, and what is measured.

Shape legend: T texts, D embedding width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multum.attention.adapt_config import AdaptConfig
from multum.attention.adapted import adapted_classifier, adapted_encoder
from multum.attention.delta import load_delta, make_delta, save_delta
from multum.attention.embedding import SentenceEncoder
from multum.attention.recovery import TokenizedTexts, pool_all
from multum.attention.recovery_distillation import cosine_about_mean, distill_embeddings
from multum.attention.recovery_labels import (
    HEAD,
    SentenceClassifier,
    pair_correlation,
    tune_classifier,
    tune_similarity,
)
from multum.attention.recovery_scores import reached_reduction
from multum.attention.schedule import TokenSchedule
from multum.attention.sparse_schedule import save_schedule
from multum.attention.token_absence import Answer, rank_by_absence, unit_vectors
from multum.attention.word_worth import count_common_tokens
from multum.core import Run, invalid
from multum.data import read_lines, read_sst2, read_stsb, read_wikitext2
from multum.training import METRICS_FILE, read_metrics

NUM_CLASSES = 2
HELD_OUT_PART = 10
"""The last one in so many texts are held out of self-distillation, to measure on."""


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """An open run, what was asked for, and where it starts."""

    run: Run
    """The open run folder."""
    config: AdaptConfig
    """The dials."""
    model_folder: Path
    """The base model."""
    schedule: TokenSchedule
    """The pruning."""

    def ranked(self, dense: SentenceEncoder, texts: Sequence[str], answer: Answer) -> "Adaptation":
        """The same with tokens ranked by these texts, where the schedule wants a ranking and has none."""
        if self.schedule.spare_tokens != ():
            return self

        def rank() -> list[int]:
            tokenized = TokenizedTexts.of(dense, texts)
            if self.config.spare == "common":
                return list(count_common_tokens(tokenized.tokens["input_ids"]))
            return list(rank_by_absence(tokenized, answer, seed=self.config.recovery.loop.seed))

        found = tuple(self.run.stage("spare-tokens", rank))
        return replace(self, schedule=replace(self.schedule, spare_tokens=found))

    def place(self, part: str) -> Path:
        """Where a part's delta lies: the pruned model's in the run folder itself."""
        return self.run.folder if part == "pruned" else self.run.path(part)

    def schedule_of(self, part: str) -> TokenSchedule | None:
        """What a part is trained through."""
        return self.schedule if part == "pruned" else None

    def drawn(self, items: Sequence[Any]) -> Sequence[Any]:
        """As many items as wished for, drawn by the seed, in their order."""
        if self.config.num_texts is None or self.config.num_texts >= len(items):
            return items
        generator = torch.Generator().manual_seed(self.config.recovery.loop.seed)
        chosen = torch.randperm(len(items), generator=generator)[: self.config.num_texts]
        return [items[i] for i in sorted(chosen.tolist())]

    def write(self, part: str, tuned: SentenceEncoder, added: Mapping[str, Tensor]) -> dict[str, Any]:
        """Save what a part changed: dense models exactly, for the pruned one starts there; it with its schedule."""
        precision, rank = (self.config.precision, self.config.rank) if part == "pruned" else ("exact", None)
        base = SentenceEncoder.load(self.model_folder).model.state_dict()
        delta = make_delta(base, tuned.model.state_dict(), precision=precision, rank=rank, added=added)
        pooling = self.config.pooling if added else "mean"
        save_delta(replace(delta, pooling=pooling), self.place(part))
        if part == "pruned":
            save_schedule(self.schedule, self.run.folder)
        return {"delta_bytes": delta.num_bytes}

    def curve(self, part: str, measure: str) -> list[float]:
        """What was measured after each epoch of a part."""
        records = read_metrics(self.run.path(part) / METRICS_FILE)
        return [record[measure] for record in records if measure in record]


def classify(task: Adaptation) -> Mapping[str, Any]:
    """Tune a classifier on SST-2, then through its pruning."""
    train_set, dev_set = task.drawn(read_sst2(task.config.data, "train")), read_sst2(task.config.data, "dev")

    def read(part: str) -> SentenceClassifier:
        return adapted_classifier(task.model_folder, load_delta(task.place(part)))

    def fresh() -> SentenceClassifier:
        encoder = SentenceEncoder.load(task.model_folder)
        generator = torch.Generator().manual_seed(task.config.recovery.loop.seed)
        return SentenceClassifier.fresh(
            encoder, num_classes=NUM_CLASSES, pooling=task.config.pooling, generator=generator
        )

    def tuned(part: str) -> dict[str, Any]:
        pupil = fresh() if part == "dense" else read("dense")
        teacher = read("dense") if part == "pruned" else None
        folder, schedule = task.run.path(part), task.schedule_of(part)
        tune_classifier(
            pupil, train_set, schedule, task.config.recovery, folder, teacher=teacher, held_out=dev_set
        )
        head = {f"{HEAD}.{name}": it for name, it in pupil.head.state_dict().items()}
        return task.write(part, pupil.encoder, head)

    def score(part: str, schedule: TokenSchedule | None) -> float:
        return read(part).accuracy(dev_set, schedule)

    task.run.stage("dense", partial(tuned, "dense"))
    dense = read("dense")
    task = task.ranked(dense.encoder, [it.text for it in train_set], dense.answers)
    lengths = TokenizedTexts.of(SentenceEncoder.load(task.model_folder), [it.text for it in dev_set]).lengths
    scores = _trained_and_scored(task, tuned, score, "accuracy")
    return {**scores, "token_reduction": reached_reduction(task.schedule, lengths)}


def similarity(task: Adaptation) -> Mapping[str, Any]:
    """Tune an encoder on STS-B, then through its pruning."""
    train_set, dev_set = task.drawn(read_stsb(task.config.data, "train")), read_stsb(task.config.data, "dev")

    def read(part: str) -> SentenceEncoder:
        return adapted_encoder(task.model_folder, load_delta(task.place(part)))

    def tuned(part: str) -> dict[str, Any]:
        pupil = SentenceEncoder.load(task.model_folder) if part == "dense" else read("dense")
        teacher = read("dense") if part == "pruned" else None
        folder, schedule = task.run.path(part), task.schedule_of(part)
        tune_similarity(
            pupil, train_set, schedule, task.config.recovery, folder, teacher=teacher, held_out=dev_set
        )
        return task.write(part, pupil, {})

    def score(part: str, schedule: TokenSchedule | None) -> float:
        return pair_correlation(read(part), dev_set, schedule)[0]

    task.run.stage("dense", partial(tuned, "dense"))
    train_texts = [it.first for it in train_set] + [it.second for it in train_set]
    task = task.ranked(read("dense"), train_texts, unit_vectors)
    texts = [it.first for it in dev_set] + [it.second for it in dev_set]
    lengths = TokenizedTexts.of(SentenceEncoder.load(task.model_folder), texts).lengths
    scores = _trained_and_scored(task, tuned, score, "spearman")
    return {**scores, "token_reduction": reached_reduction(task.schedule, lengths)}


def _trained_and_scored(
    task: Adaptation,
    tuned: Callable[[str], dict[str, Any]],
    score: Callable[[str, TokenSchedule | None], float],
    measure: str,
) -> dict[str, Any]:
    """From the dense model the pruned one, and a dense one for as long if wished; every part a stage of the run."""
    stage = task.run.stage
    written = stage("pruned", partial(tuned, "pruned"))
    result: dict[str, Any] = {
        "dense": stage("dense-score", partial(score, "dense", None)),
        "pruned": stage("pruned-score", partial(score, "dense", task.schedule)),
        "recovered": stage("recovered-score", partial(score, "pruned", task.schedule)),
        "curve": task.curve("pruned", measure),
    }
    if task.config.compare:
        stage("longer", partial(tuned, "longer"))
        result["dense_longer"] = stage("longer-score", partial(score, "longer", None))
        result["dense_longer_curve"] = task.curve("longer", measure)
    return {**result, **written}


def distill(task: Adaptation) -> Mapping[str, Any]:
    """Let the dense encoder teach its pruned self on plain text."""
    config, run = task.config, task.run
    encoder = SentenceEncoder.load(task.model_folder)
    texts = read_wikitext2(config.data) if config.data.is_dir() else read_lines(config.data)
    train_set, held_out = _parted(task.drawn(texts))
    task = task.ranked(encoder, train_set, unit_vectors)
    tokens = TokenizedTexts.of(encoder, held_out, max_tokens=config.max_tokens)

    def closeness(pupil: SentenceEncoder) -> float:
        dense = SentenceEncoder.load(task.model_folder)
        theirs, ours = (TokenizedTexts(encoder=it, tokens=tokens.tokens) for it in (dense, pupil))
        return cosine_about_mean(pool_all(ours, task.schedule, "mean"), pool_all(theirs, None, "mean"))

    def tuned() -> dict[str, Any]:
        distill_embeddings(
            encoder,
            train_set,
            task.schedule,
            config.recovery,
            run.path("pruned"),
            least_tokens=config.least_tokens,
            max_tokens=config.max_tokens,
            held_out=held_out,
        )
        return task.write("pruned", encoder, {})

    before = run.stage("pruned-score", partial(closeness, encoder))
    written = run.stage("pruned", tuned)
    recovered = run.stage(
        "recovered-score", lambda: closeness(adapted_encoder(task.model_folder, load_delta(run.folder)))
    )
    return {
        "dense": 1.0,
        "pruned": before,
        "recovered": recovered,
        "curve": task.curve("pruned", "cosine"),
        "token_reduction": reached_reduction(task.schedule, tokens.lengths),
        **written,
    }


def _parted(texts: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Texts to train on and, from their end, texts held out: neighbours, of one article say, stay on one side."""
    num_held_out = max(1, len(texts) // HELD_OUT_PART)
    if len(texts) <= num_held_out:
        raise invalid("data", "at least two texts", len(texts))
    return texts[:-num_held_out], texts[-num_held_out:]
