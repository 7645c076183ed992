"""Pruning-aware fine-tuning on labels: the model trains through its own pruning, so that survivors learn to suffice.

Two tasks: the class of a sentence ([CLS] or mean, then a linear head) and the likeness of two sentences (cosine of
mean-pooled vectors). Beside the labels a dense model, tuned the same way, may teach: the pruned model's pooled vector
follows the dense one's, which says far more per sentence than a label does.

Shape legend: B sentences of a batch, T texts, D embedding width, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from multum.attention.embedding import Pooling, SentenceEncoder
from multum.attention.recovery import (
    TEACHER_FILE,
    RecoveryConfig,
    TokenizedTexts,
    annealed_schedule,
    following_loss,
    pool_all,
    pooled,
    remembered,
    trained_parameters,
)
from multum.attention.schedule import TokenSchedule
from multum.attention.sparse_schedule import EncoderSchedule
from multum.core import invalid, require_module
from multum.data import MAX_SCORE, LabelledSentence, SentencePair
from multum.training import train

HEAD = "head"
"""Prefix of the head's parameters among those that are trained."""


@dataclass(frozen=True, kw_only=True)
class SentenceClassifier:
    """An encoder with a linear head over the pooled vector."""

    encoder: SentenceEncoder
    """Encoder and tokenizer."""
    head: nn.Linear
    """From the pooled vector to one score a class."""
    pooling: Pooling = "first"
    """What the head reads."""

    @classmethod
    def fresh(
        cls, encoder: SentenceEncoder, *, num_classes: int, pooling: Pooling, generator: torch.Generator
    ) -> "SentenceClassifier":
        """A classifier whose head has not learned anything yet."""
        width = int(encoder.model.config.hidden_size)
        head = nn.utils.skip_init(nn.Linear, width, num_classes)
        with torch.no_grad():
            head.weight.normal_(std=0.02, generator=generator)
            head.bias.zero_()
        return cls(encoder=encoder, head=head, pooling=pooling)

    def scores(
        self, texts: Sequence[str], schedule: TokenSchedule | EncoderSchedule | None
    ) -> Float[Tensor, "T C"]:
        """Scores of every class for texts, densely or pruned."""
        return self._scores(TokenizedTexts.of(self.encoder, texts), schedule)

    def answers(self, texts: TokenizedTexts) -> Float[Tensor, "T C"]:
        """The dense model's scores about their mean, for what is added to all classes changes no answer."""
        score_TC = self._scores(texts, None)
        return score_TC - score_TC.mean(dim=1, keepdim=True)

    @torch.no_grad()
    def _scores(self, texts: TokenizedTexts, schedule: TokenSchedule | EncoderSchedule | None) -> Tensor:
        scores: Tensor = self.head(pool_all(texts, schedule, self.pooling, batch_size=64))
        return scores

    def accuracy(
        self, sentences: Sequence[LabelledSentence], schedule: TokenSchedule | EncoderSchedule | None
    ) -> float:
        """Part of the sentences whose label has the highest score."""
        best_T = self.scores([it.text for it in sentences], schedule).argmax(dim=-1)
        return float((best_T == torch.tensor([it.label for it in sentences])).double().mean())


def tune_classifier(
    classifier: SentenceClassifier,
    sentences: Sequence[LabelledSentence],
    schedule: TokenSchedule | None,
    config: RecoveryConfig,
    folder: Path,
    *,
    teacher: SentenceClassifier | None = None,
    held_out: Sequence[LabelledSentence] = (),
) -> Path:
    """Fine-tune a classifier in place, densely or through its pruning; goes on where it was interrupted.

    Args:
        classifier: What is tuned: the encoder's layers and the head.
        sentences: What it learns from.
        schedule: Token pruning from the first step on (see `anneal_part`); None tunes the dense model.
        config: The dials.
        folder: Keeps checkpoint and metric log.
        teacher: A dense classifier tuned on the same labels, whose pooled vectors are followed; None: labels only.
        held_out: Sentences to measure accuracy on after every epoch.

    Returns:
        The metric log, with `accuracy` in the lines that end an epoch.

    Raises:
        UserError: No sentence, or a checkpoint of another training in the folder.

    Source: SpAtten, section V-A.
    Differs from the paper: see `recovery.py`.
    """
    texts = TokenizedTexts.of(classifier.encoder, [it.text for it in sentences])
    label_T = torch.tensor([it.label for it in sentences])
    teacher_TD = _teacher_vectors(teacher.encoder if teacher else None, texts, classifier.pooling, folder)

    def loss_of(batch: Sequence[int], done_part: float) -> Tensor:
        now = schedule and annealed_schedule(schedule, done_part, config.anneal_part)
        vector_BD = pooled(classifier.encoder.model, texts.batch(batch), now, classifier.pooling)
        loss = functional.cross_entropy(classifier.head(vector_BD), label_T[list(batch)])
        if teacher_TD is not None:
            loss = loss + config.teacher_weight * following_loss(vector_BD, teacher_TD[list(batch)], config)
        return loss

    parameters = trained_parameters(classifier.encoder.model, config)
    parameters |= {f"{HEAD}.{name}": it for name, it in classifier.head.named_parameters()}
    return train(
        parameters,
        loss_of,
        texts.lengths,
        config.loop,
        folder,
        description="tuning on labels",
        after_epoch=lambda: {"accuracy": classifier.accuracy(held_out, schedule)} if held_out else {},
    )


