"""Widths that hardware likes: multiples of 8.

Source: Sandler et al., "MobileNetV2" (CVPR 2018), whose multipliers scale the widths; the rule that no width may lose
more than a tenth is that of the published networks.
"""

from multum.core import invalid

MULTIPLE = 8
LEAST_KEPT = 0.9


def round_width(width: float) -> int:
    """Round to the nearest multiple of 8, at least 8, and up where more than a tenth would be lost.

    Args:
        width: Channels, as a multiplier left them; positive.

    Returns:
        Channels.

    Raises:
        UserError: A width that is not positive.

    >>> [round_width(width) for width in (1.0, 44.8, 22.4, 11.2, 36.0)]
    [8, 48, 24, 16, 40]
    """
    if not width > 0:
        raise invalid("width", "positive", width)
    nearest = max(MULTIPLE, int(width + MULTIPLE / 2) // MULTIPLE * MULTIPLE)
    return nearest if nearest >= LEAST_KEPT * width else nearest + MULTIPLE
