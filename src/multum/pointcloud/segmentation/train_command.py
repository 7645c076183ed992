"""`multum pointcloud train`, as a plain function: labelled scans in, a run folder out.

The folder keeps the configuration and the result (`run.json`), a line for each epoch (`metrics.jsonl`), while it
trains a checkpoint, and in the end the network (`model/`), to be used by itself.
"""

from pathlib import Path

import torch

from multum.core import Run, UserError, from_dict, invalid, read_json, say, to_dict
from multum.core.run import RUN_FILE
from multum.pointcloud.segmentation.config import SegmentationConfig
from multum.pointcloud.segmentation.data import SegmentationData, load_data
from multum.pointcloud.segmentation.judge import judge_scans
from multum.pointcloud.segmentation.model import CONFIG_FILE, WEIGHTS_FILE, Segmenter, fresh_segmenter
from multum.pointcloud.segmentation.result import SegmentationResult
from multum.pointcloud.segmentation.scan_reader import ScanReader
from multum.pointcloud.segmentation.train import SegmentationTraining
from multum.training import CHECKPOINT_FILE, METRICS_FILE

MODEL_FOLDER = "model"


def train_segmentation(
    config: SegmentationConfig, folder: Path, *, resume: bool = False, overwrite: bool = False
) -> SegmentationResult:
    """Train, choose the best epoch on the validation part, and judge it once on the test part.

    Args:
        config: The dials.
        folder: Run folder.
        resume: Continue the run that lies there, bit for bit.
        overwrite: Replace the run that lies there.

    Raises:
        UserError: Bad options or scans, a loss that is not finite; a run lies there and neither flag was given.
    """
    torch.set_num_threads(config.num_threads)
    with Run.open(
        folder, config, resume=resume, overwrite=overwrite, seed=config.seed, device=config.device
    ) as run:
        if overwrite:
            for name in (CHECKPOINT_FILE, METRICS_FILE, *_model_files()):
                run.path(name).unlink(missing_ok=True)
        if run.finished:
            say("this run is finished already")
            return from_dict(SegmentationResult, run.result)
        result = _train(config, folder)
        run.finish(to_dict(result))
        run.path(CHECKPOINT_FILE).unlink(missing_ok=True)  # what it led to is there
        return result


def read_run(folder: Path) -> tuple[SegmentationConfig, SegmentationResult]:
    """Read what a finished run was told and what it found out.

    Raises:
        UserError: No run of a segmentation lies there, or one that is not finished.
    """
    if not (folder / RUN_FILE).is_file():
        remedy = "multum pointcloud train makes one"
        raise invalid("run", f"a folder with {RUN_FILE} in it", str(folder), remedy)
    record = read_json(folder / RUN_FILE)
    if record.get("status") != "finished":
        raise UserError(f"the run in {folder} must be finished; multum pointcloud train --resume does that")
    try:
        return from_dict(SegmentationConfig, record["config"]), from_dict(
            SegmentationResult, record["result"]
        )
    except UserError as problem:
        raise UserError(f"{folder} must hold a run of multum pointcloud train; {problem}") from problem


def load_segmenter(folder: Path) -> Segmenter:
    """The network of a run, or of a folder that `Segmenter.save_pretrained` wrote.

    Raises:
        UserError: There is none, or it is broken.
    """
    model = folder / MODEL_FOLDER
    found = model if (model / CONFIG_FILE).is_file() else folder
    if not (found / CONFIG_FILE).is_file():
        wanted = f"a finished run, or a folder with {CONFIG_FILE} and {WEIGHTS_FILE} in it"
        raise invalid("run", wanted, str(folder), "multum pointcloud train makes one")
    return Segmenter.from_pretrained(found)


def _model_files() -> tuple[str, str]:
    return f"{MODEL_FOLDER}/{CONFIG_FILE}", f"{MODEL_FOLDER}/{WEIGHTS_FILE}"


def _train(config: SegmentationConfig, folder: Path) -> SegmentationResult:
    data = load_data(config)
    for note in data.notes:
        say(note)
    segmenter = fresh_segmenter(config, data.classes)
    training = SegmentationTraining(segmenter, data, config, folder)
    training.run()
    segmenter.save_pretrained(folder / MODEL_FOLDER)
    return _result(config, segmenter, data, training)


def _result(
    config: SegmentationConfig, segmenter: Segmenter, data: SegmentationData, training: SegmentationTraining
) -> SegmentationResult:
    by_hand = f"{config.network}, {config.channel_ratio:g} of the width"
    return SegmentationResult(
        network=by_hand if config.network_file is None else config.network_file.name,
        points=config.points,
        voxel_size=config.voxel_size,
        classes=data.classes,
        num_parameters=segmenter.num_parameters,
        num_train=len(data.train),
        num_validation=len(data.validation) if data.validation is not None else 0,
        num_epochs=training.num_epochs,
        best_epoch=training.progress.best_epoch,
        stopped_early=training.num_epochs < config.num_epochs,
        validation_mean_iou=training.progress.best_mean_iou,
        judged_part="validation" if data.test is None else "test",
        judged=judge_scans(segmenter, ScanReader(data.judged)),
        notes=data.notes,
        fingerprint=data.fingerprint,
    )
