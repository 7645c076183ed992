"""Configurations as frozen dataclasses, and their round trip through JSON.

Everything that can be dialled lives in a frozen `kw_only` dataclass whose fields carry docstrings. That one
declaration is the configuration, the command line (`multum.cli` builds the options from it) and the JSON
that a run leaves behind. Reading JSON back is strict: an unknown key is more often a typing mistake than a
wish, and silently ignoring it would run something that nobody asked for. Errors name the dotted key,
`schedule.keep_ratio`, and the keys that come close.
"""

import dataclasses
import functools
import math
import numbers
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from multum.core.errors import UserError, did_you_mean, invalid, wrong_type
from multum.core.files import read_json, to_json_text, write_text_atomic

Config = TypeVar("Config")

JSON_NAMES = {bool: "true or false", int: "an int", float: "a number", str: "a string", type(None): "null"}
"""What an error calls the plain types."""


def to_dict(config: object) -> dict[str, Any]:
    """Tell a dataclass instance in the words of JSON.

    Args:
        config: The instance; nested dataclasses, tuples, lists, dicts and paths are told as well.

    Returns:
        A dict of plain values. Paths become strings with forward slashes, tuples become lists.

    Raises:
        UserTypeError: When it is no dataclass instance, or a field holds something that JSON has no word for.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise wrong_type("config", "an instance of a dataclass", config)
    return {
        field.name: _tell(getattr(config, field.name), field.name)
        for field in dataclasses.fields(config)
        if field.init
    }


def from_dict(kind: type[Config], data: object, *, name: str = "") -> Config:
    """Build a dataclass instance from plain values, strictly.

    Args:
        kind: The dataclass.
        data: A mapping from its field names, as `to_dict` makes it.
        name: Dotted key of the whole, put before every key in an error.

    Returns:
        The instance.

    Raises:
        UserError: For an unknown key, a missing key, a wrong type, a number that is not finite, or whatever
            the dataclass
            itself refuses; the message names the dotted key.
    """
    if not isinstance(data, Mapping):
        raise wrong_type(name or kind.__name__, "an object with named fields", data)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            raise UserError(
                f"{_join(name, str(key))} is not a key of {kind.__name__}; {did_you_mean(str(key), fields)}"
            )
    hints = _hints(kind)  # type: ignore[arg-type]
    values = {}
    for key, field in fields.items():
        if key in data:
            values[key] = read_value(hints[key], data[key], _join(name, key))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{_join(name, key)} is missing; {kind.__name__} has no default for it")
    try:
        return kind(**values)
    except UserError as problem:
        raise (type(problem)(f"{name}: {problem}") if name else problem) from problem


def check_fields(config: Any) -> None:
    """Hold the fields of a frozen dataclass to their annotations, for its `__post_init__`.

    So a configuration that is built in Python is read as strictly as one that comes from a file: a list becomes a
    tuple and a NumPy number a plain one, where the field is annotated so; half a token or NaN is refused.

    Args:
        config: The instance that is being made.

    Raises:
        UserError: A field does not fit; the message names it.
    """
    hints = _hints(type(config))  # type: ignore[arg-type]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        object.__setattr__(config, field.name, read_value(hints[field.name], value, field.name))


def to_json(config: object) -> str:
    """Tell a dataclass instance as indented JSON text; see `to_dict`."""
    return to_json_text(to_dict(config), name=type(config).__name__)


def save_json(config: object, path: Path) -> None:
    """Write a dataclass instance as JSON, atomically; see `to_dict`."""
    write_text_atomic(path, to_json(config))


def load_json(kind: type[Config], path: Path) -> Config:
    """Read a dataclass instance from a JSON file; see `from_dict`.

    Raises:
        UserError: When the file cannot be read, or does not fit; the message names the file and the key.
    """
    data = read_json(path)
    try:
        return from_dict(kind, data)
    except UserError as problem:
        raise type(problem)(f"{path}: {problem}") from problem


def differing_keys(first: object, second: object, name: str = "") -> list[str]:
    """List the dotted keys in which two plain values (as `to_dict` makes them) differ.

    >>> differing_keys({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    ['b.c']
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        keys = [*first, *(key for key in second if key not in first)]
        missing = object()
        return [
            found
            for key in keys
            for found in differing_keys(
                first.get(key, missing), second.get(key, missing), _join(name, str(key))
            )
        ]
    return [] if type(first) is type(second) and first == second else [name]


def read_value(kind: Any, value: object, name: str) -> Any:
    """Check a plain value against a type annotation, and convert what JSON has no own type for.

    Args:
        kind: The annotation: a plain type, `Path`, a dataclass, `Literal`, a union, `tuple`, `list`,
            `Sequence`, `dict`,
            `Mapping`, or `Any`.
        value: The plain value.
        name: Its dotted key, for errors.

    Returns:
        The value in the annotated type: lists become tuples, strings become paths, ints become floats, as
        annotated.

    Raises:
        UserError: When it does not fit.
    """
    if kind is Any or kind is object:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if dataclasses.is_dataclass(value) and not isinstance(value, kind):
            raise wrong_type(name, f"of type {kind.__name__}", value)
        return value if isinstance(value, kind) else from_dict(kind, value, name=name)
    reader = _READERS.get(typing.get_origin(kind) or kind)
    if reader is None:
        raise TypeError(f"{name}: a configuration field cannot be of type {kind}")
    return reader(kind, value, name)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _tell(value: object, name: str) -> Any:
    if isinstance(value, Path):
        return value.as_posix()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): _tell(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tell(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise invalid(name, "finite", value, "JSON has no word for it; None is the way to say 'none'")
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise wrong_type(name, "something that JSON can hold", value)


def _read_plain(kind: Any, value: object, name: str) -> object:
    number = _PLAIN_NUMBERS.get(kind)
    if number is not None and isinstance(value, number) and not isinstance(value, bool):
        value = kind(value)
    if type(value) is not kind:  # bool is a subclass of int, but `layers: true` is a mistake
        raise wrong_type(name, JSON_NAMES[kind], value)
    if isinstance(value, float) and not math.isfinite(value):
        raise invalid(name, "finite", value)
    return value


def _read_path(kind: Any, value: object, name: str) -> Path:
    if not isinstance(value, str | Path):
        raise wrong_type(name, "a path", value)
    path: Path = kind(value)
    return path


def _read_literal(kind: Any, value: object, name: str) -> object:
    choices = typing.get_args(kind)
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    known = [str(choice) for choice in choices]
    remedy = did_you_mean(value, known) if isinstance(value, str) else ""
    raise invalid(name, f"one of {', '.join(known)}", value, remedy if remedy.startswith("did") else "")


def _read_union(kind: Any, value: object, name: str) -> object:
    members = typing.get_args(kind)
    if value is None and type(None) in members:
        return None
    some = [member for member in members if member is not type(None)]
    listed = isinstance(value, list | tuple)
    alike = [member for member in some if ((typing.get_origin(member) or member) in _LISTS) is listed] or some
    if len(alike) == 1:
        return read_value(alike[0], value, name)
    problems = []
    for member in sorted(
        some, key=lambda member: member is not type(value)
    ):  # an exact type wins: 1 stays an int
        try:
            return read_value(member, value, name)
        except UserError as problem:
            problems.append(str(problem))
    raise UserError(f"{name} fits none of its {len(some)} forms: {' | '.join(problems)}")


def _read_list(kind: Any, value: object, name: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise wrong_type(name, "a list", value)
    (item_kind,) = typing.get_args(kind) or (Any,)
    return [read_value(item_kind, item, f"{name}[{index}]") for index, item in enumerate(value)]


def _read_tuple(kind: Any, value: object, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise wrong_type(name, "a list", value)
    kinds = typing.get_args(kind) or (Any, ...)
    if len(kinds) == 2 and kinds[1] is ...:
        if kinds[0] in (int, str) and all(type(item) is kinds[0] for item in value):
            return tuple(value)  # thousands of ids, say
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise invalid(name, f"a list of {len(kinds)} values", value)
    pairs = zip(kinds, value, strict=True)
    return tuple(
        read_value(item_kind, item, f"{name}[{index}]") for index, (item_kind, item) in enumerate(pairs)
    )


def _read_dict(kind: Any, value: object, name: str) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise wrong_type(name, "an object with named fields", value)
    key_kind, item_kind = typing.get_args(kind) or (str, Any)
    return {
        _read_key(key_kind, key, name): read_value(item_kind, item, _join(name, str(key)))
        for key, item in value.items()
    }


def _read_key(kind: Any, key: object, name: str) -> object:
    if kind is int and isinstance(key, str) and key.lstrip("-").isdecimal():
        return int(key)  # JSON writes every key as a string
    return read_value(kind, key, f"a key of {name}")


def _join(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else key


_PLAIN_NUMBERS: dict[Any, type] = {int: numbers.Integral, float: numbers.Real}
"""What may stand for a plain number: NumPy's scalars too."""
_LISTS = (list, tuple, Sequence)

_READERS: dict[Any, Callable[[Any, object, str], Any]] = {
    bool: _read_plain,
    int: _read_plain,
    float: _read_plain,
    str: _read_plain,
    type(None): _read_plain,
    Path: _read_path,
    Literal: _read_literal,
    Union: _read_union,
    types.UnionType: _read_union,
    list: _read_list,
    Sequence: _read_tuple,
    tuple: _read_tuple,
    dict: _read_dict,
    Mapping: _read_dict,
}
