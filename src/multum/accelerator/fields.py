"""Fields of an architecture by their dotted paths, set all at once, and what must follow them.

A field is named as `value_topk.parallelism`, `key_sram.buffers`, `hbm.channels` or `clock_ghz`. What must follow a
field does, unless it is given itself:

- Engines keep their capacity: when `value_topk.parallelism` (`token_topk.parallelism`, `softmax.lanes`) grows, the FIFO
  gets fewer and wider words. So a sweep over parallelism changes comparators and not memory, and few lanes still take a
  long row.
- `key_sram.rows` sets `value_sram.rows` too, and deepens the FIFOs where they would hold less than a buffer of keys.
- The crossbars have a port for each of `hbm.channels`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from multum.accelerator.architecture import Architecture, spatten_eighth
from multum.accelerator.workload import Workload
from multum.core import UserError, did_you_mean, from_dict, invalid, to_dict

ArchitectureName = Literal["spatten", "spatten-1/8"]
"""The architectures that have a name."""

Value = int | float | str
"""What a field may be set to."""

LANES = {"value_topk": "parallelism", "token_topk": "parallelism", "softmax": "lanes"}
"""Units with a FIFO of words, and the field that says how many items a word holds."""


def fields_of(architecture: Architecture) -> dict[str, Value]:
    """All fields by dotted path.

    >>> fields_of(Architecture())["value_topk.parallelism"]
    16
    """
    return _leaves(to_dict(architecture))


def check_field(name: str, known: Mapping[str, object]) -> None:
    """Refuse a name that is no field.

    Raises:
        UserError: The message names the fields that come close.
    """
    if name in known:
        return
    inside = [it for it in known if it.startswith(f"{name}.")]
    if inside:
        raise UserError(f"{name!r} is a unit and no field; it has {', '.join(inside)}")
    raise UserError(f"{name!r} is not a field of Architecture; {did_you_mean(name, known)}")


def with_fields(architecture: Architecture, values: Mapping[str, Value]) -> Architecture:
    """The same architecture with other values, and with what must follow them.

    Raises:
        UserError: An unknown field, or values that cannot be, alone or together.
        UserTypeError: A value of another type.

    >>> changed = with_fields(Architecture(), {"value_topk.parallelism": 8, "hbm.channels": 4})
    >>> changed.value_topk.fifo_depth, changed.address_crossbar.outputs
    (128, 4)
    """
    tree = to_dict(architecture)
    known = _leaves(tree)
    for name in values:
        check_field(name, known)
    for name, value in (_followers(known, values) | dict(values)).items():
        *parents, last = name.split(".")
        branch = tree
        for parent in parents:
            branch = branch[parent]
        branch[last] = value
    return from_dict(Architecture, tree)


def named(name: ArchitectureName) -> Architecture:
    """The architecture of a name.

    Raises:
        UserError: There is none.
    """
    builders = {"spatten": Architecture, "spatten-1/8": spatten_eighth}
    if name not in builders:
        raise invalid("architecture", f"one of {', '.join(builders)}", name)
    return builders[name]()


def built(name: ArchitectureName, settings: dict[str, Value], grown_for: Workload | None) -> Architecture:
    """An architecture with fields set, and then grown for a workload if one is given.

    Raises:
        UserError: Fields that cannot be, alone or together.
    """
    architecture = with_fields(named(name), settings) if settings else named(name)
    return architecture if grown_for is None else architecture.grown_for(grown_for)


def read_settings(words: tuple[str, ...], name: ArchitectureName) -> dict[str, Value]:
    """Read what `--set` was given.

    Raises:
        UserError: No field=value, an unknown field, or one that is set twice.
    """
    known = fields_of(named(name))
    settings: dict[str, Value] = {}
    for word in words:
        field, values = read_setting(word, "set", known)
        if len(values) > 1:
            raise invalid(f"set {field}", "one value", word)
        if field in settings:
            raise invalid(f"set {field}", "given once", word)
        settings[field] = values[0]
    return settings


def read_setting(text: str, option: str, known: Mapping[str, object]) -> tuple[str, list[Value]]:
    """Read `field=value`, or `field=value,value`, as it is typed.

    Args:
        text: What was typed.
        option: What an error calls it.
        known: All fields and their present values, which say what is a number.

    Returns:
        The field, and the values.

    Raises:
        UserError: No `=`, no value, or an unknown field.

    >>> read_setting("clock_ghz=0.5,1", "vary", fields_of(Architecture()))
    ('clock_ghz', [0.5, 1])
    """
    name, sign, rest = text.partition("=")
    values = [it.strip() for it in rest.split(",")]
    if not sign or not all(values):
        raise UserError(f"{option} must be field=value; got {text!r}; for instance value_topk.parallelism=8")
    name = name.strip()
    check_field(name, known)
    return name, [it if isinstance(known[name], str) else _number(it) for it in values]


def _number(text: str) -> Value:
    """A number where the text is one; the field's type says later whether it fits."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _followers(now: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Value]:
    """What changes with the given fields; those that are given themselves go over it."""
    found: dict[str, Value] = {}
    rows, channels = values.get("key_sram.rows"), values.get("hbm.channels")
    if isinstance(rows, int) and rows > 0:  # what cannot be is refused where it is set, here and below
        found["value_sram.rows"] = rows
    if isinstance(channels, int) and channels > 0:
        found |= {"address_crossbar.outputs": channels, "data_crossbar.inputs": channels}
    for unit, lanes in LANES.items():
        width = values.get(f"{unit}.{lanes}", now[f"{unit}.{lanes}"])
        wanted = now[f"{unit}.{lanes}"] * now[f"{unit}.fifo_depth"]
        grown = max(wanted, rows) if isinstance(rows, int) else wanted
        follows = f"{unit}.{lanes}" in values or grown > wanted
        if follows and isinstance(width, int) and width > 0:
            found[f"{unit}.fifo_depth"] = -(-grown // width)
    return found
