"""Named tensors with a JSON header in one safetensors file: whole or absent, and never code.

The header travels inside the file, so that tensors and what is said about them cannot part, and one atomic write
settles both.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from multum.core import UserError, invalid, written_atomically
from multum.core.files import to_json_text

HEADER_KEY = "multum"
"""Key of the safetensors metadata that holds our header."""


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, such as a `state_dict()`, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensor_file(
    path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, object], *, schema: str
) -> None:
    """Write tensors and a header, completely or not at all.

    Args:
        path: Where to; an existing file is replaced.
        tensors: By name; two names may share memory, each gets a copy in the file. Nothing else is copied: a
            checkpoint takes no memory of its own.
        header: Plain values that JSON can hold; no key `schema`.
        schema: Name and version of what the file is.

    Raises:
        UserError: The header has no JSON form, or the file cannot be written.
    """
    text = to_json_text({"schema": schema, **header}, name=f"header of {path.name}")
    seen: set[int] = set()
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage().data_ptr()
        own[name] = plain.clone() if storage in seen or not _is_whole(plain) else plain
        seen.add(storage)
    with written_atomically(path) as temporary:
        try:
            save_file(own, temporary, metadata={HEADER_KEY: text})
        except SafetensorError as problem:
            raise UserError(f"{path} could not be written: {problem}") from problem


def _is_whole(tensor: Tensor) -> bool:
    """Whether nothing else lies in its storage."""
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def read_tensor_file(path: Path, *, schema: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_tensor_file` wrote.

    Args:
        path: The file.
        schema: What it must be.

    Returns:
        Tensors by name, on the CPU, and the header.

    Raises:
        UserError: The file is missing, broken, or something else than `schema`.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} must be a safetensors file; reading it failed: {error}") from error
    header = json.loads(metadata.get(HEADER_KEY, "{}"))
    if header.pop("schema", None) != schema:
        raise invalid(f"the schema of {path}", repr(schema), metadata.get(HEADER_KEY, "")[:60])
    return tensors, header


def copy_into(target: Tensor, source: Tensor, name: str) -> None:
    """Fill a live tensor in place.

    Raises:
        UserError: Another shape or type.
    """
    if (target.shape, target.dtype) != (source.shape, source.dtype):
        raise invalid(f"{name} in the file", f"{target.dtype} of shape {tuple(target.shape)}", source)
    with torch.no_grad():
        target.copy_(source)
