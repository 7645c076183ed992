"""From the written-down pass to a `Cost`: rows of layers, the floor of the traffic, the timeline, the peak."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from torch import nn

from multum.cost.audit import Audit
from multum.cost.layers import LOSS, OPTIMIZER, ROOT, own_parameters
from multum.cost.ledger import LayerSums
from multum.cost.result import Cost, LayerCost, Moment
from multum.cost.traffic import touched_bytes

MOST_MOMENTS: Final = 1000
"""A longer timeline is thinned out to this many points."""


def assemble(found: Audit, name: str) -> Cost:
    """Turn what a watched pass brought to light into a reading.

    Args:
        found: What was written down.
        name: What to call the reading.

    Returns:
        The reading, without a latency.
    """
    ledger = found.ledger
    parameters = list(found.step.model.parameters())
    moments = _moments(found)
    peak = max(moments, key=lambda moment: moment.live_bytes)
    sums = ledger.sums.values()
    return Cost(
        name=name,
        mode=found.step.mode,
        device=str(found.device),
        num_parameters=sum(parameter.numel() for parameter in parameters),
        num_trainable_parameters=sum(
            parameter.numel() for parameter in parameters if parameter.requires_grad
        ),
        parameter_bytes=found.parameter_bytes,
        buffer_bytes=found.buffer_bytes,
        input_bytes=found.input_bytes,
        output_bytes=found.output_bytes,
        macs=sum(row.macs for row in sums),
        attention_macs=sum(row.attention_macs for row in sums),
        attention_counted=ledger.attention_counted,
        uncounted_ops=tuple(ledger.uncounted),
        resident_bytes=moments[0].live_bytes,
        peak_live_bytes=peak.live_bytes,
        workspace_bytes=_workspace_at(found, peak.step),
        kept_bytes=sum((found.kept_by_layer or {}).values()),
        kept_input_bytes=found.kept_input_bytes,
        gradient_bytes=found.gradient_bytes,
        optimizer_bytes=found.optimizer_bytes,
        dram_bytes=sum(row.read_bytes + row.written_bytes for row in sums),
        dram_floor_bytes=_floor_of_model(found),
        layers=_layer_rows(found, moments),
        timeline=thin_out(moments),
    )


def _workspace_at(found: Audit, step: int) -> int:
    return found.ledger.lines[step - 1].workspace_bytes if step else 0


def _moments(found: Audit) -> list[Moment]:
    moments = []
    for step, level in found.ledger.book.replay():
        line = found.ledger.lines[step - 1] if step else None
        moments.append(
            Moment(
                step=step,
                phase=line.phase if line else "forward",
                layer=line.layer if line else ROOT,
                operation=line.operation if line else "start",
                live_bytes=level.total + (line.workspace_bytes if line else 0),
                activation_bytes=level.by_purpose["activations"],
                gradient_bytes=level.by_purpose["gradients"],
                optimizer_bytes=level.by_purpose["optimizer"],
            )
        )
    return moments


def thin_out(moments: list[Moment]) -> tuple[Moment, ...]:
    """Keep a drawable number of moments: of each stretch of the timeline the highest and the lowest.

    Args:
        moments: All moments, in order.

    Returns:
        At most `MOST_MOMENTS` of them, in order; the peak is always among them.
    """
    if len(moments) <= MOST_MOMENTS:
        return tuple(moments)
    stretch = -(-2 * len(moments) // MOST_MOMENTS)
    kept: list[Moment] = []
    for start in range(0, len(moments), stretch):
        part = moments[start : start + stretch]
        ends = {min(part, key=lambda m: m.live_bytes).step, max(part, key=lambda m: m.live_bytes).step}
        kept += [moment for moment in part if moment.step in ends]
    return tuple(kept)


def _layer_rows(found: Audit, moments: list[Moment]) -> tuple[LayerCost, ...]:
    ledger, owned = found.ledger, own_parameters(found.step.model)
    peaks: dict[str, int] = defaultdict(int)
    for moment in moments[1:]:
        peaks[moment.layer] = max(peaks[moment.layer], moment.live_bytes)
    floors = _floors_of_layers(found)
    kinds = {path or ROOT: type(module).__name__ for path, module in found.step.model.named_modules()}
    kinds |= {LOSS: "loss", OPTIMIZER: "optimizer"}
    busy = ledger.sums.keys() | (found.kept_by_layer or {}).keys() | owned.keys()
    return tuple(
        _layer_row(found, path, kind, owned.get(path, []), floors[path], peaks[path])
        for path, kind in kinds.items()
        if path in busy
    )


def _layer_row(
    found: Audit, path: str, kind: str, parameters: list[nn.Parameter], floor_bytes: int, peak_bytes: int
) -> LayerCost:
    sums, tracker = found.ledger.sums.get(path, LayerSums()), found.ledger.tracker
    return LayerCost(
        path=path,
        kind=kind,
        num_calls=tracker.num_calls.get(path, 0),
        num_parameters=sum(parameter.numel() for parameter in parameters),
        num_trainable_parameters=sum(
            parameter.numel() for parameter in parameters if parameter.requires_grad
        ),
        parameter_bytes=sum(touched_bytes(parameter) for parameter in parameters),
        macs=sums.macs,
        attention_macs=sums.attention_macs,
        dram_read_bytes=sums.read_bytes,
        dram_written_bytes=sums.written_bytes,
        dram_floor_bytes=floor_bytes,
        kept_bytes=(found.kept_by_layer or {}).get(path, 0),
        workspace_bytes=sums.workspace_bytes,
        output_bytes=tracker.output_bytes.get(path, 0),
        peak_live_bytes=peak_bytes,
    )


def _floor_of_model(found: Audit) -> int:
    """Bytes that cross the border of the whole pass: what was there before is read, what survives is written."""
    book = found.ledger.book
    outside = found.survivors | (set(book.sizes) - book.producers.keys())
    sums = found.ledger.sums.values()
    read = _merged(row.read_from.items() for row in sums)
    written = _merged(row.written_to.items() for row in sums)
    floor = sum(min(book.largest[n], size) for n, size in read.items() if n not in book.producers)
    return floor + sum(min(book.largest[n], size) for n, size in written.items() if n in outside)


def _floors_of_layers(found: Audit) -> dict[str, int]:
    """Bytes that cross the border of each layer: what others made is read, what others need is written."""
    book, floors = found.ledger.book, defaultdict[str, int](int)
    readers: dict[int, set[str]] = defaultdict(set)
    for path, row in found.ledger.sums.items():
        for number in row.read_from:
            readers[number].add(path)
    for path, row in found.ledger.sums.items():
        for number, size in row.read_from.items():
            if book.producers.get(number) != path:
                floors[path] += min(book.largest[number], size)
        for number, size in row.written_to.items():
            needed = number in found.survivors or number not in book.producers or readers[number] - {path}
            if needed:
                floors[path] += min(book.largest[number], size)
    return floors


def _merged(parts: Iterable[Iterable[tuple[int, int]]]) -> dict[int, int]:
    total: dict[int, int] = defaultdict(int)
    for part in parts:
        for number, size in part:
            total[number] += size
    return total
