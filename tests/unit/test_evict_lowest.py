"""The slot that goes is the least important one that may go."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from multum.core import UserError
from multum.ops.decode_attention import evict_lowest, evict_lowest_reference

BOTH = [evict_lowest, evict_lowest_reference]


@given(data=st.data(), slots=st.integers(1, 70))
def test_both_ways_agree_with_a_plain_search(data: st.DataObject, slots: int) -> None:
    numbers = st.sampled_from([0.0, 0.25, 1.0, 3.5, math.inf])
    importance = torch.tensor(data.draw(st.lists(numbers, min_size=slots, max_size=slots)))[None]
    protected = torch.tensor(data.draw(st.lists(st.booleans(), min_size=slots, max_size=slots)))[None]
    count = data.draw(st.integers(0, slots))
    free = [slot for slot in range(count) if not protected[0, slot]]
    expected = min(free, key=lambda slot: (importance[0, slot].item(), slot), default=-1)
    for evict in BOTH:
        assert evict(importance, protected, torch.tensor([count])).tolist() == [expected]


@pytest.mark.parametrize("evict", BOTH)
def test_every_sequence_is_searched_by_itself(evict) -> None:
    importance = torch.tensor([[3.0, 1.0, 2.0, 0.0], [5.0, 6.0, 4.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    assert evict(importance, None, torch.tensor([3, 2, 4])).tolist() == [1, 0, 0]


@pytest.mark.parametrize("evict", BOTH)
def test_nothing_to_evict_is_told_by_minus_one(evict) -> None:
    importance, protected = torch.rand(2, 5), torch.ones(2, 5, dtype=torch.bool)
    assert evict(importance, protected, torch.tensor([5, 0])).tolist() == [-1, -1]


@pytest.mark.parametrize("evict", BOTH)
@pytest.mark.parametrize("slot", [0, 17, 36])
def test_nan_in_use_is_refused_and_elsewhere_ignored(evict, slot: int) -> None:
    importance = torch.rand(1, 40)
    importance[0, slot] = math.nan
    with pytest.raises(UserError, match="importance must be free of NaN"):
        evict(importance, None, torch.tensor([37]))
    if slot == 36:
        assert evict(importance, None, torch.tensor([36])).item() == importance[0, :36].argmin().item()


def test_counts_beyond_the_slots_are_refused() -> None:
    for evict in BOTH:
        with pytest.raises(UserError, match=r"count must be in 0\.\.5"):
            evict(torch.rand(1, 5), None, torch.tensor([6]))


def test_views_are_read_where_they_lie() -> None:
    importance, protected = torch.rand(3, 64), torch.rand(3, 64) > 0.5
    count = torch.tensor([20, 3, 9])
    part = importance[:, 7:30], protected[:, 7:30]
    assert torch.equal(evict_lowest(*part, count), evict_lowest_reference(*part, count))
    strided = importance[:, ::2], protected[:, ::2]
    assert torch.equal(evict_lowest(*strided, count), evict_lowest_reference(*strided, count))
