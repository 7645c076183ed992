"""`multum attention adapt`, as a plain function over a frozen configuration: data in, delta and schedule out.

A run folder keeps everything: the dense model's training, the pruned model's, what was measured on the part of the
data that choices are made on, and in the end `multum_delta.safetensors` and `multum_schedule.json`. What is reported
is measured with the delta as it was written, compression included.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from multum.attention.adapt_config import AdaptConfig
from multum.attention.embedding import SentenceEncoder
from multum.attention.recovery import TEACHER_FILE
from multum.attention.recovery_tasks import Adaptation, classify, distill, similarity
from multum.attention.schedule import TokenSchedule
from multum.attention.schedule_wish import read_schedule
from multum.attention.sparse_schedule import EncoderSchedule
from multum.core import Run, invalid, say
from multum.data import minilm_folder
from multum.training import CHECKPOINT_FILE

TASKS = {"classify": classify, "similarity": similarity, "distill": distill}
"""What each task of `AdaptConfig` does."""


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
        folder_of_model = config.model or minilm_folder()
        schedule = _schedule(config, folder_of_model)
        task = Adaptation(run=run, config=config, model_folder=folder_of_model, schedule=schedule)
        result = dict(TASKS[config.task](task))
        run.finish(result)
        forget_trainings(folder)  # the delta is there: checkpoints and teacher's vectors have served
        return result


def _schedule(config: AdaptConfig, model_folder: Path) -> TokenSchedule:
    if config.schedule_from is None:
        return config.schedule
    found = read_schedule(config.schedule_from, SentenceEncoder.load(model_folder).model)
    if (
        not isinstance(found, EncoderSchedule)
        or found.tokens is None
        or found != EncoderSchedule(tokens=found.tokens)
    ):
        remedy = "heads, values and bits are not trained through"
        raise invalid(
            "schedule_from",
            "a schedule that prunes tokens and nothing else",
            str(config.schedule_from),
            remedy,
        )
    return found.tokens


def forget_trainings(folder: Path) -> None:
    """Remove the checkpoints and remembered vectors of a run."""
    for part in ("dense", "pruned", "longer"):
        for name in (CHECKPOINT_FILE, TEACHER_FILE):
            (folder / part / name).unlink(missing_ok=True)
