"""Trainings go on after a kill as if nothing had happened, and nothing of them is ever half written."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from multum.core import UserError
from multum.training import (
    CHECKPOINT_FILE,
    METRICS_FILE,
    BatchPlan,
    LearningRate,
    LoopConfig,
    MetricLog,
    TrainingState,
    read_metrics,
    read_tensor_file,
    restore_checkpoint,
    save_checkpoint,
    train,
    write_tensor_file,
)

CONFIG = LoopConfig(num_epochs=3, batch_size=4, rate=LearningRate(peak=0.05), checkpoint_steps=3)
NUM_SAMPLES = 18


class KilledError(Exception):
    """Stands for a kill."""


def small_network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5), nn.Linear(5, 1))


def train_small(folder: Path, *, die_in_step: int | None = None) -> nn.Module:
    """Fit a line with dropout, which draws random numbers in every step."""
    network = small_network()
    input_N3 = torch.randn(NUM_SAMPLES, 3, generator=torch.Generator().manual_seed(2))
    steps_taken = 0

    def loss_of(batch, done_part):
        nonlocal steps_taken
        if steps_taken == die_in_step:
            raise KilledError
        steps_taken += 1
        rows = input_N3[list(batch)]
        return (network(rows)[:, 0] - rows.sum(dim=1)).square().mean()

    measure = lambda: {"norm": float(sum(it.square().sum() for it in network.parameters()))}  # noqa: E731
    parameters = dict(network.named_parameters())
    train(parameters, loss_of, [1] * NUM_SAMPLES, CONFIG, folder, after_epoch=measure)
    return network


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("die_in_step", [1, 3, 7, 14])
def test_a_killed_training_ends_bit_for_bit_like_an_undisturbed_one(tmp_path: Path, die_in_step: int) -> None:
    whole = train_small(tmp_path / "whole")
    with pytest.raises(KilledError):
        train_small(tmp_path / "killed", die_in_step=die_in_step)
    assert same_weights(whole, train_small(tmp_path / "killed"))
    logs = [(tmp_path / name / METRICS_FILE).read_bytes() for name in ("whole", "killed")]
    assert logs[0] == logs[1]


SCRIPT = """
import sys, os, signal
sys.path[:0] = sys.argv[2:]
from pathlib import Path
import test_training as it
if __name__ == "__main__":
    plan = it.train
    def deadly(parameters, loss_of, *args, **kwargs):
        def loss(batch, part):
            if part > 0.5:
                os.kill(os.getpid(), signal.SIGKILL)
            return loss_of(batch, part)
        return plan(parameters, loss, *args, **kwargs)
    it.train = deadly
    it.train_small(Path(sys.argv[1]))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_process_that_was_really_killed_is_continued(tmp_path: Path) -> None:
    paths = [str(Path(__file__).parent), *sys.path]
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), *paths], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / CHECKPOINT_FILE).exists()
    assert same_weights(train_small(tmp_path / "whole"), train_small(tmp_path / "killed"))


def test_a_finished_training_is_only_read(tmp_path: Path) -> None:
    first = train_small(tmp_path)
    assert same_weights(first, train_small(tmp_path, die_in_step=0))


def test_a_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train_small(tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_training_learns(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.zeros(1))
    config = LoopConfig(num_epochs=40, batch_size=1, rate=LearningRate(peak=0.1))
    train({"weight": weight}, lambda *_: (weight - 2).square().sum(), [1], config, tmp_path)
    assert weight.item() == pytest.approx(2, abs=0.3)


def test_statistics_come_back_with_the_parameters(tmp_path: Path) -> None:
    def trained(folder: Path) -> torch.Tensor:
        norm = torch.nn.BatchNorm1d(2)
        parameters, statistics = dict(norm.named_parameters()), dict(norm.named_buffers())
        loss = lambda *_: norm(torch.tensor([[1.0, 2.0], [3.0, 8.0]])).square().sum()  # noqa: E731
        train(parameters, loss, [1], LoopConfig(num_epochs=3), folder, statistics=statistics)
        return norm.running_mean

    first = trained(tmp_path)
    assert first.any()
    assert torch.equal(trained(tmp_path), first), "the second one only reads"


def test_a_loss_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(2))
    with pytest.raises(UserError, match=r"loss must be finite; got nan in step 0"):
        train({"weight": weight}, lambda *_: weight.sum() * float("nan"), [1], LoopConfig(), tmp_path)


