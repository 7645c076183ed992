"""Fully connected layers on the accelerator: weights by hand, a stream against its closed form, the slower of two."""

from dataclasses import replace

import pytest

from multum.accelerator.architecture import Architecture, spatten_eighth
from multum.accelerator.energy import EnergyConstants
from multum.accelerator.fully_connected import (
    GPT2_MEDIUM_LAYERS,
    GPT2_MEDIUM_WIDTH,
    GPT2_VOCABULARY,
    FullyConnected,
    Table4,
    decoder_layers,
    run_fully_connected,
    simulate_stream,
    table4,
)
from multum.accelerator.hbm import HbmShape, HbmTimings
from multum.accelerator.multiplier_array import MultiplierArray
from multum.core import UserError, published

SHORT = HbmTimings(refi=400, rfc=60)
"""Refreshed often, so that a stream between two refreshes is short."""
QUICK = replace(Architecture(), hbm_timings=SHORT)
ONE = (FullyConnected(inputs=512, outputs=512),)


@pytest.fixture(scope="module")
def found() -> Table4:
    return table4(architecture=QUICK)


class TestLayers:
    def test_a_block_has_twelve_squares_of_its_width(self) -> None:
        layers = decoder_layers(GPT2_MEDIUM_LAYERS, GPT2_MEDIUM_WIDTH)
        assert sum(it.num_weights for it in layers) == 24 * 12 * 1024**2

    def test_a_head_adds_the_vocabulary(self) -> None:
        without, with_head = (
            sum(it.num_weights for it in decoder_layers(2, 64, vocabulary=vocabulary))
            for vocabulary in (None, GPT2_VOCABULARY)
        )
        assert with_head - without == 64 * 50257

    def test_sizes_below_one_are_refused(self) -> None:
        with pytest.raises(UserError, match="inputs must be at least 1"):
            FullyConnected(inputs=0, outputs=1)


class TestStream:
    @pytest.mark.parametrize("timings", [SHORT, replace(SHORT, refi=700, rfc=160), replace(SHORT, burst=4)])
    def test_only_refreshes_cost(self, timings: HbmTimings) -> None:
        stream = simulate_stream(HbmShape(), timings)
        assert stream.efficiency == pytest.approx(timings.stream_efficiency, rel=0.02)

    def test_a_row_is_opened_for_each_of_its_transactions_or_a_little_oftener(self) -> None:
        stream = simulate_stream(HbmShape(), SHORT)
        assert 1 / 32 <= stream.activates_per_transaction < 2 / 32

    def test_a_refresh_comes_once_in_its_interval(self) -> None:
        stream = simulate_stream(HbmShape(), SHORT)
        carried = SHORT.refi * stream.efficiency / SHORT.burst
        assert 1 / stream.refreshes_per_transaction == pytest.approx(carried, rel=0.05)


class TestRun:
    def test_weights_come_as_fast_as_the_stream_brings_them(self) -> None:
        run = run_fully_connected(ONE, num_tokens=7, architecture=QUICK)
        efficiency = simulate_stream(HbmShape(), SHORT).efficiency
        assert run.cycles == pytest.approx(7 * 512 * 512 / (512 * efficiency), abs=1)
        assert run.dram_efficiency == pytest.approx(efficiency, rel=1e-3)
        assert run.cycles == run.stream_cycles > run.multiply_cycles == 7 * 512 * 512 // 1024

    def test_few_multipliers_take_longer_than_the_stream(self) -> None:
        few = MultiplierArray(multipliers=8)
        run = run_fully_connected(ONE, architecture=replace(QUICK, query_key=few, prob_value=few))
        assert run.cycles == run.multiply_cycles == 512 * 512 // 16 > run.stream_cycles

    def test_the_slower_is_taken_layer_by_layer(self) -> None:
        layers = (*ONE, FullyConnected(inputs=64, outputs=64, count=3))
        whole = run_fully_connected(layers, architecture=QUICK).cycles
        parts = [run_fully_connected((layer,), architecture=QUICK).cycles for layer in layers]
        assert whole == pytest.approx(sum(parts), abs=len(parts))

    def test_twelve_bits_take_half_as_long_again(self) -> None:
        eight, twelve = (
            run_fully_connected(ONE, num_tokens=10, weight_bits=bits, architecture=QUICK).cycles
            for bits in (8, 12)
        )
        assert twelve == pytest.approx(1.5 * eight, abs=2)

    def test_an_eighth_of_the_bandwidth_takes_eight_times_as_long(self) -> None:
        eighth = replace(spatten_eighth(), hbm_timings=SHORT)
        whole, part = (run_fully_connected(ONE, architecture=it).cycles for it in (QUICK, eighth))
        assert part == pytest.approx(8 * whole, abs=8)

    def test_another_clock_takes_the_same_time(self) -> None:
        run = run_fully_connected(ONE, architecture=replace(QUICK, clock_ghz=2.0))
        usual = run_fully_connected(ONE, architecture=QUICK)
        assert run.seconds == pytest.approx(usual.seconds, rel=0.02)

    def test_energy_is_that_of_products_bytes_and_memories(self) -> None:
        run, price = run_fully_connected(ONE, architecture=QUICK), EnergyConstants()
        joules, weights = run.energy.joules, 512 * 512
        assert joules["Q x K"] == joules["prob x V"] == pytest.approx(1e-12 * price.product * weights / 2)
        bits = price.hbm_array_bit + price.hbm_wires_bit
        assert joules["HBM read"] == pytest.approx(1e-12 * 8 * weights * bits)
        assert joules["key SRAM"] == pytest.approx(1e-12 * weights / 2 * 12 * 2 * price.sram_bit)
        assert joules["softmax"] == joules["top-k"] == joules["importance"] == 0

    @pytest.mark.parametrize("layers", [(), ONE])
    def test_nothing_to_do_is_refused(self, layers: tuple[FullyConnected, ...]) -> None:
        with pytest.raises(UserError, match="at least one each"):
            run_fully_connected(layers, num_tokens=0, architecture=QUICK)

    def test_other_widths_are_refused(self) -> None:
        with pytest.raises(UserError, match="weight_bits must be 8 or 12; got 4"):
            run_fully_connected(ONE, weight_bits=4, architecture=QUICK)


class TestTable4:
    def test_the_published_time_implies_the_efficiency_of_the_specification(self, found: Table4) -> None:
        assert 0.73 <= found.published_dram_efficiency <= 0.75
        seconds = published("spatten", "table_4_fc_time").number / 1e3
        assert found.published_dram_efficiency == pytest.approx(32 * 24 * 12 * 1024**2 / (512e9 * seconds))

    def test_ours_is_what_refreshes_leave_of_full_buses(self, found: Table4) -> None:
        full = 32 * 24 * 12 * 1024**2 / 512e9
        assert full / found.blocks.seconds == pytest.approx(SHORT.stream_efficiency, rel=0.02)

    def test_the_head_takes_its_part_of_the_weights(self, found: Table4) -> None:
        parts = (24 * 12 * 1024**2, 24 * 12 * 1024**2 + 50257 * 1024)
        assert found.with_head.seconds / found.blocks.seconds == pytest.approx(parts[1] / parts[0], rel=1e-4)
