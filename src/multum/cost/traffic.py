"""Bytes that one operation reads and writes, as if no cache kept anything between two operations.

The rules, which are also the limits of this number:

- an operation reads each distinct argument once and writes each result once, whatever happens inside its kernel;
- a view is free, and so is an uninitialised allocation;
- broadcast dimensions are read once (a bias expanded over a batch counts its own bytes);
- a lookup (embedding, gather, index) reads only what it fetches; a scatter touches only what it writes;
- an in-place operation reads and writes its target, except when it only overwrites it (copy_, zero_, ...).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from multum.cost.macs import name_of

_LOOKUPS: Final = frozenset(
    {
        "embedding",
        "gather",
        "index_select",
        "index",
        "take",
        "_unsafe_index",
        "_embedding_bag",
        "_embedding_bag_forward_only",
    }
)
_SCATTERS: Final = frozenset(
    {
        "index_put_",
        "_index_put_impl_",
        "scatter_",
        "scatter_add_",
        "index_add_",
        "index_copy_",
        "_unsafe_index_put",
    }
)
_OVERWRITES: Final = frozenset(
    {
        "copy_",
        "fill_",
        "zero_",
        "normal_",
        "uniform_",
        "bernoulli_",
        "random_",
        "exponential_",
        "geometric_",
        "_foreach_copy_",
    }
    | {"_foreach_zero_", "arange", "set_"}
)
_ALLOCATIONS: Final = frozenset(
    {
        "empty",
        "empty_like",
        "empty_strided",
        "new_empty",
        "new_empty_strided",
        "empty_permuted",
        "resize_",
        "set_",
    }
)


@dataclass(frozen=True)
class Access:
    """One tensor that an operation touches, and how many bytes of it."""

    tensor: torch.Tensor
    num_bytes: int


def tensors_in(value: object) -> Iterator[torch.Tensor]:
    """Find the tensors in nested lists, tuples and mappings, and in dataclasses such as a model's output."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, (list, tuple, set)):
        for part in value:
            yield from tensors_in(part)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        for name in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, name, None))


def plain_parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Take a tensor apart into the plain tensors that hold its memory; a plain one is its own only part.

    Sparse tensors have indices and values, wrapper subclasses the tensors that they wrap, and the tensors inside of
    `torch.func` transformations stand for others.

    >>> [part.numel() for part in plain_parts(torch.eye(3).to_sparse())]
    [6, 3]
    """
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    wrapper: Any = tensor
    if is_traceable_wrapper_subclass(wrapper):
        inner = [getattr(wrapper, name) for name in wrapper.__tensor_flatten__()[0]]
        return tuple(part for wrapped in inner for part in plain_parts(wrapped))
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor,)


def touched_bytes(tensor: torch.Tensor) -> int:
    """Size of the distinct elements of a tensor.

    >>> touched_bytes(torch.zeros(1, 5).expand(100, 5))
    20
    """
    return sum(_bytes_of_plain(part) for part in plain_parts(tensor))


def _bytes_of_plain(tensor: torch.Tensor) -> int:
    if tensor.layout is not torch.strided or tensor.is_nested:
        return tensor.numel() * tensor.element_size()
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride else min(size, 1)
    return min(elements * tensor.element_size(), tensor.untyped_storage().nbytes())


def storage_key(tensor: torch.Tensor) -> int:
    """Identify the storage of a plain tensor among those alive; a tensor without one stands for itself."""
    return int(tensor.untyped_storage()._cdata) if tensor.layout is torch.strided else id(tensor)


def mutated_tensors(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """Find the arguments that an operation writes to, by its schema.

    Args:
        operation: The operation.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        The tensors, in the order of the arguments.
    """
    found: list[torch.Tensor] = []
    for position, name in _written_arguments(operation):
        found += tensors_in(args[position] if position < len(args) else kwargs.get(name))
    return found


def accesses(
    operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: object
) -> tuple[list[Access], list[Access]]:
    """Tell what one call of an operation reads and writes.

    Args:
        operation: The operation.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        result: What it returned.

    Returns:
        Reads and writes.
    """
    name = name_of(operation).partition(".")[2]
    if name in _ALLOCATIONS:
        return [], []
    inputs = _distinct(tensors_in((args, dict(kwargs))))
    mutated = _distinct(mutated_tensors(operation, args, kwargs))
    known = {storage_key(tensor) for tensor in inputs}
    fresh = [tensor for tensor in _distinct(tensors_in(result)) if storage_key(tensor) not in known]
    if not fresh and not mutated and any(True for _ in tensors_in(result)):
        return [], []  # every result is a view of an argument
    changed = {id(tensor) for tensor in mutated}
    others = [tensor for tensor in inputs if id(tensor) not in changed]
    writes = [Access(tensor, touched_bytes(tensor)) for tensor in fresh]
    reads = _reads(name, others, fresh)
    if name in _SCATTERS:
        part = sum(access.num_bytes for access in reads)
        writes += [Access(tensor, min(touched_bytes(tensor), part)) for tensor in mutated]
    else:
        writes += [Access(tensor, touched_bytes(tensor)) for tensor in mutated]
        if name not in _OVERWRITES and "out" not in kwargs:
            reads += [Access(tensor, touched_bytes(tensor)) for tensor in mutated]
    return reads, writes


def _reads(name: str, inputs: list[torch.Tensor], fresh: list[torch.Tensor]) -> list[Access]:
    reads = [Access(tensor, touched_bytes(tensor)) for tensor in inputs]
    if name in _LOOKUPS and reads:
        fetched = sum(touched_bytes(tensor) for tensor in fresh)
        if "embedding_bag" in name and len(inputs) > 1:  # many rows are fetched for one row of the result
            fetched = inputs[1].numel() * inputs[0].shape[-1] * inputs[0].element_size()
        reads[0] = Access(inputs[0], min(reads[0].num_bytes, fetched))
    return reads


def _distinct(tensors: Iterator[torch.Tensor] | Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


@lru_cache(maxsize=4096)
def _written_arguments(operation: Any) -> tuple[tuple[int, str], ...]:
    schema = getattr(operation, "_schema", None)
    if schema is None:
        return ()
    return tuple(
        (position, argument.name)
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
