"""Schedules of every dial of an encoder, small models in float64, and what their heads are called."""

import functools
from typing import Any

import torch

from multum.attention import EncoderSchedule, HeadSchedule, StaticQuantization, TokenSchedule, ValueSchedule
from small_encoders import make_encoder

TOKENS = TokenSchedule(keep_ratios=(1.0, 0.7, 0.7, 0.3))
HEADS = HeadSchedule(keep_ratios=(1.0, 0.75, 0.75, 0.5))
COMMON = TokenSchedule(keep_ratios=(0.7, 0.7, 0.4, 0.3), spare_tokens=tuple(range(40, 4, -1)), window=5)
VALUES = ValueSchedule(keep_ratios=(0.6, 1.0, 0.3, 0.1))
BITS = StaticQuantization(query_bits=8, key_bits=6, value_bits=5)
DIALS: dict[str, EncoderSchedule] = {
    "heads": EncoderSchedule(heads=HEADS),
    "values": EncoderSchedule(values=VALUES),
    "bits": EncoderSchedule(quantization=BITS),
    "tokens and heads": EncoderSchedule(tokens=TOKENS, heads=HEADS),
    "common tokens": EncoderSchedule(tokens=COMMON),
    "common tokens and heads": EncoderSchedule(tokens=COMMON, heads=HEADS),
    "everything": EncoderSchedule(tokens=TOKENS, heads=HEADS, values=VALUES, quantization=BITS),
}
"""Each dial alone, and together."""
EVERYTHING = DIALS["everything"]

LABELS: dict[str, dict[str, Any]] = {
    "AutoModelForSequenceClassification": {"labels": torch.tensor([1])},
    "AutoModelForTokenClassification": {"labels": torch.arange(13)[None] % 2},
    "AutoModelForQuestionAnswering": {
        "start_positions": torch.tensor([3]),
        "end_positions": torch.tensor([5]),
    },
    "AutoModelForMaskedLM": {"labels": torch.arange(13)[None]},
}
"""Head classes, with labels for a sentence of 13 tokens."""


@functools.cache
def exact_encoder(model_type: str, head: str = "AutoModel") -> Any:
    """Give a network in float64, where a rounding is decided alike on every path; tests leave it as it was."""
    return make_encoder(model_type, head=head).double()
