"""How long embedding the passages takes, dense and pruned, in one run and beside the floor of its multiply-adds."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch

from multum.attention import SentenceEncoder, TokenSchedule, prune
from multum.attention.embedding import pruning_or_not
from multum.cost import Cost, Latency, interleaved_times, measure
from multum.ops import fast_linears, measure_fma_peak
from multum.report import TimingRow

TIMED_BATCH = 8
"""Passages a forward when times are taken; grouped by length, so that padding is small for everyone."""


def runner(
    encoder: SentenceEncoder, texts: Sequence[str], schedule: TokenSchedule | None, *, fast: bool
) -> Callable[[], None]:
    """A function that runs the encoder over all texts; tokens are made beforehand, they are the same for all peers."""
    batches = [inputs for _, inputs in encoder.batches(texts, TIMED_BATCH)]

    def run() -> None:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if fast:
                stack.enter_context(fast_linears(encoder.model))
            stack.enter_context(pruning_or_not(encoder.model, schedule))
            for inputs in batches:
                encoder.model(**inputs)

    return run


def measure_costs(
    encoder: SentenceEncoder, texts: Sequence[str], schedule: TokenSchedule, num_threads: int
) -> tuple[Cost, Cost, str]:
    """The ruler's reading of one batch of passages, dense and pruned, and a sentence that says what the batch was."""
    _, inputs = encoder.batches(texts[:TIMED_BATCH], TIMED_BATCH)[0]
    before = measure(encoder.model, inputs, num_threads=num_threads, name="dense")
    with prune(encoder.model, schedule):
        after = measure(encoder.model, inputs, num_threads=num_threads, name="pruned")
    size, longest = inputs["input_ids"].shape
    return before, after, f"One batch of {size} passages, the longest of {longest} tokens."


def measure_times(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    schedule: TokenSchedule,
    *,
    num_rounds: int,
    num_threads: int,
) -> tuple[TimingRow, ...]:
    """Time dense and pruned, each with torch's own linears and with fast ones, round robin."""
    ways = {
        "dense, SDPA": (None, False),
        "dense, SDPA, fast linears": (None, True),
        "pruned": (schedule, False),
        "pruned, fast linears": (schedule, True),
    }
    calls = {name: runner(encoder, texts, plan, fast=fast) for name, (plan, fast) in ways.items()}
    times = interleaved_times(calls, rounds=num_rounds, num_threads=num_threads)
    peak = measure_fma_peak().flops_per_second * num_threads
    floors = {plan: 2 * total_macs(encoder, texts, plan) / peak for plan in (None, schedule)}
    dense, dense_fast = times["dense, SDPA"], times["dense, SDPA, fast linears"]
    return tuple(
        _row(
            name,
            times[name],
            dense,
            dense_fast if fast else None,
            floors[plan],
            is_pruned=plan is not None,
        )
        for name, (plan, fast) in ways.items()
    )


def _row(
    name: str,
    time: Latency,
    dense: Latency,
    dense_fast: Latency | None,
    floor_seconds: float,
    *,
    is_pruned: bool,
) -> TimingRow:
    seconds = time.median_seconds
    return TimingRow(
        name=name,
        median_seconds=seconds,
        spread_seconds=time.spread_seconds,
        speedup=dense.median_seconds / seconds,
        speedup_same_linears=None if dense_fast is None else dense_fast.median_seconds / seconds,
        floor_seconds=floor_seconds,
        times_floor=seconds / floor_seconds,
        is_pruned=is_pruned,
    )


def total_macs(encoder: SentenceEncoder, texts: Sequence[str], schedule: TokenSchedule | None) -> int:
    """Multiply-accumulates of embedding all texts, in the batches that are timed."""
    with pruning_or_not(encoder.model, schedule):
        return sum(
            measure(encoder.model, inputs, latency=False).macs
            for _, inputs in encoder.batches(texts, TIMED_BATCH)
        )
