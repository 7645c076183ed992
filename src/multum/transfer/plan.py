"""The planner: what to train, how deep, at which size and in what portions, so that it fits in so many megabytes.

A budget weakens what was asked for, and never strengthens it. Of all that fits, the plan with the highest promise is
taken, and of those the one that computes least twice. The promise is a rule of thumb of published accuracies: what a
mode reaches on average, what is lost with every halving of the side, and, where only the last blocks train, a part of
what the mode gains over the last layer. It ranks plans; what one of them reaches on a task only a training tells.

Source: TinyTL (NeurIPS 2020), section 4, for the accuracies.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from multum.backbones import make_backbone
from multum.core import invalid, published
from multum.transfer.modes import Mode
from multum.transfer.step_memory import StepMemory, floor_bytes, step_memory
from multum.transfer.train_config import TransferConfig
from multum.transfer.trained_depth import block_paths

WEAKER: Final[dict[Mode, tuple[Mode, ...]]] = {
    "full": ("full", "lite+bias", "bias", "last"),
    "lite+bias": ("lite+bias", "bias", "last"),
    "norm+last": ("norm+last", "bias", "last"),
    "lite": ("lite", "last"),
    "bias": ("bias", "last"),
    "last": ("last",),
}
"""What a mode may be weakened to, itself first."""
SIDES: Final = (320, 288, 256, 224, 192, 160, 128, 96, 64)
"""Sizes that are tried, in pixels; none above what was asked for."""
DEPTHS: Final = (1.0, 0.5, 0.25)
"""Parts of the blocks that train."""
DATA_SETS: Final = ("flowers", "cars", "aircraft", "cifar100")
BYTES_OF_A_DECODED_PIXEL: Final = 12
"""Three of the decoder's, as many of the copy that is turned upright and made a tensor, and of the resized rows."""
MB: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the memory of a training has to know of its pictures."""

    num_classes: int
    """At least 2."""
    largest_pixels: int = 0
    """Height times width of the largest file; 0 where nothing is decoded."""
    num_in_memory: int = 0
    """Pictures that lie in memory from the beginning, at the side that is trained on, a byte a colour."""

    def in_memory_bytes(self, side: int) -> int:
        """What they take, (side, side) pixels large.

        >>> DataFacts(num_classes=10, num_in_memory=1000).in_memory_bytes(32)
        3072000
        """
        return self.num_in_memory * 3 * side**2


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training that fits."""

    config: TransferConfig
    """All dials settled."""
    memory: StepMemory
    """The fullest moment of a step."""
    data: DataFacts
    """What was known of the pictures."""
    budget_bytes: int
    """What it had to fit in."""
    total_bytes: int
    """What it is predicted to take, decoded pictures that are kept not counted."""
    promise: float
    """By which plans are ranked, in points of accuracy."""
    num_predicted: int
    """Steps that were predicted to find it."""

    @property
    def cache_bytes(self) -> int:
        """What is left for decoded pictures."""
        return max(0, min(self.config.cache_bytes, self.budget_bytes - self.total_bytes))

    def tell(self) -> str:
        """The plan in a line."""
        it = self.config
        depth = "" if it.num_blocks is None else f" of the last {it.num_blocks} blocks"
        portions = "" if it.at_a_time == it.batch_size else f", {it.at_a_time} at a time"
        extras = [name for name in ("int8", "recompute", "few_kernels", "fuse_step") if getattr(it, name)]
        return (
            f"{it.mode}{depth} at {it.side} px, batches of {it.batch_size}{portions}"
            f"{''.join(f', {name}' for name in extras)}: {self.total_bytes / MB:.1f} of {self.budget_bytes / MB:g} MB"
        )


def plan(config: TransferConfig, data: DataFacts, budget_mb: float) -> Plan:
    """Find the most promising training that fits.

    Args:
        config: What was asked for: its mode, side, and number of blocks are the most that is tried. Its batch size
            stays, for it changes what is learned; portions of it do not.
        data: What is known of the pictures.
        budget_mb: What training may take beside the program itself, in millions of bytes; positive.

    Returns:
        The plan.

    Raises:
        UserError: Nothing fits; the smallest budget in which something does is named.
    """
    if not budget_mb > 0:
        raise invalid("budget_mb", "positive", budget_mb)
    search = _Search(data, round(budget_mb * MB))
    config = replace(config, budget_mb=None, hard_limit=False)
    least = search.least(config)
    wishes = _wishes(config) if least.total_bytes <= search.budget_bytes else ()
    for wish in sorted(wishes, key=lambda it: -promise(it, config)):
        found = search.fit(wish)
        if found is not None:
            return replace(found, promise=promise(wish, config), num_predicted=search.num_predicted)
    raise invalid(
        "budget_mb",
        f"at least {math.ceil(least.total_bytes / MB)} for {config.backbone}, which is enough for {least.config.mode} "
        f"at {least.config.side} px",
        budget_mb,
        "or take a smaller backbone",
    )


def promise(wish: TransferConfig, asked: TransferConfig) -> float:
    """How well a training may do, in points of accuracy; see the head of this module.

    >>> asked = TransferConfig(data="digits", mode="full", side=224)
    >>> promise(replace(asked, mode="lite+bias"), asked) < promise(asked, asked)
    True
    """
    last, of_mode = _accuracy("last"), _accuracy(wish.mode)
    side, most = wish.side or 0, asked.side or _native(asked.backbone)[0]
    depth = 1.0 if wish.num_blocks is None else wish.num_blocks / _native(asked.backbone)[1]
    return last + (of_mode - last) * depth + points_of_a_doubling() * math.log2((side or most) / most)


