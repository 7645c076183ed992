"""The fetcher's crossbars: 32 requests a cycle find their 16 channels, and the data find their way back.

Each output takes one request a cycle, and each input offers its oldest. Who of several comes first goes round: the
input behind the one that this output took last. So nothing is lost, nobody waits for ever, and requests of one input
for one output keep their order, by which the data crossbar, the same turned round, knows whose they are.

The engines give each input the requests of one pseudo-channel, for neighbouring transactions lie on neighbouring
ones: two inputs share an output, take turns, and no request waits behind one for another channel. If a request were
put into any input, it would: `head_of_line_throughput` tells what is then left.

Source: SpAtten (HPCA 2021), section IV-A and Fig. 6 (32 x 16 for addresses, 16 x 32 for data, FIFOs of 64).
Differs from the paper: which does not say how ties are decided, nor which requests an input gets.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from multum.accelerator.counts import check_counts
from multum.core import invalid


class Grant(NamedTuple):
    """One request on its way."""

    cycle: int
    """When it left."""
    source: int
    """The input that it waited at."""
    output: int
    """Where it went."""
    order: int
    """Which of its input's requests it was."""


@dataclass(frozen=True, kw_only=True)
class Crossbar:
    """Inputs, outputs, and the FIFO before each input.

    Raises:
        UserError: A count below 1.

    >>> [grant.cycle for grant in Crossbar(inputs=2, outputs=2).route([[0, 1], [0, 0]])]
    [0, 1, 1, 2]
    """

    inputs: int = 32
    """Where requests come from."""
    outputs: int = 16
    """Where they go: channels."""
    fifo_depth: int = 64
    """Requests that wait before each input."""

    def __post_init__(self) -> None:
        check_counts(self)

    def least_cycles(self, requests: Sequence[Sequence[int]]) -> int:
        """What no crossbar can beat: the most requests of one input, or for one output."""
        by_output = [0] * self.outputs
        for queue in requests:
            for output in queue:
                by_output[output] += 1
        return max([*by_output, *(len(queue) for queue in requests)], default=0)

    @property
    def head_of_line_throughput(self) -> float:
        """Part of the outputs' cycles that are used when inputs never run dry and ask for any output, by chance.

        The requests that stand first and want one output are a queue of Poisson arrivals, rate L, served one a cycle;
        every input has one that stands first, so with k inputs for each output k = L + L^2 / (2 (1 - L)), and

            L = 1 + k - sqrt(1 + k^2)

        for many outputs.

        Source: M. Karol, M. Hluchyj, S. Morgan, Input versus output queueing on a space-division packet switch (1987).

        >>> round(Crossbar().head_of_line_throughput, 3), round(Crossbar(inputs=16).head_of_line_throughput, 3)
        (0.764, 0.586)
        """
        inputs_for_each = self.inputs / self.outputs
        return 1 + inputs_for_each - math.sqrt(1 + inputs_for_each**2)

    def route(self, requests: Sequence[Sequence[int]]) -> tuple[Grant, ...]:
        """Let all requests through.

        Args:
            requests: For each input the outputs that its requests want, in their order.

        Returns:
            All grants, by cycle, then by output.

        Raises:
            UserError: More inputs than there are, more requests than a FIFO holds, an output that there is not.
        """
        self._check(requests)
        queues = [deque(enumerate(queue)) for queue in requests]
        behind = [0] * self.outputs
        grants: list[Grant] = []
        cycle = 0
        while any(queues):
            wanted: dict[int, list[int]] = {}
            for source, queue in enumerate(queues):
                if queue:
                    wanted.setdefault(queue[0][1], []).append(source)
            for output in sorted(wanted):
                source = min(wanted[output], key=lambda it, first=behind[output]: (it - first) % self.inputs)  # type: ignore[misc]
                behind[output] = (source + 1) % self.inputs
                order, _ = queues[source].popleft()
                grants.append(Grant(cycle, source, output, order))
            cycle += 1
        return tuple(grants)

    def _check(self, requests: Sequence[Sequence[int]]) -> None:
        if len(requests) > self.inputs:
            raise invalid("requests", f"of at most {self.inputs} inputs", len(requests))
        for source, queue in enumerate(requests):
            if len(queue) > self.fifo_depth:
                raise invalid(f"requests of input {source}", f"at most {self.fifo_depth}", len(queue))
            for output in queue:
                if not 0 <= output < self.outputs:
                    raise invalid(f"an output of input {source}", f"in 0..{self.outputs - 1}", output)
