"""The parts of the main job: what it can be told, which schedules it compares, and how it ranks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertModel

from multum.attention import SentenceEncoder, TokenSchedule, embedding_schedule
from multum.attention.recovery_scores import rank_of_own
from multum.core import UserError, from_dict, to_dict
from multum.data import Passage, SentencePair
from multum.demo import DemoConfig
from multum.demo.retrieval import (
    BY_VALUE,
    DENSE,
    STEEPEST_LINEAR,
    by_value_name,
    compared_schedules,
    measure_pairs,
    measure_retrieval,
)

SMALL = BertConfig(
    vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"keep_ratios": ()}, r"keep_ratios must be at least one ratio in \(0, 1\); got \(\)"),
        ({"keep_ratios": (0.5, 0.0)}, r"keep ratio must be in \(0, 1\); got 0.0"),
        ({"keep_ratios": (1.0,)}, r"got 1.0; the dense model is always compared"),
        ({"keep_ratios": (float("nan"),)}, r"keep ratio must be in \(0, 1\); got nan"),
        ({"shown_keep_ratio": 1.5}, r"keep ratio must be in \(0, 1\); got 1.5"),
        ({"shown_keep_ratio": -0.4}, r"keep ratio must be in \(0, 1\); got -0.4"),
        ({"num_pictures": 0}, "num_pictures must be at least 1; got 0"),
        ({"num_timed_passages": 0}, "num_timed_passages must be at least 1; got 0"),
        ({"num_rounds": 4}, "num_rounds must be at least 5; got 4"),
        ({"num_prompt_passages": -1}, "num_prompt_passages must be at least 0; got -1"),
        ({"num_new_tokens": 1}, "num_new_tokens must be at least 2; got 1"),
        ({"num_training_epochs": -1}, "num_training_epochs must be at least 0; got -1"),
        ({"num_threads": 0}, "num_threads must be at least 1; got 0"),
    ],
)
def test_impossible_wish_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DemoConfig(**fields)


def test_options_go_through_json() -> None:
    config = DemoConfig(data=Path("stsb"), keep_ratios=(0.6, 0.2), num_threads=2)
    assert from_dict(DemoConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_dense_comes_first_and_is_not_pruned() -> None:
    name, _, schedule = compared_schedules(6, (0.5,))[0]
    assert name == DENSE
    assert schedule is None


def test_each_ratio_is_compared_under_every_family_that_can_take_it() -> None:
    rows = compared_schedules(6, (0.7, 0.4))
    names = [name for name, _, _ in rows]
    assert names == [
        "dense",
        "flat 0.7, by value",
        "flat 0.4, by value",
        "flat 0.7, paper's score",
        "flat 0.4, paper's score",
        "linear 0.4, paper's rule",
    ]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("num_layers", [2, 6, 12])
@pytest.mark.parametrize("ratio", [0.1, 0.4, STEEPEST_LINEAR, 0.9])
def test_compared_schedules_are_those_that_their_names_say(num_layers: int, ratio: float) -> None:
    schedules: dict[str, TokenSchedule | None] = {
        name: schedule for name, _, schedule in compared_schedules(num_layers, (ratio,))
    }
    ours = schedules[by_value_name(ratio)]
    assert ours == embedding_schedule(num_layers, ratio)
    paper = schedules[f"flat {ratio:.2g}, paper's score"]
    assert paper is not None
    assert ours is not None
    assert paper.keep_ratios == ours.keep_ratios
    assert (paper.score, paper.window) == ("attention", None)
    linear = schedules.get(f"linear {ratio:.2g}, paper's rule")
    assert (linear is not None) == (ratio <= STEEPEST_LINEAR)
    if linear is not None:
        pruning = [it for it in linear.keep_ratios if it < 1] or [ratio]
        assert sum(pruning) / len(pruning) == pytest.approx(ratio)
        assert (linear.score, linear.window) == ("attention", None)


def test_dense_belongs_to_the_family_that_the_sentence_pairs_are_scored_with() -> None:
    families = {name: family for name, family, _ in compared_schedules(6, (0.5,))}
    assert families[DENSE] == families[by_value_name(0.5)] == BY_VALUE


def test_rank_counts_the_passages_before_ones_own_and_ties_count_against_it() -> None:
    passage_PD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    query_QD = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert rank_of_own(query_QD, passage_PD, torch.tensor([0, 2, 0])).tolist() == [1, 0, 3]


def test_an_encoder_that_gives_all_the_same_vector_finds_nothing() -> None:
    same = torch.ones(5, 3)
    assert rank_of_own(same, same, torch.arange(5)).tolist() == [4] * 5


@given(seed=st.integers(0, 10**6), num_passages=st.integers(1, 12), num_queries=st.integers(1, 8))
def test_rank_is_that_of_a_sorted_list(seed: int, num_passages: int, num_queries: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    query_QD = torch.randint(-2, 3, (num_queries, 3), generator=generator).double()
    passage_PD = torch.randint(-2, 3, (num_passages, 3), generator=generator).double()
    gold_Q = torch.randint(num_passages, (num_queries,), generator=generator)
    for query, gold, rank in zip(
        query_QD, gold_Q.tolist(), rank_of_own(query_QD, passage_PD, gold_Q).tolist(), strict=True
    ):
        scores = [float(query @ passage) for passage in passage_PD]
        own_last = sorted(range(num_passages), key=lambda it: (-scores[it], it == gold))
        assert own_last.index(gold) == rank


class LetterEncoder(SentenceEncoder):
    """Embeds a text as the unit vector of its first letter, and a pruned one as that of its last."""

    def embed(
        self, texts: Sequence[str], *, schedule: TokenSchedule | None = None, batch_size: int = 16
    ) -> tuple[torch.Tensor, float]:
        place = 0 if schedule is None else -1
        rows = torch.stack([torch.eye(26)[ord(text[place]) - ord("a")] for text in texts])
        return rows, 1.0 if schedule is None else schedule.token_reduction


def test_retrieval_row_counts_who_is_found_and_loses_against_dense() -> None:
    encoder = LetterEncoder(model=BertModel(SMALL), tokenizer=None, max_tokens=512)
    passages = [
        Passage(identifier=text, topic="t", title="t", text=text, queries=(text[0] + "?", text[0] + "!"))
        for text in ("aa", "bx", "cc", "dy")
    ]
    rows = {row.schedule: row for row in measure_retrieval(encoder, passages, (0.5,))}
    dense, pruned = rows[DENSE], rows[by_value_name(0.5)]
    assert (dense.recall_at_1, dense.recall_at_5, dense.mean_reciprocal_rank) == (1.0, 1.0, 1.0)
    assert (dense.keep_ratio, dense.token_reduction, dense.loss_points) == (1.0, 1.0, 0.0)
    # b and d are embedded by a foreign letter: all four passages tie at 0, which puts their own last, at rank 4
    assert pruned.recall_at_1 == 0.5
    assert pruned.recall_at_5 == 1.0
    assert pruned.mean_reciprocal_rank == pytest.approx((4 * 1 + 4 / 4) / 8)
    assert pruned.loss_points == pytest.approx(50.0)
    assert pruned.keep_ratio == pytest.approx(0.75)
    assert pruned.token_reduction == pytest.approx(4 / 3)


def test_correlation_with_human_scores_is_by_rank() -> None:
    encoder = LetterEncoder(model=BertModel(SMALL), tokenizer=None, max_tokens=512)
    pairs = [
        SentencePair(first="aa", second="ab", score=5.0),  # alike by the first letter only
        SentencePair(first="ba", second="ca", score=1.0),  # alike by the last letter only
        SentencePair(first="ca", second="cb", score=4.9),
        SentencePair(first="da", second="ea", score=0.0),
    ]
    dense, pruned = measure_pairs(encoder, pairs, (0.5,), "letters")
    # similarities 1, 0, 1, 0 have the ranks 3.5, 1.5, 3.5, 1.5, and the scores 4, 2, 3, 1
    assert dense.spearman == pytest.approx(2 / 5**0.5)
    assert pruned.spearman == pytest.approx(-2 / 5**0.5)
    assert (dense.schedule, pruned.schedule) == (DENSE, by_value_name(0.5))
    assert (dense.token_reduction, pruned.token_reduction) == (1.0, pytest.approx(4 / 3))
