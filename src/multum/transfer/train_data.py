"""The pictures of a training: read once to the end, split in three, and how they are varied and framed.

A header tells little: a file may be cut short after it. So every picture is decoded before the first step, which a
training has to do anyway, and what is damaged ends it then, or is left out on request, and not on the third evening.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from multum.backbones import InputScaling
from multum.core import UserError, track
from multum.data import (
    DIGIT_CLASSES,
    ImageBatches,
    ImageFolder,
    ImageSplit,
    TestTransform,
    TrainTransform,
    read_digits,
    read_image_folder,
    split_images,
    take_per_class,
)
from multum.transfer.train_config import TransferConfig

SHRUNK = 4 / 3
"""Decoded pictures are kept so many times as large as the network sees them."""

CROP_SCALE, CROP_SCALE_OF_DIGITS = (0.22, 1.0), (0.6, 1.0)
"""Parts of the area that training shows, where nothing is said."""

WHOLE = 1.0
"""Of a digit all is tested on: it fills its picture."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures, and what each of them is."""

    folder: ImageFolder
    """Classes, labels, and what was left out."""
    batches: ImageBatches
    """The pictures themselves."""
    names: tuple[str, ...]
    """What a report calls each."""
    frame: TestTransform
    """What makes a network's input of one."""
    fingerprint: str
    """Tells these pictures from others."""

    def labels_of(self, samples: Sequence[int]) -> list[int]:
        """Classes of some of them, as indices into the names of the classes."""
        return [self.folder.labels[sample] for sample in samples]


@dataclass(frozen=True, kw_only=True)
class TransferData:
    """Pictures to learn from, to choose by, and to report on."""

    pictures: Pictures
    """All of them."""
    split: ImageSplit
    """Which are for what."""
    vary: TrainTransform
    """What happens to one in training."""


def load_data(config: TransferConfig, side: int, scaling: InputScaling) -> TransferData:
    """Read and split the pictures that a configuration names.

    Args:
        config: The dials.
        side: Height and width of what the network sees.
        scaling: What the network's pixels go through.

    Raises:
        UserError: No such folder, one without classes, a class without pictures or with too few, a broken picture.
        MissingExtraError: Pillow, or for the digits scikit-learn, is not installed.
    """
    pictures = read_pictures(config, side, scaling)
    folder = pictures.folder
    split = split_images(folder, validation=config.validation, test=config.test, seed=config.seed)
    if config.num_train is not None:
        few = take_per_class(folder.labels, config.num_train, seed=config.seed, among=split.train)
        split = replace(split, train=few)
    return TransferData(pictures=pictures, split=split, vary=_vary(config, side, scaling))


def read_pictures(
    config: TransferConfig, side: int, scaling: InputScaling, *, least_classes: int = 2
) -> Pictures:
    """List the pictures that a configuration names, and decode each once.

    Args:
        config: The dials.
        side: As for `load_data`.
        scaling: As for `load_data`.
        least_classes: Refuse fewer.

    Raises:
        UserError: As for `load_data`.
        MissingExtraError: As for `load_data`.
    """
    frame = TestTransform(side=side, mean=scaling.mean, std=scaling.std)
    if not isinstance(config.data, Path):
        return _digits(replace(frame, keep=WHOLE))
    folder = read_image_folder(config.data, skip_broken=config.skip_broken, least_classes=least_classes)
    batches = _batches(folder, frame, config.cache_bytes)
    broken = _decode_all(batches, frame, config.skip_broken)
    if broken:
        folder = _without(folder, broken)
        batches = _batches(folder, frame, config.cache_bytes)
    names = tuple(path.relative_to(config.data).as_posix() for path in folder.paths)
    sizes = tuple(path.stat().st_size for path in folder.paths)
    return Pictures(
        folder=folder,
        batches=batches,
        names=names,
        frame=frame,
        fingerprint=_fingerprint(folder.classes, folder.labels, folder.parts, names, sizes),
    )


def _digits(frame: TestTransform) -> Pictures:
    digits = read_digits(frame.side)
    names = tuple(f"digit {index}" for index in range(len(digits.labels)))
    folder = ImageFolder(classes=DIGIT_CLASSES, paths=tuple(map(Path, names)), labels=digits.labels)
    return Pictures(
        folder=folder,
        batches=ImageBatches(tuple(digits.pictures_N3SS), shorter_side=frame.side, cache_bytes=0),
        names=names,
        frame=frame,
        fingerprint=_fingerprint(folder.labels, names),
    )


def _batches(found: ImageFolder, frame: TestTransform, cache_bytes: int) -> ImageBatches:
    return ImageBatches(found.paths, shorter_side=round(frame.side * SHRUNK), cache_bytes=cache_bytes)


def _decode_all(batches: ImageBatches, frame: TestTransform, skip_broken: bool) -> dict[int, str]:
    """Decode every picture, which also fills the cache; tell which could not be, and why."""
    broken: dict[int, str] = {}
    for index in track(range(len(batches)), "reading pictures"):
        try:
            batches.load([index], frame)
        except UserError as problem:
            if not skip_broken:
                raise UserError(f"{problem}; or leave such pictures out with skip_broken") from problem
            broken[index] = str(problem)
    return broken


def _without(found: ImageFolder, broken: dict[int, str]) -> ImageFolder:
    kept = [index for index in range(len(found)) if index not in broken]
    return replace(
        found,
        paths=tuple(found.paths[index] for index in kept),
        labels=tuple(found.labels[index] for index in kept),
        parts=tuple(found.parts[index] for index in kept) if found.parts else (),
        skipped=(*found.skipped, *broken.values()),
    )


def _vary(config: TransferConfig, side: int, scaling: InputScaling) -> TrainTransform:
    default_scale = CROP_SCALE_OF_DIGITS if config.is_of_digits else CROP_SCALE
    return TrainTransform(
        side=side,
        seed=config.seed,
        scale=config.crop_scale or default_scale,
        flip=config.flip == "always" or (config.flip == "photographs" and not config.is_of_digits),
        brightness=config.colour_jitter,
        contrast=config.colour_jitter,
        saturation=config.colour_jitter,
        mean=scaling.mean,
        std=scaling.std,
    )


def _fingerprint(*facts: tuple[object, ...]) -> str:
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
