"""`multum transfer add-classes`, as a plain function: a trained network learns more classes and keeps the old ones.

Its features stay as they are. The classifier is computed from running means, which lie beside the run once they were
made, so that later no old picture is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from multum.core import Run, UserError, check_fields, from_dict, invalid, say, to_dict
from multum.data import split_images, take_per_class
from multum.transfer.add_classes_result import AddClassesResult, Learned
from multum.transfer.delta import Delta, write_delta
from multum.transfer.streaming_classifier import (
    PAPER_SHRINKAGE,
    FeatureStatistics,
    load_statistics,
    save_statistics,
)
from multum.transfer.train_command import ADAPTED_FILE
from multum.transfer.train_data import Pictures, read_pictures
from multum.transfer.train_result import Judgement, judge
from multum.transfer.trained_features import (
    LabelledFeatures,
    classifier_of,
    features_name,
    labelled_features,
)
from multum.transfer.trained_run import TrainedNetwork, load_trained

STATISTICS_FILE = "statistics.safetensors"
"""Means and spread of the features, in the run's folder."""


@dataclass(frozen=True, kw_only=True)
class AddClassesConfig:
    """Teach a trained network more classes, without training and without forgetting.

    Raises:
        UserError: A value outside its range.
    """

    run: Path
    """Folder of a finished run of `multum transfer train` or of this command. It stays as it is, but for the means of
    its own pictures, which are written into it the first time."""

    data: Path
    """Folder with a sub-folder of pictures for each new class, one class at least."""

    old_data: Path | None = None
    """Where the pictures are that the run was trained on: to make their means the first time, and to judge by. Where
    they were then when left alone."""

    test: float = 0.1
    """Share of each new class to report on, in (0, 1), where the folder has no such part."""

    shrinkage: float | None = None
    """How much of the spread of the features is taken for that of independent ones of variance 1, in (0, 1]; the paper
    has 1e-4. What the numbers of pictures and features ask for when left alone."""

    batch_size: int = 32
    """Pictures that go through the network at a time."""

    skip_broken: bool = False
    """Leave pictures out that cannot be read, and list them, instead of ending."""

    seed: int = 0
    """Of the draw of the test part."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("batch_size", "num_threads"):
            if getattr(self, name) < 1:
                raise invalid(name, "at least 1", getattr(self, name))
        if not 0 < self.test < 1:
            raise invalid("test", "in (0, 1)", self.test, "what was learned from proves nothing")
        if self.shrinkage is not None and not 0 < self.shrinkage <= 1:
            raise invalid("shrinkage", "in (0, 1]", self.shrinkage, f"{PAPER_SHRINKAGE} is the paper's")


def add_classes(
    config: AddClassesConfig, folder: Path, *, resume: bool = False, overwrite: bool = False
) -> AddClassesResult:
    """Teach a trained network more classes.

    Args:
        config: The run, the pictures, and the dials.
        folder: Folder of the new run; what the others do with a run, they do with it.
        resume: Give the result of the run that lies there, or make it if it was ended early.
        overwrite: Replace the run that lies there.

    Raises:
        UserError: No finished run, a class that it knows already, no means and not the pictures to make them from,
            pictures that cannot be learned from, or a run lies in the folder and neither flag was given.
    """
    if folder.resolve() == config.run.resolve():
        raise invalid("out", "another folder than that of the run", str(folder))
    torch.set_num_threads(config.num_threads)
    with Run.open(folder, config, resume=resume, overwrite=overwrite, seed=config.seed) as run:
        if run.finished:
            say("this run is finished already")
            return from_dict(AddClassesResult, run.result)
        trained = load_trained(config.run)
        new = _new_pictures(config, trained)
        split = split_images(new.folder, validation=0.0, test=config.test, seed=config.seed)
        old_pictures = _old_pictures(config, trained)
        statistics = _statistics_so_far(config, trained, old_pictures)
        num_old = statistics.num_pictures
        held_old = _held_old(config, trained, old_pictures)
        held_new = labelled_features(trained, new, split.test, config.batch_size)
        classes = (*trained.run.classes, *new.folder.classes)
        as_means = statistics.classifier(trained.run.classes, shrinkage=config.shrinkage)
        learned = labelled_features(trained, new, split.train, config.batch_size)
        statistics.add(learned.feature_ND, learned.classes)
        layer = statistics.classifier(classes, shrinkage=config.shrinkage)
        write_delta(run.path(ADAPTED_FILE), with_classifier(trained.delta, layer, classes))
        save_statistics(run.path(STATISTICS_FILE), statistics, features=features_name(trained))
        result = AddClassesResult(
            trained=trained.run.config,
            side=trained.run.side,
            classes=classes,
            added=new.folder.classes,
            num_old=num_old,
            num_new=len(split.train),
            old_before=_judged(classifier_of(trained), held_old, trained.run.classes),
            old_as_means=_judged(as_means, held_old, trained.run.classes),
            old_after=_judged(layer, held_old, classes),
            new=_judgement(layer, held_new, classes),
            learned=(*trained.run.learned, _told(config, new)),
            skipped=new.folder.skipped,
        )
        run.finish(to_dict(result))
        return result


def with_classifier(delta: Delta, layer: nn.Linear, classes: Sequence[str]) -> Delta:
    """A delta with another classifier, and everything else as it was.

    Args:
        delta: Of a network whose classifier has as many inputs.
        layer: The new classifier.
        classes: What its outputs stand for.
    """
    path = delta.header.classifier
    kept = {name: it for name, it in delta.tensors.items() if not name.startswith(f"{path}.")}
    head = {f"{path}.{name}": it.detach().cpu().clone() for name, it in layer.state_dict().items()}
    return Delta(header=replace(delta.header, classes=tuple(classes)), tensors={**kept, **head})


def _new_pictures(config: AddClassesConfig, trained: TrainedNetwork) -> Pictures:
    wish = replace(trained.run.config, data=config.data, skip_broken=config.skip_broken)
    new = read_pictures(wish, trained.run.side, trained.scaling, least_classes=1)
    for sentence in new.folder.skipped:
        say(f"left out: {sentence}")
    known = [name for name in new.folder.classes if name in trained.run.classes]
    if known:
        raise invalid(
            f"classes of {config.data}",
            "new ones",
            known,
            "the run knows them already: give the new ones a folder of their own",
        )
    return replace(new, frame=trained.frame)


def _old_pictures(config: AddClassesConfig, trained: TrainedNetwork) -> list[Pictures | str]:
    """What the run has learned from, or, where that is not to be had, why."""
    found: list[Pictures | str] = []
    for number, learned in enumerate(trained.run.learned):
        data = config.old_data if number == 0 and config.old_data is not None else learned.data
        wish = replace(trained.run.config, data=data)
        try:
            pictures = read_pictures(wish, trained.run.side, trained.scaling, least_classes=1)
        except UserError as problem:
            found.append(str(problem))
            continue
        same = pictures.fingerprint == learned.fingerprint
        found.append(pictures if same else f"the pictures in {data} have changed since the run")
    return found


def _statistics_so_far(
    config: AddClassesConfig, trained: TrainedNetwork, old: Sequence[Pictures | str]
) -> FeatureStatistics:
    """Read the means that lie beside the run, or make them, once, of what it was trained on."""
    path, features = trained.run.folder / STATISTICS_FILE, features_name(trained)
    statistics = load_statistics(path, features=features)
    if statistics is not None:
        return statistics
    why = next((it for it in old if isinstance(it, str)), None)
    if why is not None:
        raise UserError(
            f"the pictures that {trained.run.folder} has learned from must be there once, to make the means of its "
            f"features; {why}; say where they are with old_data"
        )
    statistics = None
    for pictures, learned in zip(old, trained.run.learned, strict=True):
        assert isinstance(pictures, Pictures), "asked just now"
        samples = _training_part(trained, pictures, learned)
        held = labelled_features(trained, pictures, samples, config.batch_size)
        statistics = statistics or FeatureStatistics(held.feature_ND.shape[1])
        statistics.add(held.feature_ND, held.classes)
    assert statistics is not None, "a run has learned from something"
    save_statistics(path, statistics, features=features)
    return statistics


def _training_part(trained: TrainedNetwork, pictures: Pictures, learned: Learned) -> tuple[int, ...]:
    split = split_images(pictures.folder, validation=learned.validation, test=learned.test, seed=learned.seed)
    few = trained.run.config.num_train
    if few is None or learned is not trained.run.learned[0]:
        return split.train
    return take_per_class(pictures.folder.labels, few, seed=learned.seed, among=split.train)


def _held_old(
    config: AddClassesConfig, trained: TrainedNetwork, old: Sequence[Pictures | str]
) -> LabelledFeatures | None:
    """The test parts of the pictures that the run has learned from; None where some are gone."""
    parts = []
    for pictures, learned in zip(old, trained.run.learned, strict=True):
        if isinstance(pictures, str):
            say(f"old classes are not judged: {pictures}")
            return None
        split = split_images(
            pictures.folder, validation=learned.validation, test=learned.test, seed=learned.seed
        )
        parts.append(labelled_features(trained, pictures, split.test, config.batch_size))
    return LabelledFeatures(
        feature_ND=torch.cat([it.feature_ND for it in parts]),
        classes=tuple(name for it in parts for name in it.classes),
        pictures=tuple(name for it in parts for name in it.pictures),
    )


def _judged(layer: nn.Module, held: LabelledFeatures | None, classes: tuple[str, ...]) -> Judgement | None:
    return None if held is None else _judgement(layer, held, classes)


@torch.no_grad()
def _judgement(layer: nn.Module, held: LabelledFeatures, classes: tuple[str, ...]) -> Judgement:
    labels = [classes.index(name) for name in held.classes]
    return judge(layer(held.feature_ND), labels, classes, held.pictures)


def _told(config: AddClassesConfig, new: Pictures) -> Learned:
    return Learned(
        data=config.data, fingerprint=new.fingerprint, validation=0.0, test=config.test, seed=config.seed
    )
