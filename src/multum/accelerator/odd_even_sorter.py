"""What the top-k engine is compared with: Batcher's odd-even merge sort, which puts everything into order.

Its network compares and exchanges fixed pairs, whatever the data are, so its time is a count. A network of 1,024 inputs
has 24,063 exchanges; hardware that has fewer comparators goes through them in as many cycles as that takes.

Source: K. E. Batcher, Sorting networks and their applications (1968); SpAtten (HPCA 2021), section V, compares with it.
Differs from the paper: which does not say how many comparators its sorter has; here it is a dial.
"""

from collections.abc import Iterator

import numpy as np

from multum.accelerator.topk_engine import Scores
from multum.core import invalid


def num_exchanges(num_inputs: int) -> int:
    """Compare-exchanges of the network: (p^2 - p + 4) 2^(p - 2) - 1 for 2^p inputs.

    >>> num_exchanges(1024)
    24063
    """
    power = _power_of_two(num_inputs)
    return ((power * power - power + 4) << power) // 4 - 1


def exchanges(num_inputs: int) -> Iterator[tuple[int, int]]:
    """The pairs in an order in which they may be compared and exchanged, the smaller one to the first place."""
    _power_of_two(num_inputs)
    size = 1
    while size < num_inputs:
        reach = size
        while reach >= 1:
            for start in range(reach % size, num_inputs - reach, 2 * reach):
                for low in range(start, min(start + reach, num_inputs - reach)):
                    if low // (2 * size) == (low + reach) // (2 * size):
                        yield low, low + reach
            reach //= 2
        size *= 2


def sort_scores(scores: Scores) -> Scores:
    """Sort by the network alone: a copy in ascending order; the number of scores is a power of two."""
    result = scores.copy()
    for low, high in exchanges(len(scores)):
        if result[high] < result[low]:
            result[[low, high]] = result[[high, low]]
    return result


def sorter_cycles(num_inputs: int, num_comparators: int) -> int:
    """Cycles of a sorter that does so many exchanges in each: ceil(num_exchanges / num_comparators).

    >>> sorter_cycles(1024, 67)
    360
    """
    if num_comparators < 1:
        raise invalid("num_comparators", "at least 1", num_comparators)
    return -(-num_exchanges(num_inputs) // num_comparators)


def _power_of_two(number: int) -> int:
    if number < 2 or number & (number - 1):
        raise invalid("the number of inputs", "a power of two, at least 2", number)
    return int(np.log2(number))
