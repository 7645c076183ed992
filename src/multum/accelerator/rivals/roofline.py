"""General-purpose platforms as rooflines: a layer takes as long as its operations or its bytes, and its launches.

    time = sum over layers of max(operations / (peak x utilization), bytes / (bandwidth x utilization)) + launches

As they come from their data sheets, platforms are bounds: both utilizations 1, no launches, the least time that such a
chip could need. What software adds is told apart, in two ways that never mix:

- `eager_encoder` and `eager_decoder` count what PyTorch does in a layer's attention, kernel by kernel and copy by copy.
- `fitted` takes a published time and ascribes everything above the bound to launches. A platform that was fitted
  says to which row, and is no evidence for that row.

Source: S. Williams et al., Roofline, Communications of the ACM (2009), for the model; data sheets for the numbers
(`multum/papers/data_sheets.toml`). SpAtten (HPCA 2021) measured dynamic power, which is below what data sheets say.
"""

import platform
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from multum.accelerator.workload import FLOAT_BITS, Workload
from multum.accelerator.workload_columns import UNSET, Column
from multum.core import check_fields, invalid, published

ENCODER_KERNELS = 6
"""Q x K, divide, add the mask, softmax, prob x V, merge heads: BERT's attention in transformers 2 (2020)."""

DECODER_KERNELS = 12
"""Append to keys, to values, stack both; Q x K, divide, four for the mask, softmax, prob x V, merge heads: GPT-2's."""

