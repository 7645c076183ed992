"""The top-k engine and its zero eliminators on anything: order kept, ties to the earlier, nothing lost."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from multum.accelerator.odd_even_sorter import sort_scores
from multum.accelerator.topk_engine import TopkEngine
from multum.accelerator.zero_eliminator import ZeroEliminator

SCORES = st.lists(st.integers(-3, 3) | st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=120)


@given(SCORES, st.data(), st.sampled_from([1, 2, 8, 16]), st.integers(1, 65535))
def test_the_k_largest_stay_in_their_order_and_ties_go_to_the_earlier(
    scores: list[int], data: st.DataObject, parallelism: int, seed: int
) -> None:
    k = data.draw(st.integers(1, len(scores) + 2))
    engine = TopkEngine(parallelism=parallelism, fifo_depth=128, seed=seed)
    run = engine.select(np.array(scores), k)
    best_first = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    assert run.kept.tolist() == sorted(best_first[:k])
    for step in run.passes:
        assert step.num_smaller + step.num_equal + step.num_larger == step.num_items
        assert step.num_equal >= 1
        assert step.cycles == -(-step.num_items // parallelism) + 3
    sizes = [step.num_items for step in run.passes]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


@given(st.integers(0, 5), st.data())
def test_the_zero_eliminator_packs_what_is_there(power: int, data: st.DataObject) -> None:
    lanes = 1 << power
    present = data.draw(st.lists(st.booleans(), min_size=lanes, max_size=lanes))
    eliminator = ZeroEliminator(lanes=lanes)
    states = eliminator.layers(range(lanes), present)
    wanted = [lane for lane in range(lanes) if present[lane]]
    assert len(states) == power + 1
    assert all([it for it in state if it is not None] == wanted for state in states)
    assert states[-1] == wanted + [None] * (lanes - len(wanted))


@given(st.integers(1, 5), st.data())
def test_the_sorter_sorts_zeros_and_ones_and_so_everything(power: int, data: st.DataObject) -> None:
    size = 1 << power
    scores = data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    assert sort_scores(np.array(scores)).tolist() == sorted(scores)
