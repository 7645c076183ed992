"""How A3 finds the keys that matter without multiplying them all: the greedy candidate search, in integers.

A score is a sum of products, and a few large ones decide it. Each channel of the keys is sorted beforehand, so the
largest product of a channel stands at one end of its column and the smallest at the other, whichever sign the query
has there. In every iteration the largest product that is left of all channels is added to the score of its key, and so
is the smallest. Keys whose partial score is positive afterwards are the candidates; only they are multiplied in full.

Shape legend: N keys, D channels.

Source: A3 (Ham et al., HPCA 2020), section IV.
Differs from the paper: every iteration takes one largest and one smallest product, whatever the sums are so far; and
ties, of which the paper does not speak, go to the lower channel, within a channel to the key that its pointer meets
first (pointers that walk down meet later keys first).
"""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multum.core import invalid

Numbers = NDArray[np.generic]
"""Of integers; anything else is refused."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What the search found."""

    rows: NDArray[np.int64]
    """Keys whose partial score is positive, ascending."""
    partial_N: NDArray[np.int64]
    """Partial score of every key."""


def sort_channels(key_ND: Numbers) -> NDArray[np.int64]:
    """The preprocessing: for each channel the keys in ascending order of their value, (N, D); ties stay in order.

    >>> sort_channels(np.array([[3, 0], [1, 0], [2, -1]])).tolist()
    [[1, 2], [2, 0], [0, 1]]
    """
    return np.argsort(key_ND, axis=0, kind="stable")


def greedy_candidates(query_D: Numbers, key_ND: Numbers, num_iterations: int) -> Candidates:
    """Search as the hardware does: two pointers into each sorted channel, two queues with one product a channel.

    Args:
        query_D: The query.
        key_ND: The keys.
        num_iterations: M; each adds up at most one largest and one smallest product.

    Raises:
        UserError: Shapes that do not fit, numbers that are no integers, fewer than one iteration.

    >>> found = greedy_candidates(np.array([1, -2]), np.array([[3, 0], [-1, 2], [2, -1]]), 2)
    >>> found.rows.tolist(), found.partial_N.tolist()
    ([0, 2], [3, -5, 2])
    """
    query, key = _checked(query_D, key_ND, num_iterations)
    order = sort_channels(key)
    partial = np.zeros(len(key), dtype=np.int64)
    for sign in (1, -1):  # the largest products, then the smallest
        weights = (sign * query).tolist()
        walks = [_walk(weight, key[:, it], order[:, it]) for it, weight in enumerate(weights)]
        queue = [
            (-product, channel, row) for channel, walk in enumerate(walks) for product, row in [next(walk)]
        ]
        heapq.heapify(queue)
        for _ in range(num_iterations):
            if not queue or queue[0][0] >= 0:
                break  # nothing is left that would raise (lower) a score
            loss, channel, row = queue[0]
            partial[row] -= sign * loss
            after = next(walks[channel], None)
            if after is None:
                heapq.heappop(queue)
            else:
                heapq.heapreplace(queue, (-after[0], channel, after[1]))
    return Candidates(rows=np.flatnonzero(partial > 0), partial_N=partial)


def sorted_candidates(query_D: Numbers, key_ND: Numbers, num_iterations: int) -> Candidates:
    """The same by sorting all N x D products: the reference.

    >>> found = sorted_candidates(np.array([1, -2]), np.array([[3, 0], [-1, 2], [2, -1]]), 2)
    >>> found.partial_N.tolist()
    [3, -5, 2]
    """
    query, key = _checked(query_D, key_ND, num_iterations)
    product_ND = query * key
    partial = np.zeros(len(key), dtype=np.int64)
    for sign in (1, -1):
        ranked = sorted(
            (-sign * int(product_ND[row, channel]), channel, -row if sign * query[channel] > 0 else row, row)
            for row, channel in np.ndindex(product_ND.shape)
        )
        for loss, _, _, row in ranked[:num_iterations]:
            partial[row] -= sign * min(loss, 0)
    return Candidates(rows=np.flatnonzero(partial > 0), partial_N=partial)


def rows_after_scoring(score_N: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    """Which candidates stay once their scores are known: those whose weight is at least a part of the largest.

    A weight is exp(score) over a sum, so two scores tell the ratio of their weights, and nothing is exponentiated.

    Args:
        score_N: Scores, scaled as for the softmax.
        threshold: T, the least ratio, in (0, 1].

    Raises:
        UserError: No score, or a threshold outside (0, 1].

    >>> rows_after_scoring(np.array([0.0, -2.9, -3.1]), 0.05).tolist()
    [0, 1]
    """
    if score_N.ndim != 1 or not len(score_N):
        raise invalid("score_N", "a vector of at least one", score_N)
    if not 0 < threshold <= 1:
        raise invalid("threshold", "in (0, 1]", threshold)
    return np.flatnonzero(score_N >= score_N.max() + math.log(threshold))


def _walk(weight: int, key_N: NDArray[np.int64], order_N: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Products of a channel and their keys, from the largest on: down the sorted column, or up it."""
    for row in (order_N[::-1] if weight > 0 else order_N).tolist():
        yield weight * int(key_N[row]), row


def _checked(
    query_D: Numbers, key_ND: Numbers, num_iterations: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    for name, array, dimensions in (("query_D", query_D, 1), ("key_ND", key_ND, 2)):
        if array.dtype.kind not in "iu" or array.ndim != dimensions or not array.size:
            raise invalid(name, f"integers of {dimensions} dimension(s), at least one", array)
    if key_ND.shape[1] != len(query_D):
        raise invalid("key_ND", f"of {len(query_D)} channels, as the query", key_ND)
    if num_iterations < 1:
        raise invalid("num_iterations", "at least 1", num_iterations)
    return query_D.astype(np.int64), key_ND.astype(np.int64)
