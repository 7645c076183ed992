"""SpAtten-e2e: the fully connected layers of a network on the multipliers of attention, weights streamed from memory.

While tokens are generated one by one a weight meets one number and is never needed again before the next token. So no
multiplier decides how long a layer takes: its weights come in order, as many bytes a cycle as the memory brings, and

    cycles of a layer = max(bytes / (bytes a cycle x efficiency), products / multipliers), rounded up

The efficiency is not a constant: a stream of neighbouring transactions goes through the model of a pseudo-channel
(`hbm_channel`), and what its bus carries between two refreshes is the answer. Neighbouring transactions lie on
neighbouring pseudo-channels and none waits for another, so one tells for all. The next layer's weights do not depend
on this one's result, so the stream never stops between layers.

Source: SpAtten (HPCA 2021), section V and Table IV (SpAtten-e2e, weights of 8 or 12 bits).
Differs from the paper: which does not say how a layer is cut up; here both arrays multiply whatever comes, each weight
passes the memories on the chip once, and biases, sums of residuals and the embedding's look-up cost nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from multum.accelerator.activity import Activity
from multum.accelerator.architecture import Architecture
from multum.accelerator.bitwidth_converter import CHIP_BITS
from multum.accelerator.counts import check_counts
from multum.accelerator.energy import Energy, EnergyConstants, energy_of
from multum.accelerator.hbm import HbmShape, HbmTimings
from multum.accelerator.hbm_channel import QUEUE_DEPTH, HbmChannel, Request
from multum.accelerator.simulation import DramTraffic
from multum.core import invalid, published

WEIGHT_BITS = (8, 12)
"""Bits that a weight may have in memory; 12 are stored as planes of 8 and 4, both of whole transactions."""


@dataclass(frozen=True, kw_only=True)
class FullyConnected:
    """A layer: a matrix that one vector after another is multiplied with.

    Raises:
        UserError: A count below 1.

    >>> FullyConnected(inputs=1024, outputs=4096, count=24).num_weights
    100663296
    """

    inputs: int
    """Numbers that come in."""
    outputs: int
    """Numbers that go out."""
    count: int = 1
    """How many such layers there are."""

    def __post_init__(self) -> None:
        check_counts(self)

    @property
    def num_weights(self) -> int:
        """Weights of all of them, biases left out."""
        return self.inputs * self.outputs * self.count


def decoder_layers(
    num_layers: int, width: int, *, vocabulary: int | None = None
) -> tuple[FullyConnected, ...]:
    """The layers of a decoder like GPT-2: queries, keys and values; output; up by four and down again.

    Args:
        num_layers: Blocks.
        width: Numbers of a token.
        vocabulary: Tokens of the language-model head; None: no head.

    >>> sum(layer.num_weights for layer in decoder_layers(24, 1024)) == 24 * 12 * 1024**2
    True
    """
    block = ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width))
    layers = tuple(FullyConnected(inputs=i, outputs=o, count=num_layers) for i, o in block)
    return layers if vocabulary is None else (*layers, FullyConnected(inputs=width, outputs=vocabulary))


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What a pseudo-channel does while neighbouring transactions go by, between two refreshes."""

    efficiency: float
    """Part of the time in which its bus carries data."""
    activates_per_transaction: float
    """Rows opened for each transaction."""
    refreshes_per_transaction: float
    """Refreshes for each transaction."""


@cache
def simulate_stream(shape: HbmShape, timings: HbmTimings, queue_depth: int = QUEUE_DEPTH) -> Stream:
    """Send a stream through one pseudo-channel, and watch it from its first refresh to its second.

    Args:
        shape: How the memory is divided.
        timings: What it waits for.
        queue_depth: Requests that the controller sees.

    >>> short = HbmTimings(refi=400, rfc=60)
    >>> stream = simulate_stream(HbmShape(), short)
    >>> abs(stream.efficiency / short.stream_efficiency - 1) < 0.02
    True
    """
    transactions = 2 * timings.refi // timings.burst
    place = shape.place(np.arange(transactions) * shape.num_channels)
    requests = [
        Request(0, bank, row) for bank, row in zip(place.bank.tolist(), place.row.tolist(), strict=True)
    ]
    served = HbmChannel(shape=shape, timings=timings, queue_depth=queue_depth).serve(requests)
    first, second = [it.cycle for it in served.commands if it.name == "refresh"][:2]
    carried = sum(first < done <= second for done in served.done)
    opened = sum(first < it.cycle <= second for it in served.commands if it.name == "activate")
    return Stream(
        efficiency=carried * timings.burst / (second - first),
        activates_per_transaction=opened / carried,
        refreshes_per_transaction=1 / carried,
    )


@dataclass(frozen=True, kw_only=True)
class FullyConnectedRun:
    """What layers took."""

    cycles: int
    """From the first weight to the last product."""
    stream_cycles: int
    """What the memory alone would take."""
    multiply_cycles: int
    """What the multipliers alone would take."""
    traffic: DramTraffic
    """What the memory did."""
    energy: Energy
    """What it took, by unit."""
    peak_bytes_per_cycle: float
    """What the buses carry when none ever waits."""
    clock_ghz: float
    """Cycles of a nanosecond."""

    @property
    def seconds(self) -> float:
        """At the architecture's clock."""
        return self.cycles / (1e9 * self.clock_ghz)

    @property
    def dram_efficiency(self) -> float:
        """Bytes of weights over what the buses could have carried in that time."""
        return self.traffic.useful_bytes / (self.peak_bytes_per_cycle * self.cycles)


