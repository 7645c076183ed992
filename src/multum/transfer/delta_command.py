"""`multum transfer delta`, as a plain function: what a delta holds, and a smaller copy of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from multum.core import check_fields, invalid
from multum.transfer.delta import Delta, load_delta, write_delta
from multum.transfer.delta_precision import Precision
from multum.transfer.frozen_hash import split_name
from multum.transfer.modes import Mode
from multum.transfer.trained_run import read_trained


@dataclass(frozen=True, kw_only=True)
class DeltaConfig:
    """Show what a delta holds, and write a smaller copy on request.

    Raises:
        UserError: A file to write to, and nothing to write.
    """

    run: Path
    """Folder of a finished run, or the file of a delta."""

    precision: Precision | None = None
    """Write a copy: float16 in half the bytes, int8 in a quarter (rounded for each output channel; shifts in float16),
    float32 as it is."""

    out: Path | None = None
    """File for the copy; beside the delta, with the precision in its name, when left alone."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.out is not None and self.precision is None:
            raise invalid("out", "left alone without a precision", str(self.out), "say --precision int8")


@dataclass(frozen=True, kw_only=True)
class TensorKind:
    """Tensors of one kind."""

    kind: str
    """What they are."""
    num_tensors: int
    """How many."""
    num_numbers: int
    """How many numbers are in them."""
    num_bytes: int
    """What these take in memory."""


@dataclass(frozen=True, kw_only=True)
class DeltaCopy:
    """A copy of a delta."""

    path: Path
    """The file."""
    num_bytes: int
    """Of it."""
    precision: Precision
    """What its floats were rounded to."""
    largest_error: float
    """Largest distance of a number from what it was, of the largest number in its tensor."""


@dataclass(frozen=True, kw_only=True)
class DeltaFacts:
    """What `show_delta` reports."""

    path: Path
    """The file."""
    num_bytes: int
    """Of it."""
    precision: Precision
    """What its floats were rounded to."""
    backbone_name: str | None
    """What the run calls the backbone; None where there is no run."""
    backbone: str
    """SHA-256 of what stayed as it was."""
    mode: Mode
    """What trained."""
    classes: tuple[str, ...] | None
    """What the outputs stand for."""
    num_lite: int
    """Lite residuals."""
    kinds: tuple[TensorKind, ...]
    """Its tensors, by what they are."""
    copy: DeltaCopy | None
    """The copy that was asked for."""


def show_delta(config: DeltaConfig) -> DeltaFacts:
    """Look into a delta, and write a smaller copy on request.

    Args:
        config: The run or file, and the copy.

    Raises:
        UserError: No finished run and no delta lies there, the file is broken, or the copy cannot be written.
    """
    name, path = None, config.run
    if config.run.is_dir():
        run = read_trained(config.run)
        name, path = run.config.backbone, run.adapted_file
    delta, num_bytes = load_delta(path), path.stat().st_size
    header = delta.header
    return DeltaFacts(
        path=path,
        num_bytes=num_bytes,
        precision=header.precision,
        backbone_name=name,
        backbone=header.backbone,
        mode=header.mode,
        classes=header.classes,
        num_lite=len(header.lite_places),
        kinds=tensor_kinds(delta),
        copy=None if config.precision is None else _copy(path, delta, config.precision, config.out),
    )


def tensor_kinds(delta: Delta) -> tuple[TensorKind, ...]:
    """Sort a delta's tensors by what they are; only kinds that there are."""
    sorted_out: dict[str, list[Tensor]] = {}
    for name, tensor in delta.tensors.items():
        sorted_out.setdefault(_kind_of(name, tensor, delta), []).append(tensor)
    return tuple(
        TensorKind(
            kind=kind,
            num_tensors=len(tensors),
            num_numbers=sum(it.numel() for it in tensors),
            num_bytes=sum(it.nbytes for it in tensors),
        )
        for kind, tensors in sorted(sorted_out.items())
    )


def _kind_of(name: str, tensor: Tensor, delta: Delta) -> str:
    if name.startswith(f"{delta.header.classifier}."):
        return "classifier"
    block, _ = split_name(name, delta.header.lite_places)
    if block is not None:
        return "lite residuals, convolutions" if tensor.dim() >= 2 else "lite residuals, norms"
    if tensor.dim() >= 2:
        return "weights"
    return "shifts" if name.endswith(".bias") else "scales"


def _copy(path: Path, delta: Delta, precision: Precision, out: Path | None) -> DeltaCopy:
    target = out or path.with_name(f"{path.stem}-{precision}{path.suffix}")
    rounded = write_delta(target, delta, precision=precision)
    return DeltaCopy(
        path=target,
        num_bytes=target.stat().st_size,
        precision=precision,
        largest_error=_largest_error(delta.tensors, rounded.tensors),
    )


def _largest_error(exact: Mapping[str, Tensor], rounded: Mapping[str, Tensor]) -> float:
    return max(
        float((rounded[name].double() - it.double()).abs().max() / (it.double().abs().max() or 1.0))
        for name, it in exact.items()
    )
