"""`multum transfer export` and `multum transfer merge`, as plain functions: a trained network for other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.core import check_fields, invalid, write_json_atomic
from multum.training import write_tensor_file
from multum.transfer.export import Exported, export_model
from multum.transfer.merge import merge, plain_copy, remaining_norms
from multum.transfer.trained_run import TrainedNetwork, load_trained

Format = Literal["pt2", "onnx"]
"""Of a file: `torch.export`'s, or ONNX."""

MERGED_FILE = "merged.safetensors"
"""In the run's folder, where nothing else is said."""
MERGED_SCHEMA = "multum.transfer_merged"
"""What such a file is."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Write a trained network as a file for other programs."""

    run: Path
    """Folder of a finished run of `multum transfer train` or `multum transfer add-classes`."""

    format: Format = "pt2"
    """A program of torch.export, or ONNX."""

    merge: bool = True
    """Fold the norms into the convolutions before them first; --no-merge keeps the layers as they were trained."""

    out: Path | None = None
    """Folder for the file; that of the run when left alone."""

    name: str = "model"
    """Of the file, without an ending."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.name or Path(self.name).name != self.name:
            raise invalid("name", "a file name without folders", self.name, "out says which folder")


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What `export_transfer` reports."""

    path: Path
    """The file."""
    about: Path
    """Beside it: classes in the order of the outputs, size, and what pixels go through."""
    num_bytes: int
    """Of the file."""
    checked_by: str
    """What ran the file, to compare it."""
    difference: float
    """Largest distance of the file's outputs from those of the network that was written, of the largest output."""
    merge_difference: float | None
    """Of the merged network's outputs from the trained network's, likewise; None where nothing was merged."""


@dataclass(frozen=True, kw_only=True)
class MergeConfig:
    """Write a trained network's weights as those of a plain one."""

    run: Path
    """Folder of a finished run of `multum transfer train` or `multum transfer add-classes`."""

    out: Path | None = None
    """File for the weights; merged.safetensors in the run's folder when left alone."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """What `merge_transfer` reports."""

    path: Path
    """The file."""
    folded: tuple[str, ...]
    """`path: kind` of the norms that are part of the convolutions before them now."""
    remaining: tuple[str, ...]
    """The same of the norms that could not be folded."""
    num_before: int
    """Numbers of the trained network: parameters and statistics."""
    num_after: int
    """Numbers of the plain one."""
    bytes_before: int
    """What they take."""
    bytes_after: int
    """What they take."""
    difference: float
    """Largest distance of the plain network's outputs from the trained network's, of the largest output."""


def export_transfer(config: ExportConfig) -> ExportResult:
    """Write a trained network for other programs, and what they have to know about it beside it.

    Args:
        config: The run and the dials.

    Raises:
        UserError: No finished run, or its backbone is another now; a network that cannot be exported; a file that
            computes something else, or cannot be written.
        MissingExtraError: ONNX is asked for and not installed.
    """
    trained = load_trained(config.run)
    model, example = trained.network.model, _noise(trained)
    chosen = merge(model) if config.merge else model
    folder = config.out or config.run
    (done,) = export_model(chosen, example, folder, formats=[config.format], name=config.name)
    return ExportResult(
        path=done.path,
        about=_write_about(trained, done),
        num_bytes=done.path.stat().st_size,
        checked_by=done.checked_by,
        difference=done.difference,
        merge_difference=_difference(chosen, model, example) if config.merge else None,
    )


def merge_transfer(config: MergeConfig) -> MergeResult:
    """Write the weights of a plain network that computes what a trained one does.

    Args:
        config: The run and the file.

    Raises:
        UserError: No finished run, its backbone is another now, or the file cannot be written.
    """
    trained = load_trained(config.run)
    model = trained.network.model
    before, after = plain_copy(model), merge(model)
    remaining = remaining_norms(after)
    path = config.out or config.run / MERGED_FILE
    state = after.state_dict()
    header = {"backbone": trained.run.config.backbone, "remaining_norms": list(remaining), **_about(trained)}
    write_tensor_file(path, state, header, schema=MERGED_SCHEMA)
    own = before.state_dict()
    return MergeResult(
        path=path,
        folded=tuple(it for it in remaining_norms(before) if it not in remaining),
        remaining=remaining,
        num_before=sum(it.numel() for it in own.values()),
        num_after=sum(it.numel() for it in state.values()),
        bytes_before=sum(it.nbytes for it in own.values()),
        bytes_after=sum(it.nbytes for it in state.values()),
        difference=_difference(after, model, _noise(trained)),
    )


def _noise(trained: TrainedNetwork) -> Float[Tensor, "B 3 S S"]:
    """Pictures to compare on, the same every time."""
    side = trained.run.side
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _difference(model: nn.Module, like: nn.Module, example: Tensor) -> float:
    expected: Tensor = like(example)
    return float((model(example) - expected).abs().max() / (expected.abs().max() or 1.0))


def _about(trained: TrainedNetwork) -> dict[str, object]:
    """What a program has to know to feed the network and to read its answers."""
    frame = trained.frame
    return {
        "classes": list(trained.run.classes),
        "side": frame.side,
        "keep_ratio": frame.keep,
        "mean": list(frame.mean),
        "std": list(frame.std),
    }


def _write_about(trained: TrainedNetwork, done: Exported) -> Path:
    path = done.path.with_name(f"{done.path.name}.json")
    write_json_atomic(path, _about(trained))
    return path
