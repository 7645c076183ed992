"""The authors' two public traces, made again: from a schedule alone, and by a network that really runs under it.

Only counts are compared: how many heads each layer computes, how many key and value rows each fetches, how long the
sequence is. They do not depend on the network's numbers, so one with random weights and narrow heads serves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from benchmarks.places import data_folder
from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check, Results
from benchmarks.trace_problem import GENERATED_TOKENS, MEDIUM, PROMPT_TOKENS, SMALL, Trace, random_gpt2
from multum.accelerator import Workload
from multum.attention import prune, workload_of

COUNTS = ("iteration_id", "layer_id", "sentence_length_L", "key_fetch_num", "value_fetch_num")
"""Columns that are counts of rows, or say whose; which of the heads are left is another network's business."""

TRACES: Mapping[str, Trace] = {"medium": MEDIUM, "small": SMALL}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A published workload, and ours."""

    published: Workload
    """Read from the file."""
    made: Workload
    """Ours."""
    trace: Trace
    """What is known of it."""


def from_schedule(name: str, _setting: Setting) -> Pair:
    """Make a workload without a model."""
    trace = TRACES[name]
    return Pair(
        published=trace.read(data_folder("spatten_traces")), made=trace.made_from_schedule(), trace=trace
    )


def from_run(name: str, setting: Setting) -> Pair:
    """Generate with a network of the trace's layers and heads, and make a workload of what it did."""
    trace = TRACES[name]
    model = random_gpt2(trace, setting.generator())
    prompt_1N = torch.randint(1, model.config.vocab_size, (1, PROMPT_TOKENS), generator=setting.generator())
    with torch.inference_mode(), prune(model, trace.schedule) as run:
        model.generate(
            prompt_1N,
            max_new_tokens=GENERATED_TOKENS
            + 1,  # the first comes out of the prompt, before any of the files' iterations
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    made = workload_of(run.records, generated_only=True)
    return Pair(published=trace.read(data_folder("spatten_traces")), made=made, trace=trace)


def _check(pair: Pair) -> Check:
    """The file must be the one that was described, whatever ours says."""
    sums = (pair.published.key_rows, pair.published.value_rows)
    return Check.holds(
        sums == (pair.trace.key_rows, pair.trace.value_rows), f"the file's sums of rows are {sums}"
    )


def _compare(pair: Pair, _setting: Setting) -> dict[str, float]:
    published, made = pair.published, pair.made
    same_size = len(published) == len(made)
    equal = {
        name: same_size and np.array_equal(getattr(made, name), column)
        for name, column in published.columns().items()
    }
    return {
        "rows_exact": float(all(equal[name] for name in COUNTS)),
        "equal_columns": float(sum(equal[name] for name in equal if name != "num_queries")),
        "rows": float(len(made)),
        "key_rows": float(made.key_rows),
        "value_rows": float(made.value_rows),
        "key_megabytes": made.key_bytes / 1e6,
        "value_megabytes": made.value_bytes / 1e6,
    }


def _all_exact(results: Results) -> float:
    return min(results.number(case.name, "rows_exact") for case in CASES)


CASES = (
    Case(
        name="schedule_medium",
        about="the pruned trace of GPT-2-Medium, made from its schedule without a model",
        prepare=partial(from_schedule, "medium"),
        check=_check,
        run=_compare,
    ),
    Case(
        name="schedule_small",
        about="the dense trace of GPT-2-Small, made from its schedule without a model",
        prepare=partial(from_schedule, "small"),
        check=_check,
        run=_compare,
    ),
    Case(
        name="run_medium",
        about="24 layers of 16 narrow heads generate 32 tokens after 992 under the schedule of GPT-2-Medium's trace",
        prepare=partial(from_run, "medium"),
        check=_check,
        run=_compare,
    ),
    Case(
        name="run_small",
        about="12 layers of 12 narrow heads generate 32 tokens after 992 under the schedule of GPT-2-Small's trace",
        prepare=partial(from_run, "small"),
        check=_check,
        run=_compare,
    ),
)

SUITE = Suite(
    name="traces",
    about="The public workload traces of SpAtten's authors, made again from schedules and by real runs",
    cases=CASES,
    figures=(
        Figure(
            id="attention.trace_rows_exact",
            unit="",
            goal_min=1,
            goal_max=1,
            peer="the two public traces, GPT-2-Medium pruned and GPT-2-Small dense",
            how="1 when iterations, layers, heads per layer, sequence lengths, key rows and value rows of every line "
            "are equal, in workloads made from the schedules alone and in those of networks of the same layers and "
            "heads (random weights, heads 4 wide) that generate 32 tokens after a prompt of 992 under the same "
            "schedules",
            value=_all_exact,
        ),
    ),
)
