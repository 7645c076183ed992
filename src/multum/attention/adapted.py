"""What `adapt` left in a folder, in use again: its delta on the model that it was made for, its schedule."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from multum.attention.delta import Delta, load_delta, merge
from multum.attention.dials import EncoderDials, dials_turned, encoder_schedule
from multum.attention.embedding import SentenceEncoder
from multum.attention.recovery_labels import HEAD, SentenceClassifier
from multum.attention.schedule_wish import read_schedule
from multum.attention.sparse_schedule import EncoderSchedule
from multum.core import invalid


@dataclass(frozen=True, kw_only=True)
class AdaptedDials(EncoderDials):
    """What an encoder can be told, and what it may have learned."""

    adapted: Path | None = None
    """Folder that adapt wrote: the model is what it became there, and pruned by the schedule that it was trained
    through, unless a dial says otherwise."""


def adapted_schedule(model: nn.Module, dials: AdaptedDials, *, length: int) -> EncoderSchedule:
    """`encoder_schedule`, or the schedule of the adaptation where no dial is turned.

    Raises:
        UserError: As `encoder_schedule` and `read_schedule`.
    """
    if dials.adapted is None or dials_turned(dials, EncoderDials):
        return encoder_schedule(model, dials, length=length)
    schedule = read_schedule(dials.adapted, model)
    assert isinstance(schedule, EncoderSchedule), "the model has been found to be an encoder"
    return schedule


def load_encoder(model_folder: Path, dials: AdaptedDials) -> SentenceEncoder:
    """An encoder as it lies in its folder, or as what it became.

    Raises:
        UserError: No model there, no delta, or the delta of another model.
    """
    if dials.adapted is None:
        return SentenceEncoder.load(model_folder)
    return adapted_encoder(model_folder, load_delta(dials.adapted))


def adapted_encoder(model_folder: Path, delta: Delta) -> SentenceEncoder:
    """An encoder from its base model and a delta.

    Raises:
        UserError: The delta is for another model.
    """
    encoder = SentenceEncoder.load(model_folder)
    merge(encoder.model, delta)
    return encoder


def adapted_classifier(model_folder: Path, delta: Delta) -> SentenceClassifier:
    """A classifier from its base model and a delta that holds the head too.

    Raises:
        UserError: The delta is for another model, or holds no head.
    """
    weight = delta.added.get(f"{HEAD}.weight")
    if weight is None:
        raise invalid("delta", "of a classifier, with a head", sorted(delta.added))
    head = torch.nn.utils.skip_init(torch.nn.Linear, weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": delta.added[f"{HEAD}.bias"]})
    return SentenceClassifier(
        encoder=adapted_encoder(model_folder, delta), head=head, pooling=delta.pooling or "first"
    )
