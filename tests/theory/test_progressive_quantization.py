"""The arithmetic behind progressive quantization: how far a score's error goes, and what the second plane costs."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multum.ops.bit_planes import PlaneRows
from multum.ops.decode_attention import decode_attention


@settings(max_examples=60)
@given(
    scores=st.lists(st.floats(-20, 20), min_size=2, max_size=12),
    place=st.integers(0, 11),
    moved=st.floats(-30, 30),
)
def test_moving_one_score_moves_the_probabilities_by_at_most_half_of_it(
    scores: list[float], place: int, moved: float
) -> None:
    before = torch.tensor(scores, dtype=torch.float64)
    after = before.clone()
    after[place % len(scores)] += moved
    change = (after.softmax(dim=0) - before.softmax(dim=0)).abs().sum().item()
    assert change <= abs(moved) / 2 + 1e-12


def test_for_small_moves_the_bound_is_two_p_times_one_minus_p() -> None:
    scores, step = torch.randn(9, dtype=torch.float64), 1e-6
    prob = scores.softmax(dim=0)
    for place, p in enumerate(prob.tolist()):
        moved = scores.clone()
        moved[place] += step
        change = (moved.softmax(dim=0) - prob).abs().sum().item()
        assert abs(change / step - 2 * p * (1 - p)) < 1e-5


def test_the_second_plane_costs_its_share_only() -> None:
    assert round(32 / (6 + 0.059 * 4), 2) == 5.13  # the paper's saving against float32
    rows = PlaneRows.quantize(torch.randn(1, 1, 10, 64), 6)
    msb, both = (rows.bytes_per_row(use_lsb=use) for use in (False, True))
    assert (msb, both) == (64 * 6 // 8 + 2, 64 * 10 // 8 + 2)


@settings(max_examples=20)
@given(bits=st.sampled_from([4, 6, 8, 10, 12]), seed=st.integers(0, 1000))
def test_error_of_the_first_plane_stays_within_what_its_scores_allow(bits: int, seed: int) -> None:
    """A score is off by at most `scale * |q|_1 * half a step of the MSBs`; a probability by a factor e^(2 that)."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, 1, 32, generator=generator)
    key, value = (torch.randn(1, 1, 20, 32, generator=generator) for _ in range(2))
    planes = PlaneRows.quantize(key, bits)
    stored = PlaneRows.quantize(value, 8, two_planes=False)
    count = torch.tensor([20])
    coarse = decode_attention(query, planes, stored, count, threshold=0.0).importance_BC
    exact = (32**-0.5 * (key[0, 0] @ query[0, 0])).softmax(dim=0)
    half_a_step = 8.5 * planes.scale[0, 0].float()  # the LSBs' half, and the rounding of the whole integer
    off = (32**-0.5 * query.abs().sum() * half_a_step).max()
    assert bool((coarse[0] <= exact * (2 * off).exp() * 1.0001).all())
    assert bool((coarse[0] >= exact * (-2 * off).exp() * 0.9999).all())
