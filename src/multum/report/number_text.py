"""How a report writes shares, scores and differences; sizes and times are told by `multum.cost.units`.

Tables of a report stand beside each other, so the same number must look the same everywhere. These functions
take plain numbers and return text.
"""

import math

from multum.cost.units import DASH, Number, format_bytes, format_count, format_seconds

THIN_SPACE = "\u202f"
"""Between a number and its unit: narrow, and a line never breaks there."""

MINUS = "\u2212"
"""A real minus sign, as wide as a plus."""


def format_fixed(value: Number, digits: int = 3) -> str:
    """Write a number with so many places after the point, thousands apart.

    Args:
        value: Any number.
        digits: Places after the point.

    Returns:
        The number; a dash when it is not finite.

    >>> [format_fixed(0.8203), format_fixed(-0.26, 1), format_fixed(-0.0001, 2), format_fixed(float("nan"))]
    ['0.820', '−0.3', '0.00', '–']
    """
    if not math.isfinite(value):
        return DASH
    written = f"{abs(value):,.{digits}f}"
    return f"{MINUS}{written}" if value < 0 and _shows_something(written) else written


def format_signed(value: Number, digits: int = 1) -> str:
    """Write a difference with its sign; what rounds to nothing is neither plus nor minus.

    >>> [format_signed(1.7), format_signed(-0.3), format_signed(0.0)]
    ['+1.7', '−0.3', '0.0']
    """
    written = format_fixed(value, digits)
    return f"+{written}" if value > 0 and _shows_something(written) else written


def format_percent(share: Number, digits: int = 0) -> str:
    r"""Write a share of one as a percentage.

    >>> [format_percent(0.4), format_percent(0.0583, 1)]
    ['40\u202f%', '5.8\u202f%']
    """
    return f"{format_fixed(100 * share, digits)}{THIN_SPACE}%" if math.isfinite(share) else DASH


def tell_count(count: Number) -> str:
    """Tell a count as `multum.cost.units` does, so that no line breaks before its unit."""
    return format_count(count).replace(" ", THIN_SPACE)


def tell_bytes(num_bytes: Number) -> str:
    """Tell a size as `multum.cost.units` does, so that no line breaks before its unit."""
    return format_bytes(num_bytes).replace(" ", THIN_SPACE)


def tell_seconds(seconds: Number) -> str:
    """Tell a duration as `multum.cost.units` does, so that no line breaks before its unit."""
    return format_seconds(seconds).replace(" ", THIN_SPACE)


def sentence_case(text: str) -> str:
    """Begin with a capital and leave the rest alone.

    >>> sentence_case("dense, SDPA")
    'Dense, SDPA'
    """
    return text[:1].upper() + text[1:]


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Write a count and its noun.

    Args:
        count: How many.
        noun: What, for one.
        nouns: What, for several; the noun with an s when left out.

    Returns:
        Both.

    >>> plural(1, "passage"), plural(120, "query", "queries")
    ('1 passage', '120 queries')
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def _shows_something(written: str) -> bool:
    return any(digit in written for digit in "123456789")
