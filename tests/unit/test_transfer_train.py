"""A training: the same whatever the micro-batch, whenever it is killed; its average, its best epoch, its refusals."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from multum.backbones import InputScaling
from multum.core import UserError, from_dict, to_dict
from multum.training import CHECKPOINT_FILE, METRICS_FILE, follow, holding, read_metrics
from multum.transfer import TransferConfig, TransferResult, adapt, evaluate_transfer, train_transfer
from multum.transfer import train_command as command
from multum.transfer.evaluate_command import EvaluateTransferConfig
from multum.transfer.train import Training
from multum.transfer.train_data import load_data
from multum.transfer.train_result import judge
from small_cnns import small_mobile
from small_pictures import SIDE, tiny, write_pictures


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder of pictures, and a small network in the place of every backbone."""
    monkeypatch.setattr(command, "fresh_backbone", tiny)
    monkeypatch.setattr("multum.transfer.evaluate_command.fresh_backbone", tiny)
    return write_pictures(tmp_path / "pictures")


def config_of(data: Path, **dials: Any) -> TransferConfig:
    given = {"side": SIDE, "num_epochs": 3, "batch_size": 5, "pretrained": False, "learning_rate": 0.01}
    return TransferConfig(
        data=data, **(given | {"validation": 0.25, "test": 0.25, "crop_scale": (0.5, 1.0)} | dials)
    )


def training_of(config: TransferConfig, folder: Path, dtype: torch.dtype = torch.float32) -> Training:
    torch.manual_seed(0)
    net = small_mobile(3).to(dtype)
    adapted = adapt(net, config.mode, example=torch.zeros(1, 3, SIDE, SIDE, dtype=dtype), num_classes=3)
    data = load_data(config, SIDE, InputScaling(mean=(0.5,) * 3, std=(0.5,) * 3))
    return Training(net, adapted.classifier, data, config, folder)


def train_and_kill(
    monkeypatch: pytest.MonkeyPatch, config: TransferConfig, folder: Path, at_step: int
) -> None:
    """Let a training die in a step."""
    step = Training._step

    def dying(self: Training, batch: list[int]) -> None:
        if self.progress.step == at_step:
            raise KeyboardInterrupt
        step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", dying)
        with pytest.raises(KeyboardInterrupt):
            train_transfer(config, folder)


def test_pictures_of_three_colours_are_learned(pictures: Path, tmp_path: Path) -> None:
    config = config_of(pictures, num_epochs=12)
    result = train_transfer(config, tmp_path / "run")
    assert result.test_accuracy == 1.0
    assert (result.num_train, result.num_validation, result.test.num_pictures) == (12, 6, 6)
    assert result.classes == ("blue", "green", "red")
    assert result.test.confusion == ((2, 0, 0), (0, 2, 0), (0, 0, 2))
    assert from_dict(TransferResult, json.loads(json.dumps(to_dict(result)))) == result
    records = read_metrics(tmp_path / "run" / METRICS_FILE)
    assert [it["epoch"] for it in records] == list(range(1, 13))
    best = max(records, key=lambda it: (it["validation_accuracy"], -it["validation_loss"]))
    assert (best["epoch"], best["validation_accuracy"]) == (result.best_epoch, result.validation_accuracy)
    assert records[-1]["loss"] < records[0]["loss"]
    again = evaluate_transfer(EvaluateTransferConfig(run=tmp_path / "run", data=pictures))
    assert again == result.test


@pytest.mark.parametrize("kill_at", [1, 4, 5], ids=["in the first epoch", "in the second", "between"])
@pytest.mark.parametrize("dials", [{"ema": 0.9}, {"optimizer": "sgd", "mode": "full"}], ids=str)
def test_a_killed_training_ends_bit_for_bit_as_an_undisturbed_one(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int, dials: dict[str, Any]
) -> None:
    config = config_of(pictures, checkpoint_steps=1, **dials)
    whole = train_transfer(config, tmp_path / "whole")
    train_and_kill(monkeypatch, config, tmp_path / "killed", kill_at)
    assert (tmp_path / "killed" / CHECKPOINT_FILE).exists()
    torch.rand(7)  # what others draw meanwhile changes nothing
    assert train_transfer(config, tmp_path / "killed", resume=True) == whole
    for name in (METRICS_FILE, command.ADAPTED_FILE):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert train_transfer(config, tmp_path / "killed", resume=True) == whole


@pytest.mark.parametrize("mode", ["last", "lite+bias", "full"])
@pytest.mark.parametrize("micro_batch", [1, 2, 5])
def test_micro_batches_have_the_gradients_of_the_whole_batch(
    pictures: Path, tmp_path: Path, mode: Any, micro_batch: int
) -> None:
    found = []
    for size in (None, micro_batch):
        config = config_of(pictures, mode=mode, micro_batch=size, dropout=0.5)
        training = training_of(config, tmp_path, torch.float64)
        for parameter in training.parameters.values():  # away from where lite residuals are silent
            parameter.data += 0.1 * torch.randn(
                parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
            )
        loss = training.gradients(training.data.split.train[:5], epoch=1)
        found.append((loss, {name: it.grad for name, it in training.parameters.items()}))
    (loss, whole), (other_loss, parts) = found
    assert other_loss == pytest.approx(loss, rel=1e-6)
    for name, gradient in whole.items():
        assert gradient is not None
        assert (parts[name] - gradient).norm() <= 1e-6 * gradient.norm(), name


