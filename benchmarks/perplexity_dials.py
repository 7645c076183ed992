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
COARSE_VALUES = (0, 4, 5, 6, 7, 8, 9, 10, 22, 24, 25, 26, 27, 28, 29)
"""The half of the layers that 4-bit values change least: KL divergence from the dense model, one layer at a time."""


def tokens(keep_ratio: float, *, num_dense: int, grace_tokens: int = 128) -> CacheSchedule:
    """Leading layers that keep everything, then one ratio; the latest rows of the prompt decide, and scores fade."""
    ratios = (1.0,) * num_dense + (keep_ratio,) * (NUM_LAYERS - num_dense)
    return CacheSchedule(keep_ratios=ratios, prompt_rows=64, grace_tokens=grace_tokens, decay=0.99)


def values(factor: float) -> ValueSchedule:
    """The covering parts, times a factor."""
    return ValueSchedule(keep_ratios=tuple(min(1.0, factor * part) for part in COVERING_98))


def bits(
    msb_bits: MsbBits, value_bits: MsbBits | tuple[MsbBits, ...], threshold: float = 0.0
) -> ProgressiveQuantization:
    """Bit planes of rows that were centred and rotated."""
    return ProgressiveQuantization(
        msb_bits=msb_bits, value_bits=value_bits, threshold=threshold, rotate=True, centre=True
    )


def whole(
    quantization: ProgressiveQuantization, heavy: int = 16, recent: int = 32
) -> ProgressiveQuantization:
    """The same, the keys of the prompt's heaviest and of the latest tokens read with both planes."""
    return replace(quantization, whole_heavy=heavy, whole_recent=recent)


MIXED_VALUES: tuple[MsbBits, ...] = tuple(4 if layer in COARSE_VALUES else 6 for layer in range(NUM_LAYERS))


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
    "all_4_and_6_values_third": GenerationSchedule(values=values(0.35), quantization=bits(4, 6)),
    "all_4_and_6_whole_values_third": GenerationSchedule(values=values(0.35), quantization=whole(bits(4, 6))),
    "all_4_and_6_few_whole_values_third": GenerationSchedule(
        values=values(0.35), quantization=whole(bits(4, 6), 4, 16)
    ),
    "all_4_and_mixed_few_whole_values_third": GenerationSchedule(
        values=values(0.35), quantization=whole(bits(4, MIXED_VALUES), 4, 16)
    ),
    "all_4_and_6_whole_values_quarter": GenerationSchedule(
        values=values(0.25), quantization=whole(bits(4, 6))
    ),
    "all_4_and_4_whole_values_third": GenerationSchedule(values=values(0.35), quantization=whole(bits(4, 4))),
    "all_4_and_6_tokens_60": GenerationSchedule(
        tokens=tokens(0.6, num_dense=2), values=values(0.35), quantization=bits(4, 6)
    ),
}
"""By name."""
AT_ONE_PERCENT = "all_4_and_mixed_few_whole_values_third"
"""The setting that costs about 1 % of perplexity on the validation split."""
