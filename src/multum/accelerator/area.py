"""Area by unit: multipliers, bits of memory, comparators and switches, times what each takes in silicon of 40 nm.

The constants are other people's, and none is fitted to SpAtten's own area. Three rules carry them here:

    process   area x (40 / 45)^2
    width     a width between two of the table lies on the power law through both
    memories  keys and values lie in SRAM, all FIFOs and counters in registers

Where a source measures only something larger, the larger is taken, and said. Left out is what stands between the units:
the wires of a floor plan, the room that placing leaves free, control, the clock's tree.

Source: `SOURCES` for each constant; SpAtten (HPCA 2021), Table I, for the sizes.
Differs from the paper: which had its units synthesized.
"""

import math
from dataclasses import dataclass, fields
from typing import Any

from multum.accelerator.architecture import Architecture
from multum.accelerator.bitwidth_converter import CHIP_BITS
from multum.accelerator.crossbar import Crossbar
from multum.accelerator.multiplier_array import MultiplierArray
from multum.accelerator.softmax import TAYLOR_ORDER
from multum.accelerator.topk_engine import TopkEngine
from multum.core import check_fields, invalid

UNITS = {
    "prob x V": ("prob x V multipliers", "value SRAM"),
    "Q x K": ("Q x K multipliers", "key SRAM"),
    "fetcher": ("crossbars", "fetcher FIFOs", "converters"),
    "softmax": ("softmax lanes", "softmax FIFO"),
    "top-k": ("top-k comparators", "top-k FIFOs"),
    "others": ("importance",),
}
"""The units of the paper's area, largest first, and the parts that are counted for each."""

SUM_BITS = 32
"""Bits of sums and counters: products of 24 bits, 512 of them, fit; the table has this width."""
FLOAT_BITS = 32
"""Bits of a number inside the softmax unit."""
QUOTIENT_BITS = 24
"""Bits of a quotient's mantissa; a divider subtracts once for each."""
ADDRESS_BITS = 32
"""Bits of a request: those of 8 GB in transactions of 32 bytes are 28."""
EXPONENTIAL_MULTIPLICATIONS = 3 + TAYLOR_ORDER
"""Times the scale, to powers of two, back from the nearest one, and Horner's scheme."""
EXPONENTIAL_ADDITIONS = 3 + TAYLOR_ORDER
"""To the nearest power of two, from it, Horner's scheme, and into the sum."""
NARROWEST_BITS = 4
"""Bits of the narrowest number in memory: the converter takes as many of these as the buses carry."""
CONVERTER_LAYERS = 2
"""Of multiplexers, by 4 bits and by 8: 4, 8 or 12 bits become 12."""
TOPK_FIFOS = 3
"""FIFO_L, FIFO_R, and the input that waits to be filtered."""

SOURCES = {
    "add_8": ("kim_2023", "add_8_area"),
    "add_32": ("kim_2023", "add_32_area"),
    "multiply_8": ("kim_2023", "multiply_8_area"),
    "multiply_32": ("kim_2023", "multiply_32_area"),
    "float_add": ("kim_2023", "float_add_area"),
    "float_multiply": ("kim_2023", "float_multiply_area"),
    "sram": ("han_2016", "memory_area"),
    "sram_kilobytes": ("han_2016", "memory_kilobytes"),
    "registers": ("han_2016", "register_area"),
    "registers_bits": ("han_2016", "register_file_bits"),
    "process_nm": ("kim_2023", "process"),
}
"""Where `multum.core.published` finds each constant."""


