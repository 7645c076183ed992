"""What holds for readings of any chain of layers, and for any readings."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from multum.cost import Cost, format_bytes, format_count, format_seconds, measure
from multum.cost.compare import QUANTITIES
from multum.cost.step import default_loss
from multum.cost.traffic import tensors_in
from multum.cost.witness import kept_by_autograd

SIZES = st.lists(st.integers(1, 40), min_size=2, max_size=6)
SHAPES = st.tuples(st.integers(1, 5), SIZES)
COUNTED = [quantity.field for quantity in QUANTITIES if quantity.field not in ("latency", "energy_joules")]
AMOUNTS = st.integers(0, 10**15)


def chain(sizes: list[int], *, in_place: bool = False, bias: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for narrow, wide in itertools.pairwise(sizes):
        layers += [nn.Linear(narrow, wide, bias=bias), nn.LeakyReLU(inplace=in_place)]
    return nn.Sequential(*layers)


@given(shape=SHAPES)
@settings(max_examples=25)
def test_macs_of_a_chain_are_rows_times_weights(shape: tuple[int, list[int]]) -> None:
    rows, sizes = shape
    cost = measure(chain(sizes), torch.zeros(rows, sizes[0]), latency=False)
    assert cost.macs == rows * sum(a * b for a, b in itertools.pairwise(sizes))


@given(shape=SHAPES, in_place=st.booleans())
@settings(max_examples=25)
def test_peak_of_a_chain_is_its_widest_pair(shape: tuple[int, list[int]], in_place: bool) -> None:
    rows, sizes = shape
    cost = measure(chain(sizes, in_place=in_place, bias=False), torch.zeros(rows, sizes[0]), latency=False)
    before = [0, *sizes[1:]]  # the inputs of the first layer are resident
    linear = max(a + b for a, b in itertools.pairwise(before))
    relu = 0 if in_place else max(2 * size for size in sizes[1:])
    assert cost.peak_live_bytes - cost.resident_bytes == 4 * rows * max(linear, relu)


@given(shape=SHAPES, frozen=st.lists(st.booleans(), min_size=5, max_size=5), in_place=st.booleans())
@settings(max_examples=40)
def test_kept_bytes_are_what_autograd_keeps(
    shape: tuple[int, list[int]], frozen: list[bool], in_place: bool
) -> None:
    rows, sizes = shape
    model, x = chain(sizes, in_place=in_place), torch.randn(rows, sizes[0])
    for layer, still in zip(model[::2], frozen, strict=False):
        layer.requires_grad_(not still)
    cost = measure(model, x, mode="training", latency=False)
    loss = default_loss(model(x))
    assert cost.kept_bytes == kept_by_autograd(loss, known=[*model.parameters(), x])
    assert cost.gradient_bytes == 4 * cost.num_trainable_parameters


@given(shape=SHAPES, factor=st.integers(2, 4))
@settings(max_examples=15)
def test_activations_scale_with_the_batch_and_weights_do_not(
    shape: tuple[int, list[int]], factor: int
) -> None:
    rows, sizes = shape
    model = chain(sizes)
    one, many = (
        measure(model, torch.zeros(batch, sizes[0]), mode="training", latency=False)
        for batch in (rows, factor * rows)
    )
    assert many.macs == factor * one.macs
    assert many.kept_bytes == factor * one.kept_bytes
    assert many.gradient_bytes == one.gradient_bytes
    assert many.dram_bytes < factor * one.dram_bytes


@given(
    values=st.fixed_dictionaries(
        {q.field: AMOUNTS for q in QUANTITIES if q.field not in ("latency", "energy_joules")}
    )
)
def test_ratio_and_difference_of_a_reading_with_itself(values: dict[str, Any]) -> None:
    cost = Cost(name="any", **values)
    for field, value in values.items():
        assert (cost / cost).ratio(field) == (1 if value else None)
        assert (cost - cost).amount(field) == 0
    assert Cost.from_dict(cost.to_dict()) == cost
    assert len((cost / cost).rows()) == sum(1 for value in values.values() if value)


@given(number=st.floats(1e-12, 1e17) | st.integers(0, 10**18))
def test_units_never_lose_more_than_the_third_digit(number: float) -> None:
    scales = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
    digits, _, prefix = format_count(number).partition(" ")
    assert float(digits) * scales[prefix] == pytest.approx(number, rel=0.0051, abs=0.0005)
    assert len(digits.replace(".", "").lstrip("0")) <= 3
    assert format_bytes(number).endswith("B")
    assert format_seconds(number).endswith("s")


nested = st.recursive(
    st.integers(1, 3).map(torch.zeros) | st.none() | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=nested)
def test_every_nested_tensor_is_found(value: Any) -> None:
    from torch.utils._pytree import tree_leaves

    expected = [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]
    assert len(list(tensors_in(value))) == len(expected)
