"""Trainings that the accuracy of transfer learning is measured by, each a run of `multum transfer train`.

A learning rate is chosen for each mode on validation parts. Three rates are tried on the first draws, and as many more
as it takes until the best has been tried between its neighbours; the best ones go on to all draws, where a rate that
goes astray in some of them shows it, and the best of these is chosen. The test part is told at this rate, and no other.
Every training has a folder of its own below `runs/transfer_accuracy`, goes on where it was interrupted, and is not
repeated once it is finished.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

from benchmarks.registry import Setting
from benchmarks.transfer_folders import TRIALS, caltech_of, clothing_of, digits_of
from multum.core import say
from multum.recipes.transfer import clothing, digits
from multum.transfer import Mode, TransferConfig, train_transfer
from multum.transfer.train_config import DataWish

QUICK_SIDE = 32
LADDER = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Learning rates, each the neighbour of the next."""
NEAR_RATES: dict[Mode, tuple[float, ...]] = {
    "last": (3e-4, 1e-3, 3e-3),
    "norm+last": (3e-4, 1e-3, 3e-3),
    "bias": (3e-4, 1e-3, 3e-3),
    "lite": (3e-4, 1e-3, 3e-3),
    "lite+bias": (3e-4, 1e-3, 3e-3),
    "full": (1e-4, 3e-4, 1e-3),
}
"""Learning rates that are tried where little has to change, with batches of 8 and Adam."""
FAR_RATES: dict[Mode, tuple[float, ...]] = {
    **NEAR_RATES,
    "bias": (3e-3, 1e-2, 3e-2),
    "lite": (1e-3, 3e-3, 1e-2),
    "lite+bias": (1e-3, 3e-3, 1e-2),
}
"""The same where much has to."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Pictures and how they are learned from."""

    name: str
    """Begins the names of its cases and folders."""
    about: str
    """Its pictures, in words."""
    config: TransferConfig
    """All but the mode, the rate, the seed and the pictures."""
    pictures: Callable[[int, Setting], DataWish]
    """Gives the pictures of a draw."""
    seeds: tuple[int, ...]
    """One for each draw of pictures, order, variation and fresh weights."""
    num_to_choose_by: int = 1
    """Rates are tried on so many draws, the first ones."""
    num_finalists: int = 1
    """So many of them go on to all draws."""
    rates: Mapping[Mode, tuple[float, ...]]
    """That are tried."""

    def wish(self, mode: Mode, rate: float, seed: int, setting: Setting) -> TransferConfig:
        """What is asked for in one training."""
        config = replace(
            self.config,
            mode=mode,
            learning_rate=rate,
            seed=seed,
            data=self.pictures(seed, setting),
            num_threads=setting.num_threads,
        )
        return replace(config, side=QUICK_SIDE, num_epochs=1) if setting.quick else config

    def folder(self, what: str, setting: Setting) -> Path:
        """Where a training lies."""
        return TRIALS / f"{self.name}{'-quick' if setting.quick else ''}" / what


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a training came to, in percent."""

    validation: float
    test: float


Learn = Callable[[Problem, Mode, float, int, Setting], Trial]


def learned(problem: Problem, mode: Mode, rate: float, seed: int, setting: Setting) -> Trial:
    """Train as a user would, or take what was trained."""
    what = f"{mode}-{rate:g}-{seed}"
    say(f"training {problem.name} {what}")
    result = train_transfer(
        problem.wish(mode, rate, seed, setting), problem.folder(what, setting), resume=True
    )
    assert result.validation_accuracy is not None, "all problems have a validation part"
    return Trial(validation=100 * result.validation_accuracy, test=100 * result.test_accuracy)


def seeds_of(problem: Problem, setting: Setting) -> tuple[int, ...]:
    """The draws that are measured."""
    return problem.seeds[:1] if setting.quick else problem.seeds


def tried(problem: Problem, mode: Mode, setting: Setting, learn: Learn = learned) -> dict[str, float]:
    """Choose a rate on the validation parts, and read the test parts at this rate.

    Returns:
        The rate, what was seen of each rate (of finalists on all draws), each draw's accuracy in percent, their mean
        and spread.
    """
    seeds = seeds_of(problem, setting)

    def validation(rate: float, draws: tuple[int, ...]) -> list[float]:
        return [learn(problem, mode, rate, seed, setting).validation for seed in draws]

    few = seeds[: problem.num_to_choose_by]
    rates = problem.rates[mode][:1] if setting.quick else problem.rates[mode]
    seen = {rate: validation(rate, few) for rate in rates}
    while not setting.quick and (beyond := _untried_neighbour(_ranked(seen)[0], seen)) is not None:
        seen[beyond] = validation(beyond, few)
    finalists = {rate: validation(rate, seeds) for rate in _ranked(seen)[: problem.num_finalists]}
    chosen = _ranked(finalists)[0]
    seen |= finalists
    found = {seed: learn(problem, mode, chosen, seed, setting).test for seed in seeds}
    return {
        "learning_rate": chosen,
        **{f"validation_at_{rate:g}": mean(seen[rate]) for rate in sorted(seen)},
        **{f"test_of_draw_{seed}": value for seed, value in found.items()},
        "test": mean(found.values()),
        "test_spread": stdev(found.values()) if len(found) > 1 else 0.0,
    }


def _ranked(seen: Mapping[float, Sequence[float]]) -> list[float]:
    """Rates from the best; of equal ones the lowest first, which moves least."""
    return sorted(sorted(seen), key=lambda rate: -mean(seen[rate]))


def _untried_neighbour(chosen: float, seen: Container[float]) -> float | None:
    """A rate beside the best one that was not tried; None where both were."""
    if chosen not in LADDER:
        return None
    place = LADDER.index(chosen)
    return next((it for it in LADDER[max(0, place - 1) : place + 2] if it not in seen), None)


DIGITS = Problem(
    name="digits100",
    about="10 pictures of each digit",
    config=replace(digits(), side=128, num_epochs=20),
    pictures=digits_of,
    seeds=(0, 1, 2, 3, 4),
    num_to_choose_by=2,
    num_finalists=2,
    rates=FAR_RATES,
)
"""Far from what the network knows: 10 pictures of each digit."""

CALTECH = Problem(
    name="caltech24",
    about="5 pictures of each of 24 classes of Caltech-101",
    config=TransferConfig(data=Path(), side=128, num_epochs=20),
    pictures=caltech_of,
    seeds=(0, 1, 2, 3, 4),
    num_to_choose_by=2,
    num_finalists=2,
    rates=NEAR_RATES,
)
"""Near to what the network knows: 5 pictures of each of 24 classes."""

CLOTHING = Problem(
    name="clothing",
    about="clothing dataset (small) in its own parts",
    config=clothing(),
    pictures=clothing_of,
    seeds=(0, 1, 2),
    rates=NEAR_RATES,
)
"""Photographs by many people, in their author's parts."""

PROBLEMS = {it.name: it for it in (DIGITS, CALTECH, CLOTHING)}
