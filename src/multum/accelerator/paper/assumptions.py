"""What the paper did not publish of its benchmarks, and what is assumed instead: one rule of ratios for all of them.

The paper says that longer inputs are pruned more, and how much on average: a query meets 1.9 times fewer keys and
values over all 30 benchmarks, 3.8 times fewer over GPT-2's 8, and heads are 1.1 times fewer. Two means fix a power of
the length, the same for every benchmark:

    reduction(n) = max(1, c n^s)        geometric means: 3.8 at GPT-2's 1,024 tokens, and 1.9 over all 30

A query that meets t of the tokens and multiplies v of their values meets t (1 + v) / 2 of the rows. How the reduction
is shared is not published. BERT: v = 1; the authors' own model of BERT has one count for keys, values and queries, and
leaves the top-k engine of values out. GPT-2: the public traces bracket it (Medium t = 0.5, v = 0.3; Small t = 0.25),
and the simplest rule between them is taken, v = t. Over the layers t follows the paper: the first 15 % whole, then a
straight line whose ends average to r_avg; it ends at the square of r_avg, as this project's schedules do. Heads
likewise, behind 30 % of whole layers, the same in all benchmarks. Values are pruned in all layers alike, as in the
traces.

Bits. GPT-2: keys of 6 bits and, where a row is flat, 4 more; values as wide as the keys' first plane, as in the public
trace (8 + 4 and 8). Without progressive quantization both planes are always read, as there. BERT: 8 bits, static; of
the widths 6, 8, 10 and 12 the authors' own model of BERT moves 8 for each.

Source: SpAtten (HPCA 2021), sections III and V; the authors' public traces and model of BERT.
Differs from the paper: which chose ratios and bits task by task; no assumption is chosen by what comes out.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

from multum.accelerator.paper.benchmarks30 import Benchmark, thirty_benchmarks
from multum.accelerator.paper.numbers import paper_number
from multum.core import check_fields, invalid

CONTEXT = 1024
"""What GPT-2's ratios are parts of, in the public traces."""


