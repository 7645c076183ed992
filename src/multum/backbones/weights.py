"""Weights of others, read without running anything of theirs, and fitted to our names without a gap.

torch's checkpoints are pickles, which can hold any program. They are read with `weights_only`, which refuses
everything but tensors. Then the books must balance: each tensor of the file has its place in the network, each place
is filled, and shapes and types agree. Weights that fit only partly give a network that looks alive and is not.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from multum.core import UserError, invalid

NameInFile = Callable[[str], str]
"""Tells from the name of a tensor in the network what the file calls it."""


def read_checkpoint(path: Path, remedy: str, *, sha256: str | None = None) -> dict[str, Tensor]:
    """Read named tensors from a file of `torch.save`; they may lie in it below the key `state_dict`.

    Args:
        path: The file.
        remedy: Where the user gets it, for the error when it is missing or broken.
        sha256: Digest of the published file in hexadecimal; None: any file will do.

    Returns:
        The tensors, on the CPU.

    Raises:
        UserError: The file is missing, is not the published one, is broken, or holds something else.
    """
    if not path.is_file():
        raise invalid("weights file", "an existing file", str(path), remedy)
    if sha256 is not None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != sha256:
            raise invalid(f"SHA-256 of {path.name}", sha256, digest, remedy)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # a broken pickle may raise nearly anything
        reason = f"{path} ({type(problem).__name__})"
        raise invalid(
            "weights file", "a file of torch.save with nothing but tensors", reason, remedy
        ) from problem
    tensors = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(tensors, Mapping) or not all(isinstance(it, Tensor) for it in tensors.values()):
        raise invalid(f"content of {path.name}", "a mapping from names to tensors", type(tensors), remedy)
    return dict(tensors)


def fill(model: nn.Module, tensors: Mapping[str, Tensor], name_in_file: NameInFile, *, source: str) -> None:
    """Copy tensors into a network, all of them and into all of it, or change nothing.

    Args:
        model: The network; parameters and buffers are overwritten.
        tensors: What a file held, by its names.
        name_in_file: From a name in the network to the name in the file.
        source: What the file is, as an error shall call it.

    Raises:
        UserError: A tensor is missing, is left over, or has another shape or type.

    >>> layer = nn.Linear(2, 1)
    >>> theirs = {"w": torch.ones(1, 2), "b": torch.zeros(1)}
    >>> fill(layer, theirs, {"weight": "w", "bias": "b"}.__getitem__, source="a file")
    >>> layer(torch.ones(2)).item()
    2.0
    """
    targets = {name_in_file(name): tensor for name, tensor in model.state_dict().items()}
    missing, left_over = sorted(targets.keys() - tensors.keys()), sorted(tensors.keys() - targets.keys())
    if missing or left_over:
        raise UserError(
            f"{source} must hold exactly the {len(targets)} tensors of {type(model).__name__}; got "
            f"{len(tensors)}, {_some('missing', missing)}, {_some('left over', left_over)}; "
            "use the file that belongs to this network"
        )
    for name, target in targets.items():
        tensor = tensors[name]
        if (tensor.shape, tensor.dtype) != (target.shape, target.dtype):
            expected = f"{target.dtype} of shape {tuple(target.shape)}"
            raise invalid(
                f"{name} in {source}", expected, tensor, "use the file that belongs to this network"
            )
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])


def _some(what: str, names: list[str]) -> str:
    shown = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
    return f"{len(names)} {what}{shown}"
