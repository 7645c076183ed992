"""Lite residuals that are trained once: kept alone, started from, and refused where they do not belong."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from multum.backbones import Backbone
from multum.core import UserError
from multum.transfer import LiteResidual, TransferConfig, train_transfer
from multum.transfer import train_command as command
from multum.transfer.delta import load_delta
from multum.transfer.lite_weights import LITE_SCHEMA, lite_weights_of, load_lite_weights, start_from
from multum.transfer.pretrain_lite_command import (
    LITE_FILE,
    TRAINING_FOLDER,
    PretrainLiteConfig,
    pretrain_lite,
)
from multum.transfer.train import Training
from small_cnns import small_mobile
from small_pictures import SIDE, write_pictures


def tiny(config: TransferConfig) -> Backbone:
    """The same small network whatever the seed of the run."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return small_mobile(2)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder of pictures, and a small network in the place of every backbone."""
    monkeypatch.setattr(command, "fresh_backbone", tiny)
    return write_pictures(tmp_path / "pictures")


def wish(data: Path) -> PretrainLiteConfig:
    return PretrainLiteConfig(
        data=data, side=SIDE, num_epochs=2, batch_size=4, validation=0.25, test=0.25, learning_rate=0.01
    )


def task(data: Path, lite_weights: Path | None) -> TransferConfig:
    return TransferConfig(
        data=data, side=SIDE, num_epochs=1, seed=3, validation=0.25, test=0.25, lite_weights=lite_weights
    )


def lite_state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        f"{path}.{name}": tensor
        for path, it in model.named_modules()
        if isinstance(it, LiteResidual)
        for name, tensor in it.state_dict().items()
    }


def test_only_the_lite_residuals_are_kept(pictures: Path, tmp_path: Path) -> None:
    result = pretrain_lite(wish(pictures), tmp_path / "run")
    weights = load_lite_weights(tmp_path / "run" / LITE_FILE)
    assert all(".lite." in name for name in weights.tensors)
    assert any(name.endswith("running_var") for name in weights.tensors)
    assert (result.num_blocks, result.num_bytes) == (4, weights.num_bytes)
    assert result.training.mode == "lite"
    delta = load_delta(tmp_path / "run" / TRAINING_FOLDER / command.ADAPTED_FILE)
    for name, tensor in weights.tensors.items():
        assert torch.equal(tensor, delta.tensors[name])
    moved = [it for name, it in weights.tensors.items() if name.endswith("mix.0.weight")]
    assert all(it.abs().sum() > 0 for it in moved)
    assert pretrain_lite(wish(pictures), tmp_path / "run", resume=True) == result


def test_a_training_starts_from_them_with_a_fresh_classifier(pictures: Path, tmp_path: Path) -> None:
    pretrain_lite(wish(pictures), tmp_path / "run")
    file = tmp_path / "run" / LITE_FILE
    config = task(pictures, file)
    network = command.adapted_network(config, tiny(config), 3)
    plain = command.adapted_network(task(pictures, None), tiny(config), 3)
    found = lite_state(network.model)
    expected = load_lite_weights(file).tensors
    assert {f"{name}" for name in found} == set(expected)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    head, other = (it.model.get_submodule("classifier") for it in (network, plain))
    assert torch.equal(head.weight, other.weight)  # type: ignore[arg-type]
    assert network.adapted == plain.adapted
    assert train_transfer(config, tmp_path / "task").num_epochs == 1


def test_a_killed_pretraining_goes_on(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(wish(pictures), checkpoint_steps=1)
    whole = pretrain_lite(config, tmp_path / "whole")
    step = Training._step

    def dying(self: Training, batch: list[int]) -> None:
        if self.progress.step == 2:
            raise KeyboardInterrupt
        step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", dying)
        with pytest.raises(KeyboardInterrupt):
            pretrain_lite(config, tmp_path / "killed")
    assert pretrain_lite(config, tmp_path / "killed", resume=True) == whole
    assert (tmp_path / "killed" / LITE_FILE).read_bytes() == (tmp_path / "whole" / LITE_FILE).read_bytes()
    assert pretrain_lite(config, tmp_path / "killed", overwrite=True) == whole


def test_they_are_refused_beside_another_backbone(pictures: Path, tmp_path: Path) -> None:
    pretrain_lite(wish(pictures), tmp_path / "run")
    config = task(pictures, tmp_path / "run" / LITE_FILE)
    other = tiny(config)
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    with pytest.raises(UserError, match="model must be the backbone that the lite residuals were trained"):
        command.adapted_network(config, other, 3)


def test_they_are_refused_where_their_kernels_are_others(pictures: Path, tmp_path: Path) -> None:
    pretrain_lite(wish(pictures), tmp_path / "run")
    config = replace(task(pictures, tmp_path / "run" / LITE_FILE), side=96)
    network = tiny(config)
    with pytest.raises(UserError, match="train on pictures of about the size that they were trained on"):
        command.adapted_network(config, network, 3)


def test_other_files_deltas_and_modes_are_named(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist; multum transfer pretrain-lite makes such a file"):
        load_lite_weights(tmp_path / "nowhere")
    train_transfer(task(pictures, None), tmp_path / "task")
    path = tmp_path / "task" / command.ADAPTED_FILE
    with pytest.raises(UserError, match=f"the schema of .* must be '{LITE_SCHEMA}'"):
        load_lite_weights(path)
    with pytest.raises(UserError, match="mode of the delta must be lite, with fixed norms; got 'lite"):
        lite_weights_of(load_delta(path))
    with pytest.raises(UserError, match="lite_weights must be None in mode bias"):
        replace(task(pictures, path), mode="bias")
    with pytest.raises(UserError, match="lite_start must be None where lite_weights are given"):
        replace(task(pictures, path), lite_start="mix")


def test_other_blocks_are_named(pictures: Path, tmp_path: Path) -> None:
    pretrain_lite(wish(pictures), tmp_path / "run")
    weights = load_lite_weights(tmp_path / "run" / LITE_FILE)
    config = task(pictures, None)
    model = tiny(config)
    adapted = command.adapt(model, "bias", num_classes=3)
    with pytest.raises(UserError, match=r"lite residuals must be beside blocks\.1, .*; got 'none'"):
        start_from(model, adapted, weights)


def test_fewer_blocks_take_theirs(pictures: Path, tmp_path: Path) -> None:
    pretrain_lite(wish(pictures), tmp_path / "run")
    weights = load_lite_weights(tmp_path / "run" / LITE_FILE)
    model = tiny(task(pictures, None))
    example = torch.zeros(1, 3, SIDE, SIDE)
    adapted = command.adapt(model, "lite", num_classes=3, example=example, blocks=["blocks.3", "blocks.4"])
    start_from(model, adapted, weights)
    found = lite_state(model)
    assert found
    for name, tensor in found.items():
        assert torch.equal(tensor, weights.tensors[name]), name


def test_wishes_out_of_range_are_refused_at_once(pictures: Path) -> None:
    with pytest.raises(UserError, match="micro_batch must be at most batch_size"):
        replace(wish(pictures), micro_batch=9)