def points_of_a_doubling() -> float:
    """Points of accuracy that twice the side is worth, by two of the paper's rows."""
    return (_accuracy("lite+bias", "_320") - _accuracy("lite+bias")) / math.log2(320 / 224)


@cache
def _accuracy(mode: Mode, suffix: str = "") -> float:
    key = {"lite": "lite+bias"}.get(mode, mode).replace("+", "_") + suffix
    return sum(published("tinytl", f"accuracy_{key}_{name}").number for name in DATA_SETS) / len(DATA_SETS)


@cache
def _native(backbone: str) -> tuple[int, int]:
    """The side a backbone was published for, and how many blocks it has."""
    import torch

    with torch.device("meta"):
        model = make_backbone(backbone, num_classes=2)
    return model.resolution, len(block_paths(model))


def _wishes(config: TransferConfig) -> Iterator[TransferConfig]:
    most, num_blocks = _native(config.backbone)
    side = config.side or most
    for mode in WEAKER[config.mode]:
        for smaller in (side, *(it for it in SIDES if it < side)):
            depths = [None] if mode == "last" else _depths(config.num_blocks, num_blocks)
            for depth in depths:
                wish = replace(config, mode=mode, side=smaller, num_blocks=depth)
                yield wish if mode == config.mode else replace(wish, learning_rate=None)


def _depths(asked: int | None, num_blocks: int) -> list[int | None]:
    if asked is not None:
        return [asked]
    return [None if it == 1 else max(1, round(num_blocks * it)) for it in DEPTHS]


class _Search:
    """Predicts as few steps as it can: each takes a second or two."""

    def __init__(self, data: DataFacts, budget_bytes: int) -> None:
        self.data, self.budget_bytes = data, budget_bytes
        self.num_predicted = 0

    def fit(self, wish: TransferConfig) -> Plan | None:
        """The way to take a step that computes least twice and fits; None where none does."""
        if self.at_least(wish) > self.budget_bytes:
            return None
        smallest = self.predict(_frugal(wish))
        if smallest.total_bytes > self.budget_bytes:
            return None
        for way in _ways(wish):
            found = self.predict(way)
            if found.total_bytes <= self.budget_bytes:
                return found
        return smallest

    def at_least(self, wish: TransferConfig) -> int:
        """Bytes that no way of taking a step can save; quickly told."""
        return floor_bytes(wish, self.data.num_classes) + self._in_memory_bytes(wish)

    def least(self, config: TransferConfig) -> Plan:
        """The training that takes least of all."""
        side = min(config.side or _native(config.backbone)[0], SIDES[-1])
        wish = replace(config, mode=WEAKER[config.mode][-1], side=side, num_blocks=None)
        return self.predict(_frugal(replace(wish, learning_rate=None)))

    def _in_memory_bytes(self, wish: TransferConfig) -> int:
        return self.data.in_memory_bytes(wish.side or _native(wish.backbone)[0])

    def predict(self, way: TransferConfig) -> Plan:
        """What a training takes."""
        self.num_predicted += 1
        memory = step_memory(way, self.data.num_classes)
        decoding = self.data.largest_pixels * BYTES_OF_A_DECODED_PIXEL
        between = memory.total_bytes - memory.activation_bytes - memory.workspace_bytes - memory.picture_bytes
        loading = 2 * _loaded_bytes(way.backbone) if way.pretrained else 0
        total = max(memory.total_bytes, between + decoding, loading) + self._in_memory_bytes(way)
        return Plan(
            config=way,
            memory=memory,
            data=self.data,
            budget_bytes=self.budget_bytes,
            total_bytes=total,
            promise=0.0,
            num_predicted=0,
        )


@cache
def _loaded_bytes(backbone: str) -> int:
    """Of a network's weights as they are published, with their thousand classes."""
    import torch

    with torch.device("meta"):
        model = make_backbone(backbone, num_classes=1000)
    return sum(it.nbytes for it in model.state_dict().values())


def _frugal(wish: TransferConfig) -> TransferConfig:
    """What makes a step take least: a picture at a time, no code of its own for each shape."""
    return replace(wish, micro_batch=1, few_kernels=True, recompute=_keeps_much(wish), fuse_step=False)


def _ways(wish: TransferConfig) -> Iterator[TransferConfig]:
    """Ways to take a step, from the quickest to the most frugal."""
    sizes = [it for it in (wish.batch_size, wish.batch_size // 2, wish.batch_size // 4, 1) if it >= 1]
    for recompute in (False, True) if _keeps_much(wish) else (False,):
        for size in dict.fromkeys(sizes):
            portion = None if size == wish.batch_size else size
            for few_kernels in (False,) if wish.mode == "full" else (False, True):
                yield replace(wish, micro_batch=portion, recompute=recompute, few_kernels=few_kernels)
            if portion is None and wish.mode == "full":
                yield replace(wish, micro_batch=None, recompute=recompute, fuse_step=True)


def _keeps_much(wish: TransferConfig) -> bool:
    return wish.mode in ("full", "norm+last")
