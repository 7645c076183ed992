"""The paper's 30 benchmarks: the rule of ratios, counts by hand, and rows that show nothing but published numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.trace_problem import MEDIUM

from multum.accelerator.architecture import Architecture
from multum.accelerator.paper import (
    ASSUMED,
    TECHNIQUES,
    Assumptions,
    Benchmark,
    Network,
    Row,
    Table,
    assumed,
    breakdown,
    geometric_mean,
    measure,
    measure_workload,
    medium_trace,
    thirty_benchmarks,
    workload_of,
)
from multum.accelerator.paper.assumptions import CONTEXT, falling_line
from multum.accelerator.paper.opponents import bound_of, eager_of, platform_cost, rival_cost, rival_joules
from multum.accelerator.paper.rival_tables import TASKS, tasks
from multum.accelerator.paper.rows import rank_correlation
from multum.accelerator.paper.saving_tables import key_saving, rows_reduction, topk
from multum.accelerator.paper.scenarios import ranges, usual
from multum.accelerator.rivals import A3, MnnFast, titan_xp
from multum.core import UserError, load_paper, published

EVERY = thirty_benchmarks()
SENTENCES = [it for it in EVERY if not it.generates]
GENERATED = [it for it in EVERY if it.generates]
GPT2_MEDIUM = GENERATED[-1]


class TestBenchmarks:
    def test_there_are_eleven_tasks_and_four_corpora_of_two_networks_each(self) -> None:
        assert (len(SENTENCES), len(GENERATED)) == (2 * 11, 2 * 4)
        assert len({it.name for it in EVERY}) == 30
        assert all(it.longest == 1024 for it in GENERATED)

    def test_longer_sentences_are_longer_in_the_same_proportion(self) -> None:
        for before, after in zip(SENTENCES, thirty_benchmarks(2.0), strict=False):
            assert after.num_tokens == 2 * before.num_tokens

    def test_no_token_is_refused(self) -> None:
        network = Network(name="x", num_layers=1, num_heads=1)
        with pytest.raises(UserError, match="num_tokens"):
            Benchmark(network=network, task="", num_tokens=0)


class TestRule:
    def test_the_published_means_are_met(self) -> None:
        """Before the floor of 1, which only the shortest task meets."""
        rule = assumed()
        exponent, constant = rule.power
        of_length = [
            math.exp(constant + exponent * math.log(CONTEXT if it.generates else it.num_tokens))
            for it in EVERY
        ]
        assert geometric_mean(of_length) == pytest.approx(
            published("spatten", "tokens_and_values_reduction").number
        )
        assert rule.reduction(CONTEXT) == pytest.approx(
            published("spatten", "tokens_and_values_reduction_gpt2").number
        )
        assert [it.task for it in SENTENCES if rule.reduction(it.num_tokens) == 1.0] == ["CoLA", "CoLA"]

    def test_longer_inputs_are_pruned_more(self) -> None:
        reductions = [assumed().reduction(length) for length in range(5, 1024)]
        assert reductions == sorted(reductions)

    @pytest.mark.parametrize("benchmark", [SENTENCES[3], SENTENCES[-1], GPT2_MEDIUM], ids=lambda it: it.name)
    def test_a_query_meets_as_many_rows_as_the_rule_says(self, benchmark: Benchmark) -> None:
        rule = assumed()
        tokens, values = rule.token_part(benchmark), rule.value_part(benchmark)
        length = CONTEXT if benchmark.generates else benchmark.num_tokens
        assert tokens * (1 + values) / 2 == pytest.approx(1 / rule.reduction(length))

    @pytest.mark.parametrize("num_layers", [6, 12, 24])
    @pytest.mark.parametrize("mean", [0.4, 0.7, 0.95, 1.0])
    def test_a_falling_line_has_its_mean_and_never_grows(self, num_layers: int, mean: float) -> None:
        ratios = falling_line(num_layers, mean, 0.15)
        assert np.mean(ratios) == pytest.approx(mean)
        assert list(ratios) == sorted(ratios, reverse=True)
        whole = max(1, round(0.15 * num_layers))
        assert set(ratios[:whole]) == {1.0}
        average = (mean * num_layers - whole) / (num_layers - whole)
        assert (ratios[whole] + ratios[-1]) / 2 == pytest.approx(average)

    @pytest.mark.parametrize("mean", [0.1, 1.1])
    def test_means_that_no_line_has_are_refused(self, mean: float) -> None:
        with pytest.raises(UserError, match="mean must be in"):
            falling_line(12, mean, 0.15)

    @pytest.mark.parametrize(
        "wrong", [{"average_reduction": 0.9}, {"flat_rows": 1.5}, {"msb_bits": 0}, {"length_scale": 0.0}]
    )
    def test_assumptions_that_cannot_be_are_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(UserError, match=next(iter(wrong))):
            replace(assumed(), **wrong)

    def test_what_a_benchmark_does_not_depend_on_changes_nothing(self) -> None:
        rule = assumed()
        for benchmark, change in (
            (SENTENCES[0], {"flat_rows": 0.5, "msb_bits": 8, "length_scale": 2.0}),
            (GPT2_MEDIUM, {"average_reduction": 1.5, "length_scale": 2.0, "sentence_bits": 4}),
        ):
            changed: Assumptions = replace(rule, **change)
            assert changed.relevant_to(benchmark) == rule.relevant_to(benchmark)
            assert workload_of(benchmark, assumptions=changed) == workload_of(benchmark)
            relevant = workload_of(benchmark, assumptions=rule.relevant_to(benchmark))
            assert relevant == workload_of(benchmark)

    def test_every_range_goes_to_both_sides_or_begins_as_usual(self) -> None:
        for name, between in ranges().items():
            assert between.below != between.above, name
            assert between.above != usual(), name


class TestWorkloads:
    def test_dense_gpt2_medium_has_all_rows(self) -> None:
        """32 tokens after 992, 24 layers, 16 heads; the sum of 993..1024 is 32,272."""
        dense = workload_of(GPT2_MEDIUM, ())
        assert dense.key_rows == dense.value_rows == 24 * 16 * 32_272
        assert dense.key_bytes + dense.value_bytes == 24 * 16 * 32_272 * 2 * 64 * 4
        assert dense.num_queries.max() == 1

    def test_dense_bert_has_every_token_as_a_query(self) -> None:
        dense = workload_of(SENTENCES[-1], ())
        assert (len(dense), dense.key_rows) == (24 * 16, 24 * 16 * 180)
        assert set(dense.num_queries.tolist()) == {180}

    def test_quantization_saves_what_is_published(self) -> None:
        identity = 32 / (6 + 0.059 * 4)
        assert round(identity, 1) == published("spatten", "quantization_saving").number
        assert key_saving(GPT2_MEDIUM) == pytest.approx(identity, rel=1e-2)

    def test_so_many_rows_are_flat_and_they_are_spread(self) -> None:
        flat = workload_of(GPT2_MEDIUM).if_requant
        assert flat.mean() == pytest.approx(published("spatten", "progressive_flat_rows").number, abs=1e-4)
        assert np.ptp(np.diff(np.flatnonzero(flat))) <= 1

    def test_heads_are_as_few_as_published(self) -> None:
        parts = [len(workload_of(it, ())) / len(workload_of(it, ("heads",))) for it in EVERY]
        assert geometric_mean(parts) == pytest.approx(
            published("spatten", "heads_reduction").number, rel=0.01
        )

    @pytest.mark.parametrize("benchmark", [SENTENCES[9], GPT2_MEDIUM], ids=lambda it: it.name)
    def test_rows_fall_from_layer_to_layer_and_are_chosen_one_layer_before(
        self, benchmark: Benchmark
    ) -> None:
        work = workload_of(benchmark)
        for step in np.unique(work.iteration_id):
            rows = work.iteration_id == step
            last = np.flatnonzero(rows & np.append(np.diff(work.layer_id) != 0, True))
            keys = work.key_fetch_num[last]
            assert (np.diff(keys) <= 0).all()
            chosen = work.topk[last[:-1]]
            np.testing.assert_array_equal(chosen, np.where(keys[1:] < keys[:-1], keys[1:], -1))

    def test_the_first_generated_token_meets_all_tokens(self) -> None:
        work = workload_of(GPT2_MEDIUM)
        assert set(work.key_fetch_num[work.iteration_id == 0].tolist()) == {993}

    def test_bert_keeps_its_values_and_gpt2_does_not(self) -> None:
        sentence, generated = workload_of(SENTENCES[-1]), workload_of(GPT2_MEDIUM)
        np.testing.assert_array_equal(sentence.value_fetch_num, sentence.key_fetch_num)
        assert (generated.value_fetch_num < generated.key_fetch_num).all()

    @pytest.mark.parametrize("count", range(1, len(TECHNIQUES) + 1))
    @pytest.mark.parametrize("benchmark", [SENTENCES[-1], GPT2_MEDIUM], ids=lambda it: it.name)
    def test_one_technique_more_never_reads_more(self, benchmark: Benchmark, count: int) -> None:
        before, after = (workload_of(benchmark, TECHNIQUES[:it]) for it in (count - 1, count))
        assert after.key_bytes + after.value_bytes <= before.key_bytes + before.value_bytes
        assert (after.key_rows, after.value_rows) <= (before.key_rows, before.value_rows)

    def test_pruned_rows_come_near_the_rule(self) -> None:
        for benchmark in SENTENCES:
            wanted = assumed().reduction(benchmark.num_tokens)
            assert rows_reduction(benchmark) == pytest.approx(wanted, rel=0.02)
        assert rows_reduction(GPT2_MEDIUM) == pytest.approx(3.8, rel=0.06)  # the first of 32 tokens meets all

    def test_unknown_techniques_are_refused(self) -> None:
        with pytest.raises(UserError, match="techniques must be among tokens"):
            workload_of(GPT2_MEDIUM, ("magic",))

    def test_public_trace_is_made_again_from_its_counts_in_every_column(self) -> None:
        assert medium_trace() == MEDIUM.made_from_schedule()


class TestMeasured:
    def test_a_task_is_nothing_but_its_length(self) -> None:
        same = [it for it in SENTENCES if it.num_tokens == 39]
        assert measure(same[0]) is measure(same[1])

    def test_operations_of_dense_bert_are_four_a_pair_and_channel(self) -> None:
        run = measure_workload(workload_of(SENTENCES[0], ()))
        assert run.operations == 4 * 12 * 12 * 11 * 11 * 64
        assert run.moved_bytes == 12 * 12 * 2 * 11 * 64 * 4
        assert run.flops * run.seconds == pytest.approx(run.operations)
        assert run.watts == pytest.approx(sum(run.energy.watts.values()))

    def test_nothing_is_faster_than_the_roof(self) -> None:
        usual_machine = Architecture()
        for benchmark in SENTENCES[:11]:
            run = measure(benchmark)
            slope = run.operations_per_byte * usual_machine.dram_bytes_per_second
            assert run.flops < min(usual_machine.roof_flops, slope)

    def test_steps_begin_dense_and_end_with_everything(self) -> None:
        steps = breakdown([SENTENCES[0]])
        assert len(steps) == 1 + len(TECHNIQUES)
        assert steps[0].seconds == pytest.approx(measure(SENTENCES[0], ()).seconds)
        assert steps[-1].moved_bytes == pytest.approx(measure(SENTENCES[0]).moved_bytes)

    def test_geometric_mean_is_the_root_of_the_product(self) -> None:
        assert geometric_mean([2.0, 4.0, 8.0]) == pytest.approx(4.0)
        with pytest.raises(UserError, match="positive"):
            geometric_mean([1.0, 0.0])


class TestOpponents:
    def test_launches_are_what_a_bound_lacks(self) -> None:
        bound, eager = (platform_cost("titan_xp", SENTENCES[0], model) for model in (bound_of, eager_of))
        assert eager.seconds - bound.seconds == pytest.approx(12 * 6 * 20e-6)
        watts = titan_xp().watts
        assert watts is not None
        assert eager.joules == pytest.approx(watts * eager.seconds)

    def test_a_rival_is_priced_by_products_and_bytes(self) -> None:
        run = A3().run(workload_of(SENTENCES[0], ()))
        nothing_read = replace(run, dram_bytes=0)
        bits = 8 * run.dram_bytes * (1.51 + 1.17 + 0.80) * 1e-12 + run.dram_bytes / 1024 * 909e-12
        assert rival_joules(run, 8) - rival_joules(nothing_read, 8) == pytest.approx(bits)
        assert rival_cost(A3(), SENTENCES[0]).seconds == run.seconds

    def test_floating_point_costs_more_than_eight_bits(self) -> None:
        assert rival_cost(MnnFast(), SENTENCES[-1]).joules > rival_cost(A3(), SENTENCES[-1]).joules


@pytest.fixture(scope="module")
def tables() -> tuple[Table, ...]:
    """Those of BERT and of the engine, which take no time."""
    return tasks(), topk()


class TestRows:
    def test_error_is_ours_over_the_papers_less_one(self) -> None:
        row = Row(what="", key="dram_reduction", ours=12.5, depends_on=())
        assert (row.paper, row.error) == (10.0, pytest.approx(0.25))

    def test_unexplained_dependencies_are_refused(self) -> None:
        with pytest.raises(UserError, match="depends_on must be names of ASSUMED; got 'weather'"):
            Row(what="", key="dram_reduction", ours=1.0, depends_on=("weather",))

    def test_every_number_shown_is_published(self, tables: tuple[Table, ...]) -> None:
        numbers = load_paper("spatten").numbers
        for row in (row for table in tables for row in table.rows):
            assert row.paper == numbers[row.key].value
            assert row.unit == numbers[row.key].unit
            assert row.depends_on
            assert set(row.depends_on) <= set(ASSUMED)

    def test_nothing_is_fitted_to_the_row_that_it_stands_in(self, tables: tuple[Table, ...]) -> None:
        for row in (row for table in tables for row in table.rows):
            assert row.fitted_to != row.key
            assert bool(row.fitted_to) == ("fitted to Table IV" in row.depends_on)

    def test_shorter_tasks_gain_more_as_published(self) -> None:
        rows = tasks().rows[: len(TASKS)]
        assert rank_correlation([it.paper for it in rows], [it.ours for it in rows]) == 1.0

    def test_rank_correlation_is_that_of_the_ranks(self) -> None:
        assert rank_correlation([1.0, 2.0, 3.0], [10.0, 20.0, 30.0]) == 1.0
        assert rank_correlation([1.0, 2.0, 3.0], [30.0, 20.0, 10.0]) == -1.0
        with pytest.raises(UserError, match="both lists"):
            rank_correlation([1.0, 1.0], [1.0, 2.0])
