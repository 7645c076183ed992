"""`multum transfer train` and `multum transfer evaluate`, as plain functions: pictures in, a run folder out.

The folder keeps the configuration and the result (`run.json`), a line for each epoch (`metrics.jsonl`), while it
trains a checkpoint, and in the end what the training changed (`adapted.safetensors`): all else is the backbone's own.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.backbones import Backbone, make_backbone
from multum.core import Run, UserError, from_dict, invalid, read_json, say, to_dict
from multum.core.run import RUN_FILE
from multum.training import CHECKPOINT_FILE, METRICS_FILE
from multum.transfer.budget import settle, within
from multum.transfer.delta import save_delta
from multum.transfer.int8_backbone import to_int8
from multum.transfer.lite_weights import load_lite_weights, start_from
from multum.transfer.modes import Adapted, adapt
from multum.transfer.recomputation import recompute_blocks
from multum.transfer.train import Training
from multum.transfer.train_config import TransferConfig
from multum.transfer.train_data import Pictures, TransferData, load_data
from multum.transfer.train_parts import load_batch, scores
from multum.transfer.train_result import Judgement, TransferResult, judge

ADAPTED_FILE = "adapted.safetensors"

NUM_TO_MEASURE_BY = 32
"""Lite residuals are measured by about so many pictures."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A backbone that is ready to be trained on other classes, or was."""

    model: nn.Module
    """In evaluation mode."""
    adapted: Adapted
    """What trains."""
    side: int
    """Height and width of what it sees, in pixels."""


def train_transfer(
    config: TransferConfig, folder: Path, *, resume: bool = False, overwrite: bool = False
) -> TransferResult:
    """Train, choose the best epoch on the validation part, and judge it once on the test part.

    Args:
        config: The dials.
        folder: Run folder.
        resume: Continue the run that lies there, bit for bit.
        overwrite: Replace the run that lies there.

    Raises:
        UserError: Bad options or pictures, a loss that is not finite; a run lies there and neither flag was given.
        MissingExtraError: The weights of the backbone, Pillow or scikit-learn are not installed.
    """
    torch.set_num_threads(config.num_threads)
    with Run.open(folder, config, resume=resume, overwrite=overwrite, seed=config.seed) as run:
        if overwrite:
            for name in (CHECKPOINT_FILE, METRICS_FILE, ADAPTED_FILE):
                run.path(name).unlink(missing_ok=True)
        if run.finished:
            say("this run is finished already")
            return from_dict(TransferResult, run.result)
        settled, chosen = settle(config)
        with within(chosen, hard_limit=config.hard_limit) as used:
            found = _train(settled, folder)
            result = replace(found, memory=used())
        run.finish(to_dict(result))
        run.path(CHECKPOINT_FILE).unlink(missing_ok=True)  # what it led to is there
        return result


def _train(config: TransferConfig, folder: Path) -> TransferResult:
    backbone = fresh_backbone(replace(config, int8=False))
    data = load_data(config, config.side or backbone.resolution, backbone.scaling)
    if config.int8:
        to_int8(backbone.requires_grad_(False), a_few(backbone, data))
    for sentence in data.pictures.folder.skipped:
        say(f"left out: {sentence}")
    classes = data.pictures.folder.classes
    network = adapted_network(config, backbone, len(classes), example=to_measure_by(config, backbone, data))
    training = Training(network.model, network.adapted.classifier, data, config, folder)
    training.run()
    save_delta(folder / ADAPTED_FILE, network.model, network.adapted, classes=classes)
    return _result(config, network, data, training)


