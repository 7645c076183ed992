"""What must hold of heads, values and bits whatever the sentences and the schedule."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder_dials import exact_encoder
from multum.attention import (
    EncoderSchedule,
    HeadSchedule,
    PruningRun,
    StaticQuantization,
    TokenSchedule,
    ValueSchedule,
    head_magnitude,
    keep_largest,
    prune,
    quantize_static,
    select_heads,
)
from small_encoders import NUM_HEADS, NUM_LAYERS, draw_tokens, pad

FEW = settings(max_examples=6)

lengths = st.lists(st.integers(1, 20), min_size=1, max_size=4)
sides = st.sampled_from(["left", "right"])
seeds = st.integers(0, 1000)
falling = st.lists(st.floats(0.05, 1.0), min_size=NUM_LAYERS - 1, max_size=NUM_LAYERS - 1).map(
    lambda drawn: (1.0, *sorted(drawn, reverse=True))
)
free = st.lists(st.floats(0.05, 1.0), min_size=NUM_LAYERS, max_size=NUM_LAYERS).map(tuple)
dials = st.fixed_dictionaries(
    {
        "tokens": st.none() | falling,
        "heads": falling,
        "values": st.none() | free,
        "bits": st.none() | st.integers(6, 16),
    }
)
"""Of very few bits, scores are equal but for rounding, and which value row is the last to be read is chance."""


def schedule_of(drawn: dict[str, Any]) -> EncoderSchedule:
    tokens, values, bits = drawn["tokens"], drawn["values"], drawn["bits"]
    return EncoderSchedule(
        tokens=None if tokens is None else TokenSchedule(keep_ratios=tokens),
        heads=HeadSchedule(keep_ratios=drawn["heads"]),
        values=None if values is None else ValueSchedule(keep_ratios=values),
        quantization=None if bits is None else StaticQuantization(key_bits=bits, query_bits=bits),
    )


@torch.no_grad()
def run_pruned(
    sentences: list[torch.Tensor], schedule: EncoderSchedule, **padding: Any
) -> tuple[torch.Tensor, PruningRun]:
    model = exact_encoder("bert")
    with prune(model, schedule, keep_scoring=True) as run:
        hidden = model(**pad(sentences, **padding)).last_hidden_state
    return hidden, run


@FEW
@given(lengths=lengths, drawn=dials, side=sides, extra=st.integers(0, 5), seed=seeds)
def test_batch_and_single_agree(
    lengths: list[int], drawn: dict[str, Any], side: str, extra: int, seed: int
) -> None:
    schedule, sentences = schedule_of(drawn), draw_tokens(*lengths, seed=seed)
    hidden, run = run_pruned(sentences, schedule, side=side, extra=extra)
    for index, sentence in enumerate(sentences):
        alone, run_alone = run_pruned([sentence], schedule)
        for batched, single in zip(run.heads, run_alone.heads, strict=True):
            assert batched.head_BK[index].tolist() == single.head_BK[0].tolist()
        torch.testing.assert_close(hidden[index][run.mask[index]], alone[0], rtol=0, atol=1e-8)


@FEW
@given(lengths=lengths, drawn=dials, side=sides, seed=seeds)
def test_living_heads_are_nested_ascending_and_as_many_as_scheduled(
    lengths: list[int], drawn: dict[str, Any], side: str, seed: int
) -> None:
    schedule = schedule_of(drawn)
    _, run = run_pruned(draw_tokens(*lengths, seed=seed), schedule, side=side)
    assert schedule.heads is not None
    for sentence in range(len(lengths)):
        sets = [layer.head_BK[sentence].tolist() for layer in run.heads]
        for layer, heads in enumerate(sets):
            assert heads == sorted(set(heads))
            assert len(heads) == schedule.heads.num_heads(layer, NUM_HEADS)
        for earlier, later in itertools.pairwise(sets):
            assert set(later) <= set(earlier)


@FEW
@given(lengths=lengths, heads=falling, tokens=falling, side=sides, seed=seeds)
def test_total_token_importance_grows_by_living_heads_times_rows(
    lengths: list[int], heads: tuple[float, ...], tokens: tuple[float, ...], side: str, seed: int
) -> None:
    schedule = schedule_of({"tokens": tokens, "heads": heads, "values": None, "bits": None})
    _, run = run_pruned(draw_tokens(*lengths, seed=seed), schedule, side=side, extra=3)
    for sentence in range(len(lengths)):
        before: dict[int, float] = {}
        for layer, living in zip(run.layers, run.heads, strict=True):
            assert layer.importance_BL is not None
            mask = layer.mask_BL[sentence]
            positions = layer.position_BL[sentence][mask].tolist()
            after = dict(zip(positions, layer.importance_BL[sentence][mask].tolist(), strict=True))
            grown = sum(after[j] - before.get(j, 0.0) for j in after)
            assert grown == pytest.approx(living.head_BK.shape[1] * len(after))
            before = after


@FEW
@given(lengths=lengths, drawn=dials, seed=seeds)
def test_records_say_what_was_worked_on(lengths: list[int], drawn: dict[str, Any], seed: int) -> None:
    schedule = schedule_of(drawn)
    _, run = run_pruned(draw_tokens(*lengths, seed=seed), schedule)
    for layer, record in enumerate(run.records):
        tokens, values = schedule.tokens, schedule.values
        counts = [n if tokens is None else tokens.num_tokens(layer, n) for n in lengths]
        assert record.layer == layer
        assert list(record.num_queries) == list(record.num_keys) == counts
        assert list(record.num_values) == [
            n if values is None else values.num_values(layer, n) for n in counts
        ]
        assert [len(heads) for heads in record.heads] == [run.heads_per_layer[layer]] * len(lengths)
        assert record.key_bits == drawn["bits"]
    for earlier, later in itertools.pairwise(run.records):
        for kept, before, after in zip(earlier.tokens_kept, earlier.num_keys, later.num_keys, strict=True):
            assert kept == (after if after < before else None)
    assert set(run.records[-1].tokens_kept) == set(run.records[-1].heads_kept) == {None}


rows = st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.5]), min_size=1, max_size=10)
"""Few different numbers, so that many are equal."""


@given(row=rows, data=st.data())
def test_largest_values_equal_sorting_by_hand(row: list[float], data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, len(row)), min_size=2, max_size=2))
    found = keep_largest(torch.tensor([[[row]], [[row]]]), torch.tensor(counts))
    for index, count in enumerate(counts):
        kept = sorted(range(len(row)), key=lambda j: (-row[j], j))[:count]
        expected = torch.tensor([value if j in kept else 0.0 for j, value in enumerate(row)])
        assert torch.equal(found[index, 0, 0], expected)


@given(row=rows, count=st.integers(1, 10))
def test_chosen_heads_equal_sorting_by_hand(row: list[float], count: int) -> None:
    ranked = sorted(range(len(row)), key=lambda m: (-row[m], m))
    assert select_heads(torch.tensor([row]), count).tolist() == [sorted(ranked[:count])]


numbers = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12)


@given(row=numbers, bits=st.integers(2, 16))
def test_rounding_is_to_the_nearest_of_symmetric_integers(row: list[float], bits: int) -> None:
    x = torch.tensor(row, dtype=torch.float64)
    rounded, largest = quantize_static(x, bits), 2 ** (bits - 1) - 1
    step = max(x.abs().max().item(), 1e-300) / largest
    assert float((rounded - x).abs().max()) <= step / 2 * (1 + 1e-9)
    assert torch.equal(quantize_static(-x, bits), -rounded)
    whole = rounded / step
    torch.testing.assert_close(whole, whole.round(), rtol=0, atol=1e-6)
    assert float(whole.abs().max()) <= largest + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradient_passes_the_rounding_unchanged(dtype: torch.dtype) -> None:
    x = torch.randn(3, 4, 8, dtype=dtype, requires_grad=True)
    weight = torch.randn_like(x)
    (quantize_static(x, 3) * weight).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, weight)
    assert quantize_static(x, 3).dtype is dtype


def test_row_of_zeros_stays_and_nan_is_not_hidden() -> None:
    assert not quantize_static(torch.zeros(2, 4), 8).any()
    assert quantize_static(torch.tensor([1.0, torch.nan]), 8).isnan().any()


def test_magnitude_counts_real_rows_only_and_keeps_sentences_apart() -> None:
    context = torch.ones(2, 3, 4, 5)
    context[1, :, 2:] = 1000.0
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    assert head_magnitude(context, mask).tolist() == [[20.0] * 3, [10.0] * 3]
