"""What a training found out, in plain values: how good the network is, class by class, and what it got wrong.

Shape legend: N pictures, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from multum.core import check_fields
from multum.transfer.modes import Mode


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A picture that was taken for something else."""

    picture: str
    """What it is called in its folder."""
    is_class: str
    """What it is."""
    taken_for: str
    """What the network says."""
    confidence: float
    """How sure the network is, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How good a network is on some pictures."""

    accuracy: float
    """Part of the pictures that it knows, in [0, 1]."""
    loss: float
    """Mean cross-entropy, without label smoothing."""
    classes: tuple[str, ...]
    """Names of the classes."""
    class_accuracy: dict[str, float]
    """The accuracy on the pictures of each class that has any."""
    confusion: tuple[tuple[int, ...], ...]
    """Pictures by class (rows) and by what they were taken for (columns), in the order of the classes."""
    mistakes: tuple[Mistake, ...]
    """What it got wrong, the surest first."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def num_pictures(self) -> int:
        """How many pictures were judged."""
        return sum(map(sum, self.confusion))


@dataclass(frozen=True, kw_only=True)
class TransferResult:
    """What `train_transfer` reports."""

    backbone: str
    """Network that it started from."""
    mode: Mode
    """What trained."""
    side: int
    """Height and width of what the network sees, in pixels."""
    classes: tuple[str, ...]
    """Names of the classes, in the order of the network's outputs."""
    num_train: int
    """Pictures to learn from."""
    num_validation: int
    """Pictures to choose by."""
    num_trained: int
    """Numbers that trained."""
    num_frozen: int
    """Numbers that did not."""
    num_epochs: int
    """Epochs that were run."""
    best_epoch: int
    """The epoch that was chosen, counted from 1."""
    stopped_early: bool
    """Whether epochs were saved because nothing got better."""
    validation_accuracy: float | None
    """At the best epoch; None without a validation part."""
    test: Judgement
    """How good it is on the test part, which nothing was chosen by; asked once."""
    stock_layers: tuple[str, ...]
    """Layers that keep what torch keeps: no lean twin is known."""
    fingerprint: str
    """Tells the pictures of this training from others."""
    skipped: tuple[str, ...] = ()
    """Pictures that were left out, a sentence each."""
    memory: dict[str, Any] | None = None
    """What a step takes, predicted; None when nobody asked."""

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def test_accuracy(self) -> float:
        """Part of the test pictures that it knows, in [0, 1]."""
        return self.test.accuracy


def judge(
    score_NK: Float[Tensor, "N K"], labels: Sequence[int], classes: Sequence[str], names: Sequence[str]
) -> Judgement:
    """Hold what a network said against what is true.

    Args:
        score_NK: What it said, before any softmax.
        labels: What is true.
        classes: Names of the classes.
        names: What the pictures are called.

    >>> judge(torch.tensor([[2.0, 0.0], [1.0, 0.0]]), [0, 1], ["cat", "dog"], ["1.jpg", "2.jpg"]).confusion
    ((1, 0), (1, 0))
    """
    label_N = torch.tensor(labels)
    sure_N, said_N = score_NK.softmax(dim=1).max(dim=1)
    num_classes = len(classes)
    cell_N = label_N * num_classes + said_N
    confusion_KK = torch.bincount(cell_N, minlength=num_classes**2).view(num_classes, num_classes)
    return Judgement(
        accuracy=float((said_N == label_N).double().mean()),
        loss=float(functional.cross_entropy(score_NK.double(), label_N)),
        classes=tuple(classes),
        class_accuracy=_class_accuracy(confusion_KK.tolist(), classes),
        confusion=tuple(map(tuple, confusion_KK.tolist())),
        mistakes=tuple(
            Mistake(
                picture=names[index],
                is_class=classes[labels[index]],
                taken_for=classes[int(said_N[index])],
                confidence=float(sure_N[index]),
            )
            for index in sorted(range(len(labels)), key=lambda it: (-float(sure_N[it]), it))
            if int(said_N[index]) != labels[index]
        ),
    )


def _class_accuracy(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> dict[str, float]:
    counts: Mapping[str, Sequence[int]] = dict(zip(classes, confusion, strict=True))
    return {name: row[place] / sum(row) for place, (name, row) in enumerate(counts.items()) if sum(row)}
