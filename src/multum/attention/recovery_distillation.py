"""Label-free self-distillation: the dense model teaches its pruned self on plain text.

The surprise: no label is needed. The dense model has already decided what a text means; the pruned one only has to
reach the same place with fewer tokens. What is needed is that no text comes twice in the same shape; see
`text_windows.py`.

Shape legend: B texts of a batch, T texts, D embedding width.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from multum.attention.embedding import SentenceEncoder
from multum.attention.recovery import (
    RecoveryConfig,
    TokenizedTexts,
    annealed_schedule,
    following_loss,
    pool_all,
    pooled,
    trained_parameters,
)
from multum.attention.schedule import TokenSchedule
from multum.attention.text_windows import TextWindows
from multum.training import train


def distill_embeddings(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    schedule: TokenSchedule,
    config: RecoveryConfig,
    folder: Path,
    *,
    least_tokens: int = 32,
    max_tokens: int = 256,
    held_out: Sequence[str] = (),
) -> Path:
    """Teach an encoder in place to give its dense self's mean-pooled vectors while it is pruned.

    Args:
        encoder: The dense model; a copy of it teaches, it becomes the pupil.
        texts: Plain text, no labels, in an order in which neighbours belong together.
        schedule: Token pruning.
        config: The dials; `teacher_weight` has no meaning here, for there is nothing beside the teacher.
        folder: Keeps checkpoint and metric log; goes on where it was interrupted.
        least_tokens: The shortest window of the text that is taught on.
        max_tokens: The longest; never longer than the model or the text.
        held_out: Texts that are not trained on, to measure the distance to the teacher on after every epoch.

    Returns:
        The metric log, with `cosine` (to the teacher, held-out texts, about their mean) in the lines that end an epoch.

    Raises:
        UserError: No text, less text than a window, or a checkpoint of another training in the folder.
    """
    windows = TextWindows.of(encoder, texts, least_tokens=least_tokens, most_tokens=max_tokens)
    teacher = copy.deepcopy(encoder.model).requires_grad_(False)
    theirs = TokenizedTexts.of(encoder, held_out, max_tokens=max_tokens) if held_out else None
    dense_TD = None if theirs is None else pool_all(theirs, None, "mean")

    def loss_of(batch: Sequence[int], done_part: float) -> Tensor:
        token_BL = windows.draw(len(batch))
        inputs = {"input_ids": token_BL, "attention_mask": torch.ones_like(token_BL)}
        with torch.no_grad():
            teacher_BD = pooled(teacher, inputs, None, "mean")
        now = annealed_schedule(schedule, done_part, config.anneal_part)
        return following_loss(pooled(encoder.model, inputs, now, "mean"), teacher_BD, config)

    def closeness() -> dict[str, float]:
        if theirs is None or dense_TD is None:
            return {}
        return {"cosine": cosine_about_mean(pool_all(theirs, schedule, "mean"), dense_TD)}

    return train(
        trained_parameters(encoder.model, config),
        loss_of,
        [1] * windows.num_windows,  # a step's windows have one length: nothing to sort
        config.loop,
        folder,
        description="self-distillation",
        after_epoch=closeness,
    )


def cosine_about_mean(pupil_TD: Float[Tensor, "T D"], teacher_TD: Float[Tensor, "T D"]) -> float:
    """Mean cosine between rows of unit length, after the teacher's mean is taken off both.

    What all texts have in common is easy to learn and tells none of them apart.

    >>> teacher = torch.tensor([[1.0, 0.1], [1.0, -0.1]])
    >>> round(cosine_about_mean(teacher, teacher), 3), round(cosine_about_mean(teacher.flip(0), teacher), 3)
    (1.0, -1.0)
    """
    pupil_TD, teacher_TD = (functional.normalize(it, dim=-1) for it in (pupil_TD, teacher_TD))
    mean_D = teacher_TD.mean(dim=0)
    return float(functional.cosine_similarity(pupil_TD - mean_D, teacher_TD - mean_D).double().mean())
