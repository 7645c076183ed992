"""What adding classes came to, in plain values, and from which pictures a network has learned so far."""

from dataclasses import dataclass

from multum.core import check_fields
from multum.transfer.train_config import DataWish, TransferConfig
from multum.transfer.train_result import Judgement


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Pictures that a network has learned from, and how they were split."""

    data: DataWish
    """Where they were."""
    fingerprint: str
    """Tells them from others."""
    validation: float
    """Share to choose by, where the folder has no such part."""
    test: float
    """Share to report on, likewise."""
    seed: int
    """Of the draw."""


@dataclass(frozen=True, kw_only=True)
class AddClassesResult:
    """What `add_classes` reports. Accuracies are of test parts, which neither features nor means have seen."""

    trained: TransferConfig
    """How the features were trained."""
    side: int
    """Height and width of what the network sees, in pixels."""
    classes: tuple[str, ...]
    """Names of all classes, in the order of the network's outputs; the new ones come last."""
    added: tuple[str, ...]
    """Names of the new ones."""
    num_old: int
    """Pictures that the means and the spread were of before."""
    num_new: int
    """New pictures to learn from."""
    old_before: Judgement | None
    """Pictures of the old classes, by the classifier that the run had; None where they are gone."""
    old_as_means: Judgement | None
    """The same, by a classifier out of the means of the old classes."""
    old_after: Judgement | None
    """The same, by the classifier of all classes."""
    new: Judgement
    """Pictures of the new classes, by the classifier of all classes."""
    learned: tuple[Learned, ...]
    """All pictures that the network has learned from, in the order in which it did."""
    skipped: tuple[str, ...] = ()
    """Pictures that were left out, a sentence each."""

    def __post_init__(self) -> None:
        check_fields(self)
