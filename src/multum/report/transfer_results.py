"""What a training of a network of pictures has to tell: how it went, what it came to, and what a step of it takes.

Everything here is frozen data that goes through JSON unchanged (`multum.core.config`).
"""

from dataclasses import dataclass

from multum.core.errors import invalid
from multum.cost.result import Cost, Moment
from multum.transfer import TransferResult

PART_NAMES = {
    "weight_bytes": "weights, buffers, pictures",
    "optimizer_bytes": "optimizer state",
    "gradient_bytes": "gradients",
    "kept_bytes": "activations kept for backward",
    "workspace_bytes": "kernels' scratch memory",
}
"""What the parts of a step's memory are called, in the order in which a report draws them."""


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """How far a training was after an epoch."""

    epoch: int
    """Counted from 1."""
    loss: float
    """Mean over the pictures that it learned from, with what makes them harder: smoothing, variation, dropout."""
    validation_accuracy: float | None = None
    """On the validation part, in [0, 1]; None where there is none."""
    validation_loss: float | None = None
    """Likewise; without label smoothing."""


@dataclass(frozen=True, kw_only=True)
class StepReading:
    """Memory of one training step: forward, loss, backward, optimizer."""

    name: str
    """What trains, and on which layers."""
    weight_bytes: int
    """Weights, buffers, and the pictures of the step."""
    kept_bytes: int
    """Activations that autograd keeps for the backward pass."""
    gradient_bytes: int
    """Gradients after it."""
    optimizer_bytes: int
    """State of the optimizer."""
    workspace_bytes: int
    """Estimated scratch memory of the kernel that is at work at the fullest moment."""
    predicted_bytes: int
    """Most that is alive at one moment, all included: the ruler's count."""
    resident_bytes: int
    """The part of it that is there before the step: weights, buffers, pictures, optimizer state."""
    measured_growth_bytes: int | None = None
    """By how much a process grew at most in such a step; None where nobody measured, or the system does not tell."""
    timeline: tuple[Moment, ...] = ()
    """What was alive, operation by operation."""

    def __post_init__(self) -> None:
        if not 0 <= self.resident_bytes <= self.predicted_bytes:
            what = f"resident_bytes of {self.name!r}"
            raise invalid(what, f"in [0, {self.predicted_bytes}]", self.resident_bytes)

    @property
    def measured_bytes(self) -> int | None:
        """What was there before the step, and the growth of the process in it."""
        grown = self.measured_growth_bytes
        return None if grown is None else self.resident_bytes + grown

    @classmethod
    def of(cls, cost: Cost, *, name: str, measured_growth_bytes: int | None = None) -> "StepReading":
        """Take it from a reading of the ruler.

        Args:
            cost: Of a training step, with its optimizer.
            name: What trains, and on which layers.
            measured_growth_bytes: What a process grew by.

        Raises:
            UserError: The reading is not of a training step.
        """
        if cost.mode != "training":
            raise invalid("cost.mode", "training", cost.mode)
        return cls(
            name=name,
            weight_bytes=cost.parameter_bytes + cost.buffer_bytes + cost.input_bytes,
            kept_bytes=cost.kept_bytes,
            gradient_bytes=cost.gradient_bytes,
            optimizer_bytes=cost.optimizer_bytes,
            workspace_bytes=cost.workspace_bytes,
            predicted_bytes=cost.peak_live_bytes,
            resident_bytes=cost.resident_bytes,
            measured_growth_bytes=measured_growth_bytes,
            timeline=cost.timeline,
        )


@dataclass(frozen=True, kw_only=True)
class MemoryStory:
    """Memory of a training step, beside the same step as torch alone takes it."""

    step: str
    """What the step is, in a few words: its pictures, its optimizer."""
    ours: StepReading
    """The step of the training."""
    stock: StepReading
    """Full fine-tuning of the plain network on torch's own layers."""


@dataclass(frozen=True, kw_only=True)
class TransferStory:
    """A training from its first epoch to the test."""

    result: TransferResult
    """What it came to."""
    epochs: tuple[EpochRow, ...]
    """How it went; empty where nothing was recorded."""
    memory: MemoryStory | None = None
    """What a step takes; None where nobody asked."""
    adapted_bytes: int | None = None
    """Size of the file that keeps what the training changed; None where there is none."""
    seconds: float | None = None
    """How long it took, pictures and judgement included; None where nobody looked."""
