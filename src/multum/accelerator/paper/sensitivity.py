"""How far a result moves when what it rests on is varied: which assumption matters, and how much."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from multum.accelerator.fully_connected import table4
from multum.accelerator.paper.measured import geometric_mean, measure, measure_workload
from multum.accelerator.paper.numbers import paper_number
from multum.accelerator.paper.opponents import eager_of
from multum.accelerator.paper.rival_tables import platform_speedup, rival_ratios
from multum.accelerator.paper.saving_tables import (
    SORTER_COMPARATORS,
    computation_reduction,
    dram_reduction,
    mean_teraflops,
    topk_over_sorter,
)
from multum.accelerator.paper.scenarios import (
    DENSITY,
    FLAT_ROWS,
    KEY_BITS,
    LENGTHS,
    PRUNING,
    QUEUES,
    SENTENCE_BITS,
    SENTENCE_VALUES,
    Scenario,
    ranges,
    usual,
)
from multum.accelerator.paper.step_tables import gpt2_medium_benchmark
from multum.accelerator.rivals import A3, MnnFast, a3_aggressive, a3_conservative
from multum.accelerator.simulator import simulate
from multum.accelerator.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One assumption, varied."""

    name: str
    """Which."""
    low: str
    """The one end of its range."""
    low_value: float
    """The result there."""
    high: str
    """The other end."""
    high_value: float
    """The result there."""

    @property
    def span(self) -> float:
        """From the one result to the other."""
        return abs(self.high_value - self.low_value)


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """A result and everything that moves it."""

    what: str
    """Which result."""
    key: str
    """The published number, in `papers/spatten.toml`."""
    ours: float
    """What we get."""
    effects: tuple[Effect, ...]
    """What moves it, the strongest first."""

    @property
    def paper(self) -> float:
        """What the paper says."""
        return paper_number(self.key).number

    @property
    def unit(self) -> str:
        """The published number's."""
        return paper_number(self.key).unit


Metric = Callable[[Scenario], float]
"""A result of a scenario."""

OF_SENTENCES = (LENGTHS, PRUNING, SENTENCE_BITS, SENTENCE_VALUES)
OF_GENERATION = (PRUNING, KEY_BITS, FLAT_ROWS, DENSITY, QUEUES)
OF_COUNTS = (*OF_SENTENCES, KEY_BITS, FLAT_ROWS)


def sensitivities(trace: Workload) -> tuple[Sensitivity, ...]:
    """Vary what the main results rest on.

    Args:
        trace: The public trace of GPT-2-Medium.
    """
    a3, mnnfast = partial(_rival, a3_conservative()), partial(_rival, MnnFast())
    speedup = partial(_mean, lambda it, assumptions: platform_speedup("titan_xp", it, eager_of, assumptions))
    last = "wikitext2_attention_time"
    found = [
        vary("DRAM access, mean of 30", "dram_reduction", partial(_mean, dram_reduction), OF_COUNTS),
        vary(
            "computation, mean of 30",
            "computation_reduction",
            partial(_mean, computation_reduction),
            (LENGTHS, PRUNING, SENTENCE_VALUES, FLAT_ROWS),
        ),
        vary("speed-up over TITAN Xp with launches", "speedup_titan_xp", speedup, OF_COUNTS),
        vary("BERT's operations a second", "tflops_bert", partial(_teraflops, False), OF_SENTENCES),
        vary("GPT-2's operations a second", "tflops_gpt2", partial(_teraflops, True), OF_GENERATION),
        vary("GPT-2-Medium, all techniques", last, _medium, OF_GENERATION),
        vary("power, mean of 30", "power_total", _power, OF_COUNTS),
        vary("throughput over A3", "speedup_a3", a3, OF_COUNTS, _a3_effects),
        vary("throughput over MNNFast", "speedup_mnnfast", mnnfast, OF_COUNTS, _mnnfast_effects),
        vary(
            "GPT-2-Medium, the public trace",
            last,
            partial(_trace, trace),
            (DENSITY, QUEUES),
            partial(_trace_effects, trace),
        ),
        vary("fully connected layers", "table_4_fc_time", _layers, (DENSITY,)),
        vary("the buses, a stream", "fc_dram_efficiency", _stream, (DENSITY,), _inputs_effects),
        vary(
            "the buses, the dense step",
            "dense_step_dram_efficiency",
            _dense_step,
            (DENSITY, QUEUES),
            _inputs_effects,
        ),
        vary(
            "the top-k engine over a sorter",
            "topk_throughput_vs_batcher",
            lambda _: topk_over_sorter(),
            (),
            _sorter_effects,
        ),
    ]
    return tuple(found)


