"""Areas are sums that can be done by hand, of constants that are published; each part grows with its own size alone."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from multum.accelerator import TopkEngine
from multum.accelerator.architecture import Architecture, spatten_eighth
from multum.accelerator.area import SOURCES, UNITS, Area, AreaConstants, area_of
from multum.accelerator.crossbar import Crossbar
from multum.accelerator.hbm import HbmShape
from multum.accelerator.importance import ImportanceAccumulators
from multum.accelerator.multiplier_array import MultiplierArray
from multum.accelerator.softmax import SoftmaxUnit
from multum.accelerator.sram import DoubleBuffer
from multum.core import UserError, published

SPATTEN = Architecture()
SHRINK = (40 / 45) ** 2
SRAM_BIT = 594_786 / (162 * 8192)
REGISTER_BIT = 9_465 / 2_048


# the constants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_constant_is_the_published_one(name: str) -> None:
    assert getattr(AreaConstants(), name) == published(*SOURCES[name]).number


def test_every_constant_has_a_source_and_none_is_fitted() -> None:
    assert {it.name for it in fields(AreaConstants)} == set(SOURCES) | {"target_nm", "fitted"}
    assert published("han_2016", "process").number == AreaConstants().process_nm
    assert area_of(SPATTEN).fitted == ()


def test_widths_of_the_table_come_out_as_they_are_and_16_bits_come_close() -> None:
    table = AreaConstants(target_nm=45.0)
    assert [table.add(8), table.add(32), table.multiply(8)] == pytest.approx([36, 137, 282])
    assert table.multiply(32) == pytest.approx(3495)
    assert table.add(16) == pytest.approx(published("kim_2023", "add_16_area").number, rel=0.1)


def test_area_shrinks_with_the_square_of_the_length() -> None:
    whole, quarter = (area_of(SPATTEN, AreaConstants(target_nm=it)) for it in (45.0, 22.5))
    assert quarter.total == pytest.approx(whole.total / 4)
    assert quarter.shares == pytest.approx(whole.shares)


def test_memory_of_the_source_comes_out_as_its_own_area() -> None:
    source = AreaConstants(target_nm=45.0)
    assert source.sram_bit * 162 * 1024 * 8 == pytest.approx(594_786)
    assert source.register_bit * 2 * 64 * 16 == pytest.approx(9_465)


# parts by hand --------------------------------------------------------------------------------------------------------


def test_arrays_are_512_multipliers_adders_and_registers() -> None:
    multiplier = 282 * (3495 / 282) ** (math.log(1.5) / math.log(4))
    expected = 512 * (multiplier + 137 + (12 + 12 + 32) * REGISTER_BIT) * SHRINK
    parts = area_of(SPATTEN).parts
    assert parts["Q x K multipliers"] == pytest.approx(1e-6 * expected)
    assert parts["prob x V multipliers"] == parts["Q x K multipliers"]


def test_buffers_are_196_kilobytes_each() -> None:
    parts = area_of(SPATTEN).parts
    assert parts["key SRAM"] == pytest.approx(1e-6 * 8 * 196_608 * SRAM_BIT * SHRINK)
    assert parts["value SRAM"] == parts["key SRAM"]


def test_fifos_hold_requests_of_32_bits_and_data_of_256() -> None:
    parts = area_of(SPATTEN).parts
    fetcher = 32 * 64 * 32 + 16 * 64 * 256
    assert parts["fetcher FIFOs"] == pytest.approx(1e-6 * fetcher * REGISTER_BIT * SHRINK)
    assert parts["softmax FIFO"] == pytest.approx(1e-6 * 8 * 128 * 32 * REGISTER_BIT * SHRINK)
    assert parts["top-k FIFOs"] == pytest.approx(1e-6 * 2 * 3 * 64 * 16 * 12 * REGISTER_BIT * SHRINK)


def test_crossbars_are_a_tree_of_switches_for_each_output() -> None:
    switches = 16 * 31 * 32 + 32 * 15 * 256
    assert area_of(SPATTEN).parts["crossbars"] == pytest.approx(1e-6 * switches * 137 / 32 * SHRINK)


def test_softmax_lane_has_one_of_everything_that_a_score_meets() -> None:
    lane = 9 * 7700 + 9 * 4184 + 24 * 137
    assert area_of(SPATTEN).parts["softmax lanes"] == pytest.approx(1e-6 * 8 * lane * SHRINK)


def test_zero_eliminator_has_a_prefix_count_and_four_layers() -> None:
    comparator = 36 * (137 / 36) ** (math.log(1.5) / math.log(4))
    eliminator = 16 * 4 * (4 + 12 + 4) * 137 / 32
    expected = 2 * 2 * (16 * comparator + eliminator) * SHRINK
    assert area_of(SPATTEN).parts["top-k comparators"] == pytest.approx(1e-6 * expected)


# the whole and its parts ----------------------------------------------------------------------------------------------


def test_shares_sum_to_one_and_units_to_the_total() -> None:
    for architecture in (SPATTEN, spatten_eighth()):
        area = area_of(architecture)
        assert sum(area.shares.values()) == pytest.approx(1)
        assert sum(area.units.values()) == pytest.approx(area.total)
        assert all(it > 0 for it in area.parts.values())


def test_units_are_those_of_the_paper_and_hold_every_part_once() -> None:
    listed = [part for parts in UNITS.values() for part in parts]
    assert sorted(listed) == sorted(area_of(SPATTEN).parts)
    keys = ("prob_value", "query_key", "fetcher", "softmax", "topk", "others")
    shares = [published("spatten", f"area_part_{key}").number for key in keys]
    assert len(shares) == len(UNITS)
    assert sum(shares) == pytest.approx(1, abs=0.003)  # as printed, rounded


@pytest.mark.parametrize(
    ("changes", "doubled"),
    [
        ({"query_key": MultiplierArray(multipliers=1024)}, {"Q x K multipliers"}),
        ({"prob_value": MultiplierArray(multipliers=1024)}, {"prob x V multipliers"}),
        ({"value_sram": DoubleBuffer(rows=2048)}, {"value SRAM"}),
        ({"key_sram": DoubleBuffer(buffers=4)}, {"key SRAM"}),
        ({"softmax": SoftmaxUnit(fifo_depth=256)}, {"softmax FIFO"}),
        ({"softmax": SoftmaxUnit(lanes=16)}, {"softmax FIFO", "softmax lanes"}),
        (
            {"value_topk": TopkEngine(fifo_depth=128), "token_topk": TopkEngine(fifo_depth=128)},
            {"top-k FIFOs"},
        ),
        (
            {
                "address_crossbar": Crossbar(fifo_depth=128),
                "data_crossbar": Crossbar(inputs=16, outputs=32, fifo_depth=128),
            },
            {"fetcher FIFOs"},
        ),
        ({"hbm": HbmShape(channels=32)}, {"converters"}),
    ],
    ids=lambda it: "+".join(sorted(it)),
)
def test_part_of_twice_the_size_is_twice_as_large_and_no_other_changes(
    changes: dict[str, Any], doubled: set[str]
) -> None:
    before, after = area_of(SPATTEN), area_of(replace(SPATTEN, **changes))
    for part in before.parts:
        assert after.parts[part] == pytest.approx(before.parts[part] * (2 if part in doubled else 1)), part


def test_more_lanes_of_the_accumulators_are_more_adders() -> None:
    wide = replace(SPATTEN, importance=ImportanceAccumulators(lanes=16))
    grown = area_of(wide).parts["importance"] - area_of(SPATTEN).parts["importance"]
    assert grown == pytest.approx(1e-6 * 8 * 137 * SHRINK)


def test_the_eighth_has_an_eighth_of_the_multipliers_area() -> None:
    whole, eighth = area_of(SPATTEN).parts, area_of(spatten_eighth()).parts
    assert eighth["Q x K multipliers"] == pytest.approx(whole["Q x K multipliers"] / 8)
    assert eighth["key SRAM"] == whole["key SRAM"]


def test_area_says_what_was_fitted() -> None:
    assert area_of(SPATTEN, AreaConstants(sram=1e6, fitted=("sram",))).fitted == ("sram",)
    assert isinstance(area_of(SPATTEN), Area)


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [it.name for it in fields(AreaConstants) if it.name != "fitted"])
@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_constant_that_is_not_positive_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} must be positive; got {value}"):
        AreaConstants(**{name: value})  # type: ignore[arg-type]


def test_fitted_names_are_those_of_constants() -> None:
    with pytest.raises(UserError, match="fitted must be names of constants; got 'softmax'"):
        AreaConstants(fitted=("softmax",))
