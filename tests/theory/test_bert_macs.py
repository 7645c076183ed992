"""The ruler, a pruned BERT and the formula on paper count the same multiply-accumulates.

A layer of width d that works on n tokens and widens to f = 4 d inside costs `4 n d^2` for query, key, value and output,
`2 n d f` for the feed-forward and `2 n^2 d` for scores and weighted values.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from multum.attention import TokenSchedule, flat_schedule, prune
from multum.cost import measure
from multum.ops import fast_linears
from small_encoders import draw_tokens, make_encoder

BERT_BASE_WIDTH = 768
ISSUE_COUNTS = (384, 384, *[77] * 10)
"""Tokens per layer of the headline figure: their mean is a third of 384."""


def layer_macs(num_tokens: int, width: int, inner: int) -> tuple[int, int]:
    """MACs of one layer: all of them, and the attention's part."""
    attention = 2 * num_tokens**2 * width
    return num_tokens * (4 * width**2 + 2 * width * inner) + attention, attention


def model_macs(counts: Sequence[int], width: int, inner: int | None = None) -> tuple[int, int]:
    """MACs of a stack of layers, each with its own number of tokens."""
    layers = [layer_macs(count, width, inner or 4 * width) for count in counts]
    return sum(total for total, _ in layers), sum(attention for _, attention in layers)


def test_issue_counts_are_those_of_a_schedule_and_keep_a_third() -> None:
    schedule = flat_schedule(12, 0.2, num_dense_layers=2)
    assert tuple(schedule.num_tokens(layer, 384) for layer in range(12)) == ISSUE_COUNTS
    assert sum(ISSUE_COUNTS) / (12 * 384) == pytest.approx(1 / 3, abs=0.001)


def test_bert_base_at_a_third_of_the_tokens_needs_3_1_times_less() -> None:
    dense, dense_attention = model_macs([384] * 12, BERT_BASE_WIDTH)
    pruned, pruned_attention = model_macs(ISSUE_COUNTS, BERT_BASE_WIDTH)
    assert round(dense / pruned, 1) == 3.1
    assert dense_attention / dense == pytest.approx(1 / 13)  # 384 is half of 768: 2 n^2 d against 12 n d^2
    assert dense_attention / pruned_attention > dense / pruned  # attention shrinks with the square


def test_bert_base_has_the_macs_that_everybody_quotes() -> None:
    macs, _ = model_macs([128] * 12, BERT_BASE_WIDTH)
    assert macs / 1e9 == pytest.approx(11.2, abs=0.05)  # 22.4 GFLOPs at 128 tokens


def measured(model: Any, tokens: torch.Tensor) -> tuple[int, int]:
    cost = measure(model, {"input_ids": tokens}, latency=False)
    assert cost.attention_counted
    assert not cost.uncounted_ops
    pooler = sum(layer.macs for layer in cost.layers if "pooler" in layer.path)
    return cost.macs - pooler, cost.attention_macs


@pytest.mark.parametrize(("batch", "implementation"), [(1, "eager"), (2, "sdpa")])
def test_dense_model_costs_what_the_formula_says(batch: int, implementation: str) -> None:
    model = make_encoder(num_layers=3)
    model.set_attn_implementation(implementation)
    total, attention = model_macs([20] * 3, 32, 64)
    assert measured(model, torch.stack(draw_tokens(*[20] * batch))) == (batch * total, batch * attention)


@pytest.mark.parametrize(("keep_scoring", "score"), [(False, "attention"), (True, "value")])
def test_pruned_model_costs_what_the_formula_says_for_its_counts(keep_scoring: bool, score: Any) -> None:
    model, tokens = make_encoder(num_layers=6), torch.stack(draw_tokens(20, 20))
    schedule = TokenSchedule(keep_ratios=(1.0, 1.0, 0.7, 0.7, 0.3, 0.1), score=score)
    counts = [20, 20, 14, 14, 6, 2]
    total, attention = model_macs(counts, 32, 64)
    with prune(model, schedule, keep_scoring=keep_scoring) as run:
        assert measured(model, tokens) == (2 * total, 2 * attention)
        assert run.tokens_per_layer == tuple(2 * count for count in counts)


def test_narrow_twin_of_the_headline_model_costs_what_the_formula_says() -> None:
    width = BERT_BASE_WIDTH // 16
    model = make_encoder(num_layers=12, hidden_size=width, intermediate_size=4 * width, num_attention_heads=3)
    tokens = torch.stack(draw_tokens(384))
    with prune(model, flat_schedule(12, 0.2, num_dense_layers=2)) as run:
        assert measured(model, tokens) == model_macs(ISSUE_COUNTS, width)
        assert run.tokens_per_layer == ISSUE_COUNTS
    assert measured(model, tokens) == model_macs([384] * 12, width)


def test_training_a_pruned_model_costs_three_times_its_linears() -> None:
    model, tokens = make_encoder(num_layers=3), torch.stack(draw_tokens(20))
    total, attention = model_macs([20, 10, 10], 32, 64)
    with prune(model, flat_schedule(3, 0.5)):
        cost = measure(
            model,
            {"input_ids": tokens},
            mode="training",
            loss=lambda output: output.last_hidden_state.square().sum(),
            latency=False,
        )
    # forward once, backward twice for a linear; the first layer's input needs its gradient for the embeddings
    assert cost.macs - cost.attention_macs - pooler_macs(cost) == 3 * (total - attention)


def pooler_macs(cost: Any) -> int:
    return sum(layer.macs for layer in cost.layers if "pooler" in layer.path)


def test_fast_linears_count_the_same() -> None:
    model, tokens = make_encoder(num_layers=3), torch.stack(draw_tokens(20))
    expected = measured(model, tokens)
    with fast_linears(model):
        assert measured(model, tokens) == expected
