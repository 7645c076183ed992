"""Tokens are ranked by how far a model's answer moves when they are left out."""

import pytest
import torch
from torch import Tensor

from multum.attention import SentenceEncoder, rank_by_absence
from multum.attention.recovery import TokenizedTexts
from multum.attention.token_absence import unit_vectors
from multum.core import UserError
from small_sentence_encoder import save_sentence_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    return SentenceEncoder.load(save_sentence_encoder(tmp_path_factory.mktemp("model")))


def texts_of(encoder: SentenceEncoder, ids: list[list[int]]) -> TokenizedTexts:
    tokens = {"input_ids": ids, "attention_mask": [[1] * len(it) for it in ids]}
    return TokenizedTexts(encoder=encoder, tokens=tokens)


def sum_of_ids(texts: TokenizedTexts) -> Tensor:
    """An answer that each token moves by its own id."""
    return torch.tensor([[float(sum(ids)), 0.0] for ids in texts.tokens["input_ids"]])


def test_least_moving_tokens_come_first_and_the_first_of_a_text_is_never_left_out(
    encoder: SentenceEncoder,
) -> None:
    texts = texts_of(encoder, [[2, 9, 5, 7], [2, 5, 4], [2, 7, 4]])
    assert rank_by_absence(texts, sum_of_ids, least_tokens=2) == (4, 5, 7, 9)


def test_a_token_seen_once_counts_as_half_of_what_it_did_there(encoder: SentenceEncoder) -> None:
    moves = {10: 8.0, 11: 2.0, 12: 2.5}

    def answer(texts: TokenizedTexts) -> Tensor:
        return torch.tensor([[sum(moves.get(it, 0.0) for it in ids)] for ids in texts.tokens["input_ids"]])

    texts = texts_of(encoder, [[2, 12, 12, 12, 12, 12, 12, 11], [2, 10, 10, 10]])
    mean = (6 * 2.5 + 2.0 + 3 * 8.0) / 10
    assert (2.0 + mean) / 2 > (6 * 2.5 + mean) / 7, "seen once, it is drawn to the mean"
    assert rank_by_absence(texts, answer, least_tokens=2) == (12, 11, 10)


def test_ranking_equals_leaving_out_by_hand(encoder: SentenceEncoder) -> None:
    tokens = TokenizedTexts.of(encoder, ["a dog runs and a cat sleeps", "the man reads a long film plot"])
    whole = unit_vectors(tokens)
    moved: dict[int, list[float]] = {}
    for row, ids in enumerate(tokens.tokens["input_ids"]):
        for place in range(1, len(ids)):
            left = torch.tensor([ids[:place] + ids[place + 1 :]])
            with torch.no_grad():
                hidden = encoder.model(input_ids=left, attention_mask=torch.ones_like(left)).last_hidden_state
            vector = torch.nn.functional.normalize(hidden[0].mean(dim=0), dim=0)
            moved.setdefault(ids[place], []).append((vector - whole[row]).norm().item())
    every = [it for each in moved.values() for it in each]
    mean = sum(every) / len(every)
    worth = {it: (sum(each) + mean) / (len(each) + 1) for it, each in moved.items()}
    assert rank_by_absence(tokens, unit_vectors, least_tokens=2) == tuple(
        sorted(worth, key=worth.__getitem__)
    )


def test_no_more_texts_are_drawn_than_places_are_wanted(encoder: SentenceEncoder) -> None:
    seen: list[int] = []

    def answer(texts: TokenizedTexts) -> Tensor:
        seen.append(len(texts.lengths))
        return sum_of_ids(texts)

    texts = texts_of(encoder, [[2, 10 + row, 30] for row in range(20)])
    found = rank_by_absence(texts, answer, num_places=5, least_tokens=3)
    assert sum(seen) == 3 + 3 * 2, "three whole texts, and each without either of its tokens"
    assert len(found) == 4
    assert found == rank_by_absence(texts, answer, num_places=5, least_tokens=3)
    assert found != rank_by_absence(texts, answer, num_places=5, least_tokens=3, seed=1)


def test_short_texts_are_passed_over(encoder: SentenceEncoder) -> None:
    texts = texts_of(encoder, [[2, 9], [2, 5, 4, 6]])
    assert 9 not in rank_by_absence(texts, sum_of_ids, least_tokens=4)
    with pytest.raises(UserError, match="some of at least 5 tokens; got 4"):
        rank_by_absence(texts, sum_of_ids, least_tokens=5)


def test_what_is_no_answer_is_refused(encoder: SentenceEncoder) -> None:
    texts = texts_of(encoder, [[2, 9, 8]])
    with pytest.raises(UserError, match="the model's answers must be finite"):
        rank_by_absence(texts, lambda it: sum_of_ids(it) * torch.nan, least_tokens=2)
    with pytest.raises(UserError, match="num_places must be at least 1; got 0"):
        rank_by_absence(texts, sum_of_ids, num_places=0)
