"""The fetcher: as many tokens as wanted, in order, and every byte of them, with no transaction twice."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multum.accelerator.architecture import Architecture
from multum.accelerator.fetcher import regions_of, stored_bits, surviving, transactions_of
from multum.accelerator.hbm import HbmShape
from multum.accelerator.simulator import simulate
from multum.accelerator.workload import Workload
from multum.core import UserError


@given(st.integers(0, 10**6), st.integers(1, 300), st.data())
def test_as_many_tokens_as_wanted_in_their_order(seed: int, num_tokens: int, data: st.DataObject) -> None:
    wanted = data.draw(st.integers(1, num_tokens))
    kept = list(surviving(seed, num_tokens, wanted))
    assert len(kept) == wanted
    assert kept == sorted(set(kept))
    assert 0 <= kept[0] <= kept[-1] < num_tokens


def test_every_token_has_the_same_chance() -> None:
    counts = Counter(it for seed in range(4000) for it in surviving(seed, 20, 5))
    expected = 4000 * 5 / 20
    assert all(abs(counts[token] - expected) < 5 * np.sqrt(expected * 0.75) for token in range(20))


@pytest.mark.parametrize(("bits", "transactions"), [(4, 1.0), (6, 1.5), (8, 2.0), (12, 3.0), (None, 8.0)])
def test_keys_take_as_many_transactions_as_their_bits(bits: int | None, transactions: float) -> None:
    workload = Workload.from_counts(keys=[[10]], heads=2, key_bits=bits)
    first, second, _ = regions_of(workload, HbmShape())
    per_key = (first.count + second.count).sum() / 2
    assert per_key == transactions


@given(st.sampled_from([4, 5, 6, 7, 8, 12, None]), st.sampled_from([16, 32, 64, 80, 128]), st.integers(2, 4))
def test_no_transaction_belongs_to_two_heads_or_planes(bits: int | None, width: int, heads: int) -> None:
    workload = Workload.from_counts(keys=[[7, 5]], heads=heads, head_width=width, key_bits=bits, value_bits=8)
    seen: Counter[int] = Counter()
    for region in regions_of(workload, HbmShape()):
        for row in range(len(workload)):
            seen.update(transactions_of(region, row, range(int(workload.key_fetch_num[row]))))
    assert not seen or max(seen.values()) == 1


@given(st.sampled_from([4, 5, 6, 7, 8]), st.sampled_from([16, 32, 64, 80]))
def test_a_pair_of_heads_fetches_what_both_need_and_no_more(bits: int, width: int) -> None:
    workload = Workload.from_counts(keys=[[9]], heads=2, head_width=width, key_bits=bits)
    first, _, _ = regions_of(workload, HbmShape())
    together = sum(len(transactions_of(first, row, range(9))) for row in (0, 1))
    alone = bits * width % 256 == 0
    assert together == 9 * (2 * (bits * width // 256) if alone else -(-2 * bits * width // 256))


def test_bits_in_memory_are_those_of_the_planes() -> None:
    workload = Workload.from_counts(keys=[[8]], heads=1, key_bits=10, value_bits=12)
    assert [int(it[0]) for it in stored_bits(workload)] == [8, 4, 8]
    raw = Workload.from_counts(keys=[[8]], heads=1)
    assert [int(it[0]) for it in stored_bits(raw)] == [32, 0, 32]


def test_regions_begin_on_rows_of_their_own() -> None:
    workload = Workload.from_counts(keys=[[100, 50]], heads=4, key_bits=6, value_bits=8)
    shape = HbmShape()
    for region in regions_of(workload, shape):
        assert not (region.start % (shape.columns * shape.num_channels)).any()


def test_a_row_that_no_buffer_holds_is_named_with_a_remedy() -> None:
    long = Workload.from_counts(keys=[[1024, 1025]], heads=1, key_bits=8, value_bits=8)
    with pytest.raises(UserError, match=r"row 1, key_fetch_num must be at most 1024.*grown_for"):
        simulate(long)
    assert simulate(long, Architecture().grown_for(long)).cycles > 0


def test_wide_heads_take_the_place_of_two() -> None:
    with pytest.raises(UserError, match="at most 512, the keys of 128 channels"):
        simulate(Workload.from_counts(keys=[[600]], heads=1, head_width=128))
