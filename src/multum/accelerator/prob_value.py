"""prob x V: a probability meets its value row, 512 / D rows a cycle, summed up over rows.

Its time is that of a `MultiplierArray`: ceil(V / 8) cycles for V value rows of 64 channels, 7 from a row to the sum.
Probabilities are not renormalised after value rows were left out.

Shape legend: V value rows, D channels.

Source: SpAtten (HPCA 2021), section IV-D and Table I.
"""

from multum.accelerator.bitwidth_converter import CHIP_BITS, Integers, check_bits
from multum.core import invalid


def probabilities_times_values(prob_V: Integers, value_VD: Integers) -> Integers:
    """The head's output, exact, for probabilities of 12 unsigned bits (4095 is 1).

    >>> import numpy as np
    >>> probabilities_times_values(np.array([4095, 0]), np.array([[3, -4], [7, 7]])).tolist()
    [12285, -16380]
    """
    if bool((prob_V < 0).any()) or bool((prob_V >= 1 << CHIP_BITS).any()):
        raise invalid("prob", f"in 0..{(1 << CHIP_BITS) - 1}", prob_V)
    check_bits(value_VD, CHIP_BITS)
    return prob_V @ value_VD
