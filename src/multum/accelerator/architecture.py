"""The accelerator as numbers: every parameter of the paper's Table I in one frozen value, and what follows from them.

Source: SpAtten (HPCA 2021), Table I; SpAtten-1/8 from section V, where it stands beside A3 and MNNFast.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from multum.accelerator.crossbar import Crossbar
from multum.accelerator.hbm import HbmShape, HbmTimings
from multum.accelerator.importance import ImportanceAccumulators
from multum.accelerator.multiplier_array import MultiplierArray
from multum.accelerator.softmax import SoftmaxUnit
from multum.accelerator.sram import DoubleBuffer
from multum.accelerator.topk_engine import TopkEngine
from multum.accelerator.workload import Workload
from multum.core import check_fields, invalid


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """SpAtten, as the paper builds it.

    Raises:
        UserError: A clock that is not positive, or a top-k engine, softmax or buffer for fewer scores than the others.

    >>> spatten = Architecture()
    >>> spatten.roof_flops / 1e12, spatten.dram_bytes_per_second / 1e9
    (2.048, 512.0)
    """

    name: str = "SpAtten"
    """What reports call it."""
    clock_ghz: float = 1.0
    """Cycles of a nanosecond."""
    query_key: MultiplierArray = field(default_factory=MultiplierArray)
    """Q x K."""
    prob_value: MultiplierArray = field(default_factory=MultiplierArray)
    """prob x V."""
    softmax: SoftmaxUnit = field(default_factory=SoftmaxUnit)
    """Softmax, and the progressive-quantization decision behind it."""
    key_sram: DoubleBuffer = field(default_factory=DoubleBuffer)
    """Keys on the chip."""
    value_sram: DoubleBuffer = field(default_factory=DoubleBuffer)
    """Values on the chip."""
    token_topk: TopkEngine = field(default_factory=TopkEngine)
    """Chooses tokens and heads, beside the critical path."""
    value_topk: TopkEngine = field(default_factory=TopkEngine)
    """Chooses the value rows of a query, on it."""
    importance: ImportanceAccumulators = field(default_factory=ImportanceAccumulators)
    """Counters of tokens and heads."""
    address_crossbar: Crossbar = field(default_factory=Crossbar)
    """From the fetcher's requests to the channels."""
    data_crossbar: Crossbar = field(default_factory=lambda: Crossbar(inputs=16, outputs=32))
    """From the channels back."""
    hbm: HbmShape = field(default_factory=HbmShape)
    """The memory."""
    hbm_timings: HbmTimings = field(default_factory=HbmTimings)
    """What it waits for, in cycles of 1 ns."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.clock_ghz <= 0:
            raise invalid("clock_ghz", "positive", self.clock_ghz)
        for what, capacity in (
            ("softmax", self.softmax.capacity),
            ("value_topk", self.value_topk.capacity),
            ("token_topk", self.token_topk.capacity),
        ):
            if capacity < self.key_sram.rows:
                raise invalid(what, f"for at least {self.key_sram.rows} scores, a buffer of keys", capacity)

    def grown_for(self, workload: Workload) -> "Architecture":
        """The same with buffers, FIFOs and top-k engines as deep as the workload's longest row of keys needs.

        >>> long = Workload.from_counts(keys=[[3000]], heads=1)
        >>> Architecture().grown_for(long).key_sram.rows
        4096
        """
        width = self.key_sram.width
        blocks = -(-workload.embedding_length_D.astype(np.int64) // width)
        needed = int((workload.key_fetch_num * blocks).max())
        rows = max(self.key_sram.rows, 1 << (needed - 1).bit_length())

        def deep(engine: TopkEngine) -> TopkEngine:
            return replace(engine, fifo_depth=max(engine.fifo_depth, -(-rows // engine.parallelism)))

        return replace(
            self,
            key_sram=replace(self.key_sram, rows=rows),
            value_sram=replace(self.value_sram, rows=max(self.value_sram.rows, rows)),
            softmax=replace(
                self.softmax, fifo_depth=max(self.softmax.fifo_depth, -(-rows // self.softmax.lanes))
            ),
            token_topk=deep(self.token_topk),
            value_topk=deep(self.value_topk),
        )

    @property
    def roof_flops(self) -> float:
        """Operations a second when every multiplier multiplies and adds in every cycle."""
        return 2e9 * self.clock_ghz * (self.query_key.multipliers + self.prob_value.multipliers)

    @property
    def dram_bytes_per_second(self) -> float:
        """What the memory's buses carry when none ever waits."""
        return 1e9 * self.hbm.bytes_per_cycle(self.hbm_timings)


def spatten_eighth() -> Architecture:
    """SpAtten-1/8: as many multipliers and as much bandwidth as A3 and MNNFast are given.

    >>> eighth = spatten_eighth()
    >>> eighth.query_key.multipliers + eighth.prob_value.multipliers, eighth.dram_bytes_per_second / 1e9
    (128, 64.0)
    """
    array = MultiplierArray(multipliers=64)
    return replace(
        Architecture(),
        name="SpAtten-1/8",
        query_key=array,
        prob_value=array,
        hbm=HbmShape(channels=2),
        address_crossbar=Crossbar(outputs=2),
        data_crossbar=Crossbar(inputs=2, outputs=32),
    )
