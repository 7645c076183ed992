"""What a token is worth before any layer has looked at it: the rarer, the more.

A pruning that waits for attention must send every token through the first layer, a sixth of a small encoder. But some
words say little wherever they stand, and that can be counted beforehand: a token that occurs in most texts tells none
of them apart (inverse document frequency, Sparck Jones 1972). So the commonest tokens of a sentence can leave before
the first layer, and the layers behind it may keep more for the same number of tokens.

Not in the paper, whose tokens have earned nothing before the first layer.

Shape legend: B sentences, L tokens.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

MOST_COMMON = 4096
"""Tokens that are listed; what is rarer than these is worth the same."""


def count_common_tokens(texts: Iterable[Sequence[int]], *, most: int = MOST_COMMON) -> tuple[int, ...]:
    """List token ids by the number of texts that they occur in, the commonest first.

    Args:
        texts: Token ids of each text.
        most: Ids that are listed at most. Those that occur in a single text are not.

    >>> count_common_tokens([[5, 7, 7], [5, 9], [5, 9]])
    (5, 9)
    """
    counts: Counter[int] = Counter()
    for text in texts:
        counts.update(set(text))
    ranked = sorted((-count, token) for token, count in counts.items() if count > 1)
    return tuple(token for _, token in ranked[:most])


def token_worth(token_BL: Int[Tensor, "B L"], spare_tokens: tuple[int, ...]) -> Float[Tensor, "B L"]:
    """Each token's place in the list, the first to go at 0; what is not listed is worth more than all that is.

    >>> token_worth(torch.tensor([[7, 5, 1, 9]]), (5, 9)).tolist()
    [[2.0, 0.0, 2.0, 1.0]]
    """
    if not spare_tokens:
        return torch.zeros(token_BL.shape, device=token_BL.device)
    listed, place = (it.to(token_BL.device) for it in _sorted(spare_tokens))
    found_BL = torch.searchsorted(listed, token_BL).clamp_max(len(listed) - 1)
    return torch.where(listed[found_BL] == token_BL, place[found_BL], len(listed)).float()


@lru_cache(maxsize=8)
def _sorted(spare_tokens: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The ids in ascending order, and the place of each in the list."""
    listed, place = torch.tensor(spare_tokens).sort()
    return listed, place
