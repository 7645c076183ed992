"""What recovered models are judged by: accuracy, rank correlation, a passage found by its first sentence.

Shape legend: Q queries, P passages, D embedding width.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from multum.attention.schedule import TokenSchedule
from multum.core import invalid
from multum.data import Cloze, take_first_sentence


def reached_reduction(schedule: TokenSchedule | None, lengths: Sequence[int]) -> float:
    """Tokens of the dense model over tokens kept, unpadded, summed over texts and layers, rounding included.

    >>> reached_reduction(TokenSchedule(keep_ratios=(1.0, 0.5)), [4, 3])
    1.2727272727272727
    """
    if schedule is None:
        return 1.0
    kept = sum(schedule.num_tokens(layer, it) for it in lengths for layer in range(schedule.num_layers))
    return schedule.num_layers * sum(lengths) / kept


def make_clozes(
    paragraphs: Sequence[str], lengths: Sequence[int], *, least_tokens: int = 120, most_tokens: int = 256
) -> tuple[Cloze, ...]:
    """Paragraphs of fitting length, each parted from its first sentence; those of one sentence are left out.

    Args:
        paragraphs: Tokenized text.
        lengths: Tokens of each, first sentence included.
        least_tokens: The shortest that fits.
        most_tokens: The longest that fits.

    Raises:
        UserError: None fits.
    """
    fitting = (
        text for text, it in zip(paragraphs, lengths, strict=True) if least_tokens <= it <= most_tokens
    )
    clozes = tuple(cloze for text in fitting if (cloze := take_first_sentence(text)) is not None)
    if not clozes:
        constraint = f"some of {least_tokens} to {most_tokens} tokens with two sentences or more"
        raise invalid("paragraphs", constraint, f"{len(lengths)} paragraphs")
    return clozes


def rank_of_own(
    query_QD: Float[Tensor, "Q D"], passage_PD: Float[Tensor, "P D"], own_Q: Int[Tensor, " Q"]
) -> Int[Tensor, " Q"]:
    """Rank of each query's own passage by cosine of unit vectors, 0 for the first; ties count against it.

    >>> rank_of_own(torch.eye(2), torch.eye(2), torch.tensor([0, 0])).tolist()
    [0, 1]
    """
    cosine_QP = query_QD @ passage_PD.T
    own_Q1 = cosine_QP.gather(1, own_Q[:, None])
    better_QP = cosine_QP.scatter(1, own_Q[:, None], -torch.inf) >= own_Q1
    return better_QP.sum(dim=1)


def recall_at_1(rank_Q: Int[Tensor, " Q"]) -> float:
    """Part of the queries whose own passage comes first."""
    return float((rank_Q == 0).double().mean())
