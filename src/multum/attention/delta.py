"""What a recovery changed, in a small file beside the schedule: differences to a model that everybody has already.

A tuned model is its base plus a little. Only the little is kept: the tensors that changed, as new values (exact), as
differences in bfloat16, or as differences in eight bits with a scale for each row; matrices also as the best
approximation of their difference by a few rank-one pieces. The file names the base by a hash of its weights, so that it
cannot be put onto another model, nor twice onto the same.

Shape legend: O outputs, I inputs of a matrix, R rank.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from multum.attention.embedding import Pooling
from multum.core import UserError, invalid
from multum.training import hash_tensors, read_tensor_file, write_tensor_file

DELTA_FILE = "multum_delta.safetensors"
"""The name of a delta's file beside a schedule."""
SCHEMA = "multum.delta/1"

Precision = Literal["exact", "bfloat16", "int8"]
"""New values as they are, or differences in 16 or 8 bits."""

INT8_LIMIT = 127


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What became of a base model, compressed.

    >>> base = nn.Linear(2, 2, bias=False)
    >>> before = {"weight": base.weight.detach().clone()}
    >>> _ = base.weight.data.add_(0.5)
    >>> delta = make_delta(before, base.state_dict(), precision="bfloat16")
    >>> _ = base.weight.data.copy_(before["weight"])
    >>> with merged(base, delta):
    ...     bool(torch.allclose(base.weight, before["weight"] + 0.5))
    True
    """

    base: str
    """Hash of the base model's weights; see `hash_tensors`."""
    precision: Precision
    """How differences are kept."""
    stored: Mapping[str, Tensor]
    """Compressed tensors, named `KIND/NAME`."""
    added: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that the base has not, for instance a head's, as they are."""
    pooling: Pooling | None = None
    """What is read of the last layer: its first token or its mean; None: nobody has said."""

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(it.numel() * it.element_size() for it in (*self.stored.values(), *self.added.values()))


def make_delta(
    base: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    *,
    precision: Precision = "int8",
    rank: int | None = None,
    added: Mapping[str, Tensor] | None = None,
) -> Delta:
    """Compress what changed.

    Args:
        base: The base model's `state_dict()`.
        tuned: The tuned model's, with the same names.
        precision: How differences are kept.
        rank: Keep the difference of a matrix only in its so many largest singular directions, where that is smaller;
            None keeps all of it.
        added: Tensors that the base has not.

    Raises:
        UserError: Other names or shapes, a tuned tensor that is not finite, an unknown precision, a rank below 1 or
            together with "exact".
    """
    check_kept(precision, rank)
    if base.keys() != tuned.keys():
        raise invalid("tuned", "a state of the same model", sorted(base.keys() ^ tuned.keys())[:3])
    stored: dict[str, Tensor] = {}
    for name, before in base.items():
        after = tuned[name]
        if before.shape != after.shape:
            raise invalid(f"tuned {name}", f"of shape {tuple(before.shape)}", after)
        if not bool(torch.isfinite(after).all()):
            raise invalid(f"tuned {name}", "finite", "NaN or infinity", "the training went wrong")
        if not torch.equal(before, after):
            stored |= _compress(name, before.detach(), after.detach(), precision, rank)
    kept = {name: it.detach().clone() for name, it in (added or {}).items()}
    return Delta(base=hash_tensors(base), precision=precision, stored=stored, added=kept)


def check_kept(precision: str, rank: int | None) -> None:
    """Refuse a way of keeping differences that there is not.

    Raises:
        UserError: An unknown precision, a rank below 1 or together with "exact".
    """
    if precision not in get_args(Precision):
        raise invalid("precision", f"one of {', '.join(get_args(Precision))}", precision)
    if rank is not None and (rank < 1 or precision == "exact"):
        raise invalid("rank", "at least 1, and with differences only", (rank, precision))


def merge(model: nn.Module, delta: Delta) -> None:
    """Turn a base model into the tuned one, in place.

    Raises:
        UserError: The model is not the delta's base: another one, or one that was tuned or merged already.
    """
    state = model.state_dict()
    found = hash_tensors(state)
    if found != delta.base:
        raise UserError(
            f"model must be the one that the delta was made for, weights {delta.base[:12]}; got {found[:12]}; "
            "load the base model afresh"
        )
    with torch.no_grad():
        for name in changed_names(delta):
            state[name].copy_(_value(name, delta.stored, state[name]))


@contextmanager
def merged(model: nn.Module, delta: Delta) -> Iterator[None]:
    """`merge` for the length of a block; afterwards the model is the base again, bit for bit.

    Raises:
        UserError: As `merge`.
    """
    state = model.state_dict()
    before = {name: state[name].clone() for name in changed_names(delta)}
    merge(model, delta)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in before.items():
                state[name].copy_(tensor)


def changed_names(delta: Delta) -> list[str]:
    """Names of the base's tensors that the delta changes."""
    return sorted({name.partition("/")[2] for name in delta.stored})


def save_delta(delta: Delta, folder: Path) -> Path:
    """Write a delta beside a schedule, atomically; returns the file."""
    path = folder / DELTA_FILE
    tensors = {**delta.stored, **{f"added/{name}": it for name, it in delta.added.items()}}
    header = {"base": delta.base, "precision": delta.precision}
    if delta.pooling is not None:
        header["pooling"] = delta.pooling
    write_tensor_file(path, tensors, header, schema=SCHEMA)
    return path


def load_delta(folder: Path) -> Delta:
    """Read the delta in a folder.

    Raises:
        UserError: No such file, or one that is broken or something else.
    """
    path = folder / DELTA_FILE
    tensors, header = read_tensor_file(path, schema=SCHEMA)
    added = {name.removeprefix("added/"): it for name, it in tensors.items() if name.startswith("added/")}
    stored = {name: it for name, it in tensors.items() if not name.startswith("added/")}
    return Delta(
        base=header["base"],
        precision=header["precision"],
        stored=stored,
        added=added,
        pooling=header.get("pooling"),
    )


def _compress(
    name: str, before: Tensor, after: Tensor, precision: Precision, rank: int | None
) -> dict[str, Tensor]:
    if precision == "exact" or not before.is_floating_point():
        return {f"value/{name}": after.clone()}
    difference = after.float() - before.float()
    if rank is not None and difference.dim() == 2 and rank * sum(difference.shape) < difference.numel():
        left_OR, scale_R, right_RI = torch.linalg.svd(difference, full_matrices=False)
        root_R = scale_R[:rank].sqrt()
        left_OR, right_RI = left_OR[:, :rank] * root_R, root_R[:, None] * right_RI[:rank]
        return {f"left/{name}": left_OR.bfloat16(), f"right/{name}": right_RI.bfloat16()}
    if precision == "bfloat16":
        return {f"difference/{name}": difference.bfloat16()}
    largest = difference.abs().amax(dim=-1, keepdim=True)
    scale = torch.where(largest > 0, largest / INT8_LIMIT, torch.ones_like(largest))
    eighths = (difference / scale).round().to(torch.int8)
    return {f"difference/{name}": eighths, f"scale/{name}": scale}


def _value(name: str, stored: Mapping[str, Tensor], base: Tensor) -> Tensor:
    if f"value/{name}" in stored:
        return stored[f"value/{name}"]
    if f"left/{name}" in stored:
        difference = stored[f"left/{name}"].float() @ stored[f"right/{name}"].float()
    else:
        difference = stored[f"difference/{name}"].float() * stored.get(f"scale/{name}", torch.ones(()))
    return (base.float() + difference.to(base.device)).to(base.dtype)
