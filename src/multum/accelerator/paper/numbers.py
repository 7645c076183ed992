"""The paper's numbers, read once: `papers/spatten.toml` by key."""

from functools import cache

from multum.core import Published, published

PAPER = "spatten"


@cache
def paper_number(key: str) -> Published:
    """A published number with its unit and place.

    Raises:
        UserError: There is no such number.

    >>> paper_number("dram_reduction").number
    10.0
    """
    return published(PAPER, key)
