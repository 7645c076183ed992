"""Errors that a user can act on.

Two kinds of failure are kept apart everywhere in this package. When the *user* asked for something that
cannot be, we raise a `UserError`: one sentence that names the thing, says what it must be, shows what came,
and offers a way out. The command line prints that sentence and exits with code 2. When *we* broke an
invariant, an `assert` fails and the traceback is shown, because it is a bug.

The builders below return the exception, and the caller raises it, so that the `raise` stays visible where
the check is:

    if not 0 < keep_ratio <= 1:
        raise invalid("keep_ratio", "in (0, 1]", keep_ratio, "1 keeps everything")
"""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

LONGEST_SHOWN_VALUE = 200
"""Characters of a value's `repr` that an error message shows before it is cut."""

LEAST_SIMILARITY = 0.6
"""From where on, of 1, a known word counts as what a mistyped one may have meant."""


class UserError(ValueError):
    """A wish that cannot be fulfilled, told in one sentence; the command line shows no traceback for it."""


class UserTypeError(UserError, TypeError):
    """A `UserError` about a value of the wrong type, so that `except TypeError` finds it too."""


class MissingExtraError(UserError, ImportError):
    """An optional dependency is not installed; the message names the command that installs it."""


def invalid(name: str, constraint: str, value: object, remedy: str = "") -> UserError:
    """Build the error for a value that breaks a constraint.

    Args:
        name: What the user calls the value, for instance an argument or a dotted configuration key.
        constraint: What the value must be, so that "`name` must be `constraint`" reads as English.
        value: What came instead.
        remedy: What the user can do about it; left out when empty.

    Returns:
        The exception, for the caller to raise.

    >>> str(invalid("keep_ratio", "in (0, 1]", 1.5, "1 keeps everything"))
    'keep_ratio must be in (0, 1]; got 1.5; 1 keeps everything'
    """
    return UserError(_sentence(name, constraint, value, remedy))


def wrong_type(name: str, constraint: str, value: object, remedy: str = "") -> UserTypeError:
    """Build the error for a value of the wrong type; the arguments are those of `invalid`.

    >>> isinstance(wrong_type("layers", "an int", "six"), TypeError)
    True
    """
    return UserTypeError(_sentence(name, constraint, value, remedy))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Say which known words come close to a mistyped one, or else list what is known.

    Args:
        word: What the user wrote.
        known: What could have been meant.

    Returns:
        The second half of an error message.

    >>> did_you_mean("kep_ratio", ["keep_ratio", "layers"])
    'did you mean keep_ratio?'
    >>> did_you_mean("zebra", ["keep_ratio", "layers"])
    'known: keep_ratio, layers'
    """
    choices = list(known)
    score = {choice: _similarity(word, choice) for choice in choices}
    best = max(score.values(), default=0.0)
    if best >= LEAST_SIMILARITY:
        close = [choice for choice in choices if score[choice] >= best - 0.1]
        return f"did you mean {' or '.join(close[:3])}?"
    return f"known: {', '.join(choices)}" if choices else "nothing is known here"


def require_module(module: str, extra: str) -> ModuleType:
    """Import an optional dependency at the moment it is needed.

    Args:
        module: Dotted name of the module.
        extra: The extra of this package that brings it.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: When it is not installed; the message names the install command.

    >>> require_module("json", "report").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        root = module.partition(".")[0]
        if missing.name is None or missing.name.partition(".")[0] != root:
            raise  # the module is there, but something that it needs itself is not: that is another story
        raise MissingExtraError(
            f'{root} is needed for this and is not installed; pip install "multum[{extra}]"'
        ) from missing


def _similarity(word: str, choice: str) -> float:
    """Rate from 0 to 1 how likely a word stands for a known one; a beginning or swapped letters are good signs."""
    swapped = sorted(word) == sorted(choice)
    if swapped or (len(word) >= 3 and choice.startswith(word)):
        return 0.95
    return difflib.SequenceMatcher(None, word.lower(), choice.lower()).ratio()


def _sentence(name: str, constraint: str, value: object, remedy: str) -> str:
    parts = [f"{name} must be {constraint}", f"got {_shown(value)}"]
    return "; ".join([*parts, remedy] if remedy else parts)


def _shown(value: object) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:  # a tensor, say: its numbers would fill the screen
        return f"{type(value).__name__} (shape {tuple(shape)}, {dtype})"
    text = repr(value)
    if len(text) > LONGEST_SHOWN_VALUE:
        text = f"{text[:LONGEST_SHOWN_VALUE]}..."
    return text