@dataclass(frozen=True, kw_only=True)
class AreaConstants:
    """What was published, in um2 and at `process_nm`; the methods give um2 at `target_nm`.

    Raises:
        UserError: A constant that is not positive, or a name in `fitted` that is none of them.

    >>> constants = AreaConstants()
    >>> round(constants.multiply(12)), round(constants.sram_bit, 3), round(constants.register_bit, 2)
    (465, 0.354, 3.65)
    """

    add_8: float = 36.0
    """Adder of 8 bits; Kim et al. (2023), Fig. 15, synthesized."""
    add_32: float = 137.0
    """Adder of 32 bits; the same figure."""
    multiply_8: float = 282.0
    """Multiplier of 8 bits; the same figure."""
    multiply_32: float = 3495.0
    """Multiplier of 32 bits; the same figure."""
    float_add: float = 4184.0
    """Adder in floating point, 32 bits; the same figure."""
    float_multiply: float = 7700.0
    """Multiplier in floating point, 32 bits; the same figure."""
    sram: float = 594_786.0
    """SRAM of one element of EIE; Han et al. (2016), Table II."""
    sram_kilobytes: float = 162.0
    """What that SRAM holds; the same paper, section VI. Its memories are of 2 to 128 KB; ours has more ports."""
    registers: float = 9_465.0
    """Registers of that element; Table II."""
    registers_bits: float = 2_048.0
    """Its two register files; section IV. The pipeline's registers are not told, so a bit comes out too large."""
    process_nm: float = 45.0
    """Process of both."""
    target_nm: float = 40.0
    """Process of the chip."""
    fitted: tuple[str, ...] = ()
    """Constants that were fitted to a row that results are held against; none of these is."""

    def __post_init__(self) -> None:
        check_constants(self)

    @property
    def shrink(self) -> float:
        """Area at the chip's process over that at the published one."""
        return (self.target_nm / self.process_nm) ** 2

    def add(self, bits: int) -> float:
        """An adder, a subtracter, a comparator."""
        return self.shrink * at_width(bits, self.add_8, self.add_32)

    def multiply(self, bits: int) -> float:
        """A multiplier of two numbers of so many bits."""
        return self.shrink * at_width(bits, self.multiply_8, self.multiply_32)

    @property
    def switch_bit(self) -> float:
        """One of two bits, chosen: taken to be as large as a bit of the adder of 32 bits, which is larger."""
        return self.shrink * self.add_32 / 32

    @property
    def sram_bit(self) -> float:
        """A bit of the buffers, with its part of their decoders and amplifiers."""
        return self.shrink * self.sram / (self.sram_kilobytes * 1024 * 8)

    @property
    def register_bit(self) -> float:
        """A bit of a FIFO, a counter or a pipeline."""
        return self.shrink * self.registers / self.registers_bits


@dataclass(frozen=True, kw_only=True)
class Area:
    """What an architecture takes."""

    parts: dict[str, float]
    """mm2 of every part of `UNITS`."""
    fitted: tuple[str, ...]
    """Constants behind it that were fitted to a row that it may be held against."""

    @property
    def units(self) -> dict[str, float]:
        """mm2 by unit of the paper's area, its order."""
        return {unit: sum(self.parts[part] for part in parts) for unit, parts in UNITS.items()}

    @property
    def total(self) -> float:
        """mm2 of everything."""
        return sum(self.parts.values())

    @property
    def shares(self) -> dict[str, float]:
        """Part of the total that each unit takes."""
        return {unit: area / self.total for unit, area in self.units.items()}


