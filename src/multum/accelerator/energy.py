"""Energy by unit: what a workload makes the units do, times what each deed costs in silicon of 40 nm.

The surprise of such sums is how little of them is arithmetic: a product of 12 bits costs less than to move a bit from
HBM2. The constants are other people's, and none is fitted to SpAtten's own power. Three rules carry them here:

    process   same voltage, capacitances in proportion to length: energy x 40 / 45; HBM2 is as its source gives it
    width     a width between two of the table lies on the power law through both: 0.2 pJ x (12 / 8)^1.98 for 12 bits
    memories  buffers of keys and values cost what the table's SRAM of 8 KB does, FIFOs and counters a register file

Where a source prices only something larger, the larger is taken, and said. Left out, since no constant was found that
could be looked up: leakage, the clock's tree, control, refresh and standby of the memory; so no energy depends on time.

Shape legend: G groups of rows.

Source: `SOURCES` for each constant; SpAtten (HPCA 2021), section IV, for what each unit does.
Differs from the paper: which had its units synthesized.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.activity import Activity, Counts
from multum.accelerator.architecture import Architecture
from multum.accelerator.area import (
    ADDRESS_BITS,
    EXPONENTIAL_ADDITIONS,
    EXPONENTIAL_MULTIPLICATIONS,
    FLOAT_BITS,
    QUOTIENT_BITS,
    SUM_BITS,
    at_width,
    check_constants,
)
from multum.accelerator.bitwidth_converter import CHIP_BITS
from multum.accelerator.simulation import DramTraffic
from multum.core import invalid

GROUPS = {
    "Q x K": "compute",
    "prob x V": "compute",
    "softmax": "compute",
    "top-k": "compute",
    "importance": "compute",
    "fetcher": "compute",
    "key SRAM": "SRAM",
    "value SRAM": "SRAM",
    "HBM activate": "DRAM",
    "HBM read": "DRAM",
    "HBM I/O": "DRAM",
}
"""Every unit, and the group that the paper's power would count it in; the fetcher's is not told."""
HBM_ROW_BYTES = 1024
"""The row that `hbm_activate` opens."""

SOURCES = {
    "add_8": ("kim_2023", "add_8_energy"),
    "add_32": ("kim_2023", "add_32_energy"),
    "multiply_8": ("kim_2023", "multiply_8_energy"),
    "multiply_32": ("kim_2023", "multiply_32_energy"),
    "float_add": ("kim_2023", "float_add_energy"),
    "float_multiply": ("kim_2023", "float_multiply_energy"),
    "sram_read_32": ("kim_2023", "sram_read_32_energy"),
    "process_nm": ("kim_2023", "process"),
    "register_file_macs": ("sze_2017", "register_file_energy"),
    "network_macs": ("sze_2017", "network_energy"),
    "hbm_activate": ("oconnor_2017", "hbm2_activate_energy"),
    "hbm_array_bit": ("oconnor_2017", "hbm2_array_energy"),
    "hbm_wires_bit": ("oconnor_2017", "hbm2_wires_energy"),
    "hbm_io_bit": ("oconnor_2017", "hbm2_io_energy"),
}
"""Where `multum.core.published` finds each constant."""


@dataclass(frozen=True, kw_only=True)
class EnergyConstants:
    """What was published, in pJ and at `process_nm`; the methods give pJ at `target_nm`.

    Raises:
        UserError: A constant that is not positive, or a name in `fitted` that is none of them.

    >>> constants = EnergyConstants()
    >>> round(constants.multiply(12), 3), round(constants.product, 3)
    (0.396, 0.485)
    """

    add_8: float = 0.03
    """Addition of 8 bits; Horowitz (ISSCC 2014), as Kim et al. (2023) print it."""
    add_32: float = 0.1
    """Addition of 32 bits; the same table."""
    multiply_8: float = 0.2
    """Multiplication of 8 bits; the same table."""
    multiply_32: float = 3.1
    """Multiplication of 32 bits; the same table."""
    float_add: float = 0.9
    """Addition in floating point, 32 bits; the same table."""
    float_multiply: float = 3.7
    """Multiplication in floating point, 32 bits; the same table."""
    sram_read_32: float = 5.0
    """32 bits from an SRAM of 8 KB; the same table. A write is taken to cost as much."""
    register_file_macs: float = 1.0
    """16 bits in or out of a memory of 0.5 to 1 KB, in multiplications and additions; Sze et al. (2017), Fig. 22."""
    network_macs: float = 2.0
    """16 bits through a network of 200 to 1,000 elements, likewise; for the crossbars, which are smaller."""
    hbm_activate: float = 909.0
    """Activating a row of 1 KB of HBM2; O'Connor et al. (MICRO 2017), Table 3."""
    hbm_array_bit: float = 1.51
    """A bit from its row to the global sense amplifiers; the same table, "pre-GSA data movement"."""
    hbm_wires_bit: float = 1.17
    """A bit from there on, half of the bits changing; the same table, "post-GSA data movement"."""
    hbm_io_bit: float = 0.80
    """A bit over the interposer, half of the bits changing; the same table."""
    process_nm: float = 45.0
    """Process of the table."""
    target_nm: float = 40.0
    """Process of the chip."""
    fitted: tuple[str, ...] = ()
    """Constants that were fitted to a row that results are held against; none of these is."""

    def __post_init__(self) -> None:
        check_constants(self)

    @property
    def shrink(self) -> float:
        """Energy at the chip's process over that at the table's."""
        return self.target_nm / self.process_nm

    def add(self, bits: int) -> float:
        """An addition, a subtraction, a comparison."""
        return self.shrink * at_width(bits, self.add_8, self.add_32)

    def multiply(self, bits: int) -> float:
        """A multiplication of two numbers of so many bits."""
        return self.shrink * at_width(bits, self.multiply_8, self.multiply_32)

    @property
    def product(self) -> float:
        """A multiplication of the arrays, and the addition that takes it into a sum."""
        return self.multiply(CHIP_BITS) + self.add(SUM_BITS)

    @property
    def sram_bit(self) -> float:
        """A bit in or out of the buffers of keys and values."""
        return self.shrink * self.sram_read_32 / 32

    @property
    def register_bit(self) -> float:
        """A bit in or out of a FIFO or a counter."""
        return self.register_file_macs * (self.multiply(16) + self.add(16)) / 16

    @property
    def network_bit(self) -> float:
        """A bit through a crossbar."""
        return self.network_macs * (self.multiply(16) + self.add(16)) / 16

    @property
    def exponential(self) -> float:
        """The softmax unit's first half for a score: scale, exponential, sum, and into the FIFO."""
        work = EXPONENTIAL_MULTIPLICATIONS * self.float_multiply + EXPONENTIAL_ADDITIONS * self.float_add
        return self.shrink * work + FLOAT_BITS * self.register_bit

    @property
    def division(self) -> float:
        """Its second half: out of the FIFO, divide, scale to 12 bits and round."""
        work = QUOTIENT_BITS * self.add_32 + self.float_multiply + self.float_add
        return self.shrink * work + FLOAT_BITS * self.register_bit

    def topk_item(self, layers: int) -> float:
        """An item of a pass: both comparators, the layers of the zero eliminator, in and out of a FIFO.

        A layer of multiplexers is taken to cost what an addition does, which is more.
        """
        return (2 + layers) * self.add(CHIP_BITS) + 2 * CHIP_BITS * self.register_bit

    @property
    def importance_addition(self) -> float:
        """A counter read, added to and written."""
        return self.add(SUM_BITS) + 2 * SUM_BITS * self.register_bit


