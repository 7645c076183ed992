"""What must hold of cascade token pruning whatever the sentences and the schedule."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multum.attention import LayerTokens, PruningRun, TokenSchedule, prune, select_tokens
from multum.attention.token_pruning import standing_in_window
from small_encoders import NUM_HEADS, NUM_LAYERS, draw_tokens, pad, shared_encoder

FEW = settings(max_examples=15)

lengths = st.lists(st.integers(1, 24), min_size=1, max_size=4)
sides = st.sampled_from(["left", "right"])
seeds = st.integers(0, 1000)
ratios = st.lists(st.floats(0.05, 1.0), min_size=NUM_LAYERS - 1, max_size=NUM_LAYERS - 1).map(
    lambda drawn: (1.0, *sorted(drawn, reverse=True))
)
schedules = st.fixed_dictionaries(
    {
        "keep_ratios": ratios,
        "min_tokens": st.integers(1, 4),
        "protect_first": st.booleans(),
        "score": st.sampled_from(["attention", "value"]),
        "window": st.none() | st.integers(2, 9),
    }
)
"""Fields of a `TokenSchedule`; it is made inside the test, for beartype draws random numbers when it looks at one."""


@torch.no_grad()
def run_pruned(
    sentences: list[torch.Tensor], schedule: TokenSchedule, *, keep_scoring: bool = False, **padding: Any
) -> tuple[torch.Tensor, PruningRun]:
    model = shared_encoder()
    with prune(model, schedule, keep_scoring=keep_scoring) as run:
        hidden = model(**pad(sentences, **padding)).last_hidden_state
    return hidden, run


def kept_positions(layer: LayerTokens, sentence: int) -> list[int]:
    return layer.position_BL[sentence][layer.mask_BL[sentence]].tolist()


def scores(layer: LayerTokens, sentence: int) -> dict[int, float]:
    assert layer.importance_BL is not None
    kept = layer.importance_BL[sentence][layer.mask_BL[sentence]].tolist()
    return dict(zip(kept_positions(layer, sentence), kept, strict=True))


@FEW
@given(lengths=lengths, fields=schedules, side=sides, seed=seeds)
def test_kept_sets_are_nested_ordered_and_as_large_as_scheduled(
    lengths: list[int], fields: dict[str, Any], side: str, seed: int
) -> None:
    schedule = TokenSchedule(**fields)
    hidden, run = run_pruned(draw_tokens(*lengths, seed=seed), schedule, side=side)
    assert len(run.layers) == NUM_LAYERS
    for sentence, length in enumerate(lengths):
        sets = [kept_positions(layer, sentence) for layer in run.layers]
        first = 0 if side == "right" else max(lengths) - length
        assert sets[0] == list(range(first, first + length))
        for layer, kept in enumerate(sets):
            assert len(kept) == schedule.num_tokens(layer, length)
            assert kept == sorted(set(kept))
            assert not schedule.protect_first or kept[0] == first
        for earlier, later in itertools.pairwise(sets):
            assert set(later) <= set(earlier)
    assert hidden.shape[1] == max(len(kept_positions(run.layers[-1], i)) for i in range(len(lengths)))


@FEW
@given(lengths=lengths, keep_ratios=ratios, side=sides, seed=seeds)
def test_total_importance_grows_by_heads_times_rows_in_every_layer(
    lengths: list[int], keep_ratios: tuple[float, ...], side: str, seed: int
) -> None:
    schedule = TokenSchedule(keep_ratios=keep_ratios)
    _, run = run_pruned(draw_tokens(*lengths, seed=seed), schedule, keep_scoring=True, side=side)
    for sentence in range(len(lengths)):
        before: dict[int, float] = dict.fromkeys(kept_positions(run.layers[0], sentence), 0.0)
        for layer in run.layers:
            after = scores(layer, sentence)
            grown = sum(after[j] - before[j] for j in after)
            assert grown == pytest.approx(NUM_HEADS * len(after), rel=1e-5)
            assert all(after[j] > before[j] for j in after)
            before = after


@FEW
@given(lengths=lengths, fields=schedules, side=sides, extra=st.integers(1, 7), seed=seeds)
def test_padding_is_never_kept_and_never_gains_importance(
    lengths: list[int], fields: dict[str, Any], side: str, extra: int, seed: int
) -> None:
    schedule = TokenSchedule(**fields)
    _, run = run_pruned(draw_tokens(*lengths, seed=seed), schedule, keep_scoring=True, side=side, extra=extra)
    real = pad(draw_tokens(*lengths, seed=seed), side=side, extra=extra)["attention_mask"].bool()
    earned = torch.zeros(real.shape)
    for layer in run.layers:
        assert layer.importance_BL is not None
        assert real.gather(1, layer.position_BL)[layer.mask_BL].all()
        fills = ~layer.mask_BL  # padding, or a pruned token that fills up a shorter sentence's row
        assert torch.equal(layer.importance_BL[fills], earned.gather(1, layer.position_BL)[fills])
        earned = earned.scatter(1, layer.position_BL, layer.importance_BL)
    assert not earned[~real].any()


@FEW
@given(lengths=lengths, fields=schedules, side=sides, extra=st.integers(0, 7), seed=seeds)
def test_batch_and_single_agree(
    lengths: list[int], fields: dict[str, Any], side: str, extra: int, seed: int
) -> None:
    schedule = TokenSchedule(**fields)
    sentences = draw_tokens(*lengths, seed=seed)
    hidden, run = run_pruned(sentences, schedule, side=side, extra=extra)
    for index, sentence in enumerate(sentences):
        alone, run_alone = run_pruned([sentence], schedule)
        shift = 0 if side == "right" else max(lengths) + extra - len(sentence)
        for batched, single in zip(run.layers, run_alone.layers, strict=True):
            assert kept_positions(batched, index) == [j + shift for j in kept_positions(single, 0)]
        torch.testing.assert_close(hidden[index][run.mask[index]], alone[0], rtol=0, atol=1e-5)


@FEW
@given(lengths=lengths, fields=schedules, seed=seeds, data=st.data())
def test_order_of_the_sentences_does_not_matter(
    lengths: list[int], fields: dict[str, Any], seed: int, data: st.DataObject
) -> None:
    schedule = TokenSchedule(**fields)
    order = data.draw(st.permutations(range(len(lengths))))
    sentences = draw_tokens(*lengths, seed=seed)
    hidden, run = run_pruned(sentences, schedule)
    other, other_run = run_pruned([sentences[i] for i in order], schedule)
    for place, index in enumerate(order):
        for layer, other_layer in zip(run.layers, other_run.layers, strict=True):
            assert kept_positions(other_layer, place) == kept_positions(layer, index)
        torch.testing.assert_close(
            other[place][other_run.mask[place]], hidden[index][run.mask[index]], rtol=0, atol=1e-5
        )


@FEW
@given(lengths=lengths, keep_scoring=st.booleans(), side=sides, seed=seeds)
def test_keeping_everything_is_the_dense_model(
    lengths: list[int], keep_scoring: bool, side: str, seed: int
) -> None:
    sentences = draw_tokens(*lengths, seed=seed)
    everything = TokenSchedule(keep_ratios=(1.0,) * NUM_LAYERS)
    hidden, run = run_pruned(sentences, everything, keep_scoring=keep_scoring, side=side)
    inputs = pad(sentences, side=side)
    with torch.no_grad():
        dense = shared_encoder()(**inputs).last_hidden_state
    real = inputs["attention_mask"].bool()
    assert torch.equal(run.mask, real)
    torch.testing.assert_close(hidden[real], dense[real], rtol=0, atol=1e-5)


@FEW
@given(lengths=lengths, fields=schedules, extra=st.integers(0, 9), side=sides, seed=seeds)
def test_window_as_long_as_the_sentence_is_no_window(
    lengths: list[int], fields: dict[str, Any], extra: int, side: str, seed: int
) -> None:
    sentences = draw_tokens(*lengths, seed=seed)
    wide = TokenSchedule(**fields | {"window": max(2, *lengths) + extra})
    hidden, run = run_pruned(sentences, TokenSchedule(**fields | {"window": None}), side=side)
    other, other_run = run_pruned(sentences, wide, side=side)
    assert torch.equal(run.positions[run.mask], other_run.positions[other_run.mask])
    assert torch.equal(hidden[run.mask], other[other_run.mask])


@FEW
@given(num_windows=st.integers(1, 5), width=st.integers(2, 6), ratio=st.floats(0.1, 1.0), seed=seeds)
def test_every_window_gives_up_the_same_share(num_windows: int, width: int, ratio: float, seed: int) -> None:
    schedule = TokenSchedule(
        keep_ratios=(1.0, *[ratio] * (NUM_LAYERS - 1)), window=width, protect_first=False
    )
    _, run = run_pruned(draw_tokens(num_windows * width, seed=seed), schedule)
    kept = [j // width for j in kept_positions(run.layers[-1], 0)]
    counts = [kept.count(window) for window in range(num_windows)]
    assert max(counts) - min(counts) <= 1


rows = st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=12)
"""Few different numbers, so that many are equal."""


@given(row=rows, data=st.data())
def test_selection_equals_sorting_by_hand(row: list[float], data: st.DataObject) -> None:
    real = data.draw(st.lists(st.booleans(), min_size=len(row), max_size=len(row)).filter(any))
    count = data.draw(st.integers(1, sum(real)))
    protect = data.draw(st.booleans())
    tokens = [j for j, is_real in enumerate(real) if is_real]
    ranked = sorted(tokens, key=lambda j: (not (protect and j == tokens[0]), -row[j], j))
    index, mask = select_tokens(
        torch.tensor([row]), torch.tensor([real]), torch.tensor([count]), protect_first=protect
    )
    assert index[0].tolist() == sorted(ranked[:count])
    assert mask.all()


@given(row=rows, data=st.data())
def test_standing_equals_counting_by_hand(row: list[float], data: st.DataObject) -> None:
    real = data.draw(st.lists(st.booleans(), min_size=len(row), max_size=len(row)))
    steps = data.draw(st.lists(st.sampled_from([0, 0, 1, 2]), min_size=len(row), max_size=len(row)))
    window = list(itertools.accumulate(steps))
    standing = standing_in_window(torch.tensor([row]), torch.tensor([real]), torch.tensor([window]))[0]
    for j in range(len(row)):
        if not real[j]:
            continue
        rivals = [i for i in range(len(row)) if real[i] and window[i] == window[j]]
        better = [i for i in rivals if (-row[i], i) < (-row[j], j)]
        assert standing[j].item() == pytest.approx(1 - (len(better) + 0.5) / len(rivals))


def test_equal_importance_is_decided_for_the_earlier_token() -> None:
    flat, everyone = torch.ones(1, 6), torch.ones(1, 6, dtype=torch.bool)
    index, _ = select_tokens(flat, everyone, torch.tensor([3]), protect_first=False)
    assert index.tolist() == [[0, 1, 2]]


def test_shorter_choices_of_a_batch_are_marked_as_padding() -> None:
    importance, everyone = (
        torch.tensor([[1.0, 3.0, 2.0], [3.0, 2.0, 1.0]]),
        torch.ones(2, 3, dtype=torch.bool),
    )
    index, mask = select_tokens(importance, everyone, torch.tensor([1, 2]), protect_first=False)
    assert mask.tolist() == [[True, False], [True, True]]
    assert index[0, 0] == 1
    assert index[1].tolist() == [0, 1]
