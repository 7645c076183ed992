"""Recipes of `multum transfer`."""

from dataclasses import replace
from pathlib import Path

from multum.transfer import TransferConfig

ALIKE = 0.7
"""Label smoothing of the paper where classes are hard to tell apart, as kinds of birds are."""

JITTER = 0.2
"""How far colours stray; the paper strays in Aircraft and Cars and does not say how far."""


def digits() -> TransferConfig:
    """Handwritten digits from ten pictures of each: data in seconds, and far from what the network knows.

    Command: `multum transfer train digits --recipe digits`.
    Paper: none; its gain shows on data far from ImageNet.
    Expected: not measured yet.
    """
    return TransferConfig(data="digits", side=64, num_epochs=15, num_train=10, test=0.5)


def clothing() -> TransferConfig:
    """Ten classes of clothes, photographed by many people, in the parts that their author published.

    Command: `multum transfer train clothing-dataset-small --recipe clothing`.
    Paper: none; the photographs are free, which those of the paper are not.
    Expected: not measured yet.
    """
    return TransferConfig(data=Path("clothing-dataset-small"), side=192, num_epochs=6)


def clothing_last() -> TransferConfig:
    """The same where only the last layer trains: what everything else has to beat.

    Command: `multum transfer train clothing-dataset-small --recipe clothing_last`.
    Paper: its mode FT-Last.
    Expected: not measured yet.
    """
    return replace(clothing(), mode="last")


def clothing_full() -> TransferConfig:
    """The same where the whole network trains, with the memory that this takes.

    Command: `multum transfer train clothing-dataset-small --recipe clothing_full`.
    Paper: its mode FT-Full.
    Expected: not measured yet.
    """
    return replace(clothing(), mode="full")


def flowers() -> TransferConfig:
    """The paper's dials for Flowers: 50 epochs of Adam in batches of 8, much label smoothing, 2e-4.

    Command: `multum transfer train flowers --recipe flowers`.
    Paper: Flowers, lite+bias at 224 px: 95.5 %, after a pre-training of the lite residuals that this lacks (88.0 %
    without); ProxylessNAS-Mobile.
    Expected: not measured yet.
    """
    return _paper("flowers", 2e-4)


def cub() -> TransferConfig:
    """The paper's dials for CUB, kinds of birds: as Flowers, but 6e-4.

    Command: `multum transfer train cub --recipe cub`.
    Paper: CUB-200, lite+bias at 224 px.
    Expected: not measured yet.
    """
    return _paper("cub", 6e-4)


def pets() -> TransferConfig:
    """The paper's dials for Pets: as Flowers, but 0.5e-4.

    Command: `multum transfer train pets --recipe pets`.
    Paper: Pets, lite+bias at 224 px.
    Expected: not measured yet.
    """
    return _paper("pets", 0.5e-4)


def cars() -> TransferConfig:
    """The paper's dials for Cars: as Flowers, but 8e-4, and colours stray.

    Command: `multum transfer train cars --recipe cars`.
    Paper: Cars, lite+bias at 224 px: 85.0 %.
    Expected: not measured yet.
    """
    return replace(_paper("cars", 8e-4), colour_jitter=JITTER)


def aircraft() -> TransferConfig:
    """The paper's dials for Aircraft: as Flowers, but 16e-4, and colours stray.

    Command: `multum transfer train aircraft --recipe aircraft`.
    Paper: Aircraft, lite+bias at 224 px: 75.4 %.
    Expected: not measured yet.
    """
    return replace(_paper("aircraft", 16e-4), colour_jitter=JITTER)


def food() -> TransferConfig:
    """The paper's dials for Food: 50 epochs of Adam in batches of 8, 2e-4.

    Command: `multum transfer train food --recipe food`.
    Paper: Food-101, lite+bias at 224 px.
    Expected: not measured yet.
    """
    return _paper("food", 2e-4, label_smoothing=0.1)


def cifar() -> TransferConfig:
    """The paper's dials for CIFAR: as Food, but 3e-4.

    Command: `multum transfer train cifar --recipe cifar`.
    Paper: CIFAR-100, lite+bias at 224 px: 81.4 %.
    Expected: not measured yet.
    """
    return _paper("cifar", 3e-4, label_smoothing=0.1)


def one_at_a_time() -> TransferConfig:
    """The paper's dials for batches of one picture on Flowers: 3e-4, with the memory of one.

    Command: `multum transfer train flowers --recipe one_at_a_time`.
    Paper: Flowers, batch 1.
    Expected: not measured yet.
    """
    return replace(_paper("flowers", 3e-4), batch_size=1)


def _paper(data: str, learning_rate: float, *, label_smoothing: float = ALIKE) -> TransferConfig:
    """TinyTL (NeurIPS 2020), section 4.1, for one data set."""
    return TransferConfig(
        data=Path(data),
        side=224,
        num_epochs=50,
        batch_size=8,
        learning_rate=learning_rate,
        warmup=0.0,
        label_smoothing=label_smoothing,
        dropout=0.2,
        weight_decay=0.0,
    )
