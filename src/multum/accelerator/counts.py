"""What all units check of their sizes: every one is a whole number, at least 1."""

from dataclasses import fields
from typing import Any

from multum.core import check_fields, invalid


def check_counts(unit: Any, said: str = "at least 1") -> None:
    """Hold the fields of a frozen dataclass, all of them counts, to their annotations and to being positive.

    Raises:
        UserError: A field is no whole number, or below 1.
    """
    check_fields(unit)
    for field in fields(unit):
        if getattr(unit, field.name) < 1:
            raise invalid(field.name, said, getattr(unit, field.name))