# checkpoints


@pytest.mark.parametrize(
    "make",
    [
        lambda it: torch.optim.SGD(it, lr=0.1, momentum=0.9),
        lambda it: torch.optim.Adam(it, lr=0.1, betas=(0.0, 0.9), amsgrad=True),
        lambda it: torch.optim.AdamW(it, lr=0.1, fused=True),
    ],
    ids=["sgd", "adam", "fused_adamw"],
)
def test_any_optimizer_comes_back_exactly(tmp_path: Path, make) -> None:
    def stepped(weight, optimizer, times):
        for _ in range(times):
            optimizer.zero_grad()
            (weight.cos().sum() + weight.square().sum()).backward()
            optimizer.step()

    weight = nn.Parameter(torch.linspace(0, 1, 5))
    optimizer = make([weight])
    stepped(weight, optimizer, 3)
    state = TrainingState(tensors={"weight": weight.data}, optimizers={"it": optimizer})
    save_checkpoint(tmp_path / "last", state, {"step": 3})
    stepped(weight, optimizer, 2)

    again = nn.Parameter(torch.zeros(5))
    optimizer = make([again])
    state = TrainingState(tensors={"weight": again.data}, optimizers={"it": optimizer})
    assert restore_checkpoint(tmp_path / "last", state) == {"step": 3}
    stepped(again, optimizer, 2)
    assert torch.equal(weight, again)


def test_generators_go_on_where_they_stood(tmp_path: Path) -> None:
    own = torch.Generator().manual_seed(3)
    state = TrainingState(tensors={}, generators={"noise": own})
    save_checkpoint(tmp_path / "last", state, {})
    expected = torch.rand(2, generator=own), torch.rand(2)
    restore_checkpoint(tmp_path / "last", state)
    assert torch.equal(torch.rand(2, generator=own), expected[0])
    assert torch.equal(torch.rand(2), expected[1])


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", TrainingState(tensors={"weight": torch.ones(2)}), {})
    with pytest.raises(UserError, match="of the same training; it differs in bias, weight"):
        restore_checkpoint(tmp_path / "last", TrainingState(tensors={"bias": torch.ones(2)}))
    with pytest.raises(UserError, match=r"weight in the file must be torch\.float32 of shape \(3,\)"):
        restore_checkpoint(tmp_path / "last", TrainingState(tensors={"weight": torch.ones(3)}))
    with_noise = TrainingState(tensors={"weight": torch.ones(2)}, generators={"noise": torch.Generator()})
    with pytest.raises(UserError, match="generator 'noise'"):
        restore_checkpoint(tmp_path / "last", with_noise)


def test_a_broken_or_foreign_file_is_refused(tmp_path: Path) -> None:
    state = TrainingState(tensors={})
    with pytest.raises(UserError, match="does not exist"):
        restore_checkpoint(tmp_path / "last", state)
    (tmp_path / "last").write_bytes(b"not a tensor in here")
    with pytest.raises(UserError, match="must be a safetensors file"):
        restore_checkpoint(tmp_path / "last", state)
    write_tensor_file(tmp_path / "last", {"it": torch.ones(1)}, {}, schema="something/1")
    with pytest.raises(UserError, match=r"schema of .* must be 'multum\.checkpoint/1'"):
        restore_checkpoint(tmp_path / "last", state)


def test_tensors_of_any_layout_and_shared_memory_are_written(tmp_path: Path) -> None:
    base = torch.arange(6.0).view(2, 3)
    write_tensor_file(tmp_path / "file", {"it": base.T, "same": base}, {"note": [1, None]}, schema="s/1")
    tensors, header = read_tensor_file(tmp_path / "file", schema="s/1")
    assert torch.equal(tensors["it"], base.T)
    assert torch.equal(tensors["same"], base)
    assert header == {"note": [1, None]}