@dataclass(frozen=True, kw_only=True)
class Energy:
    """What a workload, or a group of its rows, took."""

    joules: dict[str, float]
    """By unit, those of `GROUPS` in their order."""
    seconds: float
    """How long it ran."""

    @property
    def total(self) -> float:
        """Joules of all units."""
        return sum(self.joules.values())

    @property
    def watts(self) -> dict[str, float]:
        """Mean power of the groups of the paper: compute, SRAM, DRAM."""
        power = dict.fromkeys(GROUPS.values(), 0.0)
        for unit, joules in self.joules.items():
            power[GROUPS[unit]] += joules / self.seconds
        return power


def energy_of(
    activity: Activity,
    dram: DramTraffic,
    architecture: Architecture,
    cycles: int,
    constants: EnergyConstants | None = None,
) -> Energy:
    """Price a whole workload.

    Args:
        activity: What its rows make the units do.
        dram: What the memory did.
        architecture: On what it ran.
        cycles: How long; only `watts` depends on it.
        constants: What each deed costs.

    Raises:
        UserError: No cycle.
    """
    whole = activity.by(np.zeros(len(activity.divisions), dtype=np.int64))
    return energy_by_group(whole, dram, architecture, np.array([cycles]), np.ones(1), constants)[0]


def energy_by_group(
    activity_G: Activity,
    dram: DramTraffic,
    architecture: Architecture,
    cycles_G: NDArray[np.int64],
    moved_bytes_G: NDArray[np.float64] | NDArray[np.int64],
    constants: EnergyConstants | None = None,
) -> tuple[Energy, ...]:
    """Price groups of rows, for instance layers; together they take what the whole workload takes.

    Args:
        activity_G: Of each group, see `Activity.by`.
        dram: What the memory did for all of them.
        architecture: On what they ran.
        cycles_G: How long each took.
        moved_bytes_G: Bytes that the memory moved for each: the memory's energy is shared out in proportion to them.
        constants: What each deed costs.

    Raises:
        UserError: Lengths that differ, a group without a cycle, bytes below 0, or traffic and no bytes.
    """
    groups = len(activity_G.divisions)
    if not len(cycles_G) == len(moved_bytes_G) == groups:
        raise invalid("cycles and bytes", f"{groups} each, one a group", (len(cycles_G), len(moved_bytes_G)))
    if groups and int(cycles_G.min()) < 1:
        raise invalid("cycles", "at least 1", int(cycles_G.min()))
    part_G = _parts(moved_bytes_G, dram)
    picojoules = _picojoules(activity_G, dram, architecture, part_G, constants or EnergyConstants())
    seconds_G = cycles_G / (1e9 * architecture.clock_ghz)
    return tuple(
        Energy(
            joules={unit: 1e-12 * float(picojoules[unit][group]) for unit in GROUPS},
            seconds=float(seconds_G[group]),
        )
        for group in range(groups)
    )


