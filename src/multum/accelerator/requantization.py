"""The progressive-quantization decision: is a row of probabilities flat, so that the keys' second plane is needed?

The unit keeps the largest probability while a row leaves the softmax unit, and compares once: no cycle of its own. When
the row is flat its probabilities are thrown away, the least significant bits of all its keys are fetched, and the row
passes Q x K and softmax again, this time for good. Rows behind it wait; what they have done meanwhile is done again.

Source: SpAtten (HPCA 2021), sections III-D and IV-D.
Differs from the paper: which does not say what becomes of rows that were on their way already.
"""

from multum.accelerator.bitwidth_converter import Integers
from multum.accelerator.softmax import LARGEST
from multum.core import invalid


def wants_lsbs(prob: Integers, threshold: float) -> bool:
    """The progressive-quantization decision: whether no probability reaches the threshold, so the row is flat.

    >>> import numpy as np
    >>> wants_lsbs(np.array([400, 300]), 0.1), wants_lsbs(np.array([410, 300]), 0.1)
    (True, False)
    """
    if not 0 <= threshold <= 1:
        raise invalid("threshold", "in [0, 1]", threshold)
    return bool(prob.max() < threshold * LARGEST)