def test_no_picture_sees_another_and_dropout_belongs_to_it(pictures: Path, tmp_path: Path) -> None:
    training = training_of(config_of(pictures, dropout=0.5), tmp_path)
    samples = training.data.split.train[:3]
    together = training.gradients(samples, epoch=0)
    alone = [training.gradients((sample,), epoch=0) for sample in samples]
    assert together == pytest.approx(sum(alone) / 3, rel=1e-5)
    assert training.gradients(samples, epoch=0) == together
    assert training.gradients(samples, epoch=1) != together


def test_the_average_follows_the_formula_and_is_what_is_judged_and_kept(
    pictures: Path, tmp_path: Path
) -> None:
    config = config_of(pictures, ema=0.5, num_epochs=1, dropout=0.0)
    training = training_of(config, tmp_path)
    name = "classifier.bias"
    expected, values = training.parameters[name].detach().clone(), []
    optimizer = training.optimizers["optimizer"]
    step = optimizer.step

    def watched() -> None:
        step()
        values.append(training.parameters[name].detach().clone())

    optimizer.step = watched  # type: ignore[method-assign, assignment]
    training.run()
    for number, value in enumerate(values, 1):
        kept = min(0.5, (1 + number) / (10 + number))
        expected = kept * expected + (1 - kept) * value
    torch.testing.assert_close(training.average[name], expected)
    torch.testing.assert_close(training.parameters[name].detach(), expected)
    assert not torch.equal(expected, values[-1])


def test_an_average_forgets_the_start_quickly() -> None:
    average = {"it": torch.zeros(1)}
    for step in range(1, 30):
        follow(average, {"it": torch.ones(1)}, 0.999, step)
    assert average["it"].item() > 0.98


def test_held_values_are_given_back_after_an_error() -> None:
    parameter = nn.Parameter(torch.ones(2))
    seen = []

    def look_and_fail() -> None:
        with holding({"it": parameter}, {"it": torch.zeros(2)}):
            seen.append(parameter.sum().item())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        look_and_fail()
    assert (seen, parameter.sum().item()) == ([0.0], 2.0)


def test_it_stops_early_and_keeps_the_best_epoch(pictures: Path, tmp_path: Path) -> None:
    config = config_of(pictures, num_epochs=20, early_stop=2, learning_rate=1e-12, weight_decay=0.0)
    result = train_transfer(config, tmp_path / "run")
    assert result.stopped_early
    assert result.num_epochs == result.best_epoch + 2 < 20
    again = train_transfer(replace(config), tmp_path / "run", resume=True)
    assert again == result


def test_without_a_validation_part_the_last_epoch_is_taken(pictures: Path, tmp_path: Path) -> None:
    result = train_transfer(config_of(pictures, validation=0.0), tmp_path / "run")
    assert (result.best_epoch, result.validation_accuracy, result.num_validation) == (3, None, 0)


def test_few_pictures_of_each_class_are_drawn(pictures: Path, tmp_path: Path) -> None:
    training = training_of(config_of(pictures, num_train=2), tmp_path)
    labels = training.data.pictures.labels_of(training.data.split.train)
    assert sorted(labels) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("flip", "expected"), [("photographs", True), ("always", True), ("never", False)], ids=str
)
def test_pictures_are_varied_as_wished(pictures: Path, tmp_path: Path, flip: Any, expected: bool) -> None:
    vary = training_of(config_of(pictures, flip=flip, colour_jitter=0.1, seed=4), tmp_path).data.vary
    assert (vary.flip, vary.scale, vary.contrast, vary.seed) == (expected, (0.5, 1.0), 0.1, 4)


def test_digits_fill_their_pictures_and_are_not_mirrored() -> None:
    pytest.importorskip("sklearn")
    scaling = InputScaling(mean=(0.5,) * 3, std=(0.5,) * 3)
    data = load_data(TransferConfig(data="digits", num_train=3), 16, scaling)
    assert (data.vary.flip, data.vary.scale, data.pictures.frame.keep) == (False, (0.6, 1.0), 1.0)
    assert len(data.split.train) == 30


def test_a_judgement_counts_and_names() -> None:
    score_NK = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
    found = judge(score_NK, [0, 0, 0], ["cat", "dog"], ["1", "2", "3"])
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.confusion == ((1, 2), (0, 0))
    assert found.class_accuracy == {"cat": pytest.approx(1 / 3)}
    assert [(it.picture, it.taken_for) for it in found.mistakes] == [("3", "dog"), ("2", "dog")]


