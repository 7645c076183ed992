"""`multum attention adapt`, as a plain function over a frozen configuration: data in, delta and schedule out.

A run folder keeps everything: the dense model's training, the pruned model's, what was measured on the part of the
data that choices are made on, and in the end `multum_delta.safetensors` and `multum_schedule.json`. What is reported
is measured with the delta as it was written, compression included.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from multum.attention.delta import Precision
from multum.attention.recovery import TEACHER_FILE, Pooling, RecoveryConfig
from multum.attention.recovery_tasks import Adaptation, classify, distill, similarity
from multum.attention.schedule import TokenSchedule, embedding_schedule
from multum.attention.sparse_schedule import save_schedule
from multum.core import Run, invalid, say
from multum.data import minilm_folder
from multum.training import CHECKPOINT_FILE

Task = Literal["classify", "similarity", "distill"]
"""Fine-tuning on SST-2, fine-tuning on STS-B, self-distillation on plain text."""


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
    """The pruning to adapt to; as many layers as the model."""

    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    """How it is trained."""

    pooling: Pooling = "first"
    """What a classifier reads; the other tasks read the mean."""

    compare: bool = False
    """With labels: train the dense model on for as long as the pruned one is, as a fair peer."""

    num_texts: int | None = None
    """Train on so many sentences, pairs or texts, drawn by the seed; all when left alone."""

    max_tokens: int = 256
    """Texts are cut off there in self-distillation."""

    least_tokens: int = 1
    """Shorter texts are left out of self-distillation."""

    precision: Precision = "int8"
    """How the delta is kept: exact values, or differences in 16 or 8 bits."""

    rank: int | None = None
    """Keep the differences of matrices in so many directions only; all when left alone."""

    model: Path | None = None
    """Folder of a transformers encoder; all-MiniLM-L6-v2 when left alone."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise invalid("task", f"one of {', '.join(get_args(Task))}", self.task)
        if self.compare and self.task == "distill":
            raise invalid("compare", "False for distill", True, "its peer is the dense model as it is")
        for name in ("max_tokens", "least_tokens", "num_threads"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))
        if self.num_texts is not None and self.num_texts < 1:
            raise invalid("num_texts", "at least 1", self.num_texts)


def adapt(
    config: AdaptConfig, folder: Path, *, resume: bool = False, overwrite: bool = False
) -> Mapping[str, Any]:
    """Train, measure, and write the delta and the schedule into a run folder.

    With labels the dense model is tuned first; the pruned one starts from it, learns from the same labels, and follows
    its vectors. Without labels the dense model is the one that was given.

    Args:
        config: The dials.
        folder: Run folder; keeps checkpoints while it trains.
        resume: Continue the run that lies there, bit for bit.
        overwrite: Replace the run that lies there.

    Returns:
        What was measured on the development part: the scores `dense`, `pruned` (as it was) and `recovered`, with
        `compare` also `dense_longer`; the scores after each epoch, the token reduction, and the delta's bytes.

    Raises:
        UserError: Bad options or data; a run lies there and neither flag was given.
    """
    torch.set_num_threads(config.num_threads)
    seed = config.recovery.loop.seed
    with Run.open(folder, config, resume=resume, overwrite=overwrite, seed=seed) as run:
        if overwrite:
            forget_trainings(folder)
        if run.finished:
            say("this run is finished already")
            return dict(run.result)
        task = Adaptation(
            run=run,
            data=config.data,
            model_folder=config.model or minilm_folder(),
            schedule=config.schedule,
            recovery=config.recovery,
            pooling=config.pooling,
            compare=config.compare,
            num_texts=config.num_texts,
            max_tokens=config.max_tokens,
            least_tokens=config.least_tokens,
            precision=config.precision,
            rank=config.rank,
        )
        result = dict({"classify": classify, "similarity": similarity, "distill": distill}[config.task](task))
        save_schedule(config.schedule, folder)
        run.finish(result)
        forget_trainings(folder)  # the delta is there: checkpoints and teacher's vectors have served
        return result


def forget_trainings(folder: Path) -> None:
    """Remove the checkpoints and remembered vectors of a run."""
    for part in ("dense", "pruned", "longer"):
        for name in (CHECKPOINT_FILE, TEACHER_FILE):
            (folder / part / name).unlink(missing_ok=True)