# the metric log


def test_a_torn_last_line_is_left_out_and_a_torn_middle_is_refused(tmp_path: Path) -> None:
    log = MetricLog(tmp_path / "log")
    log.append({"step": 1, "loss": 0.5})
    with log.path.open("a") as stream:
        stream.write('{"step": 2, "lo')
    assert read_metrics(log.path) == [{"step": 1, "loss": 0.5}]
    log.rewind(1)
    log.append({"step": 2, "loss": 0.25})
    assert [record["step"] for record in read_metrics(log.path)] == [1, 2]
    log.path.write_text('{"step": 1\n{"step": 2}\n')
    with pytest.raises(UserError, match="line 1 breaks"):
        read_metrics(log.path)


def test_the_log_refuses_what_json_has_no_word_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.loss"):
        MetricLog(tmp_path / "log").append({"step": 1, "loss": float("inf")})
    assert not (tmp_path / "log").exists()


def test_every_line_of_the_log_is_json(tmp_path: Path) -> None:
    train_small(tmp_path)
    lines = (tmp_path / METRICS_FILE).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [5, 10, 15]
    assert all("norm" in json.loads(line) for line in lines)


# order and rate


def test_every_epoch_sees_every_sample_once_in_another_order() -> None:
    plan = BatchPlan(lengths=range(1, 24), batch_size=4, num_epochs=2, seed=5, pool_batches=2)
    epochs = [plan.epoch(0), plan.epoch(1)]
    for batches in epochs:
        assert sorted(index for batch in batches for index in batch) == list(range(23))
        assert len(batches) == plan.steps_per_epoch == 6
    assert epochs[0] != epochs[1]
    assert epochs[0] == plan.epoch(0)


def test_batches_hold_sentences_of_like_length() -> None:
    lengths = torch.randint(1, 100, (512,), generator=torch.Generator().manual_seed(0)).tolist()
    plan = BatchPlan(lengths=lengths, batch_size=16, num_epochs=1, seed=0)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in plan.epoch(0))
    assert padded < 1.1 * sum(lengths)


@pytest.mark.parametrize("name", ["batch_size", "num_epochs", "pool_batches"])
def test_sizes_of_a_plan_are_positive(name: str) -> None:
    values = {"lengths": [1], "batch_size": 1, "num_epochs": 1, "seed": 0, "pool_batches": 1} | {name: 0}
    with pytest.raises(UserError, match=f"{name} must be at least 1"):
        BatchPlan(**values)


def test_the_rate_rises_in_a_line_and_falls_as_told() -> None:
    for decay in ("constant", "linear", "cosine"):
        rate = LearningRate(peak=2.0, warmup_part=0.2, decay=decay, final_part=0.1)
        rates = [rate.at(step, num_steps=20) for step in range(20)]
        assert rates[:4] == pytest.approx([0.5, 1.0, 1.5, 2.0])
        assert rates[4] == pytest.approx(2.0)
        assert rates == rates[:4] + sorted(rates[4:], reverse=True)
        assert min(rates[4:]) >= 0.2
    assert LearningRate(peak=1.0, warmup_part=0.0, decay="cosine").at(10, num_steps=20) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peak": 0.0}, "peak must be a positive number"),
        ({"peak": float("nan")}, "peak must be"),
        ({"warmup_part": 1.5}, r"warmup_part must be in \[0, 1\]"),
        ({"final_part": -0.1}, r"final_part must be in \[0, 1\]"),
    ],
)
def test_a_rate_out_of_range_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LearningRate(**changes)


def test_a_loop_out_of_range_is_refused() -> None:
    with pytest.raises(UserError, match="num_epochs must be at least 1"):
        LoopConfig(num_epochs=0)
    with pytest.raises(UserError, match="clip_norm must be at least 0"):
        LoopConfig(clip_norm=-1.0)
