"""What a generation with a pruned cache has to tell: plain numbers, from the demo to its page."""

from dataclasses import dataclass

from multum.attention import OnAccelerator
from multum.core.errors import UserError, invalid
from multum.report.sparse_plots import RowLife


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What one way of running the model wrote, and what it took."""

    name: str
    """What was run."""
    text: str
    """The text it wrote, without the prompt."""
    num_tokens: int
    """Tokens that it wrote."""
    bytes_read: tuple[int, ...]
    """Cache bytes that each step read, the prompt's forward first."""
    bytes_held: tuple[int, ...]
    """Cache bytes held after each step, the prompt's forward first."""
    tokens_per_second: float
    """Generated tokens over time, the prompt left out."""
    spread: float = 0.0
    """Interquartile range of tokens per second over the rounds; 0 for one round."""
    is_pruned: bool = False
    """Whether this is ours; the other is the peer."""

    def __post_init__(self) -> None:
        if self.num_tokens < 1:
            raise invalid(f"num_tokens of {self.name!r}", "at least 1", self.num_tokens)
        if not self.bytes_read or len(self.bytes_read) != len(self.bytes_held):
            lengths = (len(self.bytes_read), len(self.bytes_held))
            raise invalid(f"bytes of {self.name!r}", "one number a step, read and held alike", lengths)
        if not self.tokens_per_second > 0:
            raise invalid(f"tokens_per_second of {self.name!r}", "above 0", self.tokens_per_second)

    @property
    def bytes_read_per_token(self) -> float:
        """Cache bytes that a generated token read, on average."""
        steps = self.bytes_read[1:]
        return sum(steps) / max(1, len(steps))


@dataclass(frozen=True, kw_only=True)
class GenerationResults:
    """One prompt continued twice, with a dense cache and with a pruned one.

    Raises:
        UserError: No pruned or no dense continuation, or lives of a layer that the model does not have.
    """

    model: str
    """What people call the model."""
    num_layers: int
    """Its layers."""
    num_heads: int
    """Query heads of each layer."""
    prompt: str
    """The text that was continued."""
    num_prompt_tokens: int
    """Its tokens."""
    schedule: str
    """What the schedule keeps, in a sentence."""
    continuations: tuple[Continuation, ...]
    """The dense one first."""
    rows_by_layer: tuple[tuple[int, ...], ...]
    """For each layer the rows that each step attended to, the prompt's forward first."""
    shown_layer: int
    """The layer, counted from 1, whose rows are drawn one by one."""
    lives: tuple[RowLife, ...]
    """The life of every row of that layer's cache."""
    heads_by_layer: tuple[tuple[int, ...], ...] = ()
    """For each layer the heads that the last token computed; empty when heads were not pruned."""
    lsb_rates: tuple[float, ...] = ()
    """For each layer the part of query rows that fetched the second plane; empty when there is none."""
    accelerator: OnAccelerator | None = None
    """What SpAtten would make of the attention, dense and pruned; None where it was not simulated."""
    note: str = ""
    """How it was measured, in a sentence."""

    def __post_init__(self) -> None:
        if not any(it.is_pruned for it in self.continuations) or all(
            it.is_pruned for it in self.continuations
        ):
            raise UserError("continuations must hold a dense and a pruned one; give both")
        if not 1 <= self.shown_layer <= self.num_layers:
            raise invalid("shown_layer", f"in 1..{self.num_layers}", self.shown_layer)
        if len(self.rows_by_layer) != self.num_layers:
            raise invalid(
                "rows_by_layer", f"one row for each of {self.num_layers} layers", len(self.rows_by_layer)
            )

    @property
    def dense(self) -> Continuation:
        """The dense continuation."""
        return next(it for it in self.continuations if not it.is_pruned)

    @property
    def pruned(self) -> Continuation:
        """The pruned continuation."""
        return next(it for it in self.continuations if it.is_pruned)

    @property
    def lsb_rate(self) -> float | None:
        """The part of all query rows that fetched the second plane; None when there is none."""
        return sum(self.lsb_rates) / len(self.lsb_rates) if self.lsb_rates else None
