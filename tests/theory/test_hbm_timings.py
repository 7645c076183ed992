"""The HBM model: every command at the first cycle that the timings allow, and efficiencies against closed forms."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multum.accelerator.hbm import HbmShape, HbmTimings
from multum.accelerator.hbm_channel import HbmChannel, Request, Served
from multum.core import UserError

TIMES = HbmTimings()
OTHER = HbmTimings(
    cl=11,
    rcd=9,
    rp=8,
    ras=30,
    rc=45,
    ccd_short=3,
    ccd_long=5,
    rrd_short=4,
    rrd_long=6,
    faw=31,
    burst=3,
    refi=2000,
)


def serve(*requests: tuple[int, int], timings: HbmTimings = TIMES, arrival: int = 0) -> Served:
    """Read (bank, row) pairs that are all there at once."""
    return HbmChannel(timings=timings).serve([Request(arrival, bank, row) for bank, row in requests])


def cycles_of(served: Served, name: str) -> list[int]:
    return [it.cycle for it in served.commands if it.name == name]


@pytest.mark.parametrize("times", [TIMES, OTHER], ids=["hbm2", "other"])
class TestEarliest:
    """Probe, issue, assert the earliest."""

    def test_a_first_read_waits_for_its_row_and_its_data(self, times: HbmTimings) -> None:
        served = serve((0, 0), timings=times)
        assert cycles_of(served, "activate") == [0]
        assert cycles_of(served, "read") == [times.rcd]
        assert served.done == (times.rcd + times.cl + times.burst,)

    def test_reads_of_one_group_are_a_long_way_apart(self, times: HbmTimings) -> None:
        first, second = cycles_of(serve((0, 0), (0, 0), timings=times), "read")
        assert second - first == max(times.ccd_long, times.burst)

    def test_reads_of_other_groups_wait_for_the_bus_or_a_short_way(self, times: HbmTimings) -> None:
        served = serve(*[(bank, 0) for _ in range(10) for bank in (0, 1)], timings=times)
        reads = [it for it in served.commands if it.name == "read"]
        apart = [
            later.cycle - earlier.cycle for earlier, later in pairwise(reads) if later.bank != earlier.bank
        ]
        assert min(apart) == max(times.ccd_short, times.burst)

    def test_activates_of_one_group_are_a_long_way_apart(self, times: HbmTimings) -> None:
        assert cycles_of(serve((0, 0), (4, 0), timings=times), "activate") == [0, times.rrd_long]

    def test_activates_of_other_groups_are_a_short_way_apart(self, times: HbmTimings) -> None:
        assert cycles_of(serve((0, 0), (1, 0), timings=times), "activate") == [0, times.rrd_short]

    def test_five_activates_span_the_window(self, times: HbmTimings) -> None:
        found = cycles_of(serve(*[(bank, 0) for bank in (0, 1, 2, 3, 5)], timings=times), "activate")
        assert found[4] == max(times.faw, found[3] + times.rrd_short)
        assert found[:4] == [n * times.rrd_short for n in range(4)]

    def test_another_row_waits_until_the_first_may_be_closed(self, times: HbmTimings) -> None:
        served = serve((0, 0), (0, 1), timings=times)
        assert cycles_of(served, "precharge") == [max(times.ras, times.rcd + 1)]
        (_, second) = cycles_of(served, "activate")
        assert second == max(times.rc, max(times.ras, times.rcd + 1) + times.rp)
        assert served.done[1] == second + times.rcd + times.cl + times.burst

    def test_a_refresh_closes_everything_and_lasts(self, times: HbmTimings) -> None:
        late = times.refi - times.rcd
        served = HbmChannel(timings=times).serve([Request(late, 0, 0), Request(times.refi + 1, 0, 0)])
        (refresh,) = cycles_of(served, "refresh")
        assert refresh == max(times.refi, late + times.ras) + times.rp
        assert cycles_of(served, "activate")[-1] == refresh + times.rfc
        assert cycles_of(served, "read")[0] == refresh + times.rfc + times.rcd


def test_reads_of_an_open_row_overtake() -> None:
    served = serve((0, 0), (0, 1), (0, 0))
    assert served.done[2] < served.done[1]
    assert served.count("activate") == 2


OFTEN = HbmTimings(refi=1600)  # refreshes that a short run meets twice; the closed forms hold for any


def steady_efficiency(requests: list[Request], num_refreshes: int) -> float:
    """Part of the bus's time that is filled between the first and the last refresh."""
    served = HbmChannel(timings=OFTEN).serve(requests)
    refreshes = cycles_of(served, "refresh")
    assert len(refreshes) > num_refreshes
    first, last = refreshes[0], refreshes[num_refreshes]
    return sum(first < it <= last for it in served.done) * OFTEN.burst / (last - first)


