"""A benchmark as a workload, with as many of the paper's techniques as one likes: what the breakdown is made of.

Source: SpAtten (HPCA 2021), section V, breakdown of the speed-up; the authors' public traces for what GPT-2 does from
step to step: counts are parts of 1,024, the first generated token still meets all tokens, values and heads are pruned
from the first one on.
"""

from collections.abc import Collection
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.paper.assumptions import CONTEXT, Assumptions, assumed
from multum.accelerator.paper.benchmarks30 import Benchmark
from multum.accelerator.paper.numbers import paper_number
from multum.accelerator.workload import Workload
from multum.core import invalid

TECHNIQUES = ("tokens", "values", "heads", "static", "progressive")
"""Token, value and head pruning, static and progressive quantization, in the order in which the breakdown adds them."""
STATIC_WIDE_BITS = 10
"""Bits of GPT-2's keys where both planes are always read: 6 + 4; memory moves them as 8 + 4."""


def workload_of(
    benchmark: Benchmark,
    techniques: Collection[str] = TECHNIQUES,
    assumptions: Assumptions | None = None,
) -> Workload:
    """Write a benchmark down.

    Args:
        benchmark: Which.
        techniques: What is done to it; progressive quantization of BERT is static, as in the paper.
        assumptions: What was not published; None: `assumed()`.

    Raises:
        UserError: A technique that there is not.

    >>> from multum.accelerator.paper.benchmarks30 import thirty_benchmarks
    >>> last = thirty_benchmarks()[-1]
    >>> dense, pruned = workload_of(last, ()), workload_of(last)
    >>> dense.key_bytes + dense.value_bytes, round(dense.key_rows / pruned.key_rows, 2)
    (6344933376, 2.6)
    """
    unknown = set(techniques) - set(TECHNIQUES)
    if unknown:
        raise invalid("techniques", f"among {', '.join(TECHNIQUES)}", sorted(unknown))
    # GPT-2's corpora differ in nothing that is known: one workload for all of them
    nameless = replace(benchmark, task="") if benchmark.generates else benchmark
    return _workload(nameless, frozenset(techniques), assumptions or assumed())


@cache
def _workload(benchmark: Benchmark, techniques: frozenset[str], rule: Assumptions) -> Workload:
    made = (
        _generated(benchmark, techniques, rule) if benchmark.generates else _read(benchmark, techniques, rule)
    )
    if benchmark.generates and "progressive" in techniques:
        return replace(made, if_requant=_spread(len(made), rule.flat_rows))
    return made


def _read(benchmark: Benchmark, techniques: frozenset[str], rule: Assumptions) -> Workload:
    """A sentence: every token that is left is a query."""
    layers, tokens = benchmark.network.num_layers, benchmark.num_tokens
    ratios = rule.token_ratios(benchmark) if "tokens" in techniques else (1.0,) * layers
    keys = _parts(ratios, tokens)
    kept = rule.value_part(benchmark) if "values" in techniques else 1.0
    is_quantized = not techniques.isdisjoint(("static", "progressive"))
    bits = rule.sentence_bits if is_quantized else None
    return Workload.from_counts(
        keys=[keys.tolist()],
        heads=_heads(benchmark, techniques, rule).tolist(),
        values=[np.maximum(1, np.rint(kept * keys)).astype(int).tolist()],
        lengths=[tokens],
        num_queries=[keys.tolist()],
        query_bits=bits,
        key_bits=bits,
        value_bits=bits,
        accumulate="tokens" in techniques,
        topk=_chosen_after(keys[None, :])[0].tolist(),
    )


def _generated(benchmark: Benchmark, techniques: frozenset[str], rule: Assumptions) -> Workload:
    """Generated tokens, one query each."""
    layers, prompt = benchmark.network.num_layers, benchmark.num_tokens
    length_I = np.arange(prompt + 1, benchmark.longest + 1)
    ratios = rule.token_ratios(benchmark) if "tokens" in techniques else (1.0,) * layers
    keys_IN = np.minimum(_parts(ratios, CONTEXT)[None, :], length_I[:, None])
    keys_IN[:, np.array(ratios) == 1.0] = length_I[:, None]
    keys_IN[0] = length_I[0]  # no token has been chosen yet
    kept = rule.value_part(benchmark) if "values" in techniques else 1.0
    is_quantized = not techniques.isdisjoint(("static", "progressive"))
    is_progressive = "progressive" in techniques
    return Workload.from_counts(
        keys=keys_IN,
        heads=_heads(benchmark, techniques, rule),
        values=np.maximum(1, np.rint(kept * keys_IN)).astype(int),
        lengths=length_I,
        query_bits=12 if is_quantized else None,
        key_bits=(rule.msb_bits if is_progressive else STATIC_WIDE_BITS) if is_quantized else None,
        value_bits=rule.msb_bits if is_quantized else None,
        lsb_bits=rule.lsb_bits if is_progressive else None,
        threshold=paper_number("progressive_threshold").number if is_progressive else None,
        accumulate="tokens" in techniques,
        topk=_chosen_after(keys_IN),
    )


def _heads(benchmark: Benchmark, techniques: frozenset[str], rule: Assumptions) -> NDArray[np.int64]:
    """Heads of each layer."""
    layers, heads = benchmark.network.num_layers, benchmark.network.num_heads
    ratios = rule.head_ratios(benchmark) if "heads" in techniques else (1.0,) * layers
    return _parts(ratios, heads)


def _parts(ratios: tuple[float, ...], whole: int) -> NDArray[np.int64]:
    """So many of a whole, rounded to the nearest, so that means stay what they are; at least one."""
    parts: NDArray[np.int64] = np.maximum(1, np.rint(np.array(ratios) * whole)).astype(np.int64)
    return parts


def _chosen_after(keys_IN: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tokens chosen after each layer: what the next one has, where that is fewer; -1 elsewhere."""
    following = np.roll(keys_IN, -1, axis=1)
    fewer = following < keys_IN
    fewer[:, -1] = False
    return np.where(fewer, following, -1)


def _spread(num_rows: int, part: float) -> NDArray[np.bool_]:
    """So many rows of all, as evenly as whole numbers allow.

    >>> _spread(10, 0.2).nonzero()[0].tolist()
    [4, 9]
    """
    counted = np.floor(np.arange(num_rows + 1) * part + 1e-9)
    chosen: NDArray[np.bool_] = np.diff(counted) > 0
    return chosen
