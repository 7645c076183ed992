"""Decoding one token over a pruned and quantized cache, against SDPA over the dense float32 cache of the same context.

One layer of twelve heads. The context of 2,048 or 8,192 keys is pruned to a quarter; what is kept has been compacted,
as `multum` keeps it. Ours counts everything that a generated token needs of one layer's cache: attention from the MSBs
of the keys and from 8-bit values, the scores added to the cumulative importance, and the slot found that goes next.
Every call works on another layer's cache, together larger than any processor's cache: a case that claims bandwidth must
read memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.registry import Case, Figure, Setting, Suite
from benchmarks.schema import Check, Results
from multum.cost import Latency
from multum.ops import DecodeStep, FloatRows, PlaneRows, decode_attention, decode_bytes_read, evict_lowest
from multum.ops.memory_stream import read_memory

NUM_HEADS, WIDTH, MSB_BITS, VALUE_BITS = 12, 64, 8, 8
KEEP_RATIO = 0.25
ROTATED_BYTES = 160 * 2**20
"""Caches in turn take at least this; quick rehearsals take a quarter."""
PROTECTED = 4
"""Slots that are never evicted."""
TOLERANCE = 2e-5
"""Of contexts of order one in float32, kernel against reference."""

OURS, SDPA, DENSE, COMPACTED = "ours", "sdpa_dense", "own_kernel_dense", "sdpa_compacted"
ATTENTION_ONLY, STREAM = "ours_attention_only", "stream"
GROUP = 8
"""Caches that one timed call goes through, so that the clock costs nothing."""


@dataclass(frozen=True, kw_only=True)
class Caches:
    """Caches of several layers in turn, dense and as they are after pruning and rounding."""

    query: Tensor
    """(1, H, D)."""
    dense: list[tuple[Tensor, Tensor]]
    """Keys and values in float32, (1, H, context, D)."""
    compacted: list[tuple[Tensor, Tensor]]
    """The kept rows of them."""
    planes: list[tuple[PlaneRows, PlaneRows]]
    """The kept rows, quantized."""
    importance: Tensor
    """Cumulative importance, (1, kept)."""
    protected: Tensor
    """Slots that stay, (1, kept)."""

    @property
    def count(self) -> Tensor:
        """Rows in use of the pruned cache."""
        return torch.tensor([self.importance.shape[1]])

    @property
    def bytes_needed(self) -> int:
        """Bytes of the pruned cache that a call reads, as the kernel's own count says."""
        key, value = self.planes[0]
        result = decode_attention(self.query, key, value, self.count)
        return decode_bytes_read(result, key, value, self.count)


