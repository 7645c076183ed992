"""Energies are sums that can be done by hand, of constants that are published; the parts make up the whole."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multum.accelerator.activity import Activity, activity_of
from multum.accelerator.architecture import Architecture
from multum.accelerator.energy import GROUPS, SOURCES, Energy, EnergyConstants, energy_by_group, energy_of
from multum.accelerator.hbm import HbmShape
from multum.accelerator.simulation import DramTraffic
from multum.accelerator.workload import Workload
from multum.core import UserError, published

SPATTEN = Architecture()
NO_TRAFFIC = DramTraffic(useful_bytes=0, transactions=0, transaction_bytes=32, activates=0, refreshes=0)
STREAM = DramTraffic(
    useful_bytes=1 << 20, transactions=1 << 15, transaction_bytes=32, activates=1 << 10, refreshes=0
)
"""A mebibyte, in which every row that is opened is read to its end."""


def of_activity(**counts: float) -> Activity:
    """One row that does only this."""
    return Activity(**{it.name: np.array([float(counts.get(it.name, 0))]) for it in fields(Activity)})


def priced(activity: Activity, dram: DramTraffic = NO_TRAFFIC, **changes: float) -> Energy:
    return energy_of(activity, dram, SPATTEN, 1000, replace(EnergyConstants(), **changes))  # type: ignore[arg-type]


# the constants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_constant_is_the_published_one(name: str) -> None:
    assert getattr(EnergyConstants(), name) == published(*SOURCES[name]).number


def test_every_constant_has_a_source_and_none_is_fitted() -> None:
    names = {it.name for it in fields(EnergyConstants)}
    assert names == set(SOURCES) | {"target_nm", "fitted"}
    assert EnergyConstants().fitted == ()


def test_widths_of_the_table_come_out_as_they_are_and_16_bits_come_close() -> None:
    table = EnergyConstants(target_nm=45.0)
    assert [table.add(8), table.add(32), table.multiply(8)] == pytest.approx([0.03, 0.1, 0.2])
    assert table.multiply(32) == pytest.approx(3.1)
    assert table.add(16) == pytest.approx(published("kim_2023", "add_16_energy").number, rel=0.1)
    assert 0.2 < table.multiply(12) < table.multiply(16) < 3.1


def test_energy_shrinks_with_the_length() -> None:
    at_45, at_40 = EnergyConstants(target_nm=45.0), EnergyConstants()
    for price in ("product", "sram_bit", "register_bit", "network_bit", "exponential", "division"):
        assert getattr(at_40, price) == pytest.approx(getattr(at_45, price) * 40 / 45)
    assert at_40.topk_item(4) == pytest.approx(at_45.topk_item(4) * 40 / 45)
    assert at_40.importance_addition == pytest.approx(at_45.importance_addition * 40 / 45)


# one deed of each unit ------------------------------------------------------------------------------------------------


def test_row_of_100_keys_costs_what_its_products_do() -> None:
    row = Workload.from_counts(keys=[[100]], heads=1)
    energy = energy_of(activity_of(row, SPATTEN), NO_TRAFFIC, SPATTEN, 1000)
    multiplication = 0.2 * 15.5 ** (math.log(1.5) / math.log(4))  # 12 bits, between 0.2 and 3.1 pJ
    products = 100 * 64 * (multiplication + 0.1) * 40 / 45
    assert energy.joules["Q x K"] == pytest.approx(1e-12 * products)
    assert energy.joules["prob x V"] == pytest.approx(1e-12 * products)
    buffer_bits = 2 * 100 * 64 * 12  # written once, read once
    assert energy.joules["key SRAM"] == pytest.approx(1e-12 * buffer_bits * 5 / 32 * 40 / 45)
    assert energy.joules["value SRAM"] == energy.joules["key SRAM"]


def test_exponential_is_eight_products_and_eight_sums_in_floating_point() -> None:
    only_float = replace(EnergyConstants(), register_file_macs=1e-12, target_nm=45.0)
    assert only_float.exponential == pytest.approx(8 * 3.7 + 8 * 0.9)
    assert only_float.division == pytest.approx(24 * 0.1 + 3.7 + 0.9)
    energy = energy_of(of_activity(exponentials=3, divisions=2), NO_TRAFFIC, SPATTEN, 1, only_float)
    assert energy.total == pytest.approx(1e-12 * (3 * 35.9 + 7 * 2 + 3 * 0.9))


def test_register_file_costs_a_product_for_16_bits_and_the_network_two() -> None:
    constants = EnergyConstants()
    product = constants.multiply(16) + constants.add(16)
    assert constants.register_bit * 16 == pytest.approx(product)
    assert constants.network_bit * 16 == pytest.approx(2 * product)


@pytest.mark.parametrize(
    ("count", "unit"),
    [
        ("query_key_products", "Q x K"),
        ("prob_value_products", "prob x V"),
        ("exponentials", "softmax"),
        ("divisions", "softmax"),
        ("value_topk_items", "top-k"),
        ("token_topk_items", "top-k"),
        ("importance_additions", "importance"),
        ("converted_numbers", "fetcher"),
        ("key_sram_read_bytes", "key SRAM"),
        ("key_sram_written_bytes", "key SRAM"),
        ("value_sram_read_bytes", "value SRAM"),
        ("value_sram_written_bytes", "value SRAM"),
    ],
)
def test_each_count_is_paid_by_its_unit_alone_and_in_proportion(count: str, unit: str) -> None:
    once, twice = (priced(of_activity(**{count: number})) for number in (7, 14))
    assert {name for name, joules in once.joules.items() if joules} == {unit}
    assert twice.total == pytest.approx(2 * once.total)


def test_every_count_of_the_activity_is_paid() -> None:
    counts = [it.name for it in fields(Activity)]
    assert all(priced(of_activity(**{name: 1})).total > 0 for name in counts)


def test_wider_engine_pays_for_the_layers_of_its_zero_eliminator() -> None:
    constants = EnergyConstants()
    assert constants.topk_item(4) - constants.topk_item(0) == pytest.approx(4 * constants.add(12))


# the memory outside ---------------------------------------------------------------------------------------------------


def test_stream_costs_its_bits_and_an_activate_for_each_row() -> None:
    energy = priced(of_activity(), STREAM)
    bits = 8 * (1 << 20)
    dram = sum(joules for unit, joules in energy.joules.items() if GROUPS[unit] == "DRAM")
    assert dram == pytest.approx(1e-12 * bits * (1.51 + 1.17 + 0.80 + 909 / 8192))
    assert energy.joules["HBM activate"] == pytest.approx(1e-12 * 909 * 1024)
    assert energy.joules["HBM I/O"] == pytest.approx(1e-12 * bits * 0.80)


def test_a_row_for_each_transaction_costs_32_times_the_activates_and_no_more_bits() -> None:
    stream, misses = (priced(of_activity(), replace(STREAM, activates=it)) for it in (1 << 10, 1 << 15))
    assert misses.joules["HBM activate"] == pytest.approx(32 * stream.joules["HBM activate"])
    assert misses.joules["HBM read"] == stream.joules["HBM read"]


def test_shorter_rows_are_opened_for_less() -> None:
    half = replace(SPATTEN, hbm=HbmShape(row_bytes=512))
    whole, shorter = (energy_of(of_activity(), STREAM, it, 1) for it in (SPATTEN, half))
    assert shorter.joules["HBM activate"] == pytest.approx(whole.joules["HBM activate"] / 2)


def test_no_traffic_costs_nothing() -> None:
    assert priced(of_activity(), NO_TRAFFIC).total == 0


def test_memory_is_no_finer_in_another_process() -> None:
    units = [unit for unit in GROUPS if GROUPS[unit] == "DRAM"]
    here, there = (priced(of_activity(), STREAM, target_nm=it) for it in (40.0, 20.0))
    assert [here.joules[it] for it in units] == [there.joules[it] for it in units]


def test_fetcher_carries_data_and_requests_in_and_out_of_fifos_and_through_a_crossbar() -> None:
    constants = EnergyConstants()
    bits = (8 * 32 + 32) * (1 << 15)
    expected = bits * (2 * constants.register_bit + constants.network_bit)
    assert priced(of_activity(), STREAM).joules["fetcher"] == pytest.approx(1e-12 * expected)


# the whole and its parts ----------------------------------------------------------------------------------------------


def test_units_make_up_the_total_and_the_power() -> None:
    activity = activity_of(Workload.from_counts(keys=[[90, 70]], heads=2, values=[[30, 20]]), SPATTEN)
    energy = energy_of(activity, STREAM, SPATTEN, 4000)
    assert list(energy.joules) == list(GROUPS)
    assert all(joules > 0 for unit, joules in energy.joules.items() if unit != "importance")
    assert energy.total == pytest.approx(sum(energy.joules.values()))
    assert energy.seconds == pytest.approx(4e-6)
    assert set(energy.watts) == {"compute", "SRAM", "DRAM"}
    assert sum(energy.watts.values()) * energy.seconds == pytest.approx(energy.total)


def test_power_falls_with_time_and_energy_does_not() -> None:
    fast, slow = (energy_of(of_activity(divisions=9), STREAM, SPATTEN, it) for it in (100, 200))
    assert fast.joules == slow.joules
    assert fast.watts["DRAM"] == pytest.approx(2 * slow.watts["DRAM"])


@given(st.permutations([0, 0, 1, 1, 2, 2]), st.lists(st.integers(1, 500), min_size=3, max_size=3))
def test_groups_take_together_what_the_whole_takes(group: list[int], moved: list[int]) -> None:
    rows = Workload.from_counts(keys=[[90, 70, 60]], heads=2, values=[[30, 20, 60]])
    activity = activity_of(rows, SPATTEN)
    cycles = np.array([10, 20, 30])
    parts = energy_by_group(activity.by(np.array(group)), STREAM, SPATTEN, cycles, np.array(moved))
    whole = energy_of(activity, STREAM, SPATTEN, 60)
    for unit in GROUPS:
        assert sum(it.joules[unit] for it in parts) == pytest.approx(whole.joules[unit])
    assert parts[0].joules["HBM I/O"] == pytest.approx(whole.joules["HBM I/O"] * moved[0] / sum(moved))
    assert sum(it.seconds for it in parts) == pytest.approx(whole.seconds)


def test_groups_may_be_told_parts_instead_of_bytes() -> None:
    two = Activity(**{it.name: np.zeros(2) for it in fields(Activity)})
    first, second = energy_by_group(two, STREAM, SPATTEN, np.array([1, 1]), np.array([0.125, 0.375]))
    assert second.total == pytest.approx(3 * first.total)


# what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [it.name for it in fields(EnergyConstants) if it.name != "fitted"])
@pytest.mark.parametrize("value", [-1.0, 0.0])
def test_constant_that_is_not_positive_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} must be positive; got {value}"):
        EnergyConstants(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_constant_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(UserError, match="add_8"):
        EnergyConstants(add_8=value)


def test_fitted_names_are_those_of_constants() -> None:
    assert EnergyConstants(sram_read_32=4.0, fitted=("sram_read_32",)).fitted == ("sram_read_32",)
    with pytest.raises(UserError, match="fitted must be names of constants; got 'sram'"):
        EnergyConstants(fitted=("sram",))


def test_no_cycle_is_refused() -> None:
    with pytest.raises(UserError, match="cycles must be at least 1; got 0"):
        energy_of(of_activity(), STREAM, SPATTEN, 0)


@pytest.mark.parametrize(
    ("moved", "message"),
    [
        ([1.0, 2.0], r"cycles and bytes must be 1 each, one a group; got \(1, 2\)"),
        ([-1.0], "moved_bytes must be at least 0; got -1.0"),
        ([0.0], "moved_bytes must be those of 32768 transactions; got 0"),
    ],
)
def test_bytes_that_do_not_fit_the_groups_are_refused(moved: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        energy_by_group(of_activity(), STREAM, SPATTEN, np.array([1]), np.array(moved))
