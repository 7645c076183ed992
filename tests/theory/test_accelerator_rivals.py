"""The rivals against closed forms: cycles by hand, bytes of the dense run, rooflines, numbers of their papers."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.trace_problem import MEDIUM, SMALL

from multum.accelerator.rivals import (
    A3,
    HeadShape,
    MnnFast,
    Roofline,
    a3_aggressive,
    a3_conservative,
    dense_workload,
    eager_decoder,
    eager_encoder,
    fitted,
    jetson_nano,
    raspberry_pi_4,
    this_machine,
    titan_xp,
    titan_xp_fitted,
    xeon_e5_2640_v4,
)
from multum.accelerator.workload import Workload
from multum.core import UserError, published

SENTENCE = Workload.from_counts(keys=[[100] * 12], heads=12, num_queries=100)
"""BERT-Base on 100 tokens, nothing pruned."""

PRUNED_SENTENCE = Workload.from_counts(
    keys=[[100, 60, 30]],
    heads=[[12, 9, 6]],
    values=[[50, 30, 15]],
    num_queries=[[100, 60, 30]],
    lengths=[100],
    query_bits=8,
    key_bits=6,
    lsb_bits=4,
    value_bits=6,
    requant=True,
    threshold=0.1,
    accumulate=True,
    topk=[[60, 30, -1]],
)

GENERATED = Workload.from_counts(keys=[[993] * 24, [994] * 24], heads=16)
"""Two tokens of GPT-2-Medium, nothing pruned."""

ONE = HeadShape(num_keys=100, num_queries=100, width=64)
PLATFORMS = [titan_xp, xeon_e5_2640_v4, jetson_nano, raspberry_pi_4]
GPT2_MEDIUM = Workload.from_counts(keys=[[length] * 24 for length in range(993, 1025)], heads=16)


class TestDense:
    def test_the_dense_run_of_the_medium_trace_has_all_keys_of_all_heads(self) -> None:
        """32 tokens after 992, 24 layers, 16 heads; the sum of 993..1024 is 32,272."""
        kept = np.array([[993] + [length - 60 for length in range(994, 1025)]]).T.repeat(24, axis=1)
        pruned = Workload.from_counts(
            keys=kept,
            heads=[[16] * 16 + [13] * 6 + [10] * 2] * 32,
            values=kept // 3,
            lengths=np.arange(993, 1025),
            key_bits=8,
            value_bits=8,
        )
        assert len(pruned) == published("spatten", "trace_medium_rows").number
        dense = dense_workload(pruned)
        assert len(dense) == 32 * 24 * 16
        assert dense.key_rows == dense.value_rows == 24 * 16 * 32_272
        assert dense.key_bytes == dense.key_rows * 64 * 4
        assert dense == GPT2_MEDIUM == dense_workload(MEDIUM.made_from_schedule())

    def test_the_dense_trace_has_its_own_number_of_keys(self) -> None:
        dense = dense_workload(SMALL.made_from_schedule())
        assert dense.key_rows == dense.value_rows == published("spatten", "trace_small_key_rows").number

    def test_every_token_of_a_sentence_is_a_query_again(self) -> None:
        dense = dense_workload(PRUNED_SENTENCE)
        wanted = Workload.from_counts(keys=[[100] * 3], heads=12, num_queries=100)
        assert dense == wanted
        assert dense_workload(PRUNED_SENTENCE, num_heads=16) == Workload.from_counts(
            keys=[[100] * 3], heads=16, num_queries=100
        )

    def test_a_prompt_and_the_tokens_after_it_keep_their_kinds(self) -> None:
        both = Workload.from_counts(keys=[[8], [9]], heads=2, num_queries=[[8], [1]])
        assert dense_workload(both) == both

    @pytest.mark.parametrize("workload", [SENTENCE, PRUNED_SENTENCE, GENERATED], ids=["a", "b", "c"])
    def test_dense_twice_is_dense_once(self, workload: Workload) -> None:
        once = dense_workload(workload)
        assert dense_workload(once) == once

    def test_fewer_heads_than_are_computed_are_refused(self) -> None:
        with pytest.raises(UserError, match="num_heads must be at least 12, what a layer computes; got 8"):
            dense_workload(SENTENCE, num_heads=8)


class TestA3:
    @pytest.mark.parametrize("num_keys", [1, 20, 320])
    def test_exact_attention_takes_the_published_cycles(self, num_keys: int) -> None:
        first, later = (A3().query_cycles(HeadShape(num_keys, queries, 64)) for queries in (1, 11))
        assert first == 3 * num_keys + 27
        assert (later - first) / 10 == num_keys + published("a3_2020", "stage_cycles").number

    def test_a_head_by_hand(self) -> None:
        """Read 12,800 bytes, sort 100 keys in 7 rounds, then four stages of 50 + 9 cycles."""
        assert a3_conservative().head_cycles(ONE) == 200 + 700 + 4 * 59 + 99 * 59
        assert a3_aggressive().head_cycles(ONE) == 200 + 700 + 4 * 22 + 99 * 22
        assert A3().head_cycles(ONE) == 200 + 3 * 109 + 99 * 109
        assert a3_conservative().operations(ONE) == 100 * (50 * 4 + (50 + 50) * 64 * 2)

    def test_narrow_and_wide_heads_use_the_multipliers_that_there_are(self) -> None:
        assert A3().stages(HeadShape(100, 1, 32)) == (50 + 9, 100 + 9, 50 + 9)
        assert A3().stages(HeadShape(100, 1, 128)) == (200 + 9, 100 + 9, 200 + 9)
        assert a3_conservative().sort_cycles(HeadShape(100, 1, 128)) == 2 * 700

    def test_a_run_is_the_sum_of_its_heads(self) -> None:
        run = a3_conservative().run(SENTENCE)
        assert run.cycles == 144 * a3_conservative().head_cycles(ONE)
        assert run.seconds == run.cycles / 1e9
        assert run.operations == 144 * a3_conservative().operations(ONE)
        assert run.dense_operations == 144 * 4 * 100 * 100 * 64

    def test_chip_settings_and_gain_are_those_of_the_paper(self) -> None:
        least, most = (published("a3_2020", f"{which}_throughput_gain").number for which in ("least", "most"))
        chip = HeadShape(
            int(published("a3_2020", "chip_keys").number), 1, int(published("a3_2020", "chip_width").number)
        )
        assert A3().dot_product.multipliers == A3().output.multipliers == chip.width
        assert A3().dot_product.multipliers + A3().output.multipliers == 128
        assert least < max(A3().stages(chip)) / max(a3_aggressive().stages(chip)) < most
        assert A3().stage_cycles == published("a3_2020", "stage_cycles").number

    def test_how_many_candidates_there_are_moves_no_throughput(self) -> None:
        few = replace(a3_conservative(), candidate_ratio=0.2, kept_ratio=0.5)
        assert few.stages(ONE) == (59, 19, 19, 14)
        assert max(few.stages(ONE)) == max(a3_conservative().stages(ONE))
        assert few.operations(ONE) < a3_conservative().operations(ONE)

    def test_the_switch_takes_sorting_away_and_nothing_else(self) -> None:
        sorted_elsewhere = replace(a3_aggressive(), count_sorting=False)
        for head in (ONE, HeadShape(993, 1, 64)):
            rounds = int(np.ceil(np.log2(head.num_keys)))
            difference = a3_aggressive().head_cycles(head) - sorted_elsewhere.head_cycles(head)
            assert difference == head.num_keys * rounds

    @pytest.mark.parametrize("workload", [SENTENCE, PRUNED_SENTENCE, GENERATED], ids=["a", "b", "c"])
    def test_no_setting_reads_less_than_the_dense_run_at_its_bits(self, workload: Workload) -> None:
        dense = dense_workload(workload)
        whole = (dense.key_bytes + dense.value_bytes) * A3().bits // 32
        for a3 in (A3(), a3_conservative(), a3_aggressive(), replace(a3_aggressive(), kept_ratio=0.1)):
            assert a3.run(workload).dram_bytes == a3.run(dense).dram_bytes == whole
        with_queries = replace(A3(), count_queries=True).run(workload).dram_bytes
        queries = int((dense.num_queries * dense.embedding_length_D).sum()) * A3().bits // 8
        assert with_queries == whole + queries

    @pytest.mark.parametrize(
        ("dials", "message"),
        [
            ({"candidate_ratio": 1.5}, r"candidate_ratio must be in \(0, 1\]; got 1.5"),
            ({"kept_ratio": 0.0}, "kept_ratio must be positive; got 0.0"),
            ({"iteration_ratio": -0.5}, "iteration_ratio must be positive; got -0.5"),
            ({"sorters": 0}, "sorters must be positive; got 0"),
        ],
    )
    def test_what_cannot_be_built_is_refused(self, dials: dict[str, float], message: str) -> None:
        with pytest.raises(UserError, match=message):
            A3(**dials)


class TestMnnFast:
    @pytest.mark.parametrize("workload", [SENTENCE, PRUNED_SENTENCE, GENERATED], ids=["a", "b", "c"])
    def test_it_reads_as_many_bytes_as_the_dense_run(self, workload: Workload) -> None:
        dense = dense_workload(workload)
        for mnnfast in (MnnFast(), MnnFast(kept_ratio=0.03), MnnFast(shared_multipliers=True)):
            assert mnnfast.run(workload).dram_bytes == dense.key_bytes + dense.value_bytes

    def test_a_head_by_hand(self) -> None:
        """A sentence waits for the multipliers (100 x 100 cycles), a generated token for 508,416 bytes."""
        assert MnnFast().head_cycles(ONE) == 100 * 100
        assert MnnFast().head_cycles(HeadShape(993, 1, 64)) == 508_416 // 64
        assert MnnFast().run(SENTENCE).cycles == 144 * 10_000 + 4 + 21 + 4 + 29

    def test_skipping_values_spares_operations_and_no_cycle(self) -> None:
        skipping = MnnFast(kept_ratio=0.25)
        assert skipping.head_cycles(ONE) == MnnFast().head_cycles(ONE)
        assert skipping.operations(ONE) == 2 * 100 * (100 + 25) * 64
        assert MnnFast().operations(ONE) == ONE.dense_operations

    def test_with_one_array_for_both_it_spares_the_values_that_are_skipped(self) -> None:
        assert MnnFast(shared_multipliers=True).head_cycles(ONE) == 100 * 200 // 2
        assert MnnFast(shared_multipliers=True, kept_ratio=0.25).head_cycles(ONE) == 100 * 63

    def test_with_one_step_after_the_other_skipping_spares_time_too(self) -> None:
        assert MnnFast(overlapped=False).head_cycles(ONE) == 100 * 200
        assert MnnFast(overlapped=False, kept_ratio=0.25).head_cycles(ONE) == 100 * 125

    def test_a_part_above_one_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"kept_ratio must be in \(0, 1\]; got 1.1"):
            MnnFast(kept_ratio=1.1)


class TestRoofline:
    PLAIN = Roofline(name="plain", peak_flops=1e12, bytes_per_second=1e11, launch_seconds=1e-5)

    def test_a_layer_takes_the_longer_of_operations_and_bytes_and_its_launch(self) -> None:
        """A sentence is bound by operations, a token by bytes; layers add up, whatever bounds them."""
        sentence = Workload.from_counts(keys=[[800]], heads=2, num_queries=800)
        compute = 4 * 2 * 800 * 800 * 64 / 1e12
        assert self.PLAIN.time_of(sentence) == pytest.approx(compute + 1e-5)
        token = Workload.from_counts(keys=[[800]], heads=2)
        memory = (2 * 800 + 2) * 2 * 64 * 4 / 1e11
        assert self.PLAIN.time_of(token) == pytest.approx(memory + 1e-5)
        both = Workload.from_counts(keys=[[800], [800]], heads=2, num_queries=[[800], [1]])
        assert self.PLAIN.time_of(both) == pytest.approx(compute + memory + 2e-5)

    def test_utilizations_divide_the_roofs(self) -> None:
        half = replace(self.PLAIN, launch_seconds=0.0)
        for work, roof in ((SENTENCE, "compute_utilization"), (GENERATED, "bandwidth_utilization")):
            slower = replace(half, **{roof: 0.25})
            other = replace(half, peak_flops=1e12 if roof[0] == "b" else 2.5e11)
            other = replace(other, bytes_per_second=1e11 if roof[0] == "c" else 2.5e10)
            assert slower.time_of(work) == other.time_of(work) > half.time_of(work)

    def test_a_quantized_and_pruned_run_counts_what_it_has(self) -> None:
        work = Workload.from_counts(
            keys=[[100]],
            heads=1,
            values=[[30]],
            query_bits=8,
            key_bits=8,
            lsb_bits=4,
            value_bits=8,
            requant=True,
        )
        bits = 100 * 12 + 30 * 8 + 2 * 8
        slow_memory = replace(self.PLAIN, bytes_per_second=1.0, launch_seconds=0.0)
        assert slow_memory.time_of(work) == pytest.approx(64 * bits / 8)
        slow_compute = replace(self.PLAIN, peak_flops=1.0, launch_seconds=0.0)
        assert slow_compute.time_of(work) == pytest.approx(2 * (2 * 100 + 30) * 64)

    def test_energy_is_power_times_time(self) -> None:
        assert titan_xp().energy_of(GENERATED) == 250 * titan_xp().time_of(GENERATED)
        with pytest.raises(UserError, match="watts must be given, to tell the energy of plain; got None"):
            self.PLAIN.energy_of(GENERATED)

    @pytest.mark.parametrize("platform", PLATFORMS)
    def test_data_sheets_are_bounds_that_nothing_was_fitted_to(
        self, platform: Callable[[], Roofline]
    ) -> None:
        roofline = platform()
        assert roofline.launch_seconds == 0
        assert roofline.compute_utilization == 1
        assert roofline.fitted_to is None
        assert roofline.watts is not None

    def test_the_pi_reaches_of_its_memory_what_was_measured(self) -> None:
        pi = raspberry_pi_4()
        reached = pi.bytes_per_second * pi.bandwidth_utilization
        assert reached == pytest.approx(1e9 * published("data_sheets", "raspberry_pi_stream").number)

    def test_software_costs_launches_and_copies(self) -> None:
        launch = published("data_sheets", "kernel_launch").number / 1e6
        encoder, decoder = eager_encoder(titan_xp()), eager_decoder(titan_xp())
        assert encoder.time_of(SENTENCE) == pytest.approx(titan_xp().time_of(SENTENCE) + 12 * 6 * launch)
        without = replace(decoder, launch_seconds=0.0)
        assert without.time_of(GENERATED) == pytest.approx(5 * titan_xp().time_of(GENERATED))
        assert decoder.launch_seconds == pytest.approx(12 * launch)

    def test_launches_and_copies_explain_more_than_half_of_the_published_time(self) -> None:
        """Nothing is fitted here, so it need not fit: what was counted must not be more than what was measured."""
        measured = published("data_sheets", "titan_xp_gpt2_medium_attention").number / 1e3
        assert titan_xp().time_of(GPT2_MEDIUM) < 0.05 * measured
        assert 0.5 * measured < eager_decoder(titan_xp()).time_of(GPT2_MEDIUM) < measured

    def test_the_fitted_platform_gives_back_its_row_and_says_so(self) -> None:
        row = published("data_sheets", "titan_xp_gpt2_medium_attention")
        titan = titan_xp_fitted()
        assert titan.time_of(GPT2_MEDIUM) == pytest.approx(row.number / 1e3)
        assert titan.fitted_to == row.where
        assert replace(titan, launch_seconds=0.0, fitted_to=None) == titan_xp()

    def test_a_time_below_the_bound_cannot_be_fitted(self) -> None:
        with pytest.raises(
            UserError, match=r"seconds must be at least .*, what TITAN Xp takes without launches"
        ):
            fitted(titan_xp(), SENTENCE, 1e-9, "nowhere")

    def test_this_machine_is_measured(self) -> None:
        machine = this_machine(watts=10.0)
        assert machine.peak_flops > 1e9
        assert machine.bytes_per_second > 1e8
        assert machine.energy_of(SENTENCE) == 10.0 * machine.time_of(SENTENCE)

    @pytest.mark.parametrize(
        ("dials", "message"),
        [
            ({"peak_flops": 0.0}, "peak_flops must be positive; got 0.0"),
            ({"watts": -1.0}, "watts must be positive; got -1.0"),
            ({"bandwidth_utilization": 1.5}, r"bandwidth_utilization must be in \(0, 1\]; got 1.5"),
            ({"launch_seconds": -1e-6}, "launch_seconds must be at least 0; got -1e-06"),
        ],
    )
    def test_what_no_platform_has_is_refused(self, dials: dict[str, float], message: str) -> None:
        with pytest.raises(UserError, match=message):
            replace(self.PLAIN, **dials)
