"""What the paper's authors pruned in the run whose workload they published: GPT-2-Medium on WikiText-2.

Read off the file row by row: token counts are floor(ratio x 1,024), from the second generated token on; the values of a
head are floor(0.3 x the layer's count), where an unpruned layer counts as 1,024; 16 heads, then 13, then 10, from the
prompt on; keys are read in both planes always.
"""

import math

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.head_schedule import HeadSchedule, ValueSchedule
from multum.attention.quantization_schedule import ProgressiveQuantization
from multum.attention.sparse_schedule import GenerationSchedule

CONTEXT = 1024
"""What the authors' ratios are parts of."""
TOKEN_RATIOS = (1.0,) * 2 + (0.9,) + (0.8,) * 2 + (0.6,) * 6 + (0.3,) * 13
HEADS = (16,) * 16 + (13,) * 6 + (10,) * 2
VALUE_RATIO = 0.3


def gpt2_medium_trace_schedule() -> GenerationSchedule:
    """The schedule of the public trace, for 24 layers of 16 heads.

    A prompt of 992 tokens and 32 generated ones give the trace's own counts (`attention.trace_rows_exact`).

    >>> schedule = gpt2_medium_trace_schedule()
    >>> schedule.tokens.keep_counts[2], schedule.heads.num_heads(23, 16), schedule.values.num_values(11, 307)
    (921, 10, 92)
    """
    counts = tuple(math.floor(ratio * CONTEXT) for ratio in TOKEN_RATIOS)
    return GenerationSchedule(
        tokens=CacheSchedule(keep_counts=counts, protect_first=0, grace_tokens=1, readmit=True),
        heads=HeadSchedule(keep_ratios=tuple(heads / HEADS[0] for heads in HEADS)),
        values=ValueSchedule(
            keep_ratios=(VALUE_RATIO,) * len(counts), rooms=tuple(sorted({*counts, CONTEXT}))
        ),
        quantization=ProgressiveQuantization(msb_bits=8, value_bits=8, threshold=1.0),
    )
