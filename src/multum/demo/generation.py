"""A language model continues a text, with a dense cache and with a pruned one, and the pruned one is watched."""

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from multum.accelerator import Workload
from multum.attention import GenerationSchedule, LanguageModel, on_accelerator
from multum.attention.dials import tell_generation_schedule
from multum.attention.generation import prune_generation
from multum.attention.generation_run import GenerationRun
from multum.attention.quantization_schedule import ProgressiveQuantization
from multum.attention.record_facts import (
    bytes_held_by_step,
    bytes_read_by_step,
    dense_cache_bytes,
    flat_rates,
    rows_by_layer,
)
from multum.attention.schedule_rules import linear_cache
from multum.core import say
from multum.data import Passage
from multum.report import Continuation, GenerationResults, RowLife
from multum.report.number_text import plural

KEEP_RATIO = 0.5
"""Part of the context that the layers which prune keep on average."""
SHOWN_PART = 0.5
"""How deep the layer lies whose rows are drawn one by one."""
SIMULATED_TOKENS = 32
"""Tokens whose attention is followed through the accelerator; its dense cache costs a simulator most."""
PROMPT = "Sum up these notes in a few sentences.\n\n{notes}"


def write_prompt(passages: Sequence[Passage], num_passages: int) -> str:
    """What the model is asked: to sum up the first few passages."""
    return PROMPT.format(notes="\n\n".join(passage.text for passage in passages[:num_passages]))


@torch.inference_mode()
def measure_generation(
    language: LanguageModel, prompt: str, *, num_tokens: int, num_rounds: int, num_threads: int
) -> GenerationResults:
    """Continue a prompt greedily under both caches, in turn, and tell what each read, held and wrote.

    Args:
        language: Model and tokenizer.
        prompt: What it is asked, put into the model's template for questions where it has one.
        num_tokens: Tokens to write; exactly so many, whether the text has ended or not.
        num_rounds: Timed rounds of each.
        num_threads: Threads that torch computes with.
    """
    torch.set_num_threads(num_threads)
    ids_1L = language.tokenize(language.chat(prompt), room_for=num_tokens)
    schedule = GenerationSchedule(
        tokens=linear_cache(language.num_layers, KEEP_RATIO), quantization=ProgressiveQuantization()
    )
    say(f"writing {num_tokens} tokens after {ids_1L.shape[1]}, with a dense and with a pruned cache")
    rates: dict[str, list[float]] = {"dense": [], "pruned": []}
    dense_N = pruned_N = ids_1L
    for _ in range(num_rounds):
        dense_N, clock = _write(language, ids_1L, num_tokens)
        rates["dense"].append(clock.tokens_per_second)
        with prune_generation(language.model, schedule):
            pruned_N, clock = _write(language, ids_1L, num_tokens)
        rates["pruned"].append(clock.tokens_per_second)
    with prune_generation(language.model, schedule, keep_history=True) as run:
        _, clock = _write(language, ids_1L, num_tokens)
    say("following the attention through a simulated accelerator")
    followed = min(num_tokens, SIMULATED_TOKENS)
    simulated = on_accelerator(
        _first_iterations(run.workload(), followed), processor_seconds=clock.seconds_until(followed)
    )
    results = _results(language, ids_1L, prompt, schedule, run, (dense_N, pruned_N), rates, num_threads)
    return replace(results, accelerator=simulated)


class _Clock:
    """Looks at the time whenever a token is written; what `generate` calls a streamer."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def put(self, _: Tensor) -> None:
        """A token, or first of all the prompt, which is there at once."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing more comes."""

    @property
    def tokens_per_second(self) -> float:
        """From the first token on, the prompt left out; nothing for a single one."""
        first, last, count = self.times[2], self.times[-1], len(self.times) - 3
        return count / max(1e-9, last - first) if count else 1 / (first - self.times[0])

    def seconds_until(self, num_tokens: int) -> float:
        """From the start, prompt included, until so many tokens were there."""
        return self.times[1 + num_tokens] - self.times[0]


