"""What `multum attention adapt` can be told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from multum.attention.delta import Precision, check_kept
from multum.attention.embedding import Pooling
from multum.attention.recovery import RecoveryConfig
from multum.attention.schedule import TokenSchedule, embedding_schedule
from multum.core import check_fields, invalid

Task = Literal["classify", "similarity", "distill"]
"""Fine-tuning on SST-2, fine-tuning on STS-B, self-distillation on plain text."""

Spare = Literal["common", "absence"]
"""What ranks tokens that leave before the first layer; see `AdaptConfig.spare`."""


@dataclass(frozen=True, kw_only=True)
class AdaptConfig:
    """Train a model to stand its own pruning, and save what changed.

    Raises:
        UserError: A value outside its range.
    """

    data: Path
    """Folder of SST-2 (classify), STS-B (similarity) or WikiText-2 (distill), or a text file with a text on each line
    (distill)."""

    task: Task = "distill"
    """How: on labels of sentences, on scores of sentence pairs, or label-free."""

    schedule: TokenSchedule = field(default_factory=lambda: embedding_schedule(6, 0.4))
    """The pruning to adapt to; as many layers as the model. Where its `spare_tokens` are empty, `spare` fills them from
    the texts that are trained on."""

    schedule_from: Path | None = None
    """The same in one word: a schedule's file, the folder that it lies in, or a wish such as linear:0.5, of which the
    tokens are taken; takes the place of the options of `schedule`."""

    spare: Spare = "common"
    """Which tokens a sentence can spare first: those that occur in most texts, or those whose absence moves the dense
    model's answer least (minutes)."""

    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    """How it is trained."""

    pooling: Pooling = "first"
    """What a classifier reads; the other tasks read the mean."""

    compare: bool = False
    """With labels: train the dense model on for as long as the pruned one is, as a fair peer."""

    num_texts: int | None = None
    """Train on so many sentences, pairs or texts, drawn by the seed; all when left alone."""

    least_tokens: int = 32
    """The shortest window of the text in self-distillation."""

    max_tokens: int = 256
    """The longest."""

    precision: Precision = "int8"
    """How the delta is kept: exact values, or differences in 16 or 8 bits."""

    rank: int | None = None
    """Keep the differences of matrices in so many directions only; all when left alone."""

    model: Path | None = None
    """Folder of a transformers encoder; all-MiniLM-L6-v2 when left alone."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.compare and self.task == "distill":
            raise invalid("compare", "False for distill", True, "its peer is the dense model as it is")
        for name in ("max_tokens", "least_tokens", "num_threads"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))
        check_kept(self.precision, self.rank)
        if self.num_texts is not None and self.num_texts < 1:
            raise invalid("num_texts", "at least 1", self.num_texts)
