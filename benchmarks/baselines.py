"""Honest baselines: a gain over stock torch may be the library's and not ours.

On some processors torch's fp32 linear layers take a path that is half as fast as the hardware allows.
Beating that path proves nothing about token pruning. A CPU case in which linear layers matter therefore has
three columns: the peer as shipped, the peer with the same fast linear layers that ours uses, and ours. The
ratio that counts is the one to the middle column.
"""

from collections.abc import Callable

from benchmarks.registry import Setting
from multum.cost import Latency

SHIPPED = "peer_as_shipped"
SAME_LINEARS = "peer_same_linears"
OURS = "ours"

THREE_COLUMNS = (SHIPPED, SAME_LINEARS)
"""The peers of a case that uses `three_columns`."""


def three_columns(
    setting: Setting,
    *,
    shipped: Callable[[], object],
    same_linears: Callable[[], object],
    ours: Callable[[], object],
    num_threads: int | None = None,
) -> dict[str, Latency]:
    """Time the three columns round robin.

    Args:
        setting: How to measure.
        shipped: The peer as a user gets it.
        same_linears: The peer with the linear layers that ours uses.
        ours: Ours.
        num_threads: Threads of torch; the setting's own when None.

    Returns:
        A latency for each column, under the names above.
    """
    return setting.times({SHIPPED: shipped, SAME_LINEARS: same_linears, OURS: ours}, num_threads=num_threads)
