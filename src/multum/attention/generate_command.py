"""`multum attention generate`, as a plain function over a frozen configuration: a prompt in, text and traffic out."""

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multum.attention.dials import CacheDials, generation_schedule, tell_generation_schedule
from multum.attention.generation import prune_generation
from multum.attention.generation_run import GenerationRun
from multum.attention.language_model import LanguageModel
from multum.attention.on_accelerator import OnAccelerator, on_accelerator
from multum.attention.record_facts import flat_rates, rows_by_layer
from multum.attention.sparse_schedule import save_schedule
from multum.core import check_fields, invalid, require_module
from multum.data import smollm2_file

FROM_STANDARD_INPUT = "-"


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(CacheDials):
    """A prompt, the model that continues it, and what its cache may keep.

    Raises:
        UserError: A count below 1, beams together with sampling, a temperature that is not positive.
    """

    prompt: str
    """The text to continue; - reads it from standard input."""

    model: Path | None = None
    """Folder of a transformers language model, or a GGUF file; SmolLM2-135M-Instruct when left alone."""

    max_new_tokens: int = 64
    """How many tokens to write at most."""

    plain: bool = False
    """Continue the text as it is, without the model's template for questions."""

    sample: bool = False
    """Draw tokens at random by their probability; the likeliest one otherwise."""

    temperature: float = 1.0
    """Flattens (above 1) or sharpens the probabilities that are drawn from."""

    beams: int = 1
    """Continuations that compete in beam search; 1 is none."""

    seed: int = 0
    """What the random draws begin with."""

    trace: Path | None = None
    """Write what every layer did for every token to this CSV file, a workload of the accelerator."""

    save: Path | None = None
    """Write the schedule that was used to this JSON file."""

    accelerator: bool = False
    """Tell too what SpAtten would make of the attention, dense and pruned, layer by layer."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("max_new_tokens", "beams"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))
        if self.sample and self.beams > 1:
            raise invalid("beams", "1 together with sample", self.beams, "beam search does not draw")
        if not self.temperature > 0:
            raise invalid("temperature", "above 0", self.temperature)
        if self.temperature != 1.0 and not self.sample:
            raise invalid("temperature", "1 without sample", self.temperature, "add sample to draw tokens")


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What came out, and what the cache cost."""

    text: str
    """The continuation."""
    model: str
    """What wrote it."""
    schedule: str
    """What the cache kept, in a sentence."""
    num_prompt_tokens: int
    """Tokens of the prompt, template included."""
    num_new_tokens: int
    """Tokens written."""
    seconds: float
    """Time from the prompt to the last token."""
    bytes_read_per_token: float
    """Cache bytes that a written token read on average."""
    dense_bytes_read_per_token: float
    """The same for a float32 cache that keeps everything."""
    bytes_held: int
    """Bytes that the cache holds at the end."""
    dense_bytes_held: int
    """The same for a float32 cache that keeps everything."""
    lsb_rate: float
    """Part of the query rows that fetched the second plane; 0 when there is none."""
    lsb_rates: tuple[float, ...]
    """The same layer by layer; empty when there is none."""
    rows: tuple[int, ...]
    """For each layer the rows that the last token attended to."""
    trace: str | None
    """Where the workload was written."""
    accelerator: OnAccelerator | None = None
    """What SpAtten would make of it, where that was asked for."""


def generate_text(config: GenerateConfig) -> Generated:
    """Continue a prompt with a pruned cache, writing the text to standard error as it comes.

    Raises:
        UserError: A bad model, prompt, schedule or option.
    """
    language = LanguageModel.load(config.model or smollm2_file())
    prompt = sys.stdin.read() if config.prompt == FROM_STANDARD_INPUT else config.prompt
    if not prompt.strip():
        raise invalid("prompt", "non-empty", prompt)
    ids_1L = language.tokenize(
        prompt if config.plain else language.chat(prompt), room_for=config.max_new_tokens
    )
    length = ids_1L.shape[1]
    schedule = generation_schedule(language.model, config, context=length + config.max_new_tokens)
    if config.save is not None:
        save_schedule(schedule, config.save)
    with prune_generation(language.model, schedule) as run:
        start = time.perf_counter()
        written_S = _generate(language, ids_1L, config)
        seconds = time.perf_counter() - start
    if config.trace is not None:
        run.workload().write_csv(config.trace)
    sentence = tell_generation_schedule(schedule, length)
    told = _told(language, run, written_S, sentence, length, seconds, config.trace)
    if not config.accelerator:
        return told
    return replace(told, accelerator=on_accelerator(run.workload(), processor_seconds=seconds))


def _generate(language: LanguageModel, ids_1L: Tensor, config: GenerateConfig) -> Tensor:
    """The new tokens of the best continuation."""
    options: dict[str, Any] = {"do_sample": config.sample, "num_beams": config.beams}
    if config.sample:
        options["temperature"] = config.temperature
    if config.beams == 1:  # beams write several texts at once
        transformers: Any = require_module("transformers", "generation")
        streamer = transformers.TextStreamer(language.tokenizer, skip_prompt=True, skip_special_tokens=True)
        options["streamer"] = streamer
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(config.seed)  # transformers draws from the global generator
        tokens_1N: Tensor = language.model.generate(
            ids_1L,
            attention_mask=torch.ones_like(ids_1L),
            max_new_tokens=config.max_new_tokens,
            pad_token_id=language.pad_id,
            **options,
        )
    return tokens_1N[0, ids_1L.shape[1] :]


def _told(
    language: LanguageModel,
    run: GenerationRun,
    written_S: Tensor,
    schedule: str,
    length: int,
    seconds: float,
    trace: Path | None,
) -> Generated:
    records = run.records
    return Generated(
        text=language.tokenizer.decode(written_S, skip_special_tokens=True),
        model=language.name,
        schedule=schedule,
        num_prompt_tokens=length,
        num_new_tokens=len(written_S),
        seconds=seconds,
        bytes_read_per_token=run.bytes_read_per_token,
        dense_bytes_read_per_token=run.dense_bytes_read_per_token,
        bytes_held=run.bytes_held,
        dense_bytes_held=run.dense_bytes_held,
        lsb_rate=run.lsb_rate,
        lsb_rates=flat_rates(records),
        rows=tuple(rows[-1] for rows in rows_by_layer(records)),
        trace=None if trace is None else str(trace),
    )
