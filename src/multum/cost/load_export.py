"""Load a file of `torch.export`, without letting the file run code behind the user's back.

`torch.export.load` is not safe with files from strangers, in more ways than its warning says: weights and constants
can be pickles, sample inputs that do not load safely are silently loaded unsafely, expressions for sizes go through
sympy, which evaluates them, and a node may name any function below `torch`, such as `torch.hub.load`. So the archive
is looked through first. A file that uses none of these, which is what `torch.export.save` writes for an ordinary
model, is loaded; any other only if the user says that it can be trusted.
"""

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from multum.core.errors import UserError, invalid
from multum.cost.load import Loaded
from multum.cost.traffic import tensors_in

_CALM_PLACES: Final = ("archive_format", "archive_version", "byteorder", "version", ".data/", "extra/")
_CALM_TARGET: Final = re.compile(
    r"torch\.ops\.[\w.]+|torch\.sym_\w+|math\.\w+"
    r"|_operator\.(add|sub|mul|neg|pow|mod|floordiv|truediv|getitem|lt|le|gt|ge|eq|ne|and_|or_|not_)"
)
_CALM_EXPRESSION: Final = re.compile(
    r"(?:[\s()+\-*/,=<>\d]|'[a-z]+\d+'|\b[a-z]{1,2}\d+\b"
    r"|\b(?:Symbol|Integer|Rational|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|Add|Mul|Pow|Eq|Ne|Lt|Le|Gt|Ge"
    r"|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|Equality|Unequality|ToFloat|IntTrueDiv"
    r"|positive|nonnegative|integer|real|evaluate|True|False)\b)+"
)


def load_export(path: Path, *, trust: bool = False) -> Loaded:
    """Load an exported program together with the sample inputs that lie in its file.

    Args:
        path: The `.pt2` file.
        trust: Load it even if loading can run code that the file brings.

    Returns:
        The program as a module, with its layers where they can be told apart, and the sample inputs.

    Raises:
        UserError: When there is no such file, it is no exported program or holds no sample inputs, or it could run
            code and is not trusted.
    """
    if not path.is_file():
        raise invalid("model", "an existing .pt2 file", str(path))
    if not trust:
        reasons = list(reasons_for_distrust(path))
        if reasons:
            raise UserError(
                f"{path} is not loaded, because loading it can run code that the file brings: {'; '.join(reasons)}; "
                "if you know where it comes from, say --trust"
            )
    program = _read(path)
    if program.example_inputs is None:
        raise invalid(str(path), "a program saved with its sample inputs", None, "export it again")
    args, kwargs = program.example_inputs
    if args and kwargs:
        remedy = "export it with one kind of them"
        raise invalid(str(path), "a program with positional or keyword inputs", "both kinds", remedy)
    inputs = dict(kwargs) if kwargs else tuple(args)
    return Loaded(name=path.stem, model=_with_layers(program, args, kwargs), inputs=inputs)


def _read(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torch's own internals
            return torch.export.load(path)
    except Exception as problem:  # torch raises whatever it stumbles over; the user needs to know the file
        reason = str(problem).strip().split("\n")[0]
        raise UserError(f"{path} must be a program saved by torch.export.save; {reason}") from problem


def reasons_for_distrust(path: Path) -> Iterator[str]:
    """Tell everything in an archive that could run code when it is loaded or called.

    Args:
        path: The file.

    Returns:
        One phrase for each finding; nothing for a calm file.

    Raises:
        UserError: When the file is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield from _look_at(archive, name)
    except zipfile.BadZipFile as problem:
        raise UserError(f"{path} must be a program saved by torch.export.save; it is no archive") from problem


def _look_at(archive: zipfile.ZipFile, name: str) -> Iterator[str]:
    place = name.partition("/")[2] or name
    if place.startswith(("data/weights/", "data/constants/")):
        if place.endswith("_config.json"):
            payloads = json.loads(archive.read(name)).get("config", {}).values()
            if any(payload.get("use_pickle") for payload in payloads):
                yield f"{place} says that there are pickled tensors"
        elif re.search(r"\.pt$|custom_obj|opaque_obj", place):
            yield f"{place} is a pickle"
    elif place.startswith("data/sample_inputs/"):
        try:
            torch.load(io.BytesIO(archive.read(name)), weights_only=True)
        except Exception:  # it needs more than tensors to be read: torch would fall back to an unsafe load
            yield f"{place} holds more than tensors"
    elif place.startswith("models/"):
        yield from _look_at_program(json.loads(archive.read(name)), place)
    elif not place.startswith(_CALM_PLACES):
        yield f"{place} is not part of a plain program"


def _look_at_program(program: object, place: str) -> Iterator[str]:
    for key, value in _strings(program):
        if key == "target" and not _CALM_TARGET.fullmatch(value):
            yield f"{place} calls {value}"
        elif key == "expr_str" and not _CALM_EXPRESSION.fullmatch(value):
            yield f"{place} computes a size as {value[:60]!r}"


def _strings(value: object) -> Iterator[tuple[str, str]]:
    """Find all strings in nested data, with the key under which each stands."""
    if isinstance(value, dict):
        for key, part in value.items():
            if isinstance(part, str):
                yield key, part
            else:
                yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)


def _with_layers(program: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> nn.Module:
    """Turn a program into a module, with the modules it was exported from where torch can restore them."""
    flat: nn.Module = program.module()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about torch's own internals
            layered: nn.Module = torch.export.unflatten(program)
            expected, actual = flat(*args, **kwargs), layered(*args, **kwargs)
    except (
        Exception
    ):  # restoring the layers is a courtesy that torch cannot always pay: the flat program runs
        return flat
    pairs = zip(tensors_in(expected), tensors_in(actual), strict=False)
    return layered if all(left.shape == right.shape for left, right in pairs) else flat
