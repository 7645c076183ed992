"""Lite residuals that have learned something, in a file of their own, to start other trainings from.

The file holds them as a whole, with the statistics of their norms, and a hash of the backbone that they were trained
beside: next to another one they would say nothing. What the training of them ended in, its classifier, is not in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from multum.core import UserError, from_dict, invalid, to_dict
from multum.training import read_tensor_file, write_tensor_file
from multum.training.tensor_file import copy_into
from multum.transfer.delta import Delta
from multum.transfer.frozen_hash import frozen_hash, split_name
from multum.transfer.lite_residual import LitePlace
from multum.transfer.modes import Adapted
from multum.version import __version__

LITE_SCHEMA: Final = "multum.lite_weights"
LITE_VERSION: Final = 1
"""Of the header; a file of another one is refused."""


@dataclass(frozen=True, kw_only=True)
class LiteHeader:
    """What is said about the tensors."""

    version: int = LITE_VERSION
    """Of this header."""
    places: tuple[LitePlace, ...]
    """Blocks that have a lite residual."""
    backbone: str
    """Hash of everything beside them but the classifier; see `frozen_hash`."""
    multum: str = __version__
    """Version that wrote it."""


@dataclass(frozen=True, kw_only=True)
class LiteWeights:
    """Trained lite residuals."""

    header: LiteHeader
    """Of which backbone, and where they belong."""
    tensors: Mapping[str, Tensor]
    """By their names in the adapted network's `state_dict()`, on the CPU."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(it.numel() * it.element_size() for it in self.tensors.values())


def lite_weights_of(delta: Delta) -> LiteWeights:
    """Take the lite residuals out of a delta, and leave its classifier behind.

    Args:
        delta: Of a training in which nothing else learned.

    Raises:
        UserError: A delta of another mode, beside whose lite residuals the backbone changed too, or of group norms.
    """
    header = delta.header
    if header.mode != "lite" or header.norms != "fixed":
        found = f"{header.mode}, {header.norms} norms"
        raise invalid("mode of the delta", "lite, with fixed norms", found, "train the lite residuals alone")
    tensors = {
        name: it for name, it in delta.tensors.items() if split_name(name, header.lite_places)[0] is not None
    }
    return LiteWeights(
        header=LiteHeader(places=header.lite_places, backbone=header.backbone), tensors=tensors
    )


def save_lite_weights(path: Path, weights: LiteWeights) -> None:
    """Write lite residuals, completely or not at all; an existing file is replaced."""
    write_tensor_file(path, weights.tensors, to_dict(weights.header), schema=LITE_SCHEMA)


def load_lite_weights(path: Path) -> LiteWeights:
    """Read what `save_lite_weights` wrote.

    Raises:
        UserError: The file is missing, cut off, something else, or of another version.
    """
    try:
        tensors, header = read_tensor_file(path, schema=LITE_SCHEMA)
    except UserError as problem:
        raise UserError(f"{problem}; {_MAKE}") from problem
    if header.get("version") != LITE_VERSION:
        raise invalid(f"version of {path}", str(LITE_VERSION), header.get("version"), _MAKE)
    try:
        return LiteWeights(header=from_dict(LiteHeader, header), tensors=tensors)
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from problem


def start_from(model: nn.Module, adapted: Adapted, weights: LiteWeights) -> None:
    """Let the lite residuals of an adapted network be trained ones, in place; everything is checked first.

    Where only the last blocks have lite residuals, those of the others are left in the file.

    Args:
        model: As `adapt` made it, not trained yet.
        adapted: What `adapt` returned.
        weights: What they become.

    Raises:
        UserError: Another backbone, other blocks, or lite residuals of other sizes, as small pictures make them.
    """
    state, places = model.state_dict(), adapted.lite_places
    lite = {name: it for name, it in state.items() if split_name(name, places)[0] is not None}
    if not lite or lite.keys() - weights.tensors.keys():
        blocks = ", ".join(it.path for it in weights.header.places)
        raise invalid("lite residuals", f"beside {blocks}", ", ".join(it.path for it in places) or "none")
    head = [name for name in state if name.startswith(f"{adapted.classifier}.")]
    found = frozen_hash(state, [*lite, *head], places)
    if found != weights.header.backbone:
        raise UserError(
            f"model must be the backbone that the lite residuals were trained beside, frozen weights "
            f"{weights.header.backbone[:12]}; got {found[:12]}; choose the same backbone, or train them beside this one"
        )
    for name, target in lite.items():
        source = weights.tensors[name]
        if target.shape != source.shape:
            remedy = f"train on pictures of about the size that they were trained on, {_sizes(weights)}"
            raise invalid(name, f"of shape {tuple(source.shape)}", tuple(target.shape), remedy)
    for name, target in lite.items():
        copy_into(target, weights.tensors[name], name)


_MAKE = "multum transfer pretrain-lite makes such a file"


def _sizes(weights: LiteWeights) -> str:
    first = weights.header.places[0]
    return f"which were {first.map_size} px at {first.path}"
