"""Rules that make the dials of all layers from one or two numbers, beside those for tokens in `schedule.py`.

Each takes a part kept and gives a ratio for every layer, in order, never growing.
"""

from collections.abc import Sequence

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.head_schedule import UNPRUNED_HEADS_PART, HeadSchedule, ValueSchedule
from multum.attention.length_adaptive import LengthAdaptive
from multum.attention.schedule import UNPRUNED_PART, TokenSchedule, linear_schedule
from multum.core import invalid


def linear_heads(
    num_layers: int,
    average_keep_ratio: float,
    *,
    final_keep_ratio: float | None = None,
    num_dense_layers: int | None = None,
) -> HeadSchedule:
    """The paper's rule for heads: the first 30 % of layers whole, then a straight line.

    Args:
        num_layers: Layers of the model.
        average_keep_ratio: Mean ratio over the layers that prune, in (0, 1].
        final_keep_ratio: Ratio of the last layer; None: the square of the average (see `falling_ratios`).
        num_dense_layers: Leading layers that keep everything; by default 30 % of them, at least one.

    Raises:
        UserError: The two ratios ask for a start above 1 or below the end.

    Source: SpAtten, section III-B.

    >>> [round(ratio, 2) for ratio in linear_heads(6, 0.8, final_keep_ratio=0.6).keep_ratios]
    [1.0, 1.0, 1.0, 0.87, 0.73, 0.6]
    """
    dense = max(1, round(UNPRUNED_HEADS_PART * num_layers)) if num_dense_layers is None else num_dense_layers
    return HeadSchedule(keep_ratios=falling_ratios(num_layers, average_keep_ratio, final_keep_ratio, dense))


def flat_values(num_layers: int, keep_ratio: float) -> ValueSchedule:
    """One part of the value rows in every layer: value pruning is local, so no layer needs to come before another.

    Source: SpAtten, section III-C.

    >>> flat_values(3, 0.5).keep_ratios
    (0.5, 0.5, 0.5)
    """
    if num_layers < 1:
        raise invalid("num_layers", "at least 1", num_layers)
    return ValueSchedule(keep_ratios=(keep_ratio,) * num_layers)


def linear_cache(
    num_layers: int,
    average_keep_ratio: float,
    *,
    final_keep_ratio: float | None = None,
    protect_first: int = 4,
    grace_tokens: int = 32,
) -> CacheSchedule:
    """The paper's rule for tokens, for the key/value cache: the first 15 % of layers whole, then a straight line.

    Args:
        num_layers: Layers of the model.
        average_keep_ratio: Mean ratio over the layers that prune, in (0, 1].
        final_keep_ratio: Ratio of the last layer; None: the square of the average (see `falling_ratios`).
        protect_first: See `CacheSchedule`.
        grace_tokens: See `CacheSchedule`.

    Raises:
        UserError: The two ratios ask for a start above 1 or below the end.

    Source: SpAtten, section III-A.
    """
    dense = max(1, round(UNPRUNED_PART * num_layers))
    ratios = falling_ratios(num_layers, average_keep_ratio, final_keep_ratio, dense)
    return CacheSchedule(keep_ratios=ratios, protect_first=protect_first, grace_tokens=grace_tokens)


def classifier_schedule(
    num_layers: int, average_keep_ratio: float, *, min_tokens: int = 1, length: LengthAdaptive | None = None
) -> TokenSchedule:
    """The paper's rule with one number: a straight line that ends at the square of its average.

    >>> [round(ratio, 2) for ratio in classifier_schedule(6, 0.5).keep_ratios]
    [1.0, 0.75, 0.62, 0.5, 0.38, 0.25]
    """
    dense = max(1, round(UNPRUNED_PART * num_layers))
    ratios = falling_ratios(num_layers, average_keep_ratio, None, dense)
    return TokenSchedule(keep_ratios=ratios, min_tokens=min_tokens, length=length)


def token_level_schedule(
    num_layers: int, keep_ratio: float, *, min_tokens: int = 1, length: LengthAdaptive | None = None
) -> TokenSchedule:
    """For heads that read every token: all tokens in the first half of the layers, then one ratio to the end.

    A pruned token is read in the state in which it left, so none may leave before it has become something.

    Differs from the paper: which says nothing about such heads.

    >>> token_level_schedule(6, 0.5).keep_ratios
    (1.0, 1.0, 1.0, 0.5, 0.5, 0.5)
    """
    if num_layers < 1:
        raise invalid("num_layers", "at least 1", num_layers)
    dense = (num_layers + 1) // 2
    ratios = (1.0,) * dense + (keep_ratio,) * (num_layers - dense)
    return TokenSchedule(keep_ratios=ratios, min_tokens=min_tokens, length=length)


def falling_ratios(
    num_layers: int, average: float, final: float | None, num_dense_layers: int
) -> tuple[float, ...]:
    """Ratios of a straight line whose ends average to `average`, behind layers that keep everything.

    With the square of the average as the end, the start is `2 a - a ** 2`, which lies in [a, 1] for every a: so one
    number in (0, 1] is enough, and every ratio grows with it.
    """
    if not 0.0 < average <= 1.0:
        raise invalid("average_keep_ratio", "in (0, 1]", average, "it is the part KEPT")
    end = average**2 if final is None else final
    line: Sequence[float] = linear_schedule(
        num_layers, average, final_keep_ratio=end, num_dense_layers=num_dense_layers
    ).keep_ratios
    return tuple(min(1.0, ratio) for ratio in line)
