"""`multum transfer train` and `multum transfer evaluate`, as plain functions: pictures in, a run folder out.

The folder keeps the configuration and the result (`run.json`), a line for each epoch (`metrics.jsonl`), while it
trains a checkpoint, and in the end what the training changed (`adapted.safetensors`): all else is the backbone's own.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from multum.backbones import Backbone, make_backbone
from multum.core import Run, UserError, from_dict, invalid, read_json, say, to_dict
from multum.core.run import RUN_FILE
from multum.training import CHECKPOINT_FILE, METRICS_FILE
from multum.transfer.delta import save_delta
from multum.transfer.modes import Adapted, adapt
from multum.transfer.train import Training
from multum.transfer.train_config import TransferConfig
from multum.transfer.train_data import Pictures, TransferData, load_data
from multum.transfer.train_parts import scores
from multum.transfer.train_result import Judgement, TransferResult, judge

ADAPTED_FILE = "adapted.safetensors"


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
        backbone = fresh_backbone(config)
        data = load_data(config, config.side or backbone.resolution, backbone.scaling)
        for sentence in data.pictures.folder.skipped:
            say(f"left out: {sentence}")
        network = adapted_network(config, backbone, len(data.pictures.folder.classes))
        training = Training(network.model, network.adapted.classifier, data, config, folder)
        training.run()
        classes = data.pictures.folder.classes
        save_delta(run.path(ADAPTED_FILE), network.model, network.adapted, classes=classes)
        result = _result(config, network, data, training)
        run.finish(to_dict(result))
        run.path(CHECKPOINT_FILE).unlink(missing_ok=True)  # what it led to is there
        return result


def fresh_backbone(config: TransferConfig) -> Backbone:
    """The network that a configuration starts from, its classifier not yet replaced.

    Raises:
        UserError: An unknown name, or no weights for it.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return make_backbone(config.backbone, num_classes=2, pretrained=config.pretrained)


def adapted_network(config: TransferConfig, backbone: Backbone, num_classes: int) -> Network:
    """Make a backbone ready for its new classes; the same seed gives the same network."""
    side = config.side or backbone.resolution
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        adapted = adapt(backbone, config.mode, example=torch.zeros(1, 3, side, side), num_classes=num_classes)
    return Network(model=backbone.eval(), adapted=adapted, side=side)


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
        test=judge_part(network, data.pictures, split.test, config.batch_size),
        stock_layers=network.adapted.lean.stock_layers,
        fingerprint=data.pictures.fingerprint,
        skipped=data.pictures.folder.skipped,
    )
