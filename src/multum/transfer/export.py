"""A network as a file for other programs: `torch.export`'s .pt2, and ONNX.

A file takes its place only after it was read again and computed what the network computes, on the example and on
another number of pictures. The example itself is not in it: it is traced with zeros.

Shape legend: B pictures, C channels, H and W height and width.
"""

import importlib
import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.core import MissingExtraError, UserError, invalid, write_bytes_atomic
from multum.transfer.merge import plain_copy

FORMATS: Final = ("pt2", "onnx")
"""Of a file: `torch.export`'s, or ONNX."""
Run = Callable[[Tensor], Tensor]
"""What a file computes."""
TOLERANCE: Final = 1e-4
"""Of the largest output, how far a file's outputs may be away."""
INPUT, BATCH, OUTPUT = "images", "batch", "scores"
"""Names in an ONNX file."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file that was written."""

    path: Path
    """Where it is."""
    difference: float
    """Largest distance of its outputs from the network's, of the largest output."""
    checked_by: str
    """What ran it: torch, onnxruntime, or, where that is not installed, onnx's reference."""


def export_model(
    model: nn.Module,
    example: Float[Tensor, "B C H W"],
    folder: Path,
    *,
    formats: Sequence[str] = FORMATS,
    name: str = "model",
) -> tuple[Exported, ...]:
    """Write a network for inference on any number of pictures of the example's size.

    Args:
        model: Adapted, merged or plain; lean layers are written as torch's own, and it stays as it is.
        example: Pictures on which files are compared with the network.
        folder: Where to; files of the same name are replaced.
        formats: Which files, some of `FORMATS`.
        name: Of the files, without an ending.

    Returns:
        One entry for each format.

    Raises:
        UserError: An unknown format, onnx is not installed, the network cannot be exported, a file computes something
            else, or cannot be written; the files that were there before stay then.
    """
    unknown = [it for it in formats if it not in FORMATS]
    if unknown or not formats:
        raise invalid("formats", f"some of {', '.join(FORMATS)}", unknown or formats)
    if "onnx" in formats:
        _require_onnx()
    done = []
    several = torch.cat([example, example.flip(0)])
    with torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
        cases = _cases(model, (example, several, several[:1]))
        program = _program_of(plain_copy(model), torch.zeros_like(several))
        for kind in formats:
            written = Path(scratch) / f"{name}.{kind}"
            run, checked_by = _WRITERS[kind](program, written)
            difference = max(_difference(run(given), expected, written.name) for given, expected in cases)
            done.append((written, difference, checked_by))
        return tuple(
            Exported(path=_move(path, folder), difference=it, checked_by=by) for path, it, by in done
        )


def _cases(model: nn.Module, inputs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """What the network makes of inputs in evaluation; it is left as it was."""
    before = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        return [(it, model(it)) for it in inputs]
    finally:
        for module, training in before:
            module.training = training


def _program_of(model: nn.Module, stand_in: Tensor) -> Any:
    """The network as operations, for any number of pictures; without the places of source files on this machine."""
    batch = torch.export.Dim(BATCH)
    try:
        program = torch.export.export(model, (stand_in,), dynamic_shapes=({0: batch},))
    except Exception as problem:  # whatever a forward raises that is given symbols
        reason = f"{type(problem).__name__}: {str(problem).strip().partition(chr(10))[0]}"
        raise UserError(
            f"model must be one that torch.export can trace; {type(model).__name__} is not: {reason}; "
            "a forward that depends on the numbers in its input, or on their count, is the usual reason"
        ) from problem
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def _write_pt2(program: Any, path: Path) -> tuple[Run, str]:
    torch.export.save(program, path)
    return torch.export.load(path).module(), "torch"


def _write_onnx(program: Any, path: Path) -> tuple[Run, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's words about its own parts
        made = torch.onnx.export(
            program,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim(BATCH)},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert made is not None, "the exporter by dynamo returns its program"
    made.save(path)
    if importlib.util.find_spec("onnxruntime") is not None:
        session = importlib.import_module("onnxruntime").InferenceSession(str(path))
        return lambda x: torch.from_numpy(session.run(None, {INPUT: x.cpu().numpy()})[0]), "onnxruntime"
    evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(str(path))
    return lambda x: torch.from_numpy(evaluator.run(None, {INPUT: x.cpu().numpy()})[0]), "onnx.reference"


_WRITERS: dict[str, Callable[[Any, Path], tuple[Run, str]]] = {"pt2": _write_pt2, "onnx": _write_onnx}


def _require_onnx() -> None:
    missing = [it for it in ("onnx", "onnxscript") if importlib.util.find_spec(it) is None]
    if missing:
        raise MissingExtraError(
            f"{' and '.join(missing)} must be installed to write ONNX files; pip install onnx onnxscript, and best "
            "onnxruntime, which checks the file; or leave them out: formats=['pt2']"
        )


def _difference(found: Tensor, expected: Tensor, name: str) -> float:
    if found.shape != expected.shape:
        raise invalid(
            f"the output of {name}", f"of shape {tuple(expected.shape)}", found, "nothing is written"
        )
    largest = float(expected.abs().max()) or 1.0
    difference = float((found.to(expected) - expected).abs().max()) / largest
    if not difference <= TOLERANCE:  # NaN as well
        raise invalid(
            f"the output of {name}", f"within {TOLERANCE} of the network's", difference, "nothing is written"
        )
    return difference


def _move(path: Path, folder: Path) -> Path:
    """Into its place in one step, from beside it."""
    write_bytes_atomic(folder / path.name, path.read_bytes())
    return folder / path.name
