"""`multum attention adapt`, as a plain function over a frozen configuration: data in, delta and schedule out.

A run folder keeps everything: the dense teacher's training, the pruned model's, what was measured on the part of the
data that choices are made on, and in the end `multum_delta.safetensors` and `multum_schedule.json`. What is reported
is measured with the delta as it was written, compression included.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from multum.attention.delta import Delta, Precision, load_delta, make_delta, merge, save_delta
from multum.attention.embedding import SentenceEncoder
from multum.attention.recovery import Pooling, RecoveryConfig, TokenizedTexts, pool_all
from multum.attention.recovery_distillation import distill_embeddings, mean_cosine
from multum.attention.recovery_labels import (
    HEAD,
    SentenceClassifier,
    pair_correlation,
    tune_classifier,
    tune_similarity,
)
from multum.attention.recovery_scores import reached_reduction
from multum.attention.schedule import TokenSchedule, embedding_schedule
from multum.attention.sparse_schedule import EncoderSchedule, save_schedule
from multum.core import Run, invalid, say
from multum.data import (
    minilm_folder,
    read_lines,
    read_sst2,
    read_stsb,
    read_wikitext2,
)
from multum.training import CHECKPOINT_FILE, read_metrics

Task = Literal["classify", "similarity", "distill"]
"""Fine-tuning on SST-2, fine-tuning on STS-B, self-distillation on plain text."""

NUM_CLASSES = 2
HELD_OUT_EVERY = 10
"""One text in so many is held out of self-distillation, to measure on."""


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """Train a model to stand its own pruning, and save what changed.

    Raises:
        UserError: A value outside its range.
    """

    data: Path
    """Folder of SST-2 (classify), STS-B (similarity) or WikiText-2 (distill), or a text file with a text on each line
    (distill)."""

    task: Task = "distill"
    """How: on labels of sentences, on scores of sentence pairs, or label-free."""

    schedule: TokenSchedule = field(default_factory=lambda: embedding_schedule(6, 0.4))
    """The pruning to adapt to; as many layers as the model."""

    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    """How it is trained."""

    pooling: Pooling = "first"
    """What a classifier reads; the other tasks read the mean."""

    num_texts: int | None = None
    """Train on so many sentences, pairs or texts, drawn by the seed; all when left alone."""

    max_tokens: int = 256
    """Texts are cut off there in self-distillation."""

    least_tokens: int = 1
    """Shorter texts are left out of self-distillation."""

    precision: Precision = "int8"
    """How the delta is kept: exact values, or differences in 16 or 8 bits."""

    rank: int | None = None
    """Keep the differences of matrices in so many directions only; all when left alone."""

    model: Path | None = None
    """Folder of a transformers encoder; all-MiniLM-L6-v2 when left alone."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise invalid("task", f"one of {', '.join(get_args(Task))}", self.task)
        for name in ("max_tokens", "least_tokens", "num_threads"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))
        if self.num_texts is not None and self.num_texts < 1:
            raise invalid("num_texts", "at least 1", self.num_texts)


def adapt(
    config: AdaptConfig, folder: Path, *, resume: bool = False, overwrite: bool = False
) -> Mapping[str, Any]:
    """Train, measure, and write the delta and the schedule into a run folder.

    Args:
        config: The dials.
        folder: Run folder; keeps checkpoints while it trains.
        resume: Continue the run that lies there, bit for bit.
        overwrite: Replace the run that lies there.

    Returns:
        What was measured on the development part: the score of the dense model, of the pruned one before and after,
        the token reduction, and the delta's bytes.

    Raises:
        UserError: Bad options or data; a run lies there and neither flag was given.
    """
    torch.set_num_threads(config.num_threads)
    model_folder = config.model or minilm_folder()
    seed = config.recovery.loop.seed
    with Run.open(folder, config, resume=resume, overwrite=overwrite, seed=seed) as run:
        if overwrite:
            forget(folder)
        if run.finished:
            say("this run is finished already")
            return dict(run.result)
        result = dict(_TASKS[config.task](config, run, model_folder))
        save_schedule(EncoderSchedule(tokens=config.schedule), folder)
        run.finish(result)
        forget(folder)  # the delta is there: checkpoints and teacher's vectors have served
        return result


