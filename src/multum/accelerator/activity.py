"""What a workload makes the units do, counted: products, exponentials, comparisons, bytes of the memories on the chip.

These counts depend on the workload and on the architecture's sizes, never on when something happens, so they are
sums over rows and need no engine. Energy and the roofline are made of them; what the memory outside did
(`DramTraffic`) comes from the engine.

Shape legend: R rows of the workload.

Source: SpAtten (HPCA 2021), section IV (dataflow of each unit).
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.architecture import Architecture
from multum.accelerator.bitwidth_converter import CHIP_BITS
from multum.accelerator.topk_engine import TopkEngine
from multum.accelerator.topk_expectation import each_pair, expected_search_items
from multum.accelerator.workload import Workload

Counts = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Activity:
    """Counts, one for each row of the workload, (R,); expectations where pivots are random."""

    query_key_products: Counts
    """Multiplications of Q x K; a row whose second plane was fetched is multiplied twice."""
    prob_value_products: Counts
    """Multiplications of prob x V."""
    exponentials: Counts
    """Scores through the first half of the softmax unit: dequantize, exponential, accumulate."""
    divisions: Counts
    """Scores through its second half: divide, quantize."""
    value_topk_items: Counts
    """Scores that pass the comparators of the engine that chooses value rows, filter included; each meets two."""
    token_topk_items: Counts
    """The same of the engine that chooses tokens."""
    importance_additions: Counts
    """Probabilities and outputs added to counters."""
    key_sram_read_bytes: Counts
    """Keys from the chip's memory to the multipliers."""
    key_sram_written_bytes: Counts
    """Keys into it, as 12 bits; the second plane of a flat row is written apart."""
    value_sram_read_bytes: Counts
    """Values to the multipliers."""
    value_sram_written_bytes: Counts
    """Values into it, as 12 bits."""
    converted_numbers: Counts
    """Numbers through the bitwidth converter."""

    def total(self, name: str) -> float:
        """The sum of one count over all rows."""
        return float(getattr(self, name).sum())

    @property
    def operations(self) -> float:
        """Operations of Q x K and prob x V, a product and its sum counted as two."""
        return 2 * (self.total("query_key_products") + self.total("prob_value_products"))

    def by(self, group_R: NDArray[np.int64]) -> "Activity":
        """Sum up rows that belong together.

        Args:
            group_R: For each row the number of its group, from 0.
        """
        summed: dict[str, Counts] = {
            it.name: np.bincount(group_R, weights=getattr(self, it.name)).astype(np.float64)
            for it in fields(self)
        }
        return Activity(**summed)


def activity_of(workload: Workload, architecture: Architecture) -> Activity:
    """Count what each row of a workload makes the units do.

    >>> dense = Workload.from_counts(keys=[[100]], heads=1, num_queries=10)
    >>> activity_of(dense, Architecture()).operations
    256000.0
    """
    queries, keys, values = (
        getattr(workload, it).astype(np.float64) for it in ("num_queries", "key_fetch_num", "value_fetch_num")
    )
    width = workload.embedding_length_D
    passes = 1.0 + (
        workload.if_requant & (workload.num_queries == 1)
    )  # several queries read both planes at once
    loaded_values = np.where(
        queries > 1, keys, values
    )  # a prompt's queries choose from values that are all there
    chip_bytes = width * CHIP_BITS / 8
    plane = workload.if_requant * np.maximum(workload.auto_requant_incre, 0)
    outputs = queries * width
    return Activity(
        query_key_products=queries * keys * width * passes,
        prob_value_products=queries * values * width,
        exponentials=queries * keys * passes,
        divisions=queries * keys * passes,
        value_topk_items=queries * _topk_items(architecture.value_topk, keys, values),
        token_topk_items=_topk_items(
            architecture.token_topk, keys, np.where(workload.if_topk, workload.topk, keys)
        ),
        importance_additions=workload.if_accumulate_importance * (queries * keys) + outputs,
        key_sram_read_bytes=queries * keys * chip_bytes * passes,
        key_sram_written_bytes=keys * (chip_bytes + width * plane / 8),
        value_sram_read_bytes=queries * values * chip_bytes,
        value_sram_written_bytes=loaded_values * chip_bytes,
        converted_numbers=width * (keys * passes + loaded_values),
    )


def _topk_items(engine: TopkEngine, num_items_R: Counts, k_R: Counts) -> Counts:
    """Expected items of search and filter; none where all are kept."""
    return each_pair(lambda items, k: expected_search_items(engine, items, k) + items, num_items_R, k_R)
