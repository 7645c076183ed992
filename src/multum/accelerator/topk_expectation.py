"""How long the top-k engine searches on average: exact expectations over all orders of different scores.

A simulator of counts has no scores, so a search of it takes the mean. A random pivot is the r-th largest with equal
chance for every r; above it the search goes on for the k-th of r - 1 scores, below it for the (k - r)-th of n - r. So

    E(n, k) = cost(n) + 1/n (sum of E(m, k), m = k .. n - 1, + sum of E(n - r, k - r), r = 1 .. k - 1)

The first sum runs down a column of the table and the second along a diagonal, so every entry costs a few additions.

Source: the recurrence of quick-select (C. A. R. Hoare, Algorithm 65: Find, 1961; D. E. Knuth, Mathematical Analysis of
Algorithms, 1971), with the engine's passes as costs.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.topk_engine import TopkEngine
from multum.core import invalid


def expected_search_cycles(engine: TopkEngine, num_items: int, k: int) -> float:
    """Expected cycles until the k-th largest is known; 0 where all are kept.

    Args:
        engine: Its parallelism and latencies.
        num_items: Scores, at most the engine's capacity.
        k: At least 1.

    Raises:
        UserError: More items than the FIFOs hold, or k below 1.

    >>> round(expected_search_cycles(TopkEngine(), 1024, 512)), round(expected_search_cycles(TopkEngine(), 307, 92))
    (258, 96)
    """
    _check(engine, num_items, k)
    return 0.0 if k >= num_items else float(_cycles_table(engine, _table_size(num_items))[num_items, k])


def expected_search_items(engine: TopkEngine, num_items: int, k: int) -> float:
    """Expected scores that pass the comparators until then, over all passes.

    >>> round(expected_search_items(TopkEngine(), 1024, 512))
    3430
    """
    _check(engine, num_items, k)
    return 0.0 if k >= num_items else float(_items_table(_table_size(num_items))[num_items, k])


def each_pair(
    cost: Callable[[int, int], float], num_items_R: NDArray[Any], k_R: NDArray[Any]
) -> NDArray[np.float64]:
    """What a choice costs in every row, (R,), worked out once for each pair of counts; 0 where all are kept.

    >>> each_pair(lambda items, k: items + k, np.array([5, 9, 5]), np.array([2, 9, 2])).tolist()
    [7.0, 0.0, 7.0]
    """
    keys_R = num_items_R.astype(np.int64) << 32 | k_R.astype(np.int64)
    keys, inverse_R = np.unique(keys_R, return_inverse=True)
    pairs = zip((keys >> 32).tolist(), (keys & 0xFFFFFFFF).tolist(), strict=True)
    return np.array([float(cost(items, k)) if k < items else 0.0 for items, k in pairs])[inverse_R]


def _check(engine: TopkEngine, num_items: int, k: int) -> None:
    if not 1 <= num_items <= engine.capacity:
        raise invalid("num_items", f"in 1..{engine.capacity}, what the FIFOs hold", num_items)
    if k < 1:
        raise invalid("k", "at least 1", k)


def _table_size(num_items: int) -> int:
    """The next power of two, so that few tables are made."""
    return 1 << (num_items - 1).bit_length()


@cache
def _cycles_table(engine: TopkEngine, size: int) -> NDArray[np.float64]:
    return _expectations(np.array([engine.pass_cycles(n) for n in range(size + 1)], dtype=np.float64))


@cache
def _items_table(size: int) -> NDArray[np.float64]:
    return _expectations(np.arange(size + 1, dtype=np.float64))


def _expectations(cost_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """E(n, k) for all 1 <= k <= n from the cost of a pass over n scores."""
    size = len(cost_N) - 1
    result = np.zeros((size + 1, size + 1))
    column = np.zeros(size + 1)  # [k]: sum of E(m, k) over m < n
    diagonal = np.zeros(size + 1)  # [n - k]: sum of E(n - r, k - r) over r < k
    for n in range(1, size + 1):
        k = np.arange(1, n + 1)
        result[n, k] = cost_N[n] + (column[k] + diagonal[n - k]) / n
        column[k] += result[n, k]
        diagonal[n - k] += result[n, k]
    return result
