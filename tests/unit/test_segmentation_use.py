"""A trained network in use: judged as one counts by hand, asked in several views, its predictions read back."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from multum.cli import main
from multum.core import UserError
from multum.pointcloud.lidar import (
    SEMANTIC_KITTI_CLASSES,
    SYNTHETIC_CLASSES,
    read_labels,
    rotate,
    semantic_kitti_classes,
    synthetic_street,
)
from multum.pointcloud.quantize import quantize
from multum.pointcloud.segmentation import (
    EvaluateSegmentationConfig,
    PredictSegmentationConfig,
    Segmenter,
    SegmenterConfig,
    evaluate_segmentation,
    fresh_segmenter,
    load_segmenter,
    log_probabilities,
    predict_segmentation,
    train_segmentation,
)
from multum.pointcloud.unet_macs import PyramidSizes, unet_macs
from small_streets import SENSOR, street_config, write_drive, write_scans


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a finished run; raw points."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train_segmentation(street_config(num_epochs=3), folder)
    return folder


@pytest.fixture
def rounded(tmp_path: Path) -> Segmenter:
    """Give a network that sees rounded points; its weights are drawn."""
    return fresh_segmenter(street_config(points="rounded"), SYNTHETIC_CLASSES)


def test_evaluation_equals_a_count_of_every_point(run: Path) -> None:
    found = evaluate_segmentation(EvaluateSegmentationConfig(run=run, data="synthetic"))
    told = json.loads((run / "run.json").read_text())["result"]["judged"]
    assert found.mean_iou == told["mean_iou"]
    segmenter = load_segmenter(run)
    truth: list[int] = []
    said: list[int] = []
    macs = 0.0
    for index in range(2):
        scan = synthetic_street(2, index, sensor=SENSOR)  # the third world is the test part's
        assert scan.label_N is not None
        features = torch.cat([scan.xyz_N3, scan.intensity_N[:, None]], dim=1)
        batch = quantize([scan.xyz_N3], [features], 0.4)
        with torch.no_grad():
            said += segmenter.net(batch).argmax(dim=1).tolist()
        truth += scan.label_N.tolist()
        sizes = PyramidSizes.of(batch.points.finest, batch.points.pyramid)
        macs += unet_macs(segmenter.config.network, sizes, num_points=float(len(scan))) / 2
    assert found.num_judged == len(truth) == found.num_points
    assert found.accuracy == sum(map(int.__eq__, truth, said)) / len(truth)
    iou = {}
    for label, name in enumerate(SYNTHETIC_CLASSES):
        both = sum(one == other == label for one, other in zip(truth, said, strict=True))
        either = sum(label in pair for pair in zip(truth, said, strict=True))
        if label in truth:
            iou[name] = both / either
    assert found.class_iou == pytest.approx(iou)
    assert found.mean_iou == pytest.approx(sum(iou.values()) / len(iou))
    assert found.macs_per_scan == pytest.approx(macs)


def test_views_are_averaged_point_by_point(run: Path) -> None:
    segmenter, scan = load_segmenter(run), synthetic_street(2, 0, sensor=SENSOR)
    alone = log_probabilities(segmenter, scan)
    assert torch.equal(log_probabilities(segmenter, scan, 1), alone)
    turned = [log_probabilities(segmenter, rotate(scan, 2 * math.pi * view / 3)).exp() for view in range(3)]
    torch.testing.assert_close(log_probabilities(segmenter, scan, 3).exp(), sum(turned) / 3)
    one = EvaluateSegmentationConfig(run=run, data="synthetic", num_views=1)
    assert evaluate_segmentation(one).timeless() == evaluate_segmentation(replace(one)).timeless()
    three = evaluate_segmentation(replace(one, num_views=3))
    assert three.num_views == 3
    assert three.loss != evaluate_segmentation(one).loss
    assert three.macs_per_scan == pytest.approx(3 * evaluate_segmentation(one).macs_per_scan)


def test_rounded_points_ask_the_voxel_that_they_lie_in(rounded: Segmenter) -> None:
    rounded.net.eval()
    scan = synthetic_street(2, 0, sensor=SENSOR)
    log_NK = log_probabilities(rounded, scan)
    assert len(log_NK) == len(scan)
    voxel = {}
    for row, place in zip(log_NK.tolist(), (scan.xyz_N3 / 0.4).round().int().tolist(), strict=True):
        assert voxel.setdefault(tuple(place), row) == row


def test_a_network_comes_back_from_its_folder_and_a_wrong_one_is_refused(
    rounded: Segmenter, tmp_path: Path
) -> None:
    rounded.save_pretrained(tmp_path / "model")
    again = Segmenter.from_pretrained(tmp_path / "model")
    assert again.config == rounded.config
    for name, tensor in rounded.net.state_dict().items():
        assert torch.equal(again.net.state_dict()[name], tensor)
    assert not again.net.training
    other = fresh_segmenter(street_config(channel_ratio=0.25), SYNTHETIC_CLASSES)
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / "config.json").write_bytes((tmp_path / "model" / "config.json").read_bytes())
    with pytest.raises(UserError, match=r"must be of the network in config\.json; it differs in"):
        Segmenter.from_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="run must be a finished run, or a folder with"):
        load_segmenter(tmp_path / "nowhere")
    with pytest.raises(UserError, match="classes must be 13, as the network has; got 1"):
        SegmenterConfig(classes=("a",), network=rounded.config.network, voxel_size=1.0, points="raw")


def test_predictions_of_ones_own_scans_read_back(run: Path, tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "scans", 2)
    found = predict_segmentation(PredictSegmentationConfig(run=run, scans=folder, out=tmp_path / "out"))
    assert [it.scan for it in found.predictions] == ["scan0", "scan1"]
    assert found.classes == SYNTHETIC_CLASSES
    segmenter = load_segmenter(run)
    for index, it in enumerate(found.predictions):
        label_N = read_labels(it.path)
        scan = synthetic_street(5, index, sensor=SENSOR)
        assert torch.equal(label_N, log_probabilities(segmenter, scan).argmax(dim=1))
        assert sum(it.class_points.values()) == it.num_points == len(scan)
    alone = PredictSegmentationConfig(run=run, scans=folder / "scan1.npy", out=tmp_path / "one")
    (single,) = predict_segmentation(alone).predictions
    assert single.path.read_bytes() == found.predictions[1].path.read_bytes()
    assert json.loads((tmp_path / "one" / "predictions.json").read_text())["classes"] == list(
        SYNTHETIC_CLASSES
    )


def test_predictions_of_semantic_kitti_lie_as_its_server_takes_them(tmp_path: Path) -> None:
    fresh_segmenter(street_config(), SEMANTIC_KITTI_CLASSES).save_pretrained(tmp_path / "model")
    kitti = write_drive(write_drive(tmp_path / "kitti", "08", 2), "00", 1)
    wish = PredictSegmentationConfig(
        run=tmp_path / "model", scans=kitti, out=tmp_path / "out", part="validation"
    )
    found = predict_segmentation(wish)
    path = tmp_path / "out" / "sequences" / "08" / "predictions" / "000001.label"
    assert [it.path for it in found.predictions][1] == path
    assert len(found.predictions) == 2
    label_N = semantic_kitti_classes(read_labels(path))
    assert (label_N >= 0).all()
    assert len(label_N) == len(synthetic_street(7, 1, sensor=SENSOR))
    lone = replace(wish, scans=kitti / "sequences" / "08" / "velodyne" / "000001.bin", part=None)
    (single,) = predict_segmentation(lone).predictions
    assert single.path == tmp_path / "out" / "000001.label"
    assert single.path.read_bytes() == path.read_bytes()


def test_other_scans_are_judged_by_the_names_of_their_classes(run: Path, tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "scans", 1)
    whole = EvaluateSegmentationConfig(run=run, data=folder)
    expected = evaluate_segmentation(whole)
    back = tuple(reversed(SYNTHETIC_CLASSES))
    number_N = np.load(folder / "scan0.label.npy")
    np.save(folder / "scan0.label.npy", len(back) - 1 - number_N)
    found = evaluate_segmentation(replace(whole, classes=back))
    assert found.timeless() == expected.timeless()
    with pytest.raises(UserError, match=r"classes of the scans must be among those of the run.*\['tram'\]"):
        evaluate_segmentation(replace(whole, classes=(*back[1:], "tram")))
    bare = write_scans(tmp_path / "bare", 1, labels=False)
    with pytest.raises(UserError, match="classes of the scans must be among those of the run"):
        evaluate_segmentation(replace(whole, data=bare))
    with pytest.raises(UserError, match="run must be a finished run"):
        evaluate_segmentation(replace(whole, run=tmp_path))


def test_what_a_run_of_a_folder_learned_from_is_not_judged(tmp_path: Path) -> None:
    folder = write_scans(tmp_path / "scans", 4)
    config = street_config(data=folder, classes=SYNTHETIC_CLASSES, num_epochs=1, validation=0.0, test=0.25)
    result = train_segmentation(config, tmp_path / "run")
    wish = EvaluateSegmentationConfig(run=tmp_path / "run", data=folder)
    assert evaluate_segmentation(wish).timeless() == result.judged.timeless()
    assert (result.judged.num_scans, result.validation_mean_iou) == (1, None)
    write_scans(folder, 5)
    with pytest.raises(UserError, match="those that the run saw; got 'others'"):
        evaluate_segmentation(wish)


def test_points_that_are_no_numbers_end_a_prediction_with_the_file_s_name(run: Path, tmp_path: Path) -> None:
    rows = np.full((5, 4), np.nan, dtype=np.float32)
    rows[:4] = 1.0
    np.save(tmp_path / "broken.npy", rows)
    with pytest.raises(UserError, match=r"broken\.npy must be finite; got '1 of 5 that are not'"):
        predict_segmentation(PredictSegmentationConfig(run=run, scans=tmp_path / "broken.npy"))


def test_the_command_line_trains_judges_and_predicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = write_scans(tmp_path / "scans", 3)
    dials = ["--channel-ratio", "0.125", "--voxel-size", "0.4", "--num-epochs", "1", "--batch-size", "1"]
    parts = ["--classes", *SYNTHETIC_CLASSES, "--validation", "0.3", "--test", "0.3"]
    train = ["pointcloud", "train", str(scans), *dials, *parts, "--out", str(tmp_path / "run")]
    assert main(train) == 0
    shown = capsys.readouterr().out
    assert "spvcnn, 0.125 of the width" in shown
    assert "test part: mean IoU" in shown
    assert main([*train, "--resume", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert main(["pointcloud", "evaluate", str(tmp_path / "run"), str(scans), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["confusion"] == result["judged"]["confusion"]
    assert main(["pointcloud", "evaluate", str(tmp_path / "run"), str(scans), "--num-views", "2"]) == 0
    assert "2 views each" in capsys.readouterr().out
    assert main(["pointcloud", "predict", str(tmp_path / "run"), str(scans)]) == 0
    assert "scan2" in capsys.readouterr().out
    assert len(read_labels(tmp_path / "run" / "predictions" / "scan2.npy")) > 1000


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "nowhere"], "folder of scans must be an existing folder, or the word synthetic"),
        (["train", "synthetic", "--voxel-size", "0"], "voxel_size must be positive"),
        (["train", "synthetic", "--network", "pointnet"], "--network"),
        (["train", "nowhere", "--recipe", "street"], "streets must be left out"),
        (["evaluate", "nowhere", "synthetic"], "run must be"),
        (["predict", "nowhere", "scan.bin"], "run must be a finished run"),
    ],
)
def test_a_wish_that_cannot_be_is_one_line_and_code_2(
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["pointcloud", *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