def area_of(architecture: Architecture, constants: AreaConstants | None = None) -> Area:
    """Measure an architecture out.

    >>> area = area_of(Architecture())
    >>> max(area.units, key=area.units.__getitem__), area.fitted
    ('fetcher', ())
    """
    it = constants or AreaConstants()
    engines = (architecture.token_topk, architecture.value_topk)
    um2 = {
        "prob x V multipliers": _array(architecture.prob_value, it),
        "value SRAM": 8 * architecture.value_sram.num_bytes * it.sram_bit,
        "Q x K multipliers": _array(architecture.query_key, it),
        "key SRAM": 8 * architecture.key_sram.num_bytes * it.sram_bit,
        "crossbars": sum(_crossbar(box, bits, it) for box, bits in _crossbars(architecture)),
        "fetcher FIFOs": sum(
            box.inputs * box.fifo_depth * bits * it.register_bit for box, bits in _crossbars(architecture)
        ),
        "converters": _converters(architecture, it),
        "softmax lanes": architecture.softmax.lanes * _softmax_lane(it),
        "softmax FIFO": architecture.softmax.capacity * FLOAT_BITS * it.register_bit,
        "top-k comparators": sum(_comparators(engine, it) for engine in engines),
        "top-k FIFOs": sum(TOPK_FIFOS * engine.capacity * CHIP_BITS * it.register_bit for engine in engines),
        "importance": architecture.key_sram.rows * SUM_BITS * it.register_bit
        + architecture.importance.lanes * it.add(SUM_BITS),
    }
    return Area(parts={part: 1e-6 * area for part, area in um2.items()}, fitted=it.fitted)


def _array(array: MultiplierArray, it: AreaConstants) -> float:
    """For each multiplier: itself, an adder of the tree, registers for two numbers and a sum."""
    registers = (2 * CHIP_BITS + SUM_BITS) * it.register_bit
    return array.multipliers * (it.multiply(CHIP_BITS) + it.add(SUM_BITS) + registers)


def _crossbars(architecture: Architecture) -> tuple[tuple[Crossbar, int], ...]:
    """Both crossbars, and the bits of what passes: a request, and what a channel brings in a cycle."""
    hbm = architecture.hbm
    data_bits = 8 * hbm.transaction_bytes * hbm.pseudo_channels // architecture.hbm_timings.burst
    return (architecture.address_crossbar, ADDRESS_BITS), (architecture.data_crossbar, data_bits)


def _crossbar(box: Crossbar, bits: int, it: AreaConstants) -> float:
    """For each output a tree of switches that chooses one of the inputs."""
    return box.outputs * (box.inputs - 1) * bits * it.switch_bit


def _converters(architecture: Architecture, it: AreaConstants) -> float:
    """For each number that the buses can bring in a cycle, layers of switches."""
    bits = 8 * architecture.hbm.bytes_per_cycle(architecture.hbm_timings)
    return bits / NARROWEST_BITS * CONVERTER_LAYERS * CHIP_BITS * it.switch_bit


def _softmax_lane(it: AreaConstants) -> float:
    """One of everything that a score meets, since it takes a score a cycle; the quotient's rounding is an adder too."""
    multipliers = (EXPONENTIAL_MULTIPLICATIONS + 1) * it.float_multiply
    adders = (EXPONENTIAL_ADDITIONS + 1) * it.float_add + QUOTIENT_BITS * it.add_32
    return it.shrink * (multipliers + adders)


def _comparators(engine: TopkEngine, it: AreaConstants) -> float:
    """Two arrays, and behind each a zero eliminator: the prefix count, and layers that move an item and its count."""
    layers = engine.parallelism.bit_length() - 1
    eliminator = engine.parallelism * layers * (layers + CHIP_BITS + layers) * it.switch_bit
    return engine.num_comparators * it.add(CHIP_BITS) + 2 * eliminator


def at_width(bits: int, at_8: float, at_32: float) -> float:
    """What an operation of so many bits costs, on the power law through the costs at 8 and at 32 bits.

    >>> at_width(8, 0.2, 3.1), round(at_width(16, 0.25, 4.0), 6)
    (0.2, 1.0)
    """
    exponent = math.log(at_32 / at_8) / math.log(32 / 8)
    return at_8 * math.pow(bits / 8, exponent)


def check_constants(constants: Any) -> None:
    """Hold a frozen dataclass of constants to its annotations, to being positive, and `fitted` to its names."""
    check_fields(constants)
    names = [it.name for it in fields(constants) if it.name != "fitted"]
    for name in names:
        if not getattr(constants, name) > 0:
            raise invalid(name, "positive", getattr(constants, name))
    for name in constants.fitted:
        if name not in names:
            raise invalid("fitted", "names of constants", name)
