"""All dials of one model in one frozen value: tokens, heads, values, bits. What `prune` takes, and what JSON holds."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.head_schedule import HeadSchedule, ValueSchedule
from multum.attention.quantization_schedule import ProgressiveQuantization, StaticQuantization
from multum.attention.schedule import TokenSchedule
from multum.core import invalid
from multum.core.config import load_json, save_json

SCHEDULE_FILE = "multum_schedule.json"
"""The name of a schedule's file beside a model."""


@dataclass(frozen=True, kw_only=True)
class EncoderSchedule:
    """What an encoder spares; None leaves that dial at dense.

    Raises:
        UserError: Parts for different numbers of layers.
    """

    tokens: TokenSchedule | None = None
    """Cascade token pruning."""
    heads: HeadSchedule | None = None
    """Cascade head pruning."""
    values: ValueSchedule | None = None
    """Local value pruning."""
    quantization: StaticQuantization | None = None
    """Static quantization of queries, keys and values."""

    def __post_init__(self) -> None:
        check_same_depth(self)

    @property
    def num_layers(self) -> int | None:
        """Layers the schedule is for; None when no part of it depends on depth."""
        return check_same_depth(self)


@dataclass(frozen=True, kw_only=True)
class GenerationSchedule:
    """What a generating model spares; None leaves that dial at dense.

    Raises:
        UserError: Parts for different numbers of layers.
    """

    tokens: CacheSchedule | None = None
    """Cascade token pruning of the key/value cache."""
    heads: HeadSchedule | None = None
    """Cascade head pruning."""
    values: ValueSchedule | None = None
    """Local value pruning."""
    quantization: ProgressiveQuantization | None = None
    """Progressive quantization of the key/value cache; None stores it as the model computes it."""

    def __post_init__(self) -> None:
        check_same_depth(self)

    @property
    def num_layers(self) -> int | None:
        """Layers the schedule is for; None when no part of it depends on depth."""
        return check_same_depth(self)


Schedule = TypeVar("Schedule", EncoderSchedule, GenerationSchedule)


def check_same_depth(schedule: EncoderSchedule | GenerationSchedule) -> int | None:
    """The number of layers that all parts agree on."""
    parts = {field.name: getattr(schedule, field.name) for field in fields(schedule)}
    depths = {name: part.num_layers for name, part in parts.items() if hasattr(part, "num_layers")}
    if len(set(depths.values())) > 1:
        raise invalid("schedule", "of parts for one number of layers", depths)
    return next(iter(depths.values()), None)


def save_schedule(schedule: EncoderSchedule | GenerationSchedule, folder: Path) -> Path:
    """Write a schedule beside a model, atomically; returns the file."""
    path = folder / SCHEDULE_FILE
    save_json(schedule, path)
    return path


def load_schedule(kind: type[Schedule], folder: Path) -> Schedule:
    """Read the schedule beside a model.

    Raises:
        UserError: No such file, an unknown key, a value out of range.
    """
    return load_json(kind, folder / SCHEDULE_FILE)
