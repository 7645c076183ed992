"""What every forward of a generation did: noted in few tensors while it runs, told in whole numbers when asked.

A step of generation has no time to write thirty records. It leaves its counts, its flat heads and the value rows it
read, all layers in one tensor each; records, bytes and pictures are made of them afterwards.

Shape legend: B sequences, N token positions, C slots of a stage, S stages; X the query heads of all layers one after
the other, Y the stored key/value heads of all layers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

from multum.attention.cache_centre import Centre
from multum.attention.layer_record import LayerRecord
from multum.attention.quantization_schedule import LSB_BITS
from multum.attention.sparse_schedule import GenerationSchedule
from multum.ops.bit_planes import PlaneRows, Rows


@dataclass(frozen=True, kw_only=True)
class LayerShape:
    """What does not change about a layer from one step to the next."""

    stage: int
    """Number of the stage that says which tokens it keeps."""
    heads: tuple[tuple[int, ...], ...]
    """For each sequence the heads that are computed, by their number in the model."""
    group_slots: tuple[tuple[int, ...], ...]
    """For each sequence and computed head, which of the stored groups it reads."""
    num_groups: int
    """Groups that are stored."""
    msb_bytes: int
    """Bytes of a key that every query reads, scale included."""
    lsb_bytes: int
    """Bytes of its second plane."""
    value_bytes: int
    """Bytes of a value, scale included."""
    centre_bytes: int
    """Bytes of the means of a group's keys and values, which every step reads; 0 where rows are not centred."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Which tokens were kept, and what they had earned, at the end of a forward."""

    position_SBC: tuple[Int[Tensor, "B _C"], ...]
    """For each stage the tokens in its slots."""
    count_SB: Int[Tensor, "S B"]
    """For each stage the slots in use."""
    importance_BN: Float[Tensor, "B N"]
    """Cumulative importance of every token; a pruned one's stays what it was."""


@dataclass(frozen=True, kw_only=True)
class ForwardFacts:
    """One forward, as it was noted."""

    iteration: int
    """0 for the prompt, t for the t-th forward after it."""
    num_queries: tuple[int, ...]
    """For each sequence its new tokens."""
    length_B: tuple[int, ...]
    """For each sequence its tokens so far, these included."""
    count_SB: Int[Tensor, "S B"]
    """For each stage the rows that its layers attended to."""
    held_SB: Int[Tensor, "S B"] | None
    """For a forward of several rows, the rows that were in the cache before; None for a step."""
    queries_SB: Int[Tensor, "S B"] | None
    """For a forward of several rows, those that the layers of each stage worked on; None for a step."""
    whole_SB: Int[Tensor, "S B"] | None
    """For a step, for each stage the rows whose keys its layers read with both planes from the start; None: none."""
    flat_BX: Bool[Tensor, "B X"] | None
    """For a step, the heads that read the second plane."""
    value_rows_BY: Int[Tensor, "B Y"] | None
    """For a step, the value rows that each group read."""
    held_bytes: tuple[int, ...]
    """For each layer the bytes it holds after the forward."""
    layers: tuple[LayerShape, ...]
    """What does not change."""
    snapshot: Snapshot | None
    """Which tokens were kept, where somebody wants pictures."""

    @property
    def is_step(self) -> bool:
        """Whether it added one token to each sequence."""
        return self.value_rows_BY is not None


def layer_shape(
    stage: int,
    heads: Sequence[Sequence[int]],
    group_slots: Sequence[Sequence[int]],
    key: Rows,
    value: Rows,
    centre: Centre | None,
) -> LayerShape:
    """Read a layer's shape off its rows."""
    msb_bytes = key.bytes_per_row(use_lsb=False)
    return LayerShape(
        stage=stage,
        heads=tuple(map(tuple, heads)),
        group_slots=tuple(map(tuple, group_slots)),
        num_groups=(key.msb if isinstance(key, PlaneRows) else key.rows).shape[1],
        msb_bytes=msb_bytes,
        lsb_bytes=key.bytes_per_row(use_lsb=True) - msb_bytes,
        value_bytes=value.bytes_per_row(use_lsb=False),
        centre_bytes=0 if centre is None else 2 * centre.key_BG1D[0, 0].nbytes,
    )