def forget(folder: Path) -> None:
    """Remove the checkpoints and remembered vectors of a run."""
    for part in ("dense", "pruned"):
        for name in (CHECKPOINT_FILE, "teacher.safetensors"):
            (folder / part / name).unlink(missing_ok=True)


def adapted_classifier(model_folder: Path, delta: Delta, pooling: Pooling) -> SentenceClassifier:
    """A classifier from its base model and a delta that holds the head too.

    Raises:
        UserError: The delta is for another model, or holds no head.
    """
    encoder = SentenceEncoder.load(model_folder)
    weight = delta.added.get(f"{HEAD}.weight")
    if weight is None:
        raise invalid("delta", "of a classifier, with a head", sorted(delta.added))
    merge(encoder.model, delta)
    head = torch.nn.utils.skip_init(torch.nn.Linear, weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": delta.added[f"{HEAD}.bias"]})
    return SentenceClassifier(encoder=encoder, head=head, pooling=pooling)


def _classify(config: AdaptConfig, run: Run, model_folder: Path) -> Mapping[str, Any]:
    train_set = _drawn(read_sst2(config.data, "train"), config)
    dev_set = read_sst2(config.data, "dev")

    def tuned(part: str, teacher: SentenceClassifier | None) -> dict[str, float]:
        encoder = SentenceEncoder.load(model_folder)
        base = _copied(encoder.model.state_dict())
        generator = torch.Generator().manual_seed(config.recovery.loop.seed)
        fresh = SentenceClassifier.fresh(
            encoder, num_classes=NUM_CLASSES, pooling=config.pooling, generator=generator
        )
        schedule = config.schedule if teacher else None
        tune_classifier(fresh, train_set, schedule, config.recovery, run.path(part), teacher=teacher)
        head = {f"{HEAD}.{name}": it for name, it in fresh.head.state_dict().items()}
        return _write_delta(config, run, part, base, encoder.model.state_dict(), head)

    def read(part: str) -> SentenceClassifier:
        return adapted_classifier(model_folder, load_delta(_place(run, part)), config.pooling)

    run.stage("dense", partial(tuned, "dense", None))
    dense = read("dense")
    written = run.stage("pruned", partial(tuned, "pruned", dense))
    lengths = TokenizedTexts.of(dense.encoder, [it.text for it in dev_set]).lengths
    return {
        "dense": run.stage("dense-score", partial(dense.accuracy, dev_set, None)),
        "pruned": run.stage("pruned-score", partial(dense.accuracy, dev_set, config.schedule)),
        "recovered": run.stage("recovered-score", lambda: read("pruned").accuracy(dev_set, config.schedule)),
        "token_reduction": reached_reduction(config.schedule, lengths),
        **written,
    }


def _similarity(config: AdaptConfig, run: Run, model_folder: Path) -> Mapping[str, Any]:
    train_set, dev_set = _drawn(read_stsb(config.data, "train"), config), read_stsb(config.data, "dev")

    def tuned(part: str, teacher: SentenceEncoder | None) -> dict[str, Any]:
        encoder = SentenceEncoder.load(model_folder)
        base = _copied(encoder.model.state_dict())
        schedule = config.schedule if teacher else None
        log = tune_similarity(
            encoder, train_set, schedule, config.recovery, run.path(part), teacher=teacher, held_out=dev_set
        )
        curve = [it["spearman"] for it in read_metrics(log) if "spearman" in it]
        return {**_write_delta(config, run, part, base, encoder.model.state_dict(), {}), "curve": curve}

    dense_curve = run.stage("dense", partial(tuned, "dense", None))["curve"]
    dense = adapted_encoder(model_folder, load_delta(_place(run, "dense")))
    written = run.stage("pruned", partial(tuned, "pruned", dense))
    score, reduction = run.stage(
        "pruned-score", lambda: list(pair_correlation(dense, dev_set, config.schedule))
    )
    recovered = run.stage(
        "recovered-score",
        lambda: pair_correlation(
            adapted_encoder(model_folder, load_delta(run.folder)), dev_set, config.schedule
        )[0],
    )
    scores = {"dense": dense_curve[-1], "dense_curve": dense_curve, "pruned": score, "recovered": recovered}
    return {**scores, "token_reduction": reduction, **written}


def adapted_encoder(model_folder: Path, delta: Delta) -> SentenceEncoder:
    """An encoder from its base model and a delta.

    Raises:
        UserError: The delta is for another model.
    """
    encoder = SentenceEncoder.load(model_folder)
    merge(encoder.model, delta)
    return encoder


def _distill(config: AdaptConfig, run: Run, model_folder: Path) -> Mapping[str, Any]:
    encoder = SentenceEncoder.load(model_folder)
    texts = read_wikitext2(config.data) if config.data.is_dir() else read_lines(config.data)
    lengths = TokenizedTexts.of(encoder, texts, max_tokens=config.max_tokens).lengths
    long = [text for text, it in zip(texts, lengths, strict=True) if it >= config.least_tokens]
    held_out = long[::HELD_OUT_EVERY]
    train_set = _drawn([it for place, it in enumerate(long) if place % HELD_OUT_EVERY], config)
    tokens = TokenizedTexts.of(encoder, held_out, max_tokens=config.max_tokens)

    def scores_before() -> dict[str, float]:
        dense_TD, pruned_TD = (pool_all(tokens, it, "mean") for it in (None, config.schedule))
        return {"dense": 1.0, "pruned": mean_cosine(dense_TD, pruned_TD)}

    def tuned() -> dict[str, Any]:
        base = _copied(encoder.model.state_dict())
        log = distill_embeddings(
            encoder,
            train_set,
            config.schedule,
            config.recovery,
            run.path("pruned"),
            max_tokens=config.max_tokens,
            held_out=held_out,
        )
        curve = [it["cosine"] for it in read_metrics(log) if "cosine" in it]
        return {**_write_delta(config, run, "pruned", base, encoder.model.state_dict(), {}), "curve": curve}

    before = run.stage("before", scores_before)
    written = run.stage("pruned", tuned)

    def score_after() -> float:
        dense, recovered = (
            SentenceEncoder.load(model_folder),
            adapted_encoder(model_folder, load_delta(run.folder)),
        )
        theirs, ours = (TokenizedTexts(encoder=it, tokens=tokens.tokens) for it in (dense, recovered))
        return mean_cosine(pool_all(theirs, None, "mean"), pool_all(ours, config.schedule, "mean"))

    reduction = reached_reduction(config.schedule, tokens.lengths)
    after = {"recovered": run.stage("recovered-score", score_after), "token_reduction": reduction}
    return {**before, **after, **written}


_TASKS = {"classify": _classify, "similarity": _similarity, "distill": _distill}


def _write_delta(
    config: AdaptConfig,
    run: Run,
    part: str,
    base: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    added: Mapping[str, Tensor],
) -> dict[str, Any]:
    """Save what a training changed; the dense teacher's exactly, for the pruned model learns from it."""
    precision, rank = ("exact", None) if part == "dense" else (config.precision, config.rank)
    delta = make_delta(base, tuned, precision=precision, rank=rank, added=added)
    save_delta(delta, _place(run, part))
    return {"delta_bytes": delta.num_bytes}


def _place(run: Run, part: str) -> Path:
    return run.folder if part == "pruned" else run.path(part)


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: it.detach().clone() for name, it in state.items()}


def _drawn(items: Sequence[Any], config: AdaptConfig) -> Sequence[Any]:
    """As many items as wished for, drawn by the seed, in their order."""
    if config.num_texts is None or config.num_texts >= len(items):
        return items
    generator = torch.Generator().manual_seed(config.recovery.loop.seed)
    chosen = torch.randperm(len(items), generator=generator)[: config.num_texts]
    return [items[i] for i in sorted(chosen.tolist())]