def _published(key: str) -> float:
    return paper_number(key).number


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """The dials; as they come, what stands above.

    Raises:
        UserError: A reduction below 1, a length or a number of bits that is not positive, a part outside [0, 1].

    >>> rule = assumed()
    >>> [round(rule.reduction(length), 2) for length in (11, 25, 68, 180, 1024)]
    [1.0, 1.22, 1.66, 2.23, 3.8]
    """

    average_reduction: float
    """Keys and values that a query meets densely over those that it meets pruned, geometric mean of 30."""
    gpt2_reduction: float
    """The same for GPT-2."""
    heads_reduction: float
    """Heads of a dense network over those that are computed."""
    flat_rows: float
    """Part of the rows that need the keys' second plane."""
    msb_bits: int
    """Bits of GPT-2's keys in the first plane, and of its values."""
    lsb_bits: int
    """Bits of the second plane."""
    length_scale: float = 1.0
    """By how much BERT's sentences are longer than assumed."""
    sentence_bits: int = 8
    """Bits of BERT's keys and values."""
    sentence_values: bool = False
    """Whether BERT's queries leave values out as well."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("average_reduction", "gpt2_reduction", "heads_reduction"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))
        for name in ("msb_bits", "lsb_bits", "sentence_bits", "length_scale"):
            if getattr(self, name) <= 0:
                raise invalid(name, "positive", getattr(self, name))
        if not 0 <= self.flat_rows <= 1:
            raise invalid("flat_rows", "in [0, 1]", self.flat_rows)

    @property
    def benchmarks(self) -> tuple[Benchmark, ...]:
        """The 30, their sentences scaled."""
        return thirty_benchmarks(self.length_scale)

    def relevant_to(self, benchmark: Benchmark) -> "Assumptions":
        """The same for this benchmark, everything that it does not depend on as it comes: what runs are told by."""
        if benchmark.generates:
            same = self.gpt2_reduction
            return replace(
                self, average_reduction=same, length_scale=1.0, sentence_bits=8, sentence_values=False
            )
        return replace(self, flat_rows=0.0, msb_bits=6, lsb_bits=4, length_scale=1.0)

    @property
    def power(self) -> tuple[float, float]:
        """Exponent s and log c of the rule: a straight line of logarithms through both published means."""
        sentences = [it for it in thirty_benchmarks() if not it.generates]
        share = len(sentences) / len(thirty_benchmarks())
        sentence_log = (
            math.log(self.average_reduction) - (1 - share) * math.log(self.gpt2_reduction)
        ) / share
        length_log = math.fsum(math.log(it.num_tokens) for it in sentences) / len(sentences)
        exponent = (math.log(self.gpt2_reduction) - sentence_log) / (math.log(CONTEXT) - length_log)
        return exponent, sentence_log - exponent * length_log

    def reduction(self, length: int) -> float:
        """How many times fewer keys and values a query meets in a benchmark of so many tokens."""
        exponent, constant = self.power
        return max(1.0, math.exp(constant + exponent * math.log(length)))

    def token_part(self, benchmark: Benchmark) -> float:
        """t: tokens kept, mean over the layers; t (1 + v) / 2 is one over the reduction.

        >>> sentences, generated = assumed().benchmarks[:22], assumed().benchmarks[22:]
        >>> assumed().token_part(sentences[0]), round(assumed().token_part(generated[0]), 3)
        (1.0, 0.381)
        """
        reduction = self.reduction(CONTEXT if benchmark.generates else benchmark.num_tokens)
        return (math.sqrt(1 + 8 / reduction) - 1) / 2 if self.prunes_values(benchmark) else 1 / reduction

    def value_part(self, benchmark: Benchmark) -> float:
        """v: values that a query multiplies, as part of its keys."""
        return self.token_part(benchmark) if self.prunes_values(benchmark) else 1.0

    def prunes_values(self, benchmark: Benchmark) -> bool:
        """Whether queries of the benchmark leave values out."""
        return benchmark.generates or self.sentence_values

    def token_ratios(self, benchmark: Benchmark) -> tuple[float, ...]:
        """Part of the tokens that each layer keeps."""
        whole = _published("unpruned_layers_part")
        return falling_line(benchmark.network.num_layers, self.token_part(benchmark), whole)

    def head_ratios(self, benchmark: Benchmark) -> tuple[float, ...]:
        """Part of the heads that each layer computes."""
        whole = _published("unpruned_heads_part")
        return falling_line(benchmark.network.num_layers, 1 / self.heads_reduction, whole)


@cache
def assumed() -> Assumptions:
    """The published means, and what the module's docstring assumes beside them."""
    return Assumptions(
        average_reduction=_published("tokens_and_values_reduction"),
        gpt2_reduction=_published("tokens_and_values_reduction_gpt2"),
        heads_reduction=_published("heads_reduction"),
        flat_rows=_published("progressive_flat_rows"),
        msb_bits=int(_published("progressive_msb_bits")),
        lsb_bits=int(_published("progressive_lsb_bits")),
    )


def falling_line(num_layers: int, mean: float, whole_part: float) -> tuple[float, ...]:
    """Ratios of the paper's rule with a given mean over all layers: whole ones, then a straight line.

    The line's ends are 2 a - a^2 and a^2, so they average to a, whatever a is; a is the mean of the layers behind the
    whole ones.

    Args:
        num_layers: Layers.
        mean: Mean ratio over all of them.
        whole_part: Part of the layers, from the front, that keep everything; at least one layer does.

    Raises:
        UserError: A mean above 1, or one that the whole layers alone exceed.

    >>> [round(ratio, 2) for ratio in falling_line(6, 0.75, 0.15)]
    [1.0, 0.91, 0.8, 0.7, 0.59, 0.49]
    """
    whole = max(1, round(whole_part * num_layers))
    sloped = num_layers - whole
    average = (mean * num_layers - whole) / sloped if sloped else 1.0
    if not (0 < average <= 1 + 1e-12 and mean <= 1 + 1e-12):
        raise invalid("mean", f"in ({whole / num_layers:.3g}, 1], {whole} layers are whole", mean)
    start, end = 2 * average - average**2, average**2
    line = [start + (end - start) * step / max(1, sloped - 1) for step in range(sloped)]
    return (1.0,) * whole + tuple(min(1.0, ratio) for ratio in line)