def fresh_backbone(config: TransferConfig) -> Backbone:
    """The network that a configuration starts from, its classifier not yet replaced.

    Where its weights are in int8, means of norms are those of the float network: a delta has those that moved.

    Raises:
        UserError: An unknown name, or no weights for it.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        backbone = make_backbone(config.backbone, num_classes=2, pretrained=config.pretrained)
    if config.int8:
        to_int8(backbone.requires_grad_(False))
    return backbone


def adapted_network(
    config: TransferConfig,
    backbone: Backbone,
    num_classes: int,
    *,
    example: Float[Tensor, "B 3 H W"] | None = None,
) -> Network:
    """Make a backbone ready for its new classes; the same seed gives the same network.

    Args:
        config: The dials.
        backbone: Changed in place.
        num_classes: Of the task.
        example: Pictures of the task, where lite residuals are measured by them; None: none are there.

    Raises:
        UserError: As `adapt`; lite residuals to start from that are missing, or of another backbone.
    """
    side = config.side or backbone.resolution
    blank = torch.zeros(config.at_a_time, 3, side, side).contiguous(memory_format=torch.channels_last)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        adapted = adapt(
            backbone,
            config.mode,
            example=blank if example is None else example,
            num_classes=num_classes,
            lite_start=config.lite_start,
            num_blocks=config.num_blocks,
            few_kernels=config.few_kernels,
        )
        if config.lite_weights is not None:
            start_from(backbone, adapted, load_lite_weights(config.lite_weights))
    if config.recompute:
        recompute_blocks(backbone)
    return Network(model=backbone.eval(), adapted=adapted, side=side)


def to_measure_by(
    config: TransferConfig, backbone: Backbone, data: TransferData
) -> Float[Tensor, "B 3 S S"] | None:
    """Pictures that lite residuals are measured by; None where they are not."""
    is_measured = "lite" in config.mode and (config.lite_start or "").startswith("measured")
    return a_few(backbone, data) if is_measured else None


def a_few(backbone: Backbone, data: TransferData) -> Float[Tensor, "B 3 S S"]:
    """A few varied pictures from everywhere in the training part."""
    train = data.split.train
    few = train[:: max(1, len(train) // NUM_TO_MEASURE_BY)]
    return load_batch(backbone, data.pictures, few, data.vary)


def judge_part(network: Network, pictures: Pictures, samples: tuple[int, ...], batch_size: int) -> Judgement:
    """How good a network is on some of the pictures."""
    score_NK = scores(network.model, pictures, samples, batch_size)
    names = [pictures.names[sample] for sample in samples]
    return judge(score_NK, pictures.labels_of(samples), pictures.folder.classes, names)


def read_run(folder: Path) -> tuple[TransferConfig, TransferResult]:
    """Read what a finished run was told and what it found out.

    Raises:
        UserError: No run of a transfer lies there, or one that is not finished.
    """
    if not (folder / RUN_FILE).is_file():
        raise invalid(
            "run", f"a folder with {RUN_FILE} in it", str(folder), "multum transfer train makes one"
        )
    record = read_json(folder / RUN_FILE)
    if record.get("status") != "finished":
        raise UserError(f"the run in {folder} must be finished; multum transfer train --resume does that")
    try:
        return from_dict(TransferConfig, record["config"]), from_dict(TransferResult, record["result"])
    except UserError as problem:
        raise UserError(f"{folder} must hold a run of multum transfer train; {problem}") from problem


def _result(
    config: TransferConfig, network: Network, data: TransferData, training: Training
) -> TransferResult:
    split = data.split
    return TransferResult(
        backbone=config.backbone,
        mode=config.mode,
        side=network.side,
        classes=data.pictures.folder.classes,
        num_train=len(split.train),
        num_validation=len(split.validation),
        num_trained=network.adapted.num_trained,
        num_frozen=network.adapted.num_frozen,
        num_epochs=training.num_epochs,
        best_epoch=training.progress.best_epoch,
        stopped_early=training.num_epochs < config.num_epochs,
        validation_accuracy=training.progress.best_accuracy,
        test=judge_part(network, data.pictures, split.test, config.at_a_time),
        stock_layers=network.adapted.lean.stock_layers,
        fingerprint=data.pictures.fingerprint,
        skipped=data.pictures.folder.skipped,
    )
