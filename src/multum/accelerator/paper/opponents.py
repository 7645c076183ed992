"""Time and energy of a benchmark on what SpAtten is compared with: platforms as rooflines, and two accelerators.

A platform runs the dense benchmark in float32; A3 and MNNFast run it dense as well, and SpAtten-1/8 is what they are
compared with. The energy of a rival is our own sum, so that both sides are priced alike:

    products x (multiply + add) + operands read from SRAM + bytes x (HBM2 read, I/O, and a row opened for each 1 KB)

Everything else that a rival does (A3's search and sort, exponentials, FIFOs) costs nothing here, which favours it.

Source: SpAtten (HPCA 2021), section V and Table III; `rivals` for the models of time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from multum.accelerator.architecture import Architecture, spatten_eighth
from multum.accelerator.area import SUM_BITS
from multum.accelerator.energy import HBM_ROW_BYTES, EnergyConstants
from multum.accelerator.paper.benchmarks30 import Benchmark
from multum.accelerator.paper.workloads import workload_of
from multum.accelerator.rivals import (
    A3,
    MnnFast,
    RivalRun,
    Roofline,
    eager_decoder,
    eager_encoder,
    jetson_nano,
    raspberry_pi_4,
    titan_xp,
    titan_xp_fitted,
    xeon_e5_2640_v4,
)
from multum.accelerator.workload import FLOAT_BITS

PLATFORMS: Mapping[str, Callable[[], Roofline]] = {
    "titan_xp": titan_xp,
    "xeon": xeon_e5_2640_v4,
    "jetson_nano": jetson_nano,
    "raspberry_pi": raspberry_pi_4,
}
"""By the end of their keys in `papers/spatten.toml`."""
GPUS = ("titan_xp", "jetson_nano")
"""Those of them that launch kernels."""


def bound_of(platform: str, _: Benchmark) -> Roofline:
    """The platform as its data sheet tells it."""
    return _bound(platform)


def eager_of(platform: str, benchmark: Benchmark) -> Roofline:
    """The same with what PyTorch of 2020 does for the benchmark."""
    return _eager(platform, benchmark.generates)


def fitted_of(_: str, __: Benchmark) -> Roofline:
    """TITAN Xp with launches fitted to Table IV."""
    return _fitted()


@cache
def _bound(platform: str) -> Roofline:
    return PLATFORMS[platform]()


@cache
def _eager(platform: str, generates: bool) -> Roofline:
    return (eager_decoder if generates else eager_encoder)(_bound(platform))


@cache
def _fitted() -> Roofline:
    return titan_xp_fitted()


Model = Callable[[str, Benchmark], Roofline]
"""How a platform is modelled."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a benchmark takes."""

    seconds: float
    """Time."""
    joules: float
    """Energy."""


def platform_cost(platform: str, benchmark: Benchmark, model: Model) -> Cost:
    """Run the dense benchmark on a platform.

    >>> from multum.accelerator.paper.benchmarks30 import thirty_benchmarks
    >>> short = thirty_benchmarks()[0]
    >>> eager, bound = (platform_cost("titan_xp", short, model).seconds for model in (eager_of, bound_of))
    >>> round((eager - bound) * 1e3, 2)
    1.44
    """
    return _platform_cost(model(platform, benchmark), replace(benchmark, task=""))


@cache
def _platform_cost(roofline: Roofline, benchmark: Benchmark) -> Cost:
    dense = workload_of(benchmark, ())
    return Cost(seconds=roofline.time_of(dense), joules=roofline.energy_of(dense))


def rival_cost(rival: A3 | MnnFast, benchmark: Benchmark) -> Cost:
    """Run the dense benchmark on a rival."""
    return _rival_cost(rival, replace(benchmark, task=""))


@cache
def _rival_cost(rival: A3 | MnnFast, benchmark: Benchmark) -> Cost:
    run = rival.run(workload_of(benchmark, ()))
    return Cost(seconds=run.seconds, joules=rival_joules(run, rival.bits))


def rival_joules(run: RivalRun, bits: int, constants: EnergyConstants | None = None) -> float:
    """Price what a rival did.

    Args:
        run: What it did.
        bits: Of its numbers; 32 are taken to be in floating point.
        constants: What each deed costs.

    >>> run = RivalRun(name="", cycles=1, dram_bytes=0, operations=2, dense_operations=2, clock_ghz=1.0)
    >>> price = EnergyConstants()
    >>> one = price.multiply(8) + price.add(32) + 8 * price.sram_bit
    >>> abs(rival_joules(run, 8) * 1e12 - one) < 1e-9
    True
    """
    price = constants or EnergyConstants()
    floating = price.shrink * (price.float_multiply + price.float_add)
    product = floating if bits == FLOAT_BITS else price.multiply(bits) + price.add(SUM_BITS)
    products = run.operations / 2
    moved = 8 * run.dram_bytes * (price.hbm_array_bit + price.hbm_wires_bit + price.hbm_io_bit)
    opened = run.dram_bytes / HBM_ROW_BYTES * price.hbm_activate
    return 1e-12 * (products * (product + bits * price.sram_bit) + moved + opened)


@cache
def eighth() -> Architecture:
    """SpAtten-1/8."""
    return spatten_eighth()
