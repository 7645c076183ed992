"""The paper's 30 benchmarks as frozen data: which network reads how many tokens.

BERT reads a sentence of its task's average length, GPT-2 a prompt and generates; what is timed there is generating.

Lengths in tokens, [CLS] and [SEP] included. The paper publishes none for BERT; where each of ours is from:

    given       CoLA 11, SST-2 25, MNLI 39, MRPC 53, RTE 68, SQuAD 180: approximate, from the project's specification;
                MNLI-mm is taken to be as long as MNLI-m, SQuAD 2.0 (the same articles) as SQuAD 1.1
    measured    STS-B 31: mean 31.5 over the 1,500 pairs of the development set, WordPiece of BERT (uncased); the same
                measurement gives 25.4 for SST-2
    estimated   QQP 30, QNLI 49: published medians, 28 and 45, times 1.09, which is by how much the mean lies above the
                median where both are known (MNLI 39 / 37, STS-B 31.5 / 28)

Source: SpAtten (HPCA 2021), section V, for models, tasks, prompt and generated tokens; the medians of the development
sets: github.com/WoosukKwon/retraining-free-pruning, issue 2.
Differs from the paper: which knows its lengths; every result here that depends on them says so.
"""

from dataclasses import dataclass
from functools import cache

from multum.accelerator.paper.numbers import paper_number
from multum.core import invalid


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a benchmark runs; heads are 64 wide in all of them."""

    name: str
    """As the paper calls it."""
    num_layers: int
    """Layers."""
    num_heads: int
    """Heads of a layer."""


BERT_BASE = Network(name="BERT-Base", num_layers=12, num_heads=12)
BERT_LARGE = Network(name="BERT-Large", num_layers=24, num_heads=16)
GPT2_SMALL = Network(name="GPT-2-Small", num_layers=12, num_heads=12)
GPT2_MEDIUM = Network(name="GPT-2-Medium", num_layers=24, num_heads=16)

SENTENCE_TOKENS = {
    "CoLA": 11,
    "SST-2": 25,
    "MRPC": 53,
    "STS-B": 31,
    "QQP": 30,
    "MNLI-m": 39,
    "MNLI-mm": 39,
    "QNLI": 49,
    "RTE": 68,
    "SQuAD 1.1": 180,
    "SQuAD 2.0": 180,
}
"""Average tokens of a sentence (or pair) of BERT's tasks; where from, see above."""

CORPORA = ("WikiText-2", "WikiText-103", "PTB", "1BW")
"""What GPT-2 continues. Nothing is published that would set them apart, so all four are one workload here."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A network on a task.

    Raises:
        UserError: No token.
    """

    network: Network
    """What runs."""
    task: str
    """On what."""
    num_tokens: int
    """Tokens that are there before the first result: a sentence, or a prompt."""
    generated_tokens: int = 0
    """Tokens that are generated; 0: a sentence is read, and that is what is timed."""

    def __post_init__(self) -> None:
        if self.num_tokens < 1 or self.generated_tokens < 0:
            tokens = (self.num_tokens, self.generated_tokens)
            raise invalid("num_tokens, generated_tokens", "at least 1 and at least 0", tokens)

    @property
    def name(self) -> str:
        """Network and task."""
        return f"{self.network.name}, {self.task}"

    @property
    def generates(self) -> bool:
        """Whether it is one of GPT-2's."""
        return self.generated_tokens > 0

    @property
    def longest(self) -> int:
        """Tokens that the last query sees."""
        return self.num_tokens + self.generated_tokens


def sentence_benchmarks(length_scale: float = 1.0) -> tuple[Benchmark, ...]:
    """The 22 of BERT.

    Args:
        length_scale: By how much sentences are longer than `SENTENCE_TOKENS`.

    >>> [it.num_tokens for it in sentence_benchmarks(0.5)][:3]
    [6, 12, 26]
    """
    return tuple(
        Benchmark(network=network, task=task, num_tokens=max(1, round(length_scale * length)))
        for network in (BERT_BASE, BERT_LARGE)
        for task, length in SENTENCE_TOKENS.items()
    )


def generation_benchmarks() -> tuple[Benchmark, ...]:
    """The 8 of GPT-2."""
    prompt, generated = (int(paper_number(f"gpt2_{what}_tokens").number) for what in ("prompt", "generated"))
    return tuple(
        Benchmark(network=network, task=task, num_tokens=prompt, generated_tokens=generated)
        for network in (GPT2_SMALL, GPT2_MEDIUM)
        for task in CORPORA
    )


@cache
def thirty_benchmarks(length_scale: float = 1.0) -> tuple[Benchmark, ...]:
    """All of them.

    Args:
        length_scale: See `sentence_benchmarks`.

    >>> benchmarks = thirty_benchmarks()
    >>> benchmarks[0].name, benchmarks[-1].name, len(benchmarks)
    ('BERT-Base, CoLA', 'GPT-2-Medium, 1BW', 30)
    """
    return (*sentence_benchmarks(length_scale), *generation_benchmarks())
