"""The authors' public trace of GPT-2-Medium on WikiText-2, made again from counts alone.

24 layers; token counts are floor(ratio x 1,024) from the second generated token on, a head's values floor(0.3 x the
layer's count), 16 heads, then 13, then 10; keys of 12 bits in two planes that are always read, values of 8.

Source: the public trace (github.com/mit-han-lab/spatten); `tests/theory/test_paper_benchmarks.py` holds all of
its columns against these.
"""

import numpy as np

from multum.accelerator.paper.assumptions import CONTEXT
from multum.accelerator.paper.numbers import paper_number
from multum.accelerator.workload import Workload

TOKEN_COUNTS = (1024,) * 2 + (921,) + (819,) * 2 + (614,) * 6 + (307,) * 13
"""Tokens of each layer."""
HEADS = (16,) * 16 + (13,) * 6 + (10,) * 2
"""Heads of each layer."""
LAST_CHOICE = 10
"""The last layer after which tokens are chosen."""
VALUE_RATIO = 0.3
"""Values of a head, as part of its layer's count."""


def medium_trace() -> Workload:
    """The trace.

    >>> trace = medium_trace()
    >>> len(trace), trace.key_rows, trace.value_rows
    (11328, 6143004, 1848398)
    """
    prompt, generated = (int(paper_number(f"gpt2_{what}_tokens").number) for what in ("prompt", "generated"))
    length_I = np.arange(prompt + 1, prompt + generated + 1)
    count_IN = np.tile(TOKEN_COUNTS, (generated, 1))
    count_IN[0] = CONTEXT  # no token has been chosen yet
    keys_IN = np.minimum(count_IN, length_I[:, None])
    following_IN = np.roll(count_IN, -1, axis=1)
    chosen_IN = (following_IN < count_IN) & (np.arange(len(TOKEN_COUNTS)) < len(TOKEN_COUNTS) - 1)
    accumulate_IN = np.ones_like(count_IN, dtype=bool)
    accumulate_IN[-1, LAST_CHOICE + 1 :] = False  # nobody will ask any more
    return Workload.from_counts(
        keys=keys_IN,
        heads=np.array(HEADS),
        values=np.floor(VALUE_RATIO * count_IN).astype(int),
        lengths=length_I,
        query_bits=16,
        key_bits=12,
        value_bits=8,
        accumulate=accumulate_IN,
        topk=np.where(chosen_IN, following_IN, -1),
    )
