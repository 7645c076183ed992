"""Accuracy recovery: a model that is trained while its tokens are pruned learns to say the same with fewer of them.

What both recipes share: the dials, the way from dense to pruned, what is trained, and a teacher's vectors. The
recipes themselves are `recovery_labels.py` (fine-tuning on labels, through the pruning) and
`recovery_distillation.py` (the dense model teaches its pruned self on plain text, no label needed).

The surprise is how little has to change: nothing is told to the choice of tokens. Which tokens stay is a top-k by
attention received, and a top-k has no gradient; the scores are taken as they are (detached). What learns are the
weights around it: survivors learn to carry what the pruned ones would have said, and since the scores follow from the
same weights, the choice moves along.

Shape legend: B sentences of a batch, T texts, L tokens, D embedding width.

Source: SpAtten, sections III-A and V-A (fine-tuning after token pruning, about two hours a task).
Differs from the paper: which says neither how the ratio moves in training nor what is trained. Here keep ratios may
fall from 1 to the target over the first part of the training, embeddings stay as they are, dropout is off, and the
dense model can teach beside the labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from multum.attention.architectures import find_encoder
from multum.attention.embedding import Pooling, SentenceEncoder, mean_pool, pruning_or_not
from multum.attention.schedule import TokenSchedule
from multum.attention.sparse_schedule import EncoderSchedule
from multum.core import check_fields, invalid, track
from multum.training import LoopConfig, read_tensor_file, write_tensor_file

Part = Literal["layers", "norms_and_biases"]
"""What of the model is trained: its layers (not the embeddings), or only their normalizations and biases."""

TEACHER_FILE = "teacher.safetensors"
TEACHER_SCHEMA = "multum.teacher/1"


@dataclass(frozen=True, kw_only=True)
class RecoveryConfig:
    """The dials that both recipes share.

    Raises:
        UserError: A value outside its range.
    """

    loop: LoopConfig = field(default_factory=LoopConfig)
    """Epochs, batch size, learning rate, seed, checkpoints."""
    part: Part = "layers"
    """What is trained."""
    num_frozen_layers: int = 0
    """So many layers at the front stay as they are."""
    anneal_part: float = 0.2
    """Over this part of the training, from its start, keep ratios fall from 1 to the schedule's, in [0, 1]."""
    teacher_weight: float = 1.0
    """Weight of following the dense teacher beside the labels; 0 learns from labels only."""
    matrix_weight: float = 0.0
    """Weight of the teacher's similarities between the sentences of a batch, beside its vectors."""
    temperature: float = 0.05
    """Of the softmax over those similarities; positive."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.anneal_part <= 1:
            raise invalid("anneal_part", "in [0, 1]", self.anneal_part)
        for name in ("num_frozen_layers", "teacher_weight", "matrix_weight"):
            if getattr(self, name) < 0:
                raise invalid(name, "at least 0", getattr(self, name))
        if self.temperature <= 0:
            raise invalid("temperature", "positive", self.temperature)


def annealed_schedule(schedule: TokenSchedule, done_part: float, anneal_part: float) -> TokenSchedule:
    """The schedule at a moment of the training: keep ratios on their way from 1 to the target.

    Args:
        schedule: The target.
        done_part: Part of the training that is done, in [0, 1].
        anneal_part: Part of the training after which the target is reached; 0 starts with it.

    >>> target = TokenSchedule(keep_ratios=(1.0, 0.5))
    >>> [annealed_schedule(target, done, 0.5).keep_ratios[1] for done in (0.0, 0.25, 0.5, 1.0)]
    [1.0, 0.75, 0.5, 0.5]
    """
    way = 1.0 if anneal_part == 0 else min(1.0, done_part / anneal_part)
    if way == 1.0:
        return schedule
    return replace(schedule, keep_ratios=tuple(1 - way * (1 - ratio) for ratio in schedule.keep_ratios))


def trained_parameters(model: nn.Module, config: RecoveryConfig) -> dict[str, nn.Parameter]:
    """The parameters of an encoder that are trained, by name; all others are frozen by this call.

    Raises:
        UserError: More frozen layers than the model has, less one.
    """
    layers = find_encoder(model).layers
    if config.num_frozen_layers >= len(layers):
        raise invalid(
            "num_frozen_layers", f"below the model's {len(layers)} layers", config.num_frozen_layers
        )
    chosen = {id(it) for layer in layers[config.num_frozen_layers :] for it in layer.parameters()}
    trained: dict[str, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        wanted = id(parameter) in chosen and (config.part == "layers" or parameter.dim() < 2)
        parameter.requires_grad_(wanted)
        if wanted:
            trained[name] = parameter
    return trained


@dataclass(frozen=True, kw_only=True)
class TokenizedTexts:
    """Texts as tokens, tokenized once and padded batch by batch."""

    encoder: SentenceEncoder
    """Whose tokenizer was used."""
    tokens: dict[str, list[list[int]]]
    """What the tokenizer gave, not padded."""

    @classmethod
    def of(
        cls, encoder: SentenceEncoder, texts: Sequence[str], *, max_tokens: int | None = None
    ) -> "TokenizedTexts":
        """Tokenize texts; what exceeds `max_tokens` (the model's limit when None) is cut off."""
        if not texts:
            raise invalid("texts", "at least one text", list(texts))
        limit = min(max_tokens or encoder.max_tokens, encoder.max_tokens)
        tokens = dict(encoder.tokenizer(list(texts), truncation=True, max_length=limit))
        return cls(encoder=encoder, tokens=tokens)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(ids) for ids in self.tokens["input_ids"]]

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Model inputs of some texts, padded to the longest of them."""
        chosen = {name: [lists[i] for i in indices] for name, lists in self.tokens.items()}
        padded = self.encoder.tokenizer.pad(chosen, return_tensors="pt")
        return {name: padded[name].to(self.encoder.model.device) for name in padded}


def pooled(
    model: Any, inputs: dict[str, Tensor], schedule: TokenSchedule | EncoderSchedule | None, pooling: Pooling
) -> Float[Tensor, "B D"]:
    """What the head reads: mean of the survivors, or the first token; gradients flow through the pruned model."""
    with pruning_or_not(model, schedule) as run:
        hidden_BLD = model(**inputs).last_hidden_state
        mask_BL = inputs["attention_mask"].bool() if run is None else run.mask
    if pooling == "first":
        first_B11 = mask_BL.int().argmax(dim=1)[:, None, None]
        first_B1D: Tensor = hidden_BLD.take_along_dim(first_B11, dim=1)
        return first_B1D[:, 0]
    return mean_pool(hidden_BLD, mask_BL)


@torch.no_grad()
def pool_all(
    texts: TokenizedTexts,
    schedule: TokenSchedule | EncoderSchedule | None,
    pooling: Pooling,
    *,
    batch_size: int = 32,
    description: str | None = None,
) -> Float[Tensor, "T D"]:
    """`pooled` for all texts, in batches of like length; rows in the order of the texts.

    Tells its progress when it has a `description`; inside a loop that tells its own, it must not.
    """
    order = sorted(range(len(texts.lengths)), key=texts.lengths.__getitem__)
    groups = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    model = texts.encoder.model
    shown = groups if description is None else track(groups, description)
    parts_BD = [pooled(model, texts.batch(group), schedule, pooling) for group in shown]
    return torch.empty_like(stacked := torch.cat(parts_BD)).index_copy_(0, torch.tensor(order), stacked)


def remembered(path: Path, compute: Callable[[], Tensor]) -> Tensor:
    """A tensor that is computed once and read from its file afterwards (a teacher's vectors)."""
    if not path.exists():
        write_tensor_file(path, {"value": compute()}, {}, schema=TEACHER_SCHEMA)
    tensors, _ = read_tensor_file(path, schema=TEACHER_SCHEMA)
    return tensors["value"]


def following_loss(
    student_BD: Float[Tensor, "B D"], teacher_BD: Float[Tensor, "B D"], config: RecoveryConfig
) -> Float[Tensor, ""]:
    """How far the pruned model's vectors are from the dense teacher's: 1 - cosine, and the similarities among them.

    The second term compares, for every sentence, the softmax over its similarities to the others of the batch
    (Kullback-Leibler divergence): neighbours count more than the place.
    """
    student_BD = functional.normalize(student_BD, dim=-1)
    teacher_BD = functional.normalize(teacher_BD, dim=-1)
    loss = 1 - (student_BD * teacher_BD).sum(dim=-1).mean()
    if config.matrix_weight == 0 or len(student_BD) < 3:
        return loss
    log_student_BB = _log_neighbours(student_BD, config.temperature)
    log_teacher_BB = _log_neighbours(teacher_BD, config.temperature)
    divergence = functional.kl_div(log_student_BB, log_teacher_BB, log_target=True, reduction="batchmean")
    return loss + config.matrix_weight * divergence


def _log_neighbours(unit_BD: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of each sentence's neighbours in the batch, itself left out: (B, B - 1)."""
    others_BB = ~torch.eye(len(unit_BD), dtype=torch.bool, device=unit_BD.device)
    similarity_BB = (unit_BD @ unit_BD.T)[others_BB].view(len(unit_BD), -1)
    return torch.log_softmax(similarity_BB / temperature, dim=-1)