DECODER_COPIES = 5
"""Times that keys and values pass over the bus there: read and written to append, again to stack, read to attend."""


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """A platform.

    Raises:
        UserError: A rate that is not positive, a utilization outside (0, 1], negative launches.
    """

    name: str
    """What reports call it."""
    peak_flops: float
    """Operations of float32 a second, a multiply-add counted as two."""
    bytes_per_second: float
    """What the memory carries."""
    watts: float | None = None
    """Power while it works; None: not known."""
    compute_utilization: float = 1.0
    """Part of the peak that is reached."""
    bandwidth_utilization: float = 1.0
    """Part of the bandwidth that brings bytes which attention needs."""
    launch_seconds: float = 0.0
    """What each layer takes beside operations and bytes."""
    fitted_to: str | None = None
    """The published row that `launch_seconds` was fitted to; None: to nothing."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in (
            "peak_flops",
            "bytes_per_second",
            "compute_utilization",
            "bandwidth_utilization",
            "watts",
        ):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise invalid(name, "positive", value)
        for name in ("compute_utilization", "bandwidth_utilization"):
            if getattr(self, name) > 1:
                raise invalid(name, "in (0, 1]", getattr(self, name))
        if self.launch_seconds < 0:
            raise invalid("launch_seconds", "at least 0", self.launch_seconds)

    def time_of(self, workload: Workload) -> float:
        """Seconds of a workload's attention, layer after layer.

        Args:
            workload: What is computed as it stands; a platform that knows no pruning is given `dense_workload`.

        >>> work = Workload.from_counts(keys=[[100] * 12], heads=12, num_queries=100)
        >>> plain = Roofline(name="plain", peak_flops=1e12, bytes_per_second=1e11, launch_seconds=1e-5)
        >>> round(plain.time_of(work) * 1e6, 3)
        488.64
        """
        layers_R = np.stack([workload.iteration_id, workload.layer_id], axis=1)
        layer_R = np.unique(layers_R, axis=0, return_inverse=True)[1].reshape(-1)
        operations = np.bincount(layer_R, weights=_row_operations(workload))
        moved = np.bincount(layer_R, weights=_row_bytes(workload))
        compute = operations / (self.peak_flops * self.compute_utilization)
        memory = moved / (self.bytes_per_second * self.bandwidth_utilization)
        return float(np.maximum(compute, memory).sum()) + self.launch_seconds * len(operations)

    def energy_of(self, workload: Workload) -> float:
        """Joules: power times time.

        Raises:
            UserError: The power is not known.
        """
        if self.watts is None:
            raise invalid("watts", f"given, to tell the energy of {self.name}", None)
        return self.watts * self.time_of(workload)


def titan_xp() -> Roofline:
    """NVIDIA TITAN Xp, a bound; 250 W is what the card is built for.

    >>> round(titan_xp().peak_flops / 1e12, 2), titan_xp().bytes_per_second / 1e9
    (12.15, 547.7)
    """
    return _of_data_sheet("TITAN Xp", "titan_xp", multiply_adds=1.0)


def xeon_e5_2640_v4() -> Roofline:
    """Intel Xeon E5-2640 v4, one of them, a bound at the base clock.

    >>> round(xeon_e5_2640_v4().peak_flops / 1e9)
    768
    """
    adds = _sheet("xeon_multiply_adds")
    return _of_data_sheet("Xeon E5-2640 v4", "xeon", multiply_adds=adds)


def jetson_nano() -> Roofline:
    """NVIDIA Jetson Nano, its GPU in float32, a bound.

    >>> round(jetson_nano().peak_flops / 1e9, 1)
    235.8
    """
    return _of_data_sheet("Jetson Nano", "jetson_nano", multiply_adds=1.0)


def raspberry_pi_4() -> Roofline:
    """Raspberry Pi 4: four Cortex-A72, of which each is taken to do a multiply-add of four lanes in a cycle.

    The memory is 32 bits wide. Of what it carries on paper STREAM reaches 43 %, as others measured, which is its
    `bandwidth_utilization`; its power is measured at the wall, since none is published.

    >>> raspberry_pi_4().bytes_per_second / 1e9, round(raspberry_pi_4().bandwidth_utilization, 2)
    (12.8, 0.43)
    """
    cores, clock = _sheet("raspberry_pi_cores"), _sheet("raspberry_pi_clock")
    bandwidth = 1e6 * _sheet("raspberry_pi_transfers") * 32 / 8
    return Roofline(
        name="Raspberry Pi 4",
        peak_flops=2e6 * cores * clock * 4,
        bytes_per_second=bandwidth,
        bandwidth_utilization=1e9 * _sheet("raspberry_pi_stream") / bandwidth,
        watts=_sheet("raspberry_pi_watts"),
    )


def this_machine(*, watts: float | None = None) -> Roofline:
    """This machine, one thread of it, measured in about a second.

    Args:
        watts: Its power, for those who know it.
    """
    import torch  # imported here: everything else in this file needs no torch

    from multum.ops.fma_peak import measure_fma_peak
    from multum.ops.memory_stream import read_memory

    parts = [torch.ones(1 << 23) for _ in range(8)]  # 8 x 32 MB, written, so that no cache holds them
    best = float("inf")
    for part in [*parts, *parts]:
        start = time.perf_counter()
        read_memory(part)
        best = min(best, time.perf_counter() - start)
    return Roofline(
        name=f"this machine ({platform.machine()}, one thread)",
        peak_flops=measure_fma_peak().flops_per_second,
        bytes_per_second=parts[0].numel() * parts[0].element_size() / best,
        watts=watts,
    )


def eager_encoder(gpu: Roofline) -> Roofline:
    """A GPU as PyTorch of 2020 uses it for an encoder's attention: 6 kernels a layer, about 20 us each to launch.

    The 20 us are NVIDIA's, of a Tesla V100 beside a server's processor. Scores on their way through memory are not
    counted, and kernels that run while the next is launched are not either.

    >>> round(eager_encoder(titan_xp()).launch_seconds * 1e6)
    120
    """
    return _eager(gpu, kernels=ENCODER_KERNELS, copies=1)


def eager_decoder(gpu: Roofline) -> Roofline:
    """The same for a generated token: 12 kernels a layer, and keys and values pass over the bus five times.

    >>> round(eager_decoder(titan_xp()).launch_seconds * 1e6), eager_decoder(titan_xp()).bandwidth_utilization
    (240, 0.2)
    """
    return _eager(gpu, kernels=DECODER_KERNELS, copies=DECODER_COPIES)


def fitted(roofline: Roofline, workload: Workload, seconds: float, row: str) -> Roofline:
    """Ascribe to launches what a published time has above the model's: the derived platform is for other rows only.

    Args:
        roofline: A platform; what it takes for launches is replaced.
        workload: What was timed.
        seconds: How long it took.
        row: Where that is published.

    Raises:
        UserError: The model without launches already takes longer.
    """
    without = replace(roofline, launch_seconds=0.0)
    layers = np.unique(np.stack([workload.iteration_id, workload.layer_id], axis=1), axis=0)
    bound = without.time_of(workload)
    if not seconds >= bound:
        raise invalid(
            "seconds", f"at least {bound:.3g}, what {roofline.name} takes without launches", seconds
        )
    return replace(without, launch_seconds=(seconds - bound) / len(layers), fitted_to=row)


def titan_xp_fitted() -> Roofline:
    """TITAN Xp with launches fitted to GPT-2-Medium's attention in SpAtten's Table IV; for other rows only.

    32 tokens were generated after 992 of a prompt, so 24 layers of 16 heads saw 993 to 1,024 keys.

    >>> round(titan_xp_fitted().launch_seconds * 1e6), titan_xp_fitted().fitted_to
    (462, 'Table IV of SpAtten (HPCA 2021)')
    """
    row = published("data_sheets", "titan_xp_gpt2_medium_attention")
    work = Workload.from_counts(keys=[[length] * 24 for length in range(993, 1025)], heads=16)
    return fitted(titan_xp(), work, row.number / 1e3, row.where)


def implied_watts(*, speedup: float, energy_saving: float, accelerator_watts: float) -> float:
    """The dynamic power of a platform that a comparison implies: energy is power times time on both sides.

    Args:
        speedup: How many times longer the platform takes.
        energy_saving: How many times more energy.
        accelerator_watts: Power of what it is compared with.

    >>> round(implied_watts(speedup=162.0, energy_saving=1193.0, accelerator_watts=8.3), 1)
    61.1
    """
    return accelerator_watts * energy_saving / speedup


def _of_data_sheet(name: str, key: str, *, multiply_adds: float) -> Roofline:
    return Roofline(
        name=name,
        peak_flops=2e6 * _sheet(f"{key}_cores") * _sheet(f"{key}_clock") * multiply_adds,
        bytes_per_second=1e9 * _sheet(f"{key}_bandwidth"),
        watts=_sheet(f"{key}_watts"),
    )


def _sheet(key: str) -> float:
    return published("data_sheets", key).number


def _eager(gpu: Roofline, *, kernels: int, copies: int) -> Roofline:
    return replace(
        gpu,
        launch_seconds=kernels * _sheet("kernel_launch") / 1e6,
        bandwidth_utilization=gpu.bandwidth_utilization / copies,
    )


def _row_operations(workload: Workload) -> NDArray[np.float64]:
    """Operations of Q x K and prob x V, (R,); keys that were fetched a second time are multiplied a second time."""
    keys = workload.key_fetch_num * (1.0 + workload.if_requant)
    return 2.0 * workload.num_queries * (keys + workload.value_fetch_num) * workload.embedding_length_D


def _row_bytes(workload: Workload) -> NDArray[np.float64]:
    """Bytes of keys, values, queries and outputs, (R,); queries of a sentence choose from values that are all there."""
    key_bits = _bits(workload.quant_key_bit) + np.where(workload.if_requant, workload.auto_requant_incre, 0)
    values = np.where(workload.num_queries > 1, workload.key_fetch_num, workload.value_fetch_num)
    in_out = 2 * workload.num_queries * _bits(workload.quant_query_bit)
    bits = workload.key_fetch_num * key_bits + values * _bits(workload.quant_value_bit) + in_out
    moved: NDArray[np.float64] = workload.embedding_length_D * bits / 8
    return moved


def _bits(column: Column) -> Column:
    return np.where(column == UNSET, FLOAT_BITS, column)
