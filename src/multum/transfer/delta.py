"""What a task changed in a network, in a small file: the frozen backbone is not in it, everybody has it already.

A delta holds the parameters that trained, the new classifier, the lite residuals as a whole, and, of a backbone in
int8, the means of its norms, which follow the rounding. Instead of the backbone it holds a hash of every tensor that
stayed as it was, so that it cannot be put onto another one unnoticed. The file is safetensors with a JSON header:
reading it runs nothing. It keeps every bit, or, where less will do, halves or bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from multum.core import UserError, from_dict, invalid, to_dict
from multum.training import read_tensor_file, write_tensor_file
from multum.transfer.delta_precision import Precision, pack, unpack
from multum.transfer.frozen_hash import frozen_hash, split_name
from multum.transfer.group_norm import WeightStandardizedConv2d, num_groups
from multum.transfer.int8_backbone import int8_paths
from multum.transfer.lean_norms import LeanGroupNorm, LeanLayerNorm
from multum.transfer.lite_residual import LitePlace, WithLite
from multum.transfer.modes import Adapted, Mode, Norms
from multum.transfer.norm_functions import Keeps
from multum.version import __version__

SCHEMA: Final = "multum.transfer_delta"
VERSION: Final = 1
"""Of the header; a file of a later one is refused."""


@dataclass(frozen=True, kw_only=True)
class DeltaHeader:
    """What is said about a delta's tensors."""

    version: int = VERSION
    """Of this header."""
    mode: Mode
    """What trained."""
    classifier: str
    """Path of the last layer."""
    classes: tuple[str, ...] | None
    """What its outputs stand for; None: nobody has said."""
    trained: tuple[str, ...]
    """Names of the parameters that trained, in the adapted network."""
    lite_places: tuple[LitePlace, ...]
    """Blocks that have a lite residual."""
    norms: Norms = "fixed"
    """Whether batch norms became group norms."""
    keeps: Keeps = "exact"
    """What group and layer norms keep for backward."""
    backbone: str
    """Hash of what stayed; see `frozen_hash`."""
    precision: Precision = "float32"
    """What the file's floats were rounded to; in memory they are float32 again."""
    multum: str = __version__
    """Version that wrote it."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the writer wanted to say: data, accuracy, provenance."""


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What became of a backbone.

    Raises:
        UserError: Header and tensors do not belong together, or there are not as many class names as outputs.
    """

    header: DeltaHeader
    """What it is a delta of, and how it goes on."""
    tensors: Mapping[str, Tensor]
    """By their names in the adapted network's `state_dict()`, on the CPU."""

    def __post_init__(self) -> None:
        head = f"{self.header.classifier}.weight"
        missing = sorted({head, *self.header.trained} - self.tensors.keys())
        if missing or self.tensors[head].dim() != 2:
            raise invalid(
                "tensors of the delta", "those that its header names", missing or "no matrix", _MAKE
            )
        classes = self.header.classes
        if classes is not None and (len(classes) != self.num_classes or len(set(classes)) != len(classes)):
            raise invalid(
                "classes",
                f"{self.num_classes} different names, one for each output of the delta's head",
                f"{len(classes)}: {', '.join(classes)}",
                "name them in the order of the labels in training",
            )

    @property
    def num_classes(self) -> int:
        """Outputs of its classifier."""
        return len(self.tensors[f"{self.header.classifier}.weight"])

    @property
    def num_bytes(self) -> int:
        """Bytes of its tensors."""
        return sum(it.numel() * it.element_size() for it in self.tensors.values())