def records_of(
    forwards: Sequence[ForwardFacts], schedule: GenerationSchedule, head_width: int
) -> Iterator[LayerRecord]:
    """Tell what every layer did in every forward."""
    for facts in forwards:
        counts = facts.count_SB.tolist()
        queries = None if facts.queries_SB is None else facts.queries_SB.tolist()
        reads = bytes_read(facts)
        flat = _by_layer(facts.flat_BX, [len(layer.heads[0]) for layer in facts.layers])
        for index, layer in enumerate(facts.layers):
            keys: list[int] = counts[layer.stage]
            later = facts.layers[min(index + 1, len(facts.layers) - 1)]
            values = schedule.values if facts.is_step else None
            yield LayerRecord(
                iteration=facts.iteration,
                layer=index,
                head_width=head_width,
                heads=layer.heads,
                num_queries=facts.num_queries if queries is None else tuple(queries[layer.stage]),
                num_keys=tuple(keys),
                num_values=tuple(keys)
                if values is None
                else tuple(values.num_values(index, n) for n in keys),
                tokens_kept=tuple(
                    after if after < before else None
                    for before, after in zip(keys, counts[later.stage], strict=True)
                ),
                heads_kept=tuple(
                    len(after) if facts.iteration == 0 and len(after) < len(before) else None
                    for before, after in zip(layer.heads, later.heads, strict=True)
                ),
                rescaled=facts.is_step and schedule.tokens is not None and schedule.tokens.decay < 1.0,
                cache_bytes_read=reads[index],
                cache_bytes_held=facts.held_bytes[index],
                **_bits(schedule, index, flat[index] if facts.is_step else None),
            )


def _bits(schedule: GenerationSchedule, layer: int, flat: list[list[int]] | None) -> dict[str, Any]:
    if schedule.quantization is None or flat is None:
        return {}
    bits = schedule.quantization.of_layer(layer)
    return {
        "key_bits": bits.msb_bits,
        "lsb_bits": LSB_BITS,
        "value_bits": bits.value_bits,
        "threshold": bits.threshold,
        "flat_rows": tuple(tuple(map(int, heads)) for heads in flat),
    }


def bytes_read(facts: ForwardFacts) -> tuple[int, ...]:
    """For each layer the bytes of the cache that the forward read, the batch together.

    A step reads what `decode_bytes_read` counts: keys' MSBs once for all heads of a group, their LSBs once if any head
    of the group was flat, else those of whole rows, each value row that some head multiplies. Several rows at once read
    everything once.
    """
    counts = facts.count_SB.tolist()
    whole = [[0] * len(row) for row in counts] if facts.whole_SB is None else facts.whole_SB.tolist()
    flat = _by_layer(facts.flat_BX, [len(layer.heads[0]) for layer in facts.layers])
    value_rows = _by_layer(facts.value_rows_BY, [layer.num_groups for layer in facts.layers])
    read: list[int] = []
    for index, layer in enumerate(facts.layers):
        if not facts.is_step:
            assert facts.held_SB is not None
            held, row_bytes = (
                facts.held_SB[layer.stage],
                layer.msb_bytes + layer.lsb_bytes + layer.value_bytes,
            )
            centre_bytes = int((held > 0).sum()) * layer.centre_bytes
            read.append((int(held.sum()) * row_bytes + centre_bytes) * layer.num_groups)
            continue
        total = len(layer.group_slots) * layer.num_groups * layer.centre_bytes
        for sequence, slots in enumerate(layer.group_slots):
            flags = flat[index][sequence]
            flat_groups = {slot for slot, is_flat in zip(slots, flags, strict=True) if is_flat}
            groups, keys = set(slots), counts[layer.stage][sequence]
            low_rows = len(flat_groups) * keys + len(groups - flat_groups) * whole[layer.stage][sequence]
            total += len(groups) * keys * layer.msb_bytes + low_rows * layer.lsb_bytes
            total += sum(value_rows[index][sequence]) * layer.value_bytes
        read.append(total)
    return tuple(read)


def _by_layer(table: Tensor | None, widths: Sequence[int]) -> list[list[list[int]]]:
    """Cut (B, X) into layers: for each layer, for each sequence, its entries."""
    if table is None:
        return [[] for _ in widths]
    rows = table.tolist()
    ends = list(accumulate(widths, initial=0))
    return [[row[start:end] for row in rows] for start, end in pairwise(ends)]
