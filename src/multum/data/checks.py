"""Checks on what a JSON parser returned, so that a file with a slip is refused and the slip is named.

A reader that trusts its file fails far from the cause: a misspelt key surfaces as a missing title three
modules later. The functions here take a value and the name that its owner knows it by, and return the value
with its type settled.
"""

import json
from collections.abc import Sequence

from multum.core.errors import invalid
from multum.data.text_files import decode_utf8


def parse_object(data: bytes, name: str, keys: Sequence[str]) -> dict[str, object]:
    """Parse a JSON object with exactly the given keys.

    Args:
        data: The bytes of the file, UTF-8.
        name: What the file is, as the error shall call it.
        keys: The keys that must be there, and no others.

    Returns:
        The object.

    Raises:
        UserError: The bytes are not UTF-8, not JSON, not an object, or the keys differ.

    Example:
        >>> parse_object(b'{"topic": "tides"}', "file", ("topic",))
        {'topic': 'tides'}
    """
    try:
        parsed = json.loads(decode_utf8(data, name))
    except json.JSONDecodeError as error:
        raise invalid(name, "JSON", f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    return check_keys(parsed, name, keys)


def check_keys(value: object, name: str, keys: Sequence[str]) -> dict[str, object]:
    """Return `value` when it is an object with exactly `keys`.

    Args:
        value: What a JSON parser returned.
        name: What it is, as the error shall call it.
        keys: The keys that must be there, and no others.

    Returns:
        The same object.

    Raises:
        UserError: `value` is no object, or its keys differ.
    """
    if not isinstance(value, dict) or set(value) != set(keys):
        found = sorted(value) if isinstance(value, dict) else value
        raise invalid(name, f"an object with exactly the keys {', '.join(keys)}", found)
    return value


def check_text(value: object, name: str) -> str:
    """Return `value` when it is text that is not blank.

    Args:
        value: What a parser returned.
        name: What it is, as the error shall call it.

    Returns:
        The same text.

    Raises:
        UserError: `value` is not text, or blank.

    Example:
        >>> check_text("high water", "title")
        'high water'
    """
    if not isinstance(value, str) or not value.strip():
        raise invalid(name, "text that is not blank", value)
    return value