def take_delta(
    model: nn.Module,
    adapted: Adapted,
    *,
    classes: Sequence[str] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Delta:
    """Copy what changed out of an adapted network.

    Args:
        model: As `adapt` made it, trained or not.
        adapted: What `adapt` returned.
        classes: What the outputs stand for, in their order.
        about: Whatever else is to be known; JSON must be able to hold it.

    Raises:
        UserError: Not the adapted network, a tensor that is not finite, or not as many class names as outputs.
    """
    _check_adapted(model, adapted)
    state, places = model.state_dict(), adapted.lite_places
    trained = {*adapted.trained, *(name for name, it in model.named_parameters() if it.requires_grad)}
    moved = ".running_mean" if int8_paths(model) else None
    changed = [
        name
        for name in state
        if name in trained
        or name.startswith(f"{adapted.classifier}.")
        or split_name(name, places)[0] is not None
        or (moved is not None and name.endswith(moved))
    ]
    for name in changed:
        if not bool(torch.isfinite(state[name]).all()):
            raise invalid(name, "finite", "NaN or infinity", "the training went wrong: lower its rate")
    header = DeltaHeader(
        mode=adapted.mode,
        classifier=adapted.classifier,
        classes=None if classes is None else tuple(classes),
        trained=tuple(name for name in state if name in trained),
        lite_places=places,
        norms="group" if any(isinstance(it, WeightStandardizedConv2d) for it in model.modules()) else "fixed",
        keeps=next((it.keeps for it in model.modules() if isinstance(it, _KEEPING)), "exact"),
        backbone=frozen_hash(state, changed, places),
        about=dict(about or {}),
    )
    tensors = {name: state[name].detach().cpu().clone() for name in changed}
    return Delta(header=header, tensors=tensors)


def save_delta(
    path: Path,
    model: nn.Module,
    adapted: Adapted,
    *,
    classes: Sequence[str] | None = None,
    about: Mapping[str, Any] | None = None,
    precision: Precision = "float32",
) -> Delta:
    """Write what changed, completely or not at all.

    Args:
        path: Where to; an existing file is replaced.
        model: As for `take_delta`.
        adapted: As for `take_delta`.
        classes: As for `take_delta`.
        about: As for `take_delta`.
        precision: See `write_delta`.

    Returns:
        What `load_delta` will read.

    Raises:
        UserError: As for `take_delta` and `write_delta`.
    """
    return write_delta(path, take_delta(model, adapted, classes=classes, about=about), precision=precision)


def write_delta(path: Path, delta: Delta, *, precision: Precision = "float32") -> Delta:
    """Write a delta, completely or not at all.

    Args:
        path: Where to; an existing file is replaced.
        delta: What to write.
        precision: `float32` keeps every bit. `float16` takes half the bytes. `int8` takes a quarter: codes with a scale
            for each output channel, and halves for vectors.

    Returns:
        What `load_delta` will read: the delta, rounded.

    Raises:
        UserError: No such precision, or the file cannot be written.
    """
    stored, header = pack(delta.tensors, precision), replace(delta.header, precision=precision)
    write_tensor_file(path, stored, to_dict(header), schema=SCHEMA)
    return Delta(header=header, tensors=unpack(stored))


def load_delta(path: Path) -> Delta:
    """Read what `save_delta` or `write_delta` wrote; rounded tensors are float32 again.

    Raises:
        UserError: The file is missing, cut off, something else, or of a later version of this package.
    """
    try:
        stored, header = read_tensor_file(path, schema=SCHEMA)
    except UserError as problem:
        raise UserError(f"{problem}; {_MAKE}") from problem
    version = header.get("version")
    if version != VERSION:
        writer = header.get("multum", "the multum that wrote it")
        raise invalid(
            f"version of {path}", str(VERSION), version, f"read it with multum {writer}, which wrote it"
        )
    try:
        return Delta(header=from_dict(DeltaHeader, header), tensors=unpack(stored))
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from problem


_KEEPING = (LeanGroupNorm, LeanLayerNorm)
_MAKE = "save it again with save_delta, or copy it again from where it was saved"


def _check_adapted(model: nn.Module, adapted: Adapted) -> None:
    """Refuse a network that is not what `adapt` says it made."""
    if not adapted.classifier:
        raise invalid("model", "one with layers before its last", type(model).__name__, "save it as it is")
    names = model.state_dict().keys()
    lites = [it.lite for it in model.modules() if isinstance(it, WithLite)]
    missing = sorted({*adapted.trained, f"{adapted.classifier}.weight"} - names)
    if missing or len(lites) != len(adapted.lite_places):
        found = missing or f"{len(lites)} lite residuals"
        raise invalid("model", "the one that `adapted` tells of", found, "give both as adapt left them")
    for lite in lites:
        norm = lite.last_norm
        ours = isinstance(norm, nn.GroupNorm) and norm.num_groups == num_groups(norm.num_channels)
        if not (ours or isinstance(norm, nn.BatchNorm2d)):
            raise invalid("norms of lite residuals", "such as adapt makes, to be kept in a delta", norm)
