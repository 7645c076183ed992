"""What a token is worth to a model: how far its answer moves when the token is left out.

How common a word is can be counted without a model (`word_worth.py`), but a model that judges films needs "not", which
is common, and no name of an actor, which is rare. So each token of some texts is taken out once, and the distance
between the dense model's answers with it and without it is what it was worth there. The mean over the places where it
stood ranks the tokens for every other text: in use the ranking costs nothing, like a count.

No labels are needed. Not in the paper, whose tokens have earned nothing before the first layer.

Shape legend: T texts, D width of an answer.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from multum.attention.recovery import TokenizedTexts, pool_all
from multum.core import invalid, track

Answer = Callable[[TokenizedTexts], Float[Tensor, "T D"]]
"""From texts to the dense model's answers, a row each: scores of classes, or sentence vectors."""

NUM_PLACES = 40_000
"""Tokens that are left out, one at a time."""
LEAST_TOKENS = 8
"""Shorter texts are passed over: without one of its three words a phrase is another phrase."""
TEXTS_AT_ONCE = 50
PRIOR_PLACES = 1.0
"""A token counts as if it had stood in so many more places, worth the mean of all: one place is little to go by."""


def rank_by_absence(
    texts: TokenizedTexts,
    answer: Answer,
    *,
    num_places: int = NUM_PLACES,
    least_tokens: int = LEAST_TOKENS,
    seed: int = 0,
) -> tuple[int, ...]:
    """List token ids by how little the answer moves when they are left out, the least first.

    Args:
        texts: What the model will be used on, or something like it.
        answer: The dense model's answers.
        num_places: Texts are drawn until they have so many tokens, and each token costs a forward; at least 1.
        least_tokens: Texts of fewer tokens, special ones included, are not drawn.
        seed: Of the drawing.

    Returns:
        Every token that stood in one of them, for a schedule's `spare_tokens`. The first token of a text is never left
        out, for it is never pruned.

    Raises:
        UserError: No text is that long, or an answer is not finite.
    """
    if num_places < 1:
        raise invalid("num_places", "at least 1", num_places)
    chosen = _drawn(texts.lengths, num_places, max(2, least_tokens), seed)
    groups = [chosen[i : i + TEXTS_AT_ONCE] for i in range(0, len(chosen), TEXTS_AT_ONCE)]
    moved: defaultdict[int, float] = defaultdict(float)
    places: Counter[int] = Counter()
    for group in track(groups, "leaving tokens out"):
        for token, distance in _moves(texts, group, answer):
            moved[token] += distance
            places[token] += 1
    return _ranked(moved, places)


def unit_vectors(texts: TokenizedTexts) -> Float[Tensor, "T D"]:
    """The answers of a sentence encoder: mean-pooled vectors of unit length."""
    return functional.normalize(pool_all(texts, None, "mean"), dim=-1)


def _drawn(lengths: Sequence[int], num_places: int, least_tokens: int, seed: int) -> list[int]:
    """Texts in random order, until they have enough tokens."""
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed)).tolist()
    fitting = [index for index in order if lengths[index] >= least_tokens]
    if not fitting:
        raise invalid("texts", f"some of at least {least_tokens} tokens", max(lengths))
    before = accumulate((lengths[index] - 1 for index in fitting), initial=0)
    return [index for index, places in zip(fitting, before, strict=False) if places < num_places]


def _ranked(moved: Mapping[int, float], places: Mapping[int, int]) -> tuple[int, ...]:
    mean = sum(moved.values()) / sum(places.values())
    worth = {it: (moved[it] + PRIOR_PLACES * mean) / (places[it] + PRIOR_PLACES) for it in places}
    return tuple(sorted(worth, key=lambda token: (worth[token], token)))


def _moves(texts: TokenizedTexts, group: Sequence[int], answer: Answer) -> list[tuple[int, float]]:
    """Every token of some texts but the first, and how far the answer moves without it."""
    whole, without, owner = _variants(texts, group)
    distance_V = (answer(without) - answer(whole)[torch.tensor(owner)]).norm(dim=-1)
    if not bool(torch.isfinite(distance_V).all()):
        raise invalid("the model's answers", "finite", "NaN or infinity")
    tokens = [token for index in group for token in texts.tokens["input_ids"][index][1:]]
    return list(zip(tokens, distance_V.tolist(), strict=True))


def _variants(
    texts: TokenizedTexts, group: Sequence[int]
) -> tuple[TokenizedTexts, TokenizedTexts, list[int]]:
    """Texts as they are; each again without one of its tokens; and which text each of those is."""
    whole = {name: [lists[i] for i in group] for name, lists in texts.tokens.items()}
    left_out = [(row, k) for row, i in enumerate(group) for k in range(1, texts.lengths[i])]
    without = {
        name: [lists[row][:k] + lists[row][k + 1 :] for row, k in left_out] for name, lists in whole.items()
    }
    both = [TokenizedTexts(encoder=texts.encoder, tokens=tokens) for tokens in (whole, without)]
    return both[0], both[1], [row for row, _ in left_out]