def test_a_stream_is_as_fast_as_its_closed_form() -> None:
    place = HbmShape().place(np.arange(2200) * HbmShape().num_channels)
    requests = [
        Request(0, bank, row) for bank, row in zip(place.bank.tolist(), place.row.tolist(), strict=True)
    ]
    assert steady_efficiency(requests, 2) == pytest.approx(OFTEN.stream_efficiency, rel=0.02)


@pytest.mark.parametrize("order", ["in turn", "random"])
def test_misses_are_as_fast_as_their_closed_form(order: str) -> None:
    generator = np.random.default_rng(0)
    banks = np.arange(1200) % 16 if order == "in turn" else generator.integers(0, 16, 1200)
    requests = [Request(0, bank, row) for row, bank in enumerate(banks.tolist())]
    assert steady_efficiency(requests, 2) == pytest.approx(OFTEN.miss_efficiency(16), rel=0.05)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15), st.integers(0, 2)), max_size=40),
    st.integers(1, 8),
)
def test_nothing_is_lost_and_no_timing_is_broken(steps: list[tuple[int, int, int]], depth: int) -> None:
    arrivals = np.cumsum([gap for gap, _, _ in steps]).tolist()
    requests = [Request(int(at), bank, row) for at, (_, bank, row) in zip(arrivals, steps, strict=True)]
    served = HbmChannel(queue_depth=depth).serve(requests)
    assert served.count("read") == len(requests)
    assert all(
        done >= it.arrival + TIMES.cl + TIMES.burst for done, it in zip(served.done, requests, strict=True)
    )
    assert len(set(served.done)) == len(requests)
    open_row: dict[int, int] = {}
    opened: dict[int, int] = {}
    for command in served.commands:
        if command.name == "activate":
            assert command.bank not in open_row
            assert command.cycle - opened.get(command.bank, -100) >= TIMES.rc
            open_row[command.bank], opened[command.bank] = command.row, command.cycle
        elif command.name == "read":
            assert open_row[command.bank] == command.row
            assert command.cycle - opened[command.bank] >= TIMES.rcd
        elif command.name == "precharge" and command.bank >= 0:
            assert command.cycle - opened[command.bank] >= TIMES.ras
            del open_row[command.bank]
        else:
            open_row.clear()


def test_an_address_is_row_bank_column_channel() -> None:
    shape = HbmShape()
    everything = shape.place(np.arange(32 * 32 * 16 * 2))
    places = list(
        zip(
            everything.row.tolist(),
            everything.bank.tolist(),
            everything.column.tolist(),
            everything.channel.tolist(),
            strict=True,
        )
    )
    assert places == sorted(places)
    assert len(set(places)) == len(places)
    assert set(everything.group[:: 32 * 32][:4].tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HbmTimings(rcd=0), "rcd must be at least 1 cycle; got 0"),
        (lambda: HbmTimings(rfc=3900), "rfc must be such that data fit between two refreshes"),
        (lambda: HbmShape(row_bytes=100), "row_bytes must be a multiple of 32; got 100"),
        (lambda: HbmShape(channels=0), "channels must be at least 1; got 0"),
        (lambda: HbmChannel(queue_depth=0), "queue_depth must be at least 1; got 0"),
        (lambda: serve((16, 0)), r"bank of request 0 must be in 0..15; got 16"),
        (
            lambda: HbmChannel().serve([Request(5, 0, 0), Request(4, 0, 0)]),
            "arrival of request 1 must be in order",
        ),
        (lambda: HbmShape().place([-1]), "transactions must be a list of numbers of at least 0"),
    ],
)
def test_memories_that_cannot_be_are_refused(make: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()  # type: ignore[operator]


def test_the_bandwidth_is_that_of_the_paper() -> None:
    assert HbmShape().bytes_per_cycle(TIMES) == 512  # at 1 GHz: GB/s
    assert dataclasses.replace(TIMES, rfc=450).stream_efficiency < TIMES.stream_efficiency
