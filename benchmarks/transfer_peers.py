"""What stands beside a training of `multum transfer`: the last layer trained to convergence, and an int8 backbone.

The features that the last layer sees do not change while it alone trains. So they are computed once, of the pictures as
ten epochs vary them, and many epochs go through them.

Shape legend: E epochs of variation, N pictures, F features, B pictures of a batch.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.registry import Setting
from benchmarks.transfer_trials import Problem, Trial
from multum.core import Run, say
from multum.training import read_tensor_file, write_tensor_file
from multum.transfer import Mode, TransferConfig, apply_delta, load_delta, to_int8, train_transfer
from multum.transfer.train_command import (
    ADAPTED_FILE,
    Network,
    a_few,
    fresh_backbone,
    judge_part,
)
from multum.transfer.train_data import load_data
from multum.transfer.train_parts import load_batch

VARIED_EPOCHS, LAST_EPOCHS = 10, 200
"""Epochs whose pictures are looked at, and epochs that the last layer trains."""
BATCH = 32
"""Pictures that features are computed of at a time."""
FEATURES_FILE, SCHEMA = "features.safetensors", "multum.benchmark_features/1"


@dataclass(frozen=True, kw_only=True)
class Features:
    """What the last layer sees."""

    train_ENF: Tensor
    validation_NF: Tensor
    test_NF: Tensor
    labels: dict[str, Tensor]
    """Classes of the pictures, by part."""


def converged_last(problem: Problem, mode: Mode, rate: float, seed: int, setting: Setting) -> Trial:
    """Train the last layer alone, for many epochs; arguments as for `learned`."""
    assert mode == "last", "no other mode has fixed features"
    config = problem.wish("last", rate, seed, setting)
    folder = problem.folder(f"last-converged-{seed}", setting)
    key = replace(config, learning_rate=None)  # all rates share the features
    with Run.open(folder, key, resume=True, seed=seed) as run:
        say(f"training {problem.name} last-{rate:g}-{seed} to convergence")
        found = run.stage(f"rate-{rate:g}", partial(_accuracies, config, run.path(FEATURES_FILE)))
    return Trial(**found)


def _accuracies(config: TransferConfig, path: Path) -> dict[str, float]:
    features = _features(config, path)
    head = _trained_head(config, features)

    def known(part: str, what_NF: Tensor) -> float:
        return 100 * float((head(what_NF).argmax(dim=1) == features.labels[part]).double().mean())

    return {
        "validation": known("validation", features.validation_NF),
        "test": known("test", features.test_NF),
    }


def _trained_head(config: TransferConfig, features: Features) -> nn.Linear:
    """The loss, the optimizer and the schedule of the trainings; all epochs, the last one counts."""
    label_N = features.labels["train"]
    generator = torch.Generator().manual_seed(config.seed)
    head = nn.Linear(features.train_ENF.shape[-1], int(label_N.max()) + 1)
    nn.init.normal_(head.weight, std=0.01, generator=generator)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.Adam(head.parameters())
    steps_of_epoch = -(-len(label_N) // config.batch_size)
    for epoch in range(LAST_EPOCHS):
        order = torch.randperm(len(label_N), generator=generator).split(config.batch_size)
        for step, batch_B in enumerate(order, epoch * steps_of_epoch):
            rate = config.rate.at(step, num_steps=LAST_EPOCHS * steps_of_epoch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            seen_BF = features.train_ENF[epoch % len(features.train_ENF), batch_B]
            kept_BF = torch.rand(seen_BF.shape, generator=generator) >= config.dropout
            score_BK = head(seen_BF * kept_BF / (1 - config.dropout))
            loss = functional.cross_entropy(
                score_BK, label_N[batch_B], label_smoothing=config.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head.requires_grad_(False)


@torch.no_grad()
def _features(config: TransferConfig, path: Path) -> Features:
    """Compute them, or read what was computed."""
    if not path.exists():
        backbone = fresh_backbone(config).eval()
        data = load_data(config, config.side or backbone.resolution, backbone.scaling)
        pictures, split = data.pictures, data.split

        def seen(samples: tuple[int, ...], transform: object, epoch: int = 0) -> Tensor:
            starts = range(0, len(samples), BATCH)
            batches = (
                load_batch(backbone, pictures, samples[start : start + BATCH], transform, epoch)  # type: ignore[arg-type]
                for start in starts
            )
            return torch.cat([backbone.features(it) for it in batches])

        epochs = 1 if config.num_epochs == 1 else VARIED_EPOCHS
        tensors = {
            "train": torch.stack([seen(split.train, data.vary, epoch) for epoch in range(epochs)]),
            "validation": seen(split.validation, pictures.frame),
            "test": seen(split.test, pictures.frame),
        }
        parts = {"train": split.train, "validation": split.validation, "test": split.test}
        tensors |= {f"{part}_labels": torch.tensor(pictures.labels_of(it)) for part, it in parts.items()}
        write_tensor_file(path, tensors, {}, schema=SCHEMA)
    tensors, _ = read_tensor_file(path, schema=SCHEMA)
    return Features(
        train_ENF=tensors["train"],
        validation_NF=tensors["validation"],
        test_NF=tensors["test"],
        labels={part: tensors[f"{part}_labels"] for part in ("train", "validation", "test")},
    )


def int8_accuracies(
    problem: Problem, mode: Mode, rate: float, seed: int, setting: Setting
) -> dict[str, float]:
    """Test a finished training with its backbone in int8, and train with it in int8 from the start, in percent."""
    config = problem.wish(mode, rate, seed, setting)
    folder = problem.folder(f"int8-{mode}-{rate:g}-{seed}", setting)
    finished = problem.folder(f"{mode}-{rate:g}-{seed}", setting)
    with Run.open(folder, config, resume=True, seed=seed) as run:
        rounded = run.stage("rounded", partial(_rounded, config, finished))
    say(f"training {problem.name} {folder.name}")
    trained = train_transfer(replace(config, int8=True), folder / "trained", resume=True)
    return {"rounded": rounded, "trained": 100 * trained.test_accuracy}


def _rounded(config: TransferConfig, finished: Path) -> float:
    backbone = fresh_backbone(config)
    data = load_data(config, config.side or backbone.resolution, backbone.scaling)
    adapted = apply_delta(backbone, load_delta(finished / ADAPTED_FILE))
    to_int8(backbone, a_few(backbone, data))
    network = Network(model=backbone.eval(), adapted=adapted, side=config.side or backbone.resolution)
    return 100 * judge_part(network, data.pictures, data.split.test, config.batch_size).accuracy