def vary(
    what: str,
    key: str,
    metric: Metric,
    names: Sequence[str],
    own_effects: Callable[[float], list[Effect]] | None = None,
) -> Sensitivity:
    """Vary one assumption after the other; those that move nothing are left out.

    Args:
        what: Which result.
        key: The published number.
        metric: Tells the result.
        names: Ranges that it may depend on.
        own_effects: Further effects, from the result as it comes.
    """
    of_all, ours = ranges(), metric(usual())
    effects = [
        Effect(
            name=name,
            low=of_all[name].low,
            low_value=metric(of_all[name].below),
            high=of_all[name].high,
            high_value=metric(of_all[name].above),
        )
        for name in names
    ]
    effects += own_effects(ours) if own_effects is not None else []
    moving = [it for it in effects if it.span > 1e-9 * abs(ours)]
    strongest_first = tuple(sorted(moving, key=lambda it: it.span, reverse=True))
    return Sensitivity(what=what, key=key, ours=ours, effects=strongest_first)


# results ----------------------------------------------------------------------------------------------------


def _mean(of_one: Callable[..., float], scenario: Scenario) -> float:
    """Geometric mean of what a function tells of each benchmark."""
    return geometric_mean(of_one(it, assumptions=scenario.rule) for it in scenario.rule.benchmarks)


def _teraflops(generates: bool, scenario: Scenario) -> float:
    return mean_teraflops(generates=generates, assumptions=scenario.rule, architecture=scenario.machine)


def _rival(rival: A3 | MnnFast, scenario: Scenario) -> float:
    return rival_ratios(rival, scenario.rule.benchmarks, scenario.rule)[0]


def _power(scenario: Scenario) -> float:
    return fmean(
        measure(it, assumptions=scenario.rule, architecture=scenario.machine).watts
        for it in scenario.rule.benchmarks
    )


def _medium(scenario: Scenario) -> float:
    benchmark = gpt2_medium_benchmark()
    return 1e3 * measure(benchmark, assumptions=scenario.rule, architecture=scenario.machine).seconds


def _trace(trace: Workload, scenario: Scenario) -> float:
    return 1e3 * measure_workload(trace, scenario.machine).seconds


def _layers(scenario: Scenario) -> float:
    return 1e3 * table4(architecture=scenario.machine).blocks.seconds


def _stream(scenario: Scenario) -> float:
    return table4(architecture=scenario.machine).blocks.dram_efficiency


def _dense_step(scenario: Scenario) -> float:
    return measure(
        gpt2_medium_benchmark(), (), assumptions=scenario.rule, architecture=scenario.machine
    ).dram_efficiency


# effects of single results --------------------------------------------------------------------------------------------


def _a3_effects(ours: float) -> list[Effect]:
    free = replace(a3_conservative(), count_sorting=False)
    return [
        Effect(
            name="A3's setting",
            low="milder",
            low_value=ours,
            high="rougher",
            high_value=_rival(a3_aggressive(), usual()),
        ),
        Effect(
            name="A3's sorting",
            low="counted",
            low_value=ours,
            high="free",
            high_value=_rival(free, usual()),
        ),
    ]


def _mnnfast_effects(_: float) -> list[Effect]:
    return [
        Effect(
            name="MNNFast's arrays",
            low="one, a third of the values",
            low_value=_rival(MnnFast(shared_multipliers=True, kept_ratio=1 / 3), usual()),
            high="two, one after the other",
            high_value=_rival(MnnFast(overlapped=False), usual()),
        )
    ]


def _trace_effects(trace: Workload, ours: float) -> list[Effect]:
    together = replace(trace, sentence_length_L=trace.key_fetch_num)
    return [
        Effect(
            name="tokens that are left",
            low="leave holes",
            low_value=ours,
            high="lie together",
            high_value=_trace(together, usual()),
        ),
        Effect(
            name="rows of a layer",
            low="overlap",
            low_value=ours,
            high="one after the other",
            high_value=1e3 * simulate(trace, overlap=False).seconds,
        ),
    ]


def _inputs_effects(ours: float) -> list[Effect]:
    anywhere = usual().machine.address_crossbar.head_of_line_throughput
    return [
        Effect(
            name="requests in an input of the fetcher",
            low="for one pseudo-channel",
            low_value=ours,
            high="for any",
            high_value=ours * anywhere,
        )
    ]


def _sorter_effects(_: float) -> list[Effect]:
    fewer, more = SORTER_COMPARATORS // 2, SORTER_COMPARATORS * 2
    return [
        Effect(
            name="comparators of the sorter",
            low=str(fewer),
            low_value=topk_over_sorter(fewer),
            high=str(more),
            high_value=topk_over_sorter(more),
        )
    ]
