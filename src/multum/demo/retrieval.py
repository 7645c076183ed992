"""Do queries still find their passage, and do similarities still rank sentence pairs, when words are pruned?

Shape legend: P passages, Q queries, D embedding width.
"""

from collections.abc import Sequence

import torch

from multum.attention import (
    SentenceEncoder,
    TokenSchedule,
    embedding_schedule,
    flat_schedule,
    linear_schedule,
)
from multum.attention.recovery_scores import rank_of_own, recall_at_1
from multum.core import track
from multum.data import Passage, SentencePair
from multum.report import RetrievalRow, SentenceRow

DENSE = "dense"
BY_VALUE = "flat, by value"
STEEPEST_LINEAR = 0.5
"""Averages above this leave the linear rule no room to start below 1."""
ScheduleRow = tuple[str, str, TokenSchedule | None]
"""Name, family and schedule; None is the dense model."""


def by_value_name(keep_ratio: float) -> str:
    """What the schedule for embeddings is called in tables.

    >>> by_value_name(0.4)
    'flat 0.4, by value'
    """
    return f"flat {keep_ratio:g}, by value"


def compared_schedules(num_layers: int, keep_ratios: Sequence[float]) -> list[ScheduleRow]:
    """The schedules of the report as (name, family, schedule): dense, ours for embeddings, and the paper's two.

    The paper's score with a flat tail and the paper's linear rule at the same average stand beside ours, so that the
    reader sees what each choice is worth.
    """
    by_value: list[ScheduleRow] = [
        (f"flat {ratio:.2g}, by value", BY_VALUE, embedding_schedule(num_layers, ratio))
        for ratio in keep_ratios
    ]
    by_attention: list[ScheduleRow] = [
        (f"flat {ratio:g}, paper's score", "flat, paper's score", flat_schedule(num_layers, ratio))
        for ratio in keep_ratios
    ]
    linear: list[ScheduleRow] = [
        (
            f"linear {ratio:g}, paper's rule",
            "linear, paper's rule",
            linear_schedule(num_layers, ratio, final_keep_ratio=ratio / 4),
        )
        for ratio in keep_ratios
        if ratio <= STEEPEST_LINEAR
    ]
    return [(DENSE, BY_VALUE, None), *by_value, *by_attention, *linear]


def measure_retrieval(
    encoder: SentenceEncoder, passages: Sequence[Passage], keep_ratios: Sequence[float]
) -> tuple[RetrievalRow, ...]:
    """Embed the passages under every schedule (queries stay dense) and look every query's passage up."""
    query_QD, _ = encoder.embed([query for passage in passages for query in passage.queries])
    gold_Q = torch.tensor([i for i, passage in enumerate(passages) for _ in passage.queries])
    texts = [passage.text for passage in passages]
    rows: list[RetrievalRow] = []
    num_layers = int(encoder.model.config.num_hidden_layers)
    for name, family, schedule in track(compared_schedules(num_layers, keep_ratios), "retrieval"):
        passage_PD, reduction = encoder.embed(texts, schedule=schedule)
        rank_Q = rank_of_own(query_QD, passage_PD, gold_Q)
        recall = recall_at_1(rank_Q)
        dense_recall = rows[0].recall_at_1 if rows else recall
        rows.append(
            RetrievalRow(
                schedule=name,
                family=family,
                keep_ratio=1.0 if schedule is None else schedule.num_layers**-1 * sum(schedule.keep_ratios),
                token_reduction=reduction,
                recall_at_1=recall,
                recall_at_5=float((rank_Q < 5).double().mean()),
                mean_reciprocal_rank=float((1 / (rank_Q.double() + 1)).mean()),
                loss_points=100 * (dense_recall - recall),
            )
        )
    return tuple(rows)


def measure_pairs(
    encoder: SentenceEncoder, pairs: Sequence[SentencePair], keep_ratios: Sequence[float], description: str
) -> tuple[SentenceRow, ...]:
    """Spearman's correlation of cosine similarity with the given scores, dense and under each flat schedule."""
    from scipy.stats import spearmanr  # heavy, and only needed here

    num_layers = int(encoder.model.config.num_hidden_layers)
    schedules = [row for row in compared_schedules(num_layers, keep_ratios) if row[1] == BY_VALUE]
    texts = [pair.first for pair in pairs] + [pair.second for pair in pairs]
    rows: list[SentenceRow] = []
    for name, family, schedule in track(schedules, description):
        embedding_TD, reduction = encoder.embed(texts, schedule=schedule, batch_size=64)
        similarity = (embedding_TD[: len(pairs)] * embedding_TD[len(pairs) :]).sum(dim=1)
        correlation = float(spearmanr(similarity.numpy(), [pair.score for pair in pairs]).statistic)
        rows.append(
            SentenceRow(schedule=name, family=family, token_reduction=reduction, spearman=correlation)
        )
    return tuple(rows)