def test_a_loss_that_is_not_finite_ends_it(pictures: Path, tmp_path: Path) -> None:
    config = config_of(pictures, optimizer="sgd", learning_rate=1e30)
    with pytest.raises(
        UserError, match=r"loss must be finite; got (nan|inf) in epoch \d; try a learning_rate below"
    ):
        train_transfer(config, tmp_path / "run")


def test_a_picture_cut_short_ends_it_or_is_left_out(pictures: Path, tmp_path: Path) -> None:
    whole = (pictures / "red" / "0.png").read_bytes()
    (pictures / "red" / "9.png").write_bytes(whole[: len(whole) // 2])  # its header is fine
    (pictures / "red" / "10.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="1 broken of 26"):
        train_transfer(config_of(pictures), tmp_path / "run")
    (pictures / "red" / "10.png").unlink()
    with pytest.raises(UserError, match=r"9\.png must be whole and readable.*skip_broken"):
        train_transfer(config_of(pictures), tmp_path / "run")
    result = train_transfer(config_of(pictures, skip_broken=True), tmp_path / "run")
    assert result.num_train + result.num_validation + result.test.num_pictures == 24
    assert len(result.skipped) == 1
    assert "9.png" in result.skipped[0]


def test_folders_that_cannot_be_learned_from_are_named(pictures: Path, tmp_path: Path) -> None:
    (pictures / "yellow").mkdir()
    with pytest.raises(UserError, match="yellow must be one with pictures in it; got 'none'"):
        train_transfer(config_of(pictures), tmp_path / "run")
    (pictures / "red" / "0.png").rename(pictures / "yellow" / "0.png")
    with pytest.raises(UserError, match="class yellow must be of at least 2 readable pictures; got 1"):
        train_transfer(config_of(pictures), tmp_path / "run")
    (pictures / "red" / "1.png").rename(pictures / "yellow" / "1.png")
    with pytest.raises(UserError, match="class yellow must be of at least one picture in each part"):
        train_transfer(config_of(pictures), tmp_path / "run")
    with pytest.raises(UserError, match="must be one with a sub-folder for each class"):
        train_transfer(config_of(pictures / "red"), tmp_path / "run")
    with pytest.raises(UserError, match="picture folder must be an existing folder"):
        train_transfer(config_of(tmp_path / "nowhere"), tmp_path / "run")


def test_a_run_of_another_configuration_or_other_pictures_is_not_continued(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(pictures, checkpoint_steps=1)
    train_and_kill(monkeypatch, config, tmp_path / "run", 2)
    with pytest.raises(UserError, match="another configuration, different in seed"):
        train_transfer(replace(config, seed=1), tmp_path / "run", resume=True)
    (pictures / "red" / "0.png").unlink()
    with pytest.raises(UserError, match="must be of the same pictures; they have changed"):
        train_transfer(config, tmp_path / "run", resume=True)
    assert train_transfer(config, tmp_path / "run", overwrite=True).num_train == 11


def test_other_pictures_are_judged_whole_and_by_the_names_of_their_classes(
    pictures: Path, tmp_path: Path
) -> None:
    train_transfer(config_of(pictures, num_epochs=1), tmp_path / "run")
    others = write_pictures(tmp_path / "others", per_class=3)
    for path in (others / "blue").iterdir():
        path.unlink()
    (others / "blue").rmdir()
    found = evaluate_transfer(EvaluateTransferConfig(run=tmp_path / "run", data=others))
    assert found.num_pictures == 6
    assert sum(found.confusion[0]) == 0
    assert set(found.class_accuracy) == {"green", "red"}
    (others / "red").rename(others / "pink")
    with pytest.raises(UserError, match="classes of the pictures must be among those of the run"):
        evaluate_transfer(EvaluateTransferConfig(run=tmp_path / "run", data=others))
    with pytest.raises(UserError, match=r"run must be a folder with run\.json in it"):
        evaluate_transfer(EvaluateTransferConfig(run=tmp_path, data=others))


def test_an_unknown_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"backbone must be one of .*did you mean resnet-18"):
        train_transfer(config_of(tmp_path, backbone="resnet-19"), tmp_path / "run")


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"micro_batch": 6}, "micro_batch must be at most batch_size, 5; got 6"),
        ({"num_epochs": 0}, "num_epochs must be at least 1"),
        ({"test": 0.0}, r"test must be in \(0, 1\); got 0\.0"),
        ({"ema": 1.0}, r"ema must be in \(0, 1\)"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"early_stop": 2, "validation": 0.0}, "early_stop must be None without a validation part"),
        ({"crop_scale": (0.5, 0.2)}, "crop_scale must be two ascending parts"),
        ({"colour_jitter": -1.0}, "colour_jitter must be at least 0"),
    ],
)
def test_dials_out_of_range_are_refused(dials: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config_of(Path("here"), **dials)


def test_the_word_digits_survives_json() -> None:
    config = TransferConfig(data=Path("digits"))
    assert config == TransferConfig(data="digits")
    assert from_dict(TransferConfig, to_dict(config)) == config
    assert from_dict(TransferConfig, {"data": "flowers"}).data == Path("flowers")
