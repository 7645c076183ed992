"""Pruned heads and tokens leave the count of multiply-accumulates, not only the result.

A layer of width d that works on n tokens and computes heads of c channels together, and widens to f inside, costs
`4 n d c` for query, key, value and output, `2 n d f` for the feed-forward and `2 n^2 c` for the attention.
"""

from typing import Any

import pytest
import torch

from multum.attention import EncoderSchedule, HeadSchedule, TokenSchedule, ValueSchedule, prune
from multum.cost import measure
from small_encoders import WIDTH, draw_tokens, make_encoder

NUM_LAYERS = 6
HEADS = HeadSchedule(keep_ratios=(1.0, 1.0, 0.75, 0.75, 0.5, 0.25))
TOKENS = TokenSchedule(keep_ratios=(1.0, 1.0, 0.7, 0.7, 0.3, 0.1))


def make_stack() -> Any:
    """Layers and nothing behind them."""
    model = make_encoder(num_layers=NUM_LAYERS)
    model.pooler = None
    return model


def expected_macs(counts: list[int], channels: list[int]) -> tuple[int, int]:
    attention = [2 * n**2 * c for n, c in zip(counts, channels, strict=True)]
    linear = [4 * n * WIDTH * c + 2 * n * WIDTH * 2 * WIDTH for n, c in zip(counts, channels, strict=True)]
    return sum(attention) + sum(linear), sum(attention)


def measured(model: Any, tokens: torch.Tensor) -> tuple[int, int]:
    cost = measure(model, {"input_ids": tokens}, latency=False)
    assert not cost.uncounted_ops
    return cost.macs, cost.attention_macs


@pytest.mark.parametrize("tokens", [None, TOKENS])
def test_pruned_heads_cost_nothing(tokens: TokenSchedule | None) -> None:
    model, batch = make_stack(), torch.stack(draw_tokens(*[20] * 8))
    counts = [20] * NUM_LAYERS if tokens is None else [20, 20, 14, 14, 6, 2]
    total, attention = expected_macs(counts, [32, 32, 24, 24, 16, 8])
    with prune(model, EncoderSchedule(tokens=tokens, heads=HEADS)) as run:
        assert measured(model, batch) == (8 * total, 8 * attention)
    chosen = [{tuple(row) for row in layer.head_BK.tolist()} for layer in run.heads]
    assert max(map(len, chosen)) > 1, "the test needs sentences with different heads"


def test_pruned_values_save_no_multiplication_of_a_dense_product_but_rows_of_the_record() -> None:
    model, batch = make_stack(), torch.stack(draw_tokens(20))
    values = ValueSchedule(keep_ratios=(0.3,) * NUM_LAYERS)
    with prune(model, EncoderSchedule(values=values)) as run:
        assert measured(model, batch) == expected_macs([20] * NUM_LAYERS, [32] * NUM_LAYERS)
    assert [record.num_values for record in run.records] == [(6,)] * NUM_LAYERS


def test_run_prices_itself_as_the_ruler_counts() -> None:
    model, batch = make_stack(), torch.stack(draw_tokens(20, 20))
    with prune(model, EncoderSchedule(tokens=TOKENS, heads=HEADS)) as run:
        macs, attention = measured(model, batch)
        cost = run.cost()
    assert (cost.macs, cost.attention_macs) == (macs, attention)
    assert sum(1 for _ in run.workload(1)) > 0
