"""All dials of one model in one frozen value: tokens, heads, values, bits. What `prune` takes, and what JSON holds."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.head_schedule import HeadSchedule, ValueSchedule
from multum.attention.quantization_schedule import ProgressiveQuantization, StaticQuantization
from multum.attention.schedule import TokenSchedule
from multum.core import (
    UserError,
    check_fields,
    from_dict,
    invalid,
    read_json,
    to_dict,
    write_json_atomic,
    wrong_type,
)

SCHEDULE_FILE = "multum_schedule.json"
"""The name of a schedule's file beside a model."""
SCHEMA: Final = "multum.schedule/1"
"""Name and version of the form of that file."""


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
        check_fields(self)
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
        check_fields(self)
        check_same_depth(self)

    @property
    def num_layers(self) -> int | None:
        """Layers the schedule is for; None when no part of it depends on depth."""
        return check_same_depth(self)


PrunableSchedule = TokenSchedule | EncoderSchedule | CacheSchedule | GenerationSchedule
"""Everything that `prune` takes."""

KINDS: dict[str, type[PrunableSchedule]] = {
    "tokens": TokenSchedule,
    "encoder": EncoderSchedule,
    "cache": CacheSchedule,
    "generation": GenerationSchedule,
}
"""What a file calls them."""


def check_same_depth(schedule: EncoderSchedule | GenerationSchedule) -> int | None:
    """The number of layers that all parts agree on."""
    parts = {field.name: getattr(schedule, field.name) for field in fields(schedule)}
    depths = {name: getattr(part, "num_layers", None) for name, part in parts.items()}
    depths = {name: depth for name, depth in depths.items() if depth is not None}
    if len(set(depths.values())) > 1:
        raise invalid("schedule", "of parts for one number of layers", depths)
    return next(iter(depths.values()), None)


def schedule_to_dict(schedule: PrunableSchedule) -> dict[str, Any]:
    """Tell a schedule in the words of JSON, with its kind and the version of the form.

    >>> schedule_to_dict(TokenSchedule(keep_ratios=(1.0, 0.5)))["kind"]
    'tokens'
    """
    kind = next(name for name, it in KINDS.items() if type(schedule) is it)
    return {"schema": SCHEMA, "kind": kind, "schedule": to_dict(schedule)}


def schedule_from_dict(data: object) -> PrunableSchedule:
    """Read what `schedule_to_dict` wrote.

    Raises:
        UserError: Another version, an unknown kind or key, a value out of range.
    """
    if not isinstance(data, Mapping):
        raise wrong_type("a schedule", "an object with schema, kind and schedule", data)
    if data.get("schema") != SCHEMA:
        raise invalid("schema", repr(SCHEMA), data.get("schema"), "write it again with this version")
    unknown = [str(key) for key in data if key not in ("schema", "kind", "schedule")]
    if unknown:
        raise UserError(f"{unknown[0]} is not a key of a schedule's file; known: schema, kind, schedule")
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise invalid("kind", f"one of {', '.join(KINDS)}", kind)
    return from_dict(KINDS[kind], data.get("schedule"), name="schedule")


def save_schedule(schedule: PrunableSchedule, folder: Path) -> Path:
    """Write a schedule beside a model, atomically; returns the file.

    Args:
        schedule: Any kind.
        folder: The model's folder; a path that ends in `.json` is taken as the file itself.
    """
    path = _file_of(folder)
    write_json_atomic(path, schedule_to_dict(schedule))
    return path


def load_schedule(folder: Path) -> PrunableSchedule:
    """Read the schedule beside a model; the file says of which kind it is.

    Args:
        folder: The model's folder; a path that ends in `.json` is taken as the file itself.

    Raises:
        UserError: No such file, another version, an unknown kind or key, a value out of range.
    """
    path = _file_of(folder)
    try:
        return schedule_from_dict(read_json(path))
    except UserError as problem:
        told = str(problem)
        raise type(problem)(told if told.startswith(str(path)) else f"{path}: {told}") from problem


def _file_of(folder: Path) -> Path:
    folder = Path(folder)
    return folder if folder.suffix == ".json" else folder / SCHEDULE_FILE
