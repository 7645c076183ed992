"""A finished run as something to use: its network, the names of its classes, and what it has learned from.

A run of `multum transfer train` is one, and so is one of `multum transfer add-classes`, which has more classes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multum.backbones import InputScaling
from multum.core import UserError, from_dict, invalid, read_json
from multum.core.run import RUN_FILE
from multum.data import TestTransform
from multum.transfer.add_classes_result import AddClassesResult, Learned
from multum.transfer.delta import Delta, load_delta
from multum.transfer.delta_apply import apply_delta
from multum.transfer.train_command import ADAPTED_FILE, Network, fresh_backbone, read_run
from multum.transfer.train_config import TransferConfig
from multum.transfer.train_data import WHOLE


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """What a finished run was told and came to, as far as its network needs it."""

    folder: Path
    """Where it lies."""
    config: TransferConfig
    """How its features were trained."""
    side: int
    """Height and width of what the network sees, in pixels."""
    classes: tuple[str, ...]
    """Names of its classes, in the order of its outputs."""
    learned: tuple[Learned, ...]
    """Pictures that it has learned from."""

    @property
    def adapted_file(self) -> Path:
        """The delta that makes its network of the backbone."""
        return self.folder / ADAPTED_FILE


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A run's network, ready to be used."""

    run: TrainedRun
    """Where it comes from."""
    delta: Delta
    """What made it of the backbone."""
    network: Network
    """The network itself, in evaluation mode."""
    scaling: InputScaling
    """What pixels in [0, 1] go through first."""

    @property
    def frame(self) -> TestTransform:
        """What makes the network's input of a picture: as it was judged in training."""
        plain = TestTransform(side=self.run.side, mean=self.scaling.mean, std=self.scaling.std)
        keep = WHOLE if self.run.config.is_of_digits else plain.keep
        return TestTransform(side=self.run.side, keep=keep, mean=self.scaling.mean, std=self.scaling.std)


def read_trained(folder: Path) -> TrainedRun:
    """Read what a finished run was told and came to.

    Args:
        folder: Of `multum transfer train` or `multum transfer add-classes`.

    Raises:
        UserError: No such run lies there, or one that is not finished.
    """
    result = _result_that_added(folder)
    if result is not None:
        return TrainedRun(
            folder=folder,
            config=result.trained,
            side=result.side,
            classes=result.classes,
            learned=result.learned,
        )
    config, trained = read_run(folder)
    learned = Learned(
        data=config.data,
        fingerprint=trained.fingerprint,
        validation=config.validation,
        test=config.test,
        seed=config.seed,
    )
    return TrainedRun(
        folder=folder, config=config, side=trained.side, classes=trained.classes, learned=(learned,)
    )


def load_trained(folder: Path) -> TrainedNetwork:
    """Build the network of a finished run.

    Args:
        folder: Of the run.

    Raises:
        UserError: As `read_trained`; the delta is broken, is one of other classes, or its backbone is another now.
    """
    run = read_trained(folder)
    delta = load_delta(run.adapted_file)
    if delta.header.classes != run.classes:
        found = "nobody has said" if delta.header.classes is None else ", ".join(delta.header.classes)
        raise invalid(
            f"classes of {run.adapted_file}", f"those of the run, {', '.join(run.classes)}", found, _COPY
        )
    backbone = fresh_backbone(run.config)
    scaling = backbone.scaling
    try:
        adapted = apply_delta(backbone, delta)
    except UserError as problem:
        raise UserError(f"{run.adapted_file}: {problem}") from problem
    network = Network(model=backbone.eval(), adapted=adapted, side=run.side)
    return TrainedNetwork(run=run, delta=delta, network=network, scaling=scaling)


_COPY = "copy the run's own file there again"


def _result_that_added(folder: Path) -> AddClassesResult | None:
    """What `add-classes` wrote; None where it is another kind of run, or none that is finished."""
    if not (folder / RUN_FILE).is_file():
        return None
    record = read_json(folder / RUN_FILE)
    result: Any = record.get("result") if isinstance(record, dict) else None
    if not isinstance(result, dict) or "trained" not in result or record.get("status") != "finished":
        return None
    try:
        return from_dict(AddClassesResult, result)
    except UserError as problem:
        raise UserError(f"{folder} must hold a run of multum transfer add-classes; {problem}") from problem
