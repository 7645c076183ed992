"""What the authors ran, read off their two public traces: the schedules, and a network of the same shape."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from multum.accelerator import Workload
from multum.attention import GenerationSchedule, gpt2_medium_trace_schedule, workload_of_schedule
from multum.core import published

PROMPT_TOKENS = 992
"""Tokens of the prompt, which the files leave out."""
GENERATED_TOKENS = 32
"""Iterations of the files: one generated token each, which sees itself and everything before."""
HEAD_WIDTH = 64
"""Channels of a head in the files."""
NARROW_HEAD_WIDTH = 4
"""Channels of a head in a network that only has to count."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One public trace, and what made it."""

    file: str
    """Name of the file."""
    schedule: GenerationSchedule
    """What was pruned."""
    num_layers: int
    """Layers of the network."""
    num_heads: int
    """Heads of a layer."""
    query_bits: int | None
    """Bits of a query in the file."""
    published_sums: tuple[str, str]
    """Keys of the paper's file under which the sums of its key rows and value rows stand."""

    @property
    def key_rows(self) -> int:
        """Sum of its key rows."""
        return int(published("spatten", self.published_sums[0]).number)

    @property
    def value_rows(self) -> int:
        """Sum of its value rows."""
        return int(published("spatten", self.published_sums[1]).number)

    def read(self, folder: Path) -> Workload:
        """Read the file."""
        return Workload.read_csv(folder / self.file)

    def made_from_schedule(self) -> Workload:
        """The workload that the schedule asks for, without a model."""
        return workload_of_schedule(
            self.schedule,
            num_heads=self.num_heads,
            head_width=HEAD_WIDTH,
            prompt_tokens=PROMPT_TOKENS,
            generated_tokens=GENERATED_TOKENS,
            num_layers=self.num_layers,
            query_bits=self.query_bits,
            generated_only=True,
        )


def random_gpt2(trace: Trace, generator: torch.Generator) -> Any:
    """A GPT-2 with the layers and heads of a trace, narrow heads and random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_layer=trace.num_layers,
        n_head=trace.num_heads,
        n_embd=NARROW_HEAD_WIDTH * trace.num_heads,
        n_positions=PROMPT_TOKENS + GENERATED_TOKENS,
        vocab_size=64,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model


MEDIUM = Trace(
    file="gpt2-medium-wikitext2-pruned.csv",
    schedule=gpt2_medium_trace_schedule(),
    num_layers=24,
    num_heads=16,
    query_bits=16,
    published_sums=("trace_medium_key_rows", "trace_medium_value_rows"),
)
SMALL = Trace(
    file="gpt2-small-wikitext2-dense.csv",
    schedule=GenerationSchedule(),
    num_layers=12,
    num_heads=12,
    query_bits=None,
    published_sums=("trace_small_key_rows", "trace_small_key_rows"),
)
