"""`multum transfer evaluate`, as a plain function: a trained network on pictures that it has not learned from."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from multum.core import check_fields, invalid
from multum.data import split_images
from multum.transfer.delta import load_delta
from multum.transfer.delta_apply import apply_delta
from multum.transfer.train_command import Network, fresh_backbone, judge_part
from multum.transfer.train_config import DataWish
from multum.transfer.train_data import Pictures, read_pictures
from multum.transfer.train_result import Judgement
from multum.transfer.trained_run import TrainedRun, read_trained


@dataclass(frozen=True, kw_only=True)
class EvaluateTransferConfig:
    """Judge a trained network: on the test part of its own pictures, or on others.

    Raises:
        UserError: A value outside its range.
    """

    run: Path
    """Folder of a finished run of `multum transfer train` or `multum transfer add-classes`."""

    data: DataWish
    """Folder of pictures, or the word digits. Of the run's own pictures only the test part counts. Of others the test
    part of the folder does, or all of them where it has none; what the run learned from must not be among them."""

    skip_broken: bool = False
    """Leave pictures out that cannot be read, and list them, instead of ending."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.num_threads < 1:
            raise invalid("num_threads", "at least 1", self.num_threads)


def evaluate_transfer(config: EvaluateTransferConfig) -> Judgement:
    """Judge a trained network.

    Args:
        config: The run and the pictures.

    Raises:
        UserError: No finished run lies there, or its backbone is another now; no pictures, broken ones, or ones of
            classes that the run does not know.
    """
    torch.set_num_threads(config.num_threads)
    run = read_trained(config.run)
    wish = replace(run.config, data=config.data, skip_broken=config.skip_broken)
    backbone = fresh_backbone(wish)
    pictures = read_pictures(wish, run.side, backbone.scaling, least_classes=1)
    samples = _to_judge_by(run, pictures)
    adapted = apply_delta(backbone, load_delta(run.adapted_file))
    network = Network(model=backbone.eval(), adapted=adapted, side=run.side)
    return judge_part(network, _in_order_of(run.classes, pictures), samples, wish.batch_size)


def _to_judge_by(run: TrainedRun, pictures: Pictures) -> tuple[int, ...]:
    folder = pictures.folder
    for learned in run.learned:
        if learned.fingerprint == pictures.fingerprint:
            return split_images(
                folder, validation=learned.validation, test=learned.test, seed=learned.seed
            ).test
    everything = tuple(range(len(folder)))
    of_test = tuple(index for index in everything if folder.parts and folder.parts[index] == "test")
    return of_test or everything


def _in_order_of(classes: tuple[str, ...], pictures: Pictures) -> Pictures:
    """Number the classes as the network does."""
    folder = pictures.folder
    strange = [name for name in folder.classes if name not in classes]
    if strange:
        raise invalid("classes of the pictures", f"among those of the run, {', '.join(classes)}", strange)
    labels = tuple(classes.index(folder.classes[label]) for label in folder.labels)
    return replace(pictures, folder=replace(folder, classes=classes, labels=labels))
