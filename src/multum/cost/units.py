"""How numbers of very different size are told to a person: one function for each unit.

Bytes are told in decimal units, as memory bandwidth and disks are sold: 1 kB = 1,000 bytes, 1 MB = 10^6 bytes.
Every table, page and log line of this package goes through these functions, so that two reports can be compared
by eye.
"""

import math
from typing import Final

Number = int | float
"""What can be told: a whole number or not."""

DASH: Final = "\N{EN DASH}"
"""What a table shows where there is no answer."""

_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_PREFIXES: Final = ("", "k", "M", "G", "T", "P", "E")
_SMALL: Final = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))


def format_count(count: Number) -> str:
    """Tell a count with three significant digits and a decimal prefix.

    Args:
        count: Any number, for instance of parameters or multiply-accumulates.

    Returns:
        The number as text; counts below 1,000 that are whole stay exact.

    >>> format_count(999), format_count(110_104_890), format_count(2.5e9)
    ('999', '110 M', '2.50 G')
    """
    return _scaled(count).strip()


def format_bytes(num_bytes: Number) -> str:
    """Tell a size in decimal units: 1 MB is a million bytes.

    Args:
        num_bytes: A size, or a difference of sizes (it may be negative).

    Returns:
        The size as text, with three significant digits.

    >>> format_bytes(512), format_bytes(1_048_576), format_bytes(-3e9)
    ('512 B', '1.05 MB', '-3.00 GB')
    """
    return f"{_scaled(num_bytes)}B"


def format_seconds(seconds: Number) -> str:
    """Tell a duration in the unit that fits it.

    Args:
        seconds: A duration; it may be negative, for a difference.

    Returns:
        The duration as text, with three significant digits.

    >>> format_seconds(0.836), format_seconds(1.3e-6), format_seconds(95.0), format_seconds(0.0)
    ('836 ms', '1.30 us', '95.0 s', '0 s')
    """
    return _with_small_unit(seconds, "s")


def format_joules(joules: Number) -> str:
    """Tell an energy in the unit that fits it.

    Args:
        joules: An energy.

    Returns:
        The energy as text, with three significant digits.

    >>> format_joules(0.0025), format_joules(3.2e-7)
    ('2.50 mJ', '320 nJ')
    """
    return _with_small_unit(joules, "J")


def format_ratio(ratio: Number | None) -> str:
    """Tell how many times smaller something became; a dash where the question has no answer.

    Args:
        ratio: Before over after, or None.

    Returns:
        The ratio as text.

    >>> format_ratio(3.104), format_ratio(0.5), format_ratio(None), format_ratio(math.inf)
    ('3.10×', '0.500×', '–', '–')
    """
    if ratio is None or not math.isfinite(ratio):
        return DASH
    return f"{_three_digits(ratio)}{_TIMES}"


def format_less(ratio: Number) -> str:
    """Tell a reduction, or its contrary, in words.

    Args:
        ratio: Before over after, positive.

    Returns:
        The factor and whether it is less or more.

    >>> format_less(3.1), format_less(0.5)
    ('3.10× less', '2.00× more')
    """
    return f"{format_ratio(ratio)} less" if ratio >= 1 else f"{format_ratio(1 / ratio)} more"


def _scaled(number: Number) -> str:
    """Scale to the prefix that leaves 1 to 999 before the point; ends with a space before the prefix."""
    if abs(number) < 999.5:
        text = str(round(number)) if float(number).is_integer() else _three_digits(number)
        return f"{text} "
    power = 0
    while abs(number) >= 999.5 and power < len(_PREFIXES) - 1:
        number /= 1000.0
        power += 1
    return f"{_three_digits(number)} {_PREFIXES[power]}"


def _with_small_unit(number: Number, unit: str) -> str:
    if number == 0:
        return f"0 {unit}"
    for scale, prefix in _SMALL:
        if abs(number) >= scale * 0.9995:
            return f"{_three_digits(number / scale)} {prefix}{unit}"
    return f"{_three_digits(number / 1e-9)} n{unit}"


def _three_digits(number: Number) -> str:
    rounded = abs(float(f"{number:.3g}"))
    whole_digits = len(str(int(rounded))) if rounded >= 1 else 0
    return f"{number:.{max(0, 3 - whole_digits)}f}" if rounded else "0"
