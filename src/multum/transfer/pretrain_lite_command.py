"""`multum transfer pretrain-lite`, as a plain function: lite residuals learn from much data, once, for many tasks.

Random lite residuals have to learn features from the few pictures of a task. Trained beside the frozen backbone on a
large set first, they bring features along. It is a training in mode `lite`; of its outcome the lite residuals are kept
and the classifier is thrown away.

Source: TinyTL (NeurIPS 2020), section 4.1: lite residuals are pre-trained on ImageNet.
Differs from the paper: on whatever pictures you have, with a new classifier for their classes.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from multum.core import Run, check_fields, from_dict, say, to_dict
from multum.transfer.delta import load_delta
from multum.transfer.lite_start import LiteStart
from multum.transfer.lite_weights import lite_weights_of, save_lite_weights
from multum.transfer.train_command import ADAPTED_FILE, train_transfer
from multum.transfer.train_config import DataWish, Optimizer, TransferConfig
from multum.transfer.train_result import TransferResult

LITE_FILE: Final = "lite.safetensors"
"""The lite residuals, in the run's folder; `multum transfer train --lite-weights` takes it."""
TRAINING_FOLDER: Final = "training"
"""The run of `multum transfer train` that they come from, in the run's folder; nobody needs it afterwards."""


@dataclass(frozen=True, kw_only=True)
class PretrainLiteConfig:
    """Train lite residuals beside a frozen backbone on a large set of pictures, for other trainings to start from.

    Raises:
        UserError: A value outside its range.
    """

    data: DataWish
    """Folder with a sub-folder of pictures for each class, many pictures of many classes; or the word digits."""

    backbone: str = "efficientnet-lite0"
    """Network that they belong to, a name that `multum.backbones.make_backbone` knows."""

    pretrained: bool = True
    """With its ImageNet weights; else with random ones, which is for trying things out."""

    side: int | None = None
    """Height and width of what the network sees, in pixels, which should be about those of the tasks; as it was
    published when left alone."""

    num_epochs: int = 20
    """How often each picture is seen."""

    batch_size: int = 32
    """Pictures of a step."""

    micro_batch: int | None = None
    """So many of them go through the network at a time: less memory, the same gradients. All when left alone."""

    optimizer: Optimizer = "adam"
    """Adam, or gradient descent with momentum."""

    learning_rate: float | None = None
    """The largest rate, which falls to 0 along half a cosine; a start value when left alone."""

    warmup: float = 0.1
    """Part of the steps in which the rate rises in a line first, in [0, 1)."""

    weight_decay: float = 0.0
    """Pulls matrices towards 0; at least 0."""

    label_smoothing: float = 0.1
    """Part of the target that is spread over all classes, in [0, 1)."""

    ema: float | None = None
    """Average what trains over the steps, and keep the average; no average when left alone."""

    lite_start: LiteStart | None = None
    """What they start from; the best start known when left alone."""

    validation: float = 0.1
    """Share of each class to choose the epoch by, in [0, 1), where the folder has no such part."""

    test: float = 0.1
    """Share of each class to report on, in (0, 1), where the folder has no such part."""

    num_train: int | None = None
    """Learn from so many pictures of each class; all that are not held out when left alone."""

    cache_bytes: int = 2**30
    """Bytes of decoded pictures that are kept; 0 decodes anew each time."""

    skip_broken: bool = False
    """Leave pictures out that cannot be read, and list them, instead of ending."""

    checkpoint_steps: int = 200
    """A checkpoint is written after so many steps, and after every epoch."""

    seed: int = 0
    """Of the parts, the order, the variation, and of fresh weights."""

    num_threads: int = 1
    """Threads that torch computes with; at least 1."""

    def __post_init__(self) -> None:
        check_fields(self)
        self.training()

    def training(self) -> TransferConfig:
        """The training that it is."""
        own: dict[str, Any] = {it.name: getattr(self, it.name) for it in fields(self)}
        return TransferConfig(mode="lite", **own)


@dataclass(frozen=True, kw_only=True)
class PretrainLiteResult:
    """What `pretrain_lite` reports."""

    lite_file: str
    """Where the lite residuals lie, in the run's folder."""
    num_blocks: int
    """Blocks that have one."""
    num_bytes: int
    """Of their tensors."""
    backbone_hash: str
    """Tells the backbone that they belong to from others."""
    training: TransferResult
    """How the training went: with its own classifier they know so many of its test pictures."""

    def __post_init__(self) -> None:
        check_fields(self)


def pretrain_lite(
    config: PretrainLiteConfig, folder: Path, *, resume: bool = False, overwrite: bool = False
) -> PretrainLiteResult:
    """Train lite residuals, and keep them alone.

    Args:
        config: The dials.
        folder: Run folder.
        resume: Continue the run that lies there, bit for bit.
        overwrite: Replace the run that lies there.

    Raises:
        UserError: As `train_transfer`.
        MissingExtraError: As `train_transfer`.
    """
    with Run.open(folder, config, resume=resume, overwrite=overwrite, seed=config.seed) as run:
        if overwrite:
            run.path(LITE_FILE).unlink(missing_ok=True)
        if run.finished:
            say("this run is finished already")
            return from_dict(PretrainLiteResult, run.result)
        inner = run.path(TRAINING_FOLDER)
        trained = train_transfer(config.training(), inner, resume=not overwrite, overwrite=overwrite)
        weights = lite_weights_of(load_delta(inner / ADAPTED_FILE))
        save_lite_weights(run.path(LITE_FILE), weights)
        result = PretrainLiteResult(
            lite_file=LITE_FILE,
            num_blocks=len(weights.header.places),
            num_bytes=weights.num_bytes,
            backbone_hash=weights.header.backbone,
            training=trained,
        )
        run.finish(to_dict(result))
        return result