def _prepare(setting: Setting, context: int) -> Caches:
    generator, kept = setting.generator(), int(context * KEEP_RATIO)
    rotated = ROTATED_BYTES // 4 if setting.quick else ROTATED_BYTES

    def draw(rows: int) -> tuple[Tensor, Tensor]:
        shape = 2, 1, NUM_HEADS, rows, WIDTH
        key, value = torch.randn(shape, generator=generator).unbind()
        return key.clone(), value.clone()

    def fill(bytes_each: int) -> range:
        return range(GROUP * -(-rotated // (bytes_each * GROUP)))

    dense_bytes = 2 * NUM_HEADS * WIDTH * 4 * context
    planes = [
        (PlaneRows.quantize(key, MSB_BITS), PlaneRows.quantize(value, VALUE_BITS, two_planes=False))
        for key, value in (draw(kept) for _ in fill(2 * NUM_HEADS * kept * (WIDTH + 2)))
    ]
    return Caches(
        query=torch.randn(1, NUM_HEADS, WIDTH, generator=generator),
        dense=[draw(context) for _ in fill(dense_bytes)],
        compacted=[draw(kept) for _ in fill(int(dense_bytes * KEEP_RATIO))],
        planes=planes,
        importance=torch.zeros(1, kept),
        protected=torch.arange(kept)[None] < PROTECTED,
    )


def _check(caches: Caches) -> Check:
    key, value = caches.planes[0]
    found = decode_attention(caches.query, key, value, caches.count)
    true = decode_attention(caches.query.double(), key, value, caches.count, impl="reference")
    total = torch.zeros_like(caches.importance)
    step = DecodeStep(key, value, NUM_HEADS, total_BC=total, protected_BC=caches.protected)
    same = torch.equal(step(caches.query, caches.count).context_BHD, found.context_BHD)
    slot = evict_lowest(found.importance_BC, caches.protected, caches.count).item()
    if not same or step.evicted_B is None or step.evicted_B.item() != slot:
        return Check.holds(False, "a packed step gives something else than its parts")
    lowest = found.importance_BC[0, PROTECTED:].argmin().item() + PROTECTED
    if slot != lowest:
        return Check.holds(False, f"slot {slot} would be evicted, not {lowest}")
    together = [
        torch.cat([it.context_BHD.flatten(), it.importance_BC.flatten()]).double() for it in (found, true)
    ]
    return Check.close(together[0], together[1], allowed=TOLERANCE)


def _in_turn(call: Callable[[int], object], num_caches: int) -> Callable[[], None]:
    """A function that goes on through `GROUP` caches at each call, round and round."""
    starts = cycle(range(0, num_caches, GROUP))

    def run() -> None:
        start = next(starts)
        for index in range(start, start + GROUP):
            call(index)

    return run


def _run(caches: Caches, setting: Setting) -> Mapping[str, Latency | float]:
    query, count = caches.query, caches.count
    context = torch.tensor([caches.dense[0][0].shape[2]])
    rows = [(FloatRows(rows=key), FloatRows(rows=value)) for key, value in caches.dense]
    bytes_needed = caches.bytes_needed
    stream = torch.ones(len(caches.planes), bytes_needed // 4)

    steps = [
        DecodeStep(*rows, NUM_HEADS, total_BC=caches.importance, protected_BC=caches.protected)
        for rows in caches.planes
    ]

    def sdpa(keys_and_values: list[tuple[Tensor, Tensor]]) -> Callable[[int], object]:
        row = query[:, :, None]
        return lambda index: functional.scaled_dot_product_attention(row, *keys_and_values[index])

    calls: dict[str, tuple[Callable[[int], object], int]] = {
        OURS: (lambda index: steps[index](query, count), len(steps)),
        ATTENTION_ONLY: (
            lambda index: decode_attention(query, *caches.planes[index], count),
            len(caches.planes),
        ),
        SDPA: (sdpa(caches.dense), len(caches.dense)),
        DENSE: (lambda index: decode_attention(query, *rows[index], context), len(rows)),
        COMPACTED: (sdpa(caches.compacted), len(caches.compacted)),
        STREAM: (lambda index: read_memory(stream[index]), len(stream)),
    }
    with torch.inference_mode():
        grouped = setting.times({name: _in_turn(call, num) for name, (call, num) in calls.items()})
    times = {name: _per_cache(latency) for name, latency in grouped.items()}
    bandwidth = 4 * stream.shape[1] / times[STREAM].median_seconds
    floor = bytes_needed / bandwidth
    return {
        **times,
        "bytes_needed": float(bytes_needed),
        "dense_bytes": float(2 * NUM_HEADS * WIDTH * 4 * context.item()),
        "stream_bytes_per_second": bandwidth,
        "floor_seconds": floor,
        "share_of_bandwidth": floor / times[OURS].median_seconds,
        "attention_share_of_bandwidth": floor / times[ATTENTION_ONLY].median_seconds,
    }


def _per_cache(latency: Latency) -> Latency:
    return Latency(
        median_seconds=latency.median_seconds / GROUP,
        spread_seconds=latency.spread_seconds / GROUP,
        num_runs=latency.num_runs,
        num_warmup=latency.num_warmup,
        num_threads=latency.num_threads,
        device=latency.device,
    )


def _case(context: int) -> Case:
    return Case(
        name=f"context_{context}_keep25_msb8",
        about=f"one layer, 12 heads of 64, {context} keys pruned to a quarter, 8-bit MSBs and values, one thread",
        prepare=lambda setting: _prepare(setting, context),
        check=_check,
        run=_run,
        ours=OURS,
        peers=(SDPA, DENSE, COMPACTED, STREAM),
    )


def _speedup(context: int) -> Figure:
    return Figure(
        id=f"attention.decode_{context}_keep25_msb8_vs_sdpa",
        unit="x",
        goal_min=10,
        peer="torch's SDPA over the dense float32 cache",
        how="median of interleaved rounds, one thread, caches in turn over 160 MB; importance and eviction counted",
        value=lambda results: results.ratio(f"context_{context}_keep25_msb8", SDPA),
    )


def _share(results: Results) -> float:
    cases = (f"context_{context}_keep25_msb8" for context in (2048, 8192))
    return min(results.number(case, "share_of_bandwidth") for case in cases)


SUITE = Suite(
    name="decode",
    about="One token over a pruned cache in bit planes: one layer against SDPA, against memory's bandwidth",
    cases=(_case(2048), _case(8192)),
    figures=(
        _speedup(2048),
        _speedup(8192),
        Figure(
            id="attention.decode_share_of_bandwidth",
            unit="",
            goal_min=0.6,
            peer="one thread that only reads as many bytes, in the same rounds",
            how="bytes needed over time (importance and eviction counted), the smaller of both contexts",
            value=_share,
        ),
    ),
)