def run_fully_connected(
    layers: Sequence[FullyConnected],
    *,
    num_tokens: int = 1,
    weight_bits: int = 8,
    architecture: Architecture | None = None,
    constants: EnergyConstants | None = None,
) -> FullyConnectedRun:
    """Run layers once for each token, one token after the other.

    Args:
        layers: Which.
        num_tokens: How many vectors go through them, apart from each other.
        weight_bits: Bits of a weight in memory.
        architecture: On what; None: SpAtten.
        constants: What each deed costs.

    Raises:
        UserError: No layer, no token, or a width that is neither 8 nor 12.
    """
    if not layers or num_tokens < 1:
        raise invalid("layers and num_tokens", "at least one each", (len(layers), num_tokens))
    if weight_bits not in WEIGHT_BITS:
        raise invalid("weight_bits", "8 or 12", weight_bits)
    it = architecture or Architecture()
    timings = it.hbm_timings.at_clock(it.clock_ghz)
    stream = simulate_stream(it.hbm, timings, it.address_crossbar.fifo_depth)
    peak = it.hbm.bytes_per_cycle(timings)
    multipliers = it.query_key.multipliers + it.prob_value.multipliers
    streamed = [layer.num_weights * weight_bits / 8 / (peak * stream.efficiency) for layer in layers]
    multiplied = [layer.num_weights / multipliers for layer in layers]
    slower = sum(max(pair) for pair in zip(streamed, multiplied, strict=True))
    products = num_tokens * sum(layer.num_weights for layer in layers)
    transactions = math.ceil(products * weight_bits / 8 / it.hbm.transaction_bytes)
    traffic = DramTraffic(
        useful_bytes=products * weight_bits // 8,
        transactions=transactions,
        transaction_bytes=it.hbm.transaction_bytes,
        activates=round(transactions * stream.activates_per_transaction),
        refreshes=round(transactions * stream.refreshes_per_transaction),
    )
    cycles = math.ceil(num_tokens * slower)
    return FullyConnectedRun(
        cycles=cycles,
        stream_cycles=math.ceil(num_tokens * sum(streamed)),
        multiply_cycles=math.ceil(num_tokens * sum(multiplied)),
        traffic=traffic,
        energy=energy_of(weights_activity(products), traffic, it, cycles, constants),
        peak_bytes_per_cycle=peak,
        clock_ghz=it.clock_ghz,
    )


def weights_activity(products: int) -> Activity:
    """What so many products make the units do: half of the weights go each of the two ways, once."""
    half, none = np.array([products / 2]), np.zeros(1)
    chip_bytes = half * CHIP_BITS / 8
    return Activity(
        query_key_products=half,
        prob_value_products=half,
        exponentials=none,
        divisions=none,
        value_topk_items=none,
        token_topk_items=none,
        importance_additions=none,
        key_sram_read_bytes=chip_bytes,
        key_sram_written_bytes=chip_bytes,
        value_sram_read_bytes=chip_bytes,
        value_sram_written_bytes=chip_bytes,
        converted_numbers=2 * half,
    )


GPT2_MEDIUM_LAYERS, GPT2_MEDIUM_WIDTH, GPT2_VOCABULARY = 24, 1024, 50257
"""Of the published model."""


@dataclass(frozen=True, kw_only=True)
class Table4:
    """GPT-2-Medium's fully connected layers while 32 tokens are generated; the prompt's are not in the table."""

    blocks: FullyConnectedRun
    """Those of the 24 blocks: what is compared with the published time."""
    with_head: FullyConnectedRun
    """The same, and the language-model head, which the table may mean as well: it does not say."""
    published_seconds: float
    """The paper's, weights of 8 bits."""

    @property
    def published_dram_efficiency(self) -> float:
        """What the published time implies for the blocks."""
        return self.blocks.dram_efficiency * self.blocks.seconds / self.published_seconds


def table4(
    *,
    weight_bits: int = 8,
    num_tokens: int = 32,
    architecture: Architecture | None = None,
) -> Table4:
    """Run what Table IV calls FC.

    The blocks alone are compared, since the table's FC stands beside attention, of which a block has one each; a head
    belongs to no block.

    Args:
        weight_bits: The published time is that of 8.
        num_tokens: The paper generates 32.
        architecture: On what; None: SpAtten.
    """
    blocks, with_head = (
        run_fully_connected(
            decoder_layers(GPT2_MEDIUM_LAYERS, GPT2_MEDIUM_WIDTH, vocabulary=vocabulary),
            num_tokens=num_tokens,
            weight_bits=weight_bits,
            architecture=architecture,
        )
        for vocabulary in (None, GPT2_VOCABULARY)
    )
    seconds = published("spatten", "table_4_fc_time").number / 1e3
    return Table4(blocks=blocks, with_head=with_head, published_seconds=seconds)
