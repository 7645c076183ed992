"""Bits of the cache: one for all layers or one per layer, and what is refused."""

from typing import Any

import pytest

from multum.attention.quantization_schedule import LayerBits, ProgressiveQuantization
from multum.attention.schedule_rules import linear_cache
from multum.attention.sparse_schedule import GenerationSchedule, schedule_from_dict, schedule_to_dict
from multum.core import UserError


def test_each_layer_gets_its_own_of_every_tuple() -> None:
    bits = ProgressiveQuantization(msb_bits=(8, 4), value_bits=6, threshold=(0.0, 0.2))
    assert bits.num_layers == 2
    assert bits.of_layer(0) == LayerBits(msb_bits=8, value_bits=6, threshold=0.0)
    assert bits.of_layer(1) == LayerBits(msb_bits=4, value_bits=6, threshold=0.2)
    assert bits.of_layer(1).key_bits == 8


def test_single_numbers_fit_any_depth() -> None:
    bits = ProgressiveQuantization(msb_bits=6)
    assert bits.num_layers is None
    assert bits.of_layer(0) == bits.of_layer(99)
    assert GenerationSchedule(tokens=linear_cache(5, 0.5), quantization=bits).num_layers == 5
    assert GenerationSchedule(quantization=bits).num_layers is None


def test_schedule_of_other_depth_than_the_bits_is_refused() -> None:
    bits = ProgressiveQuantization(msb_bits=(8, 6, 4))
    assert GenerationSchedule(quantization=bits).num_layers == 3
    with pytest.raises(UserError, match="one number of layers"):
        GenerationSchedule(tokens=linear_cache(5, 0.5), quantization=bits)


def test_bits_by_layer_come_back_from_json() -> None:
    schedule = GenerationSchedule(quantization=ProgressiveQuantization(msb_bits=(8, 6), threshold=(0.1, 0.0)))
    assert schedule_from_dict(schedule_to_dict(schedule)) == schedule


@pytest.mark.parametrize(
    ("dials", "told"),
    [
        ({"threshold": (0.1, 1.5)}, r"threshold\[1\] must be in \[0, 1\]"),
        ({"threshold": ()}, "threshold must be one number, or one per layer"),
        ({"msb_bits": (8, 8), "value_bits": (8, 8, 8)}, "tuples for one number of layers"),
    ],
)
def test_wrong_bits_are_named(dials: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        ProgressiveQuantization(**dials)


@pytest.mark.parametrize("bits", [5, [8, 7], []])
def test_widths_that_the_paper_does_not_have_are_refused_in_a_file(bits: Any) -> None:
    told = schedule_to_dict(GenerationSchedule(quantization=ProgressiveQuantization()))
    told["schedule"]["quantization"]["msb_bits"] = bits
    with pytest.raises(UserError, match="msb_bits"):
        schedule_from_dict(told)
