"""What is varied, and over which range: wide enough that the unpublished value surely lies in it.

No range and no value in it is chosen by what comes out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from multum.accelerator.architecture import Architecture
from multum.accelerator.hbm import RFC_BY_GIGABITS
from multum.accelerator.paper.assumptions import Assumptions, assumed


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Assumptions and a machine."""

    rule: Assumptions
    """What the benchmarks do."""
    machine: Architecture
    """On what."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """An assumption's two ends."""

    low: str
    """What the one is called."""
    below: Scenario
    """The one."""
    high: str
    """What the other is called."""
    above: Scenario
    """The other."""


LENGTHS, PRUNING, SENTENCE_BITS, SENTENCE_VALUES, KEY_BITS, FLAT_ROWS, DENSITY, QUEUES = (
    "lengths of BERT's sentences",
    "published means of pruning",
    "bits of BERT",
    "BERT's values",
    "bits of GPT-2",
    "flat rows",
    "density of a channel",
    "requests in a queue",
)
"""Names of the ranges."""


def usual() -> Scenario:
    """Everything as it comes."""
    return Scenario(rule=assumed(), machine=Architecture())


def ranges() -> Mapping[str, Range]:
    """Every assumption of the benchmarks and of the machine.

    >>> ranges()["flat rows"].above.rule.flat_rows
    0.2
    """
    rule = assumed()
    scale = {
        part: replace(
            rule,
            average_reduction=part * rule.average_reduction,
            gpt2_reduction=part * rule.gpt2_reduction,
        )
        for part in (0.75, 1.25)
    }
    quarter = ("-25 %", "+25 %")
    of_rules: dict[str, tuple[tuple[str, str], tuple[Assumptions, Assumptions]]] = {
        LENGTHS: (quarter, (replace(rule, length_scale=0.75), replace(rule, length_scale=1.25))),
        PRUNING: (quarter, (scale[0.75], scale[1.25])),
        SENTENCE_BITS: (("6", "12"), (replace(rule, sentence_bits=6), replace(rule, sentence_bits=12))),
        SENTENCE_VALUES: (("all kept", "pruned as well"), (rule, replace(rule, sentence_values=True))),
        KEY_BITS: (("4 + 4", "8 + 4"), (replace(rule, msb_bits=4), replace(rule, msb_bits=8))),
        FLAT_ROWS: (("none", "20 %"), (replace(rule, flat_rows=0.0), replace(rule, flat_rows=0.2))),
    }
    found = {
        name: Range(
            low=names[0],
            below=replace(usual(), rule=rules[0]),
            high=names[1],
            above=replace(usual(), rule=rules[1]),
        )
        for name, (names, rules) in of_rules.items()
    }
    return {
        **found,
        DENSITY: Range(low="2 Gb", below=_refreshed(2), high="16 Gb", above=_refreshed(16)),
        QUEUES: Range(low="16", below=_queued(16), high="256", above=_queued(256)),
    }


def _refreshed(gigabits: int) -> Scenario:
    """A channel of another density is refreshed for another time."""
    machine = Architecture()
    timings = replace(machine.hbm_timings, rfc=RFC_BY_GIGABITS[gigabits])
    return replace(usual(), machine=replace(machine, hbm_timings=timings))


def _queued(depth: int) -> Scenario:
    """Deeper FIFOs before the memory's controllers."""
    machine = Architecture()
    crossbar = replace(machine.address_crossbar, fifo_depth=depth)
    return replace(usual(), machine=replace(machine, address_crossbar=crossbar))
