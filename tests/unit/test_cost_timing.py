"""Timing: medians, blocks, fairness between peers, and settings that are put back."""

import gc
import time

import pytest
import torch

from multum.core.errors import UserError
from multum.cost import interleaved_times, time_call


def test_a_sleeping_function_takes_as_long_as_it_sleeps() -> None:
    latency = time_call(lambda: time.sleep(0.005), min_run_seconds=0.02)
    assert 0.005 <= latency.median_seconds < 0.1
    assert latency.num_runs >= 5
    assert latency.spread_seconds >= 0


class FakeClock:
    """A clock that only a timed function moves: 10 microseconds a call, and 0.9 milliseconds more in some."""

    def __init__(self, slow_calls: set[int]) -> None:
        self.now = 0.0
        self.calls = 0
        self._slow_calls = slow_calls

    def call(self) -> None:
        self.now += 1e-5 + (9e-4 if self.calls in self._slow_calls else 0.0)
        self.calls += 1


def test_a_short_function_is_called_in_blocks_even_if_the_first_reading_was_disturbed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock(slow_calls={2})  # the first after the two of the warm-up
    monkeypatch.setattr("multum.cost.timing.perf_counter", lambda: clock.now)
    latency = time_call(clock.call, min_run_seconds=0.0095, num_warmup=2)
    assert latency.num_runs == 10
    assert clock.calls == 2 + 6 + 10 * 100  # warm-up, readings that find the block, blocks of a millisecond
    assert latency.median_seconds == pytest.approx(1e-5)


def test_peers_take_turns_and_each_goes_first() -> None:
    order: list[str] = []
    pause = {"left": 0.002, "right": 0.002}
    calls = {name: lambda name=name: (order.append(name), time.sleep(pause[name])) for name in pause}
    times = interleaved_times(calls, rounds=6, num_warmup=1)
    measured = order[-12:]
    assert [measured[i : i + 2] for i in range(0, 12, 2)] == [["left", "right"], ["right", "left"]] * 3
    assert {latency.num_runs for latency in times.values()} == {6}
    assert list(times) == ["left", "right"]


@pytest.mark.parametrize("fails", [False, True])
def test_threads_and_garbage_collection_are_put_back(fails: bool) -> None:
    seen: list[tuple[int, bool]] = []

    def look() -> None:
        seen.append((torch.get_num_threads(), gc.isenabled()))
        if fails:
            raise KeyError

    before = torch.get_num_threads()
    if fails:
        with pytest.raises(KeyError):
            time_call(look, num_threads=2)
    else:
        assert time_call(look, num_threads=2, min_run_seconds=1e-3).num_threads == 2
    assert set(seen) == {(2, False)}
    assert torch.get_num_threads() == before
    assert gc.isenabled()


def test_senseless_wishes_are_refused() -> None:
    with pytest.raises(UserError, match="num_warmup must be at least 1; got 0"):
        time_call(lambda: None, num_warmup=0)
    with pytest.raises(UserError, match="num_threads must be at least 1; got 0"):
        time_call(lambda: None, num_threads=0)
    with pytest.raises(UserError, match="min_run_seconds must be positive"):
        time_call(lambda: None, min_run_seconds=0.0)
    with pytest.raises(UserError, match="calls must be at least one function"):
        interleaved_times({})
    with pytest.raises(UserError, match="rounds must be at least 5; got 2"):
        interleaved_times({"one": lambda: None}, rounds=2)
