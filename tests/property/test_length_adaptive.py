"""Ratios that bend with the length: whatever the dials, order, monotony and bounds hold."""

from hypothesis import given
from hypothesis import strategies as st

from multum.attention import LengthAdaptive, TokenSchedule

DIALS = st.builds(
    LengthAdaptive, reference_length=st.integers(1, 1000), strength=st.floats(0.01, 3.0, allow_nan=False)
)
RATIO = st.floats(0.001, 1.0)


@given(DIALS, RATIO, st.integers(1, 2000), st.integers(1, 2000))
def test_longer_input_keeps_a_smaller_part_and_no_fewer_tokens(
    dials: LengthAdaptive, ratio: float, one: int, other: int
) -> None:
    short, long = sorted((one, other))
    assert dials.keep_ratio(ratio, long) <= dials.keep_ratio(ratio, short) + 1e-12
    schedule = TokenSchedule(keep_ratios=(1.0, ratio), length=dials)
    assert schedule.num_tokens(1, short) <= schedule.num_tokens(1, long)


@given(DIALS, RATIO, RATIO, st.integers(1, 2000))
def test_layers_stay_in_order_at_every_length(
    dials: LengthAdaptive, one: float, other: float, length: int
) -> None:
    low, high = sorted((one, other))
    assert 0.0 < dials.keep_ratio(low, length) <= dials.keep_ratio(high, length) + 1e-12 <= 1.0 + 1e-12
    assert dials.keep_ratio(1.0, length) == 1.0


@given(DIALS, RATIO)
def test_ratio_stands_as_it_is_at_the_reference_length(dials: LengthAdaptive, ratio: float) -> None:
    assert dials.keep_ratio(ratio, dials.reference_length) == ratio
