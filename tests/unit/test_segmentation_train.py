"""A training of scans: it learns, ends the same whenever it is killed, and says what is wrong with its input."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_lidar_pandaset import frame

from multum.core import UserError, from_dict, to_dict
from multum.pointcloud.lidar import AugmentationConfig
from multum.pointcloud.segmentation import (
    SegmentationConfig,
    SegmentationJudgement,
    SegmentationResult,
    SegmentationTraining,
    Segmenter,
    StreetsConfig,
    fresh_segmenter,
    load_data,
    train_segmentation,
)
from multum.pointcloud.segmentation.data import CHOSEN_BY, SAME_SCENE
from multum.training import CHECKPOINT_FILE, METRICS_FILE, read_metrics
from small_streets import street_config, write_drive, write_scans

MODEL = "model/model.safetensors"
MIXED = AugmentationConfig(laser_mix_probability=1.0, flip_probability=0.5)
INVOLVED: tuple[dict[str, Any], ...] = (
    {"ema": 0.9, "lovasz": 0.5},
    {"points": "rounded", "max_voxels": 500, "augmentation": MIXED},
)


def train_and_kill(
    monkeypatch: pytest.MonkeyPatch, config: SegmentationConfig, folder: Path, at_step: int
) -> None:
    """Let a training die in a step."""
    step = SegmentationTraining._step

    def dying(self: SegmentationTraining, indices: list[int]) -> None:
        if self.progress.step == at_step:
            raise KeyboardInterrupt
        step(self, indices)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTraining, "_step", dying)
        with pytest.raises(KeyboardInterrupt):
            train_segmentation(config, folder)


def judgement() -> SegmentationJudgement:
    """A judgement of two points."""
    return SegmentationJudgement(
        mean_iou=0.5, accuracy=0.5, loss=1.0, classes=("a", "b"), class_iou={"a": 0.5}, confusion=((1, 1), (0, 0)),
        num_scans=1, num_points=2, num_views=1, macs_per_scan=1.0, seconds_per_scan=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    "dials",
    [{"points": "raw"}, {"points": "rounded"}, {"network": "minkunet18"}],
    ids=["raw", "rounded", "minkunet"],
)
def test_streets_are_learned(tmp_path: Path, dials: dict[str, Any]) -> None:
    config = street_config(num_epochs=4, **dials)
    result = train_segmentation(config, tmp_path / "run")
    records = read_metrics(tmp_path / "run" / METRICS_FILE)
    assert [it["epoch"] for it in records] == [1, 2, 3, 4]
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]
    best = max(records, key=lambda it: (it["validation_mean_iou"], -it["validation_loss"]))
    assert (result.best_epoch, result.validation_mean_iou) == (best["epoch"], best["validation_mean_iou"])
    assert result.judged.num_judged == result.judged.num_points > 3000
    assert result.judged_part == "test"
    assert from_dict(SegmentationResult, json.loads(json.dumps(to_dict(result)))) == result
    kept = Segmenter.from_pretrained(tmp_path / "run" / "model")
    assert kept.num_parameters == result.num_parameters
    assert kept.config.points == config.points
    assert not (tmp_path / "run" / CHECKPOINT_FILE).exists()


@pytest.fixture(scope="module", params=INVOLVED, ids=["average", "rounded, cut and mixed"])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SegmentationConfig, Path, SegmentationResult]:
    """Give a training that nobody killed, and its folder."""
    config, folder = street_config(checkpoint_steps=1, **request.param), tmp_path_factory.mktemp("whole")
    return config, folder, train_segmentation(config, folder).timeless()


@pytest.mark.parametrize("kill_at", [1, 2, 3], ids=["in the first epoch", "between", "in the second"])
def test_a_killed_training_ends_bit_for_bit_as_an_undisturbed_one(
    undisturbed: tuple[SegmentationConfig, Path, SegmentationResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: int,
) -> None:
    config, folder, whole = undisturbed
    train_and_kill(monkeypatch, config, tmp_path, kill_at)
    assert (tmp_path / CHECKPOINT_FILE).exists()
    torch.rand(7)  # what others draw meanwhile changes nothing
    assert train_segmentation(config, tmp_path, resume=True).timeless() == whole
    for name in (METRICS_FILE, MODEL):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert train_segmentation(config, tmp_path, resume=True).timeless() == whole


def test_a_kill_before_the_first_checkpoint_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = street_config(num_epochs=1)
    whole = train_segmentation(config, tmp_path / "whole").timeless()
    train_and_kill(monkeypatch, config, tmp_path / "killed", 1)
    assert train_segmentation(config, tmp_path / "killed", resume=True).timeless() == whole
    other = train_segmentation(replace(config, seed=1), tmp_path / "other").timeless()
    assert other.judged != whole.judged


def test_the_epoch_that_was_best_is_kept_and_patience_ends(tmp_path: Path) -> None:
    data = load_data(street_config())
    config = street_config(num_epochs=5, early_stop=2)
    training = SegmentationTraining(fresh_segmenter(config, data.classes), data, config, tmp_path)
    found = iter([0.1, 0.3, 0.2, 0.3])
    judged = judgement()
    weights = []

    def told(*_: object) -> Any:
        weights.append(training.net.classifier.weight.detach().clone())
        return replace(judged, mean_iou=next(found))

    training._validate = told  # type: ignore[method-assign]
    training.run()
    assert (training.num_epochs, training.progress.best_epoch) == (4, 2)
    assert torch.equal(training.net.classifier.weight, weights[1])


def test_a_loss_that_explodes_ends_with_a_way_out(tmp_path: Path) -> None:
    config = street_config(learning_rate=1e30, num_epochs=4)
    with pytest.raises(
        UserError, match=r"loss must be finite; got (nan|inf) in step \d+; try a learning_rate below"
    ):
        train_segmentation(config, tmp_path / "run")


def test_the_rate_is_the_papers_for_the_scans_of_a_step() -> None:
    assert street_config(batch_size=4, learning_rate=None).rate.peak == pytest.approx(0.06)
    assert street_config(batch_size=16, learning_rate=None).rate.peak == pytest.approx(0.24)


def test_a_checkpoint_of_other_scans_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_scans(tmp_path / "scans", 4)
    config = street_config(data=folder, classes=load_data(street_config()).classes, validation=0.3, test=0.3)
    train_and_kill(monkeypatch, replace(config, checkpoint_steps=1), tmp_path / "run", 1)
    (folder / "scan9.npy").write_bytes((folder / "scan0.npy").read_bytes())
    (folder / "scan9.label.npy").write_bytes((folder / "scan0.label.npy").read_bytes())
    with pytest.raises(UserError, match="must be of the same scans; they have changed"):
        train_segmentation(replace(config, checkpoint_steps=1), tmp_path / "run", resume=True)


def test_parts_are_those_of_the_data_set_and_none_is_in_two(tmp_path: Path) -> None:
    classes = load_data(street_config()).classes
    own = load_data(
        SegmentationConfig(data=write_scans(tmp_path / "own", 6), classes=classes, validation=0.2, test=0.4)
    )
    assert own.validation is not None
    assert own.test is not None
    assert (len(own.train), len(own.validation), len(own.test)) == (3, 1, 2)
    assert len({*own.train.names, *own.validation.names, *own.test.names}) == 6

    kitti = write_drive(write_drive(tmp_path / "kitti", "00", 2), "08", 1)
    official = load_data(SegmentationConfig(data=kitti))
    assert official.train.names == ("00/000000", "00/000001")
    assert official.judged.names == ("08/000000",)
    assert official.notes == (CHOSEN_BY,)

    (tmp_path / "drive").mkdir()
    for number in range(5):
        frame(tmp_path / "drive", f"{number:02d}")
    drive = load_data(
        SegmentationConfig(data=tmp_path / "drive", num_train_frames=3, validation=0.3, coarse=True)
    )
    assert (drive.train.names, drive.judged.names) == (("00", "01"), ("03", "04"))
    assert drive.validation is not None
    assert drive.validation.names == ("02",)
    assert drive.notes == (SAME_SCENE,)
    assert len(drive.classes) == 15


@pytest.mark.parametrize(
    ("dials", "told"),
    [
        ({"num_epochs": 0}, "num_epochs must be at least 1"),
        ({"voxel_size": 0.0}, "voxel_size must be positive"),
        ({"warmup": 1.0}, r"warmup must be in \[0, 1\)"),
        ({"ema": 1.0}, r"ema must be in \(0, 1\)"),
        ({"coarse": True}, "must be left out where the scans are synthetic"),
        ({"lovasz": -1.0}, "lovasz must be at least 0"),
    ],
)
def test_dials_out_of_range_are_refused(dials: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        street_config(**dials)


def test_wishes_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="streets must be left out where the scans are a folder's"):
        SegmentationConfig(data=tmp_path, streets=StreetsConfig(num_train=1))
    with pytest.raises(UserError, match="folder of scans must be an existing folder, or the word synthetic"):
        load_data(SegmentationConfig(data=tmp_path / "nowhere"))
    bare = write_scans(tmp_path / "bare", 3, labels=False)
    with pytest.raises(UserError, match="classes of the scans must be at least two"):
        load_data(SegmentationConfig(data=bare))
    few = write_scans(tmp_path / "few", 2)
    with pytest.raises(UserError, match=r"scans \(or scenes\) must be more than the 2 that are held out"):
        load_data(SegmentationConfig(data=few, classes=("a", "b")))
    with pytest.raises(UserError, match="scans to judge by must be at least one"):
        load_data(SegmentationConfig(data=few, classes=("a", "b"), validation=0.0, test=0.0))
    with pytest.raises(UserError, match="coarse must be left out where the scans are not of PandaSet"):
        load_data(SegmentationConfig(data=few, classes=("a", "b"), coarse=True))


def test_labels_of_another_class_set_end_a_training_with_the_name_of_the_scan(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "scans", 3)
    config = street_config(data=folder, classes=("road", "car"), validation=0.3, test=0.3)
    with pytest.raises(UserError, match=r"labels of scan 'scan\d' must be in \[0, 2\) or -1 for none; got"):
        train_segmentation(config, tmp_path / "run")


def test_statistics_of_norms_are_averaged_with_the_weights(tmp_path: Path) -> None:
    config = street_config(ema=0.5, num_epochs=1)
    data = load_data(config)
    training = SegmentationTraining(fresh_segmenter(config, data.classes), data, config, tmp_path)
    training._step([0, 1])
    name = next(it for it in training.live if it.endswith("running_mean"))
    kept = min(0.5, 2 / 11)
    torch.testing.assert_close(training.average[name], (1 - kept) * training.live[name])  # it began at 0
    count = next(it for it in training.live if it.endswith("num_batches_tracked"))
    assert int(training.average[count]) == 1


def test_networks_have_the_published_sizes() -> None:
    for network, ratio, millions in (("spvcnn", 0.5, 5.45), ("minkunet18", 0.5, 5.44)):
        config = SegmentationConfig(data="synthetic", network=network, channel_ratio=ratio)
        found = fresh_segmenter(config, tuple(map(str, range(19)))).num_parameters / 1e6
        assert math.isclose(found, millions, abs_tol=0.006), network
