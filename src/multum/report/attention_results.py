"""What a run of cascade token pruning has to tell: plain numbers, from the demo to its page.

Everything here is frozen data that goes through JSON unchanged (`multum.core.config`), so that a page can be
drawn again from a result file without running the model.
"""

from dataclasses import dataclass

from multum.attention import TokenFate, WordFate
from multum.core.errors import UserError, invalid
from multum.cost.result import Cost
from multum.report.dial_results import DialResults
from multum.report.generation_results import GenerationResults
from multum.report.transfer_results import TransferStory
from multum.report.words import check_words


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """The model that was pruned."""

    name: str
    """What people call it."""

    num_layers: int
    """Its layers."""

    num_heads: int
    """Attention heads of each layer."""

    width: int
    """Numbers per token between layers."""

    num_parameters: int
    """All its parameters."""


@dataclass(frozen=True, kw_only=True)
class FadingPicture:
    """One passage losing its words."""

    topic: str
    """What the passage is about, as its collection says."""

    title: str
    """Its title."""

    keep_ratio: float
    """The part of the tokens that the schedule keeps, in (0, 1]."""

    words: tuple[WordFate, ...]
    """Its words in order."""

    tokens_per_layer: tuple[int, ...]
    """Tokens that each layer works on."""

    tokens: tuple[TokenFate, ...] = ()
    """Its tokens in order; without them only words are drawn."""


@dataclass(frozen=True, kw_only=True)
class RetrievalRow:
    """How well queries find their passage under one schedule."""

    schedule: str
    """What the schedule is called in a table."""

    keep_ratio: float
    """The part of the tokens that it keeps, in (0, 1]; 1 is the dense model."""

    token_reduction: float
    """Tokens of the dense model over tokens of this one, summed over layers and passages; at least 1."""

    recall_at_1: float
    """Part of the queries whose passage comes first, in [0, 1]."""

    recall_at_5: float
    """Part of the queries whose passage is among the first five, in [0, 1]."""

    mean_reciprocal_rank: float
    """Mean over the queries of one over the rank of their passage, in (0, 1]."""

    loss_points: float
    """Points of recall at 1 lost against the dense model: 100 times the difference; negative for a gain."""

    family: str = "pruned"
    """Schedules of one family are joined by a line in the plot."""

    def __post_init__(self) -> None:
        _check_schedule(self.keep_ratio, self.token_reduction)
        for name in ("recall_at_1", "recall_at_5", "mean_reciprocal_rank"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise invalid(name, "in [0, 1]", value)


@dataclass(frozen=True, kw_only=True)
class TimingRow:
    """How long one way of running the passages takes."""

    name: str
    """What was run."""

    median_seconds: float
    """Median time of one round."""

    spread_seconds: float
    """Interquartile range of the rounds."""

    speedup: float
    """Time of the dense model under SDPA over this time."""

    speedup_same_linears: float | None = None
    """Time of the dense model under SDPA with the same fast linears over this time; None where it was not run."""

    floor_seconds: float | None = None
    """Time that the multiply-accumulates alone would take at the measured peak rate of the machine."""

    times_floor: float | None = None
    """This time over the floor."""

    is_pruned: bool = False
    """Whether this row is ours; the others are peers."""

    def __post_init__(self) -> None:
        if not self.median_seconds > 0:
            raise invalid(f"median_seconds of {self.name!r}", "above 0", self.median_seconds)


@dataclass(frozen=True, kw_only=True)
class SentenceRow:
    """How well similarities of sentence pairs follow the given scores under one schedule."""

    schedule: str
    """What the schedule is called in a table."""

    token_reduction: float
    """Tokens of the dense model over tokens of this one; 1 is the dense model."""

    spearman: float
    """Spearman's rank correlation with the given scores, in [-1, 1]."""

    family: str = ""
    """Schedules of one family are joined by a line in the plot."""

    def __post_init__(self) -> None:
        _check_schedule(1.0, self.token_reduction)
        if not -1 <= self.spearman <= 1:
            raise invalid(f"spearman of {self.schedule!r}", "in [-1, 1]", self.spearman)


@dataclass(frozen=True, kw_only=True)
class SentenceScores:
    """One collection of sentence pairs under several schedules."""

    source: str
    """Where the pairs come from."""

    num_pairs: int
    """How many there are."""

    rows: tuple[SentenceRow, ...]
    """One row for each schedule, the dense model among them."""

    def __post_init__(self) -> None:
        if not any(row.token_reduction == 1 for row in self.rows):
            raise UserError(
                f"rows of {self.source!r} must hold the dense model; got none with token_reduction 1"
            )


@dataclass(frozen=True, kw_only=True)
class AttentionResults:
    """Everything that the page of the demo shows.

    Raises:
        UserError: When there is no picture, no dense retrieval row, no timing row, or no sentence pairs.
    """

    model: ModelFacts
    """The model."""

    num_passages: int
    """Passages that were searched."""

    num_queries: int
    """Queries that searched them."""

    pictures: tuple[FadingPicture, ...]
    """Passages to look at; the first is shown in full."""

    retrieval: tuple[RetrievalRow, ...]
    """Retrieval under each schedule, the dense model among them."""

    cost_before: Cost
    """The dense model on one batch."""

    cost_after: Cost
    """The pruned model on the same batch."""

    cost_note: str = ""
    """What the batch was, in a sentence."""

    timing: tuple[TimingRow, ...]
    """Times of the same run; the first row is the dense model under SDPA."""

    timing_note: str = ""
    """What was timed, in a sentence."""

    sentences: tuple[SentenceScores, ...]
    """Collections of short sentence pairs: the bundled one, and STS-B where its folder was given."""

    dials: DialResults | None = None
    """Heads, values and bits beside tokens; None when they were not measured."""

    generation: GenerationResults | None = None
    """A generation with its cache shrinking; None when there was no language model."""

    transfer: TransferStory | None = None
    """A network that learned in little memory; None when there was none to train."""

    transfer_note: str = ""
    """Why nothing was trained and how to change that, where something should have been; else empty."""

    shown_schedule: str = ""
    """Name of the retrieval row whose schedule the cost and the times were measured with; empty when none was."""

    notes: tuple[str, ...] = ()
    """How it was measured, in plain sentences."""

    def __post_init__(self) -> None:
        for name in ("pictures", "retrieval", "timing", "sentences"):
            if not getattr(self, name):
                raise invalid(name, "filled", (), "the page has a section for it")
        if not any(row.token_reduction == 1 for row in self.retrieval):
            raise UserError("retrieval must hold the dense model; got no row with token_reduction 1")
        if self.shown_schedule and all(row.schedule != self.shown_schedule for row in self.retrieval):
            names = [row.schedule for row in self.retrieval]
            raise invalid("shown_schedule", f"one of {names}", self.shown_schedule)
        for picture in self.pictures:
            check_words(picture.words, self.model.num_layers)


def _check_schedule(keep_ratio: float, token_reduction: float) -> None:
    if not 0 < keep_ratio <= 1:
        raise invalid("keep_ratio", "in (0, 1]", keep_ratio, "1 keeps everything")
    if not token_reduction >= 1:
        raise invalid("token_reduction", "at least 1", token_reduction, "1 is the dense model")