def _picojoules(
    activity: Activity, dram: DramTraffic, architecture: Architecture, part_G: Counts, price: EnergyConstants
) -> dict[str, Counts]:
    """The sums, by unit; what the memory did is shared out by `part_G`."""
    bits = 8 * dram.moved_bytes
    opened = dram.activates * architecture.hbm.row_bytes / HBM_ROW_BYTES
    carried = bits + ADDRESS_BITS * dram.transactions
    sram_byte = 8 * price.sram_bit
    engines = architecture.value_topk, architecture.token_topk
    values, tokens = (price.topk_item(it.parallelism.bit_length() - 1) for it in engines)
    return {
        "Q x K": price.product * activity.query_key_products,
        "prob x V": price.product * activity.prob_value_products,
        "softmax": price.exponential * activity.exponentials + price.division * activity.divisions,
        "top-k": values * activity.value_topk_items + tokens * activity.token_topk_items,
        "importance": price.importance_addition * activity.importance_additions,
        "fetcher": price.add(CHIP_BITS) * activity.converted_numbers
        + part_G * carried * (2 * price.register_bit + price.network_bit),
        "key SRAM": sram_byte * (activity.key_sram_read_bytes + activity.key_sram_written_bytes),
        "value SRAM": sram_byte * (activity.value_sram_read_bytes + activity.value_sram_written_bytes),
        "HBM activate": part_G * opened * price.hbm_activate,
        "HBM read": part_G * bits * (price.hbm_array_bit + price.hbm_wires_bit),
        "HBM I/O": part_G * bits * price.hbm_io_bit,
    }


def _parts(moved_bytes_G: NDArray[np.float64] | NDArray[np.int64], dram: DramTraffic) -> Counts:
    """The part of the traffic that each group is behind."""
    moved = np.asarray(moved_bytes_G, dtype=np.float64)
    if bool((moved < 0).any()):
        raise invalid("moved_bytes", "at least 0", float(moved.min()))
    if dram.transactions and not moved.sum():
        raise invalid("moved_bytes", f"those of {dram.transactions} transactions", 0)
    part_G: Counts = moved / (moved.sum() or 1.0)
    return part_G
