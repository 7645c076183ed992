"""Label-free self-distillation: the dense model embeds plain text once, and its pruned self learns to say the same.

The surprise: no label is needed, and hardly any text. The dense model has already decided what a text means; the pruned
one only has to reach the same place with fewer tokens, and a few hundred thousand tokens of any text show it how.

Shape legend: B texts of a batch, T texts, D embedding width.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torch import Tensor
from torch.nn import functional

from multum.attention.embedding import SentenceEncoder
from multum.attention.recovery import (
    TEACHER_FILE,
    RecoveryConfig,
    TokenizedTexts,
    annealed_schedule,
    following_loss,
    pool_all,
    pooled,
    remembered,
    trained_parameters,
)
from multum.attention.schedule import TokenSchedule
from multum.training import train


def distill_embeddings(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    schedule: TokenSchedule,
    config: RecoveryConfig,
    folder: Path,
    *,
    max_tokens: int | None = None,
    held_out: Sequence[str] = (),
) -> Path:
    """Teach an encoder in place to give its dense self's mean-pooled vectors while it is pruned.

    Args:
        encoder: The dense model; its vectors are computed before anything is trained, then it becomes the pupil.
        texts: Plain text, no labels.
        schedule: Token pruning.
        config: The dials; `teacher_weight` has no meaning here, for there is nothing beside the teacher.
        folder: Keeps the teacher's vectors, checkpoint and metric log; goes on where it was interrupted.
        max_tokens: Longer texts are cut off there; None: at the model's limit.
        held_out: Texts that are not trained on, to measure the distance to the teacher on after every epoch.

    Returns:
        The metric log, with `cosine` (to the teacher, held-out texts) in the lines that end an epoch.

    Raises:
        UserError: No text, or a checkpoint of another training in the folder.
    """
    tokens = TokenizedTexts.of(encoder, [*texts, *held_out], max_tokens=max_tokens)
    compute = partial(pool_all, tokens, None, "mean", description="teacher")
    teacher_TD = remembered(folder / TEACHER_FILE, compute)
    num_texts = len(texts)
    held_out_tokens = {name: lists[num_texts:] for name, lists in tokens.tokens.items()}

    def loss_of(batch: Sequence[int], done_part: float) -> Tensor:
        now = annealed_schedule(schedule, done_part, config.anneal_part)
        vector_BD = pooled(encoder.model, tokens.batch(batch), now, "mean")
        return following_loss(vector_BD, teacher_TD[list(batch)], config)

    def closeness() -> dict[str, float]:
        theirs = TokenizedTexts(encoder=encoder, tokens=held_out_tokens)
        vector_TD = pool_all(theirs, schedule, "mean")
        return {"cosine": mean_cosine(vector_TD, teacher_TD[num_texts:])}

    return train(
        trained_parameters(encoder.model, config),
        loss_of,
        tokens.lengths[:num_texts],
        config.loop,
        folder,
        description="self-distillation",
        after_epoch=closeness if held_out else None,
    )


def mean_cosine(first_TD: Tensor, second_TD: Tensor) -> float:
    """Mean cosine between rows.

    >>> import torch
    >>> mean_cosine(torch.eye(2), torch.tensor([[2.0, 0.0], [1.0, 0.0]]))
    0.5
    """
    return float(functional.cosine_similarity(first_TD, second_TD).double().mean())
