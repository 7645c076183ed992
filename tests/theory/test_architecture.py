"""The architecture is that of Table I, survives JSON, and refuses parts that do not fit each other."""

from dataclasses import replace

import pytest

from multum.accelerator import TopkEngine
from multum.accelerator.architecture import Architecture, spatten_eighth
from multum.accelerator.softmax import SoftmaxUnit
from multum.core import UserError, from_dict, to_dict


def test_spatten_is_that_of_table_one() -> None:
    spatten = Architecture()
    assert spatten.roof_flops == 2.048e12
    assert spatten.dram_bytes_per_second == 512e9
    assert spatten.key_sram.num_bytes == spatten.value_sram.num_bytes == 196_608
    assert spatten.query_key.rows_per_cycle(64) == spatten.softmax.lanes == 8
    assert spatten.value_topk.num_comparators == 2 * 16
    assert spatten.softmax.capacity == spatten.value_topk.capacity == spatten.key_sram.rows == 1024


def test_the_eighth_has_an_eighth() -> None:
    whole, eighth = Architecture(), spatten_eighth()
    assert whole.roof_flops / eighth.roof_flops == 8
    assert whole.dram_bytes_per_second / eighth.dram_bytes_per_second == 8


@pytest.mark.parametrize("architecture", [Architecture(), spatten_eighth()], ids=lambda it: it.name)
def test_an_architecture_survives_its_dictionary(architecture: Architecture) -> None:
    assert from_dict(Architecture, to_dict(architecture)) == architecture


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clock_ghz": 0.0}, "clock_ghz must be positive; got 0.0"),
        ({"softmax": SoftmaxUnit(fifo_depth=100)}, "softmax must be for at least 1024 scores"),
        ({"value_topk": TopkEngine(parallelism=8)}, "value_topk must be for at least 1024 scores"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(Architecture(), **changes)
