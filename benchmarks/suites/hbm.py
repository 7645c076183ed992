"""The HBM2 model: how much of a bus's time is filled, against closed forms of its timings."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check, Results
from multum.accelerator.hbm import HbmShape, HbmTimings
from multum.accelerator.hbm_channel import HbmChannel, Request

SHAPE, TIMINGS = HbmShape(), HbmTimings()
CHANNEL = 5
"""The pseudo-channel that is looked at; none waits for another."""
REFRESHES, QUICK_REFRESHES = 8, 2
"""Between the first and the last of so many refreshes the bus is watched."""
ROW_TRANSACTIONS = 2
"""64 bytes."""


def _requests(transactions: Any) -> list[Request]:
    """Those of the pseudo-channel, all there from the start."""
    place = SHAPE.place(transactions)
    mine = place.channel == CHANNEL
    return [
        Request(0, bank, row)
        for bank, row in zip(place.bank[mine].tolist(), place.row[mine].tolist(), strict=True)
    ]


def _stream(setting: Setting) -> list[Request]:
    most = (_refreshes(setting) + 2) * TIMINGS.refi // TIMINGS.burst
    return _requests(np.arange(most * SHAPE.num_channels))


def _random_rows(setting: Setting) -> list[Request]:
    """Rows of 64 bytes at random places of a stack of 8 GB, each of two neighbouring transactions."""
    wanted = (_refreshes(setting) + 2) * TIMINGS.refi // TIMINGS.burst // 2
    places = 8 * 2**30 // (SHAPE.transaction_bytes * ROW_TRANSACTIONS)
    first = np.random.default_rng(setting.seed).integers(
        0, places, wanted * SHAPE.num_channels // ROW_TRANSACTIONS
    )
    return _requests((first[:, None] * ROW_TRANSACTIONS + np.arange(ROW_TRANSACTIONS)).ravel())


def _refreshes(setting: Setting) -> int:
    return QUICK_REFRESHES if setting.quick else REFRESHES


def _check(requests: list[Request]) -> Check:
    """A few hundred of them: each is read once, from the row that it asks for."""
    few = requests[:300]
    served = HbmChannel().serve(few)
    read = sorted((it.bank, it.row) for it in served.commands if it.name == "read")
    return Check.holds(
        read == sorted((it.bank, it.row) for it in few), f"{len(few)} transactions read once each"
    )


def _run(closed_form: float, requests: list[Request], setting: Setting) -> Mapping[str, float]:
    served = HbmChannel().serve(requests)
    refreshes = [it.cycle for it in served.commands if it.name == "refresh"]
    first, last = refreshes[0], refreshes[_refreshes(setting)]
    data = sum(first < done <= last for done in served.done)
    return {
        "efficiency": data * TIMINGS.burst / (last - first),
        "closed_form": closed_form,
        "activates_per_transaction": served.count("activate") / len(requests),
    }


def _error(name: str, results: Results) -> float:
    return abs(results.number(name, "efficiency") / results.number(name, "closed_form") - 1)


def _figure(name: str, case: str, goal: float, how: str) -> Figure:
    return Figure(
        id=f"accelerator.{name}_efficiency_closed_form_error",
        unit="",
        goal_max=goal,
        peer="the closed form of the timings",
        how=how,
        value=partial(_error, case),
    )


SUITE = Suite(
    name="hbm",
    about="The accelerator's HBM2 model: efficiency of a stream and of random rows against closed forms",
    counts_only=True,
    cases=(
        Case(
            name="stream",
            about="neighbouring transactions, one pseudo-channel of 32, whole refresh intervals",
            prepare=_stream,
            check=_check,
            run=partial(_run, TIMINGS.stream_efficiency),
        ),
        Case(
            name="random_rows",
            about="rows of 64 bytes at random places of 8 GB, one pseudo-channel of 32, whole refresh intervals",
            prepare=_random_rows,
            check=_check,
            run=partial(_run, TIMINGS.miss_efficiency(SHAPE.num_banks)),
        ),
    ),
    figures=(
        _figure("stream", "stream", 0.02, "1 - (rp + rfc + rcd) / refi: only refreshes cost"),
        _figure(
            "random_row",
            "random_rows",
            0.05,
            "an activate for each transaction: four in the window of faw, times what refreshes leave; 64 requests in "
            "the queue",
        ),
    ),
)