def _write(language: LanguageModel, ids_1L: Tensor, num_tokens: int) -> tuple[Tensor, _Clock]:
    """The new tokens, greedily, and when each was there."""
    clock = _Clock()
    tokens_1N: Tensor = language.model.generate(
        ids_1L,
        attention_mask=torch.ones_like(ids_1L),
        max_new_tokens=num_tokens,
        min_new_tokens=num_tokens,
        do_sample=False,
        pad_token_id=language.pad_id,
        streamer=clock,
    )
    return tokens_1N[0, ids_1L.shape[1] :], clock


def _first_iterations(workload: Workload, count: int) -> Workload:
    """The rows of so many forwards, the prompt's first."""
    chosen = workload.iteration_id < count
    columns: dict[str, Any] = {name: column[chosen] for name, column in workload.columns().items()}
    return Workload(**columns)


def _results(
    language: LanguageModel,
    ids_1L: Tensor,
    prompt: str,
    schedule: GenerationSchedule,
    run: GenerationRun,
    written: tuple[Tensor, Tensor],
    rates: dict[str, list[float]],
    num_threads: int,
) -> GenerationResults:
    records, length = run.records, ids_1L.shape[1]
    rows = rows_by_layer(records)
    shown = round(SHOWN_PART * language.num_layers)
    read = {"pruned": bytes_read_by_step(records), "dense": _dense_bytes(language, length, len(rows[0]))}
    held = {"pruned": bytes_held_by_step(records), "dense": read["dense"]}
    read["dense"] = (0, *read["dense"][1:])  # the prompt's own forward reads no cache
    return GenerationResults(
        model=language.name.partition(".")[0],
        num_layers=language.num_layers,
        num_heads=int(language.model.config.num_attention_heads),
        prompt=prompt,
        num_prompt_tokens=length,
        schedule=tell_generation_schedule(schedule, length),
        continuations=tuple(
            Continuation(
                name=name,
                text=language.tokenizer.decode(tokens, skip_special_tokens=True),
                num_tokens=len(tokens),
                bytes_read=read[name],
                bytes_held=held[name],
                tokens_per_second=median(rates[name]),
                spread=max(rates[name]) - min(rates[name]),
                is_pruned=name == "pruned",
            )
            for name, tokens in zip(("dense", "pruned"), written, strict=True)
        ),
        rows_by_layer=rows,
        shown_layer=shown,
        lives=row_lives(run, shown - 1, length),
        lsb_rates=flat_rates(records),
        note=(
            f"Greedy, {plural(len(rates['dense']), 'round')} in turn, {plural(num_threads, 'thread')}; the time until "
            "the first token is taken off. The prompt stands in the model's own template for questions."
        ),
    )


def row_lives(run: GenerationRun, layer: int, num_prompt_tokens: int) -> tuple[RowLife, ...]:
    """When every token came into a layer's cache and when it was given up."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    stage = run.cache.forwards[0].layers[layer].stage
    for step, snapshot in enumerate(run.history):
        count = int(snapshot.count_SB[stage, 0])
        for position in snapshot.position_SBC[stage][0, :count].tolist():
            first.setdefault(position, step)
            last[position] = step
    steps = len(run.history) - 1
    everyone = range(num_prompt_tokens + steps)
    return tuple(
        RowLife(
            position=position,
            first_step=first.get(position, max(0, position - num_prompt_tokens + 1)),
            last_step=last.get(position, max(0, position - num_prompt_tokens + 1)),
        )
        for position in everyone
    )


def _dense_bytes(language: LanguageModel, length: int, num_steps: int) -> tuple[int, ...]:
    config = language.model.config
    sizes = {
        "num_layers": language.num_layers,
        "num_groups": int(getattr(config, "num_key_value_heads", config.num_attention_heads)),
        "head_width": int(
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        ),
    }
    return tuple(dense_cache_bytes(length + step, **sizes) for step in range(num_steps))
