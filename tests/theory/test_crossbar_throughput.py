"""What a crossbar carries when requests wait behind each other, against the closed form for many outputs."""

import numpy as np
import pytest

from multum.accelerator.crossbar import Crossbar

OUTPUTS, DEPTH = 64, 250


@pytest.mark.parametrize("inputs_for_each", [1, 2, 3])
def test_inputs_that_ask_for_anything_leave_the_share_of_the_closed_form(inputs_for_each: int) -> None:
    crossbar = Crossbar(inputs=inputs_for_each * OUTPUTS, outputs=OUTPUTS, fifo_depth=DEPTH)
    wanted = np.random.default_rng(0).integers(0, OUTPUTS, (crossbar.inputs, DEPTH))
    grants = crossbar.route(wanted.tolist())
    begin, end = 30, 130  # behind the first requests, before any input runs dry
    assert max(sum(it.source == source for it in grants if it.cycle < end) for source in range(3)) < DEPTH
    used = sum(begin <= it.cycle < end for it in grants) / (OUTPUTS * (end - begin))
    assert used == pytest.approx(crossbar.head_of_line_throughput, rel=0.02)


def test_inputs_that_ask_for_one_channel_each_wait_for_nobody_else() -> None:
    crossbar = Crossbar()  # two pseudo-channels, so two inputs, for each of 16 channels
    requests = [[source // 2] * 40 for source in range(crossbar.inputs)]
    assert crossbar.route(requests)[-1].cycle + 1 == crossbar.least_cycles(requests) == 80
