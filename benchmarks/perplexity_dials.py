"""The settings of our cache on the perplexity curve of SmolLM2-135M, chosen on WikiText-2's validation split."""

from dataclasses import replace

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.head_schedule import ValueSchedule
from multum.attention.quantization_schedule import MsbBits, ProgressiveQuantization
from multum.attention.sparse_schedule import GenerationSchedule

NUM_LAYERS = 30
COVERING_98 = (
    *(1.0, 0.5, 0.5, 0.5, 0.4, 0.45, 0.5, 0.5, 0.42, 0.22),
    *(0.22, 0.35, 0.35, 0.13, 0.32, 0.33, 0.22, 0.3, 0.1, 0.45),
    *(0.42, 0.42, 0.3, 0.32, 0.4, 0.17, 0.2, 0.2, 0.42, 0.4),
)
"""Part of the value rows that holds 98.5 % of a head's probability in the dense model, by layer."""


def tokens(keep_ratio: float, *, num_dense: int, grace_tokens: int = 128) -> CacheSchedule:
    """Leading layers that keep everything, then one ratio; the latest rows of the prompt decide, and scores fade."""
    ratios = (1.0,) * num_dense + (keep_ratio,) * (NUM_LAYERS - num_dense)
    return CacheSchedule(keep_ratios=ratios, prompt_rows=64, grace_tokens=grace_tokens, decay=0.99)


def values(factor: float) -> ValueSchedule:
    """The covering parts, times a factor."""
    return ValueSchedule(keep_ratios=tuple(min(1.0, factor * part) for part in COVERING_98))


def bits(msb_bits: MsbBits, value_bits: MsbBits, threshold: float = 0.0) -> ProgressiveQuantization:
    """Bit planes of rows that were centred and rotated."""
    return ProgressiveQuantization(
        msb_bits=msb_bits, value_bits=value_bits, threshold=threshold, rotate=True, centre=True
    )


def whole(quantization: ProgressiveQuantization) -> ProgressiveQuantization:
    """The same, the keys of the prompt's 16 heaviest and of the 32 latest tokens read with both planes."""
    return replace(quantization, whole_heavy=16, whole_recent=32)


OUR_CACHES: dict[str, GenerationSchedule] = {
    "everything": GenerationSchedule(tokens=CacheSchedule(keep_ratios=(1.0,) * NUM_LAYERS)),
    "bits_6_and_6": GenerationSchedule(quantization=bits(6, 6)),
    "bits_4_and_4": GenerationSchedule(quantization=bits(4, 4)),
    "bits_4_4_and_4": GenerationSchedule(quantization=bits(4, 4, 0.1)),
    "values_98": GenerationSchedule(values=values(1.0)),
    "tokens_90": GenerationSchedule(tokens=tokens(0.9, num_dense=2)),
    "tokens_60": GenerationSchedule(tokens=tokens(0.6, num_dense=2)),
    "all_6_and_6_values_half": GenerationSchedule(values=values(0.5), quantization=bits(6, 6)),
    "all_6_and_6_values_third": GenerationSchedule(values=values(0.35), quantization=bits(6, 6)),
    "all_6_and_4_values_third": GenerationSchedule(values=values(0.35), quantization=bits(6, 4)),
    "all_6_and_6_values_fifth": GenerationSchedule(values=values(0.2), quantization=bits(6, 6)),
    "all_4_4_and_6_values_third": GenerationSchedule(values=values(0.35), quantization=bits(4, 6, 0.1)),
    "all_4_and_6_values_third": GenerationSchedule(values=values(0.35), quantization=bits(4, 6)),
    "all_4_and_6_whole_values_third": GenerationSchedule(values=values(0.35), quantization=whole(bits(4, 6))),
    "all_4_and_4_whole_values_third": GenerationSchedule(values=values(0.35), quantization=whole(bits(4, 4))),
    "all_4_and_6_tokens_60": GenerationSchedule(
        tokens=tokens(0.6, num_dense=2), values=values(0.35), quantization=bits(4, 6)
    ),
}
"""By name."""
AT_ONE_PERCENT = "all_4_and_6_whole_values_third"
"""The setting that costs about 1 % of perplexity on the validation split."""