def tune_similarity(
    encoder: SentenceEncoder,
    pairs: Sequence[SentencePair],
    schedule: TokenSchedule | None,
    config: RecoveryConfig,
    folder: Path,
    *,
    teacher: SentenceEncoder | None = None,
    held_out: Sequence[SentencePair] = (),
) -> Path:
    """Fine-tune an encoder in place so that cosines of mean-pooled vectors follow the scores of sentence pairs.

    Args:
        encoder: What is tuned.
        pairs: What it learns from.
        schedule: Token pruning; None tunes the dense model.
        config: The dials.
        folder: Keeps checkpoint and metric log.
        teacher: The dense model tuned the same way, whose vectors are followed; None: labels only.
        held_out: Pairs to measure Spearman's correlation on after every epoch.

    Returns:
        The metric log, with `spearman` in the lines that end an epoch.

    Raises:
        UserError: No pair, or a checkpoint of another training in the folder.
    """
    if not pairs:
        raise invalid("pairs", "at least one sentence pair", list(pairs))
    texts = TokenizedTexts.of(encoder, [it.first for it in pairs] + [it.second for it in pairs])
    score_P = torch.tensor([it.score for it in pairs]) / MAX_SCORE
    teacher_TD = _teacher_vectors(teacher, texts, "mean", folder)

    def loss_of(batch: Sequence[int], done_part: float) -> Tensor:
        now = schedule and annealed_schedule(schedule, done_part, config.anneal_part)
        both = [*batch, *(index + len(pairs) for index in batch)]
        vector_BD = pooled(encoder.model, texts.batch(both), now, "mean")
        cosine_P = functional.cosine_similarity(vector_BD[: len(batch)], vector_BD[len(batch) :])
        loss = functional.mse_loss(cosine_P, score_P[list(batch)])
        if teacher_TD is not None:
            loss = loss + config.teacher_weight * following_loss(vector_BD, teacher_TD[both], config)
        return loss

    lengths = [
        max(pair) for pair in zip(texts.lengths[: len(pairs)], texts.lengths[len(pairs) :], strict=True)
    ]
    measure = partial(_log_spearman, encoder, held_out, schedule) if held_out else None
    return train(
        trained_parameters(encoder.model, config),
        loss_of,
        lengths,
        config.loop,
        folder,
        description="tuning on pairs",
        after_epoch=measure,
    )


def pair_correlation(
    encoder: SentenceEncoder,
    pairs: Sequence[SentencePair],
    schedule: TokenSchedule | EncoderSchedule | None,
    *,
    batch_size: int = 64,
) -> tuple[float, float]:
    """Spearman's correlation of cosines with the scores of pairs, and the token reduction really reached.

    Raises:
        UserError: All pairs have the same score, or there is one only: nothing can be ranked.
    """
    if len({it.score for it in pairs}) < 2:
        raise invalid("pairs", "of two scores at least", f"{len(pairs)} pairs", "take more of them")
    stats: Any = require_module("scipy.stats", "demo")
    texts = [it.first for it in pairs] + [it.second for it in pairs]
    vector_TD, reduction = encoder.embed(texts, schedule=schedule, batch_size=batch_size)
    cosine_P = (vector_TD[: len(pairs)] * vector_TD[len(pairs) :]).sum(dim=-1)
    return float(stats.spearmanr(cosine_P.numpy(), [it.score for it in pairs]).statistic), reduction


def _log_spearman(
    encoder: SentenceEncoder, pairs: Sequence[SentencePair], schedule: TokenSchedule | None
) -> dict[str, float]:
    return {"spearman": pair_correlation(encoder, pairs, schedule)[0]}


def _teacher_vectors(
    teacher: SentenceEncoder | None, texts: TokenizedTexts, pooling: Pooling, folder: Path
) -> Tensor | None:
    """The dense teacher's pooled vectors, computed once."""
    if teacher is None:
        return None
    tokens = TokenizedTexts(encoder=teacher, tokens=texts.tokens)
    compute = partial(pool_all, tokens, None, pooling, description="teacher")
    return remembered(folder / TEACHER_FILE, compute)
