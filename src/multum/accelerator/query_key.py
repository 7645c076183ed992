"""Q x K: the query stays and keys go by, 512 / D of them a cycle, each summed up over its channels by an adder tree.

Its time is that of a `MultiplierArray`: ceil(K / 8) cycles for K keys of 64 channels, 7 from a key to its score.

Shape legend: K keys, D channels.

Source: SpAtten (HPCA 2021), section IV-D and Table I.
"""

from multum.accelerator.bitwidth_converter import CHIP_BITS, Integers, check_bits


def query_times_keys(query_D: Integers, key_KD: Integers) -> Integers:
    """Scores, exact: sums of D products of 12 bits need 24 + log2(D) bits, which the adder tree has.

    >>> import numpy as np
    >>> query_times_keys(np.array([1, -2]), np.array([[3, 4], [2047, -2048]])).tolist()
    [-5, 6143]
    """
    check_bits(query_D, CHIP_BITS)
    check_bits(key_KD, CHIP_BITS)
    return key_KD @ query_D
