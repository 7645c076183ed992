"""The ledger: one line for every operation of a pass, as the dispatcher sends it to a kernel.

A `TorchDispatchMode` sees every operation below autograd, so forward, backward and optimizer alike, on every device,
for every kind of module. For each one the ledger asks four clerks: how many MACs (`macs`), which bytes move
(`traffic`), what is alive (`memory`), and whose work it is (`layers`).

Operations that exist only as a composition of others (in inference mode they arrive whole) are taken apart first,
unless they have a MAC formula. A custom operation is one line: what happens inside its kernel is its own business.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass

from multum.cost.layers import LayerTracker, Phase
from multum.cost.macs import count_macs, has_formula, is_attention, is_batched_product, name_of
from multum.cost.memory import NO_STORAGE, StorageBook
from multum.cost.traffic import Access, accesses, mutated_tensors, plain_parts, tensors_in
from multum.cost.workspace import workspace_bytes


@dataclass
class LayerSums:
    """What the operations of one layer add up to."""

    macs: int = 0
    attention_macs: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    workspace_bytes: int = 0
    read_from: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes read, by storage."""
    written_to: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes written, by storage."""


@dataclass
class Line:
    """One operation of the pass."""

    phase: Phase
    layer: str
    operation: str
    workspace_bytes: int


class Ledger(TorchDispatchMode):
    """Writes one line for every operation while it is active as a context."""

    supports_higher_order_operators = True

    def __init__(
        self, tracker: LayerTracker, book: StorageBook, protect: Callable[[Sequence[torch.Tensor]], None]
    ) -> None:
        super().__init__()
        self.tracker = tracker
        self.book = book
        self.protect = protect
        self.lines: list[Line] = []
        self.sums: dict[str, LayerSums] = {}
        self.uncounted: dict[str, None] = {}
        self.attention_counted = True

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation and write its line."""
        kwargs = kwargs or {}
        if any(is_traceable_wrapper_subclass(tensor) for tensor in tensors_in((args, dict(kwargs)))):
            return NotImplemented  # the subclass unwraps itself, and its inner operations come back here
        parts = self._take_apart(func, args)
        if parts is not None:
            with self:
                result = parts(*args, **kwargs)
            if result is not NotImplemented:
                return result
        mutated = mutated_tensors(func, args, kwargs)
        self.protect([tensor for tensor in mutated if not self._born_inside(tensor)])
        result = func(*args, **kwargs)
        self._write(func, args, kwargs, result)
        return result

    @classmethod
    def is_infra_mode(cls) -> bool:
        """Say that this mode only watches, so that what torch compiles by itself (flex attention) still runs."""
        return True

    @staticmethod
    def _take_apart(func: Any, args: Sequence[Any]) -> Callable[..., Any] | None:
        """Find what an operation without a MAC formula is made of: a composition, a branch, a wrapped function."""
        if has_formula(func):
            return None
        if isinstance(func, torch._ops.OpOverload):
            return func.decompose
        if func is torch.ops.higher_order.cond:
            branch: Callable[..., Any] = args[1] if args[0] else args[2]
            return lambda _condition, _then, _else, operands: branch(*operands)
        kernels: Mapping[Any, Callable[..., Any]] = getattr(func, "py_kernels", {})
        return (
            kernels.get(torch._C.DispatchKey.CompositeExplicitAutograd) if "wrap" in name_of(func) else None
        )

    def _born_inside(self, tensor: torch.Tensor) -> bool:
        return all(self.book.number(part) in self.book.producers for part in plain_parts(tensor))

    def _write(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: object) -> None:
        self.book.step += 1
        layer = self.tracker.layer()
        sums = self.sums.setdefault(layer, LayerSums())
        inputs = list(tensors_in((args, dict(kwargs))))
        known = set(self.book.numbers(inputs))
        reads, writes = accesses(func, args, kwargs, result)
        self.book.numbers(tensors_in(result), born=layer)
        self._count(func, args, kwargs, result, sums)
        self._move(reads, writes, sums)
        scratch = workspace_bytes(func, args, kwargs, result)
        sums.workspace_bytes = max(sums.workspace_bytes, scratch)
        self.lines.append(Line(self.tracker.phase, layer, name_of(func), scratch))
        self._notice_accumulation(func, args, known)

    def _count(
        self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: object, sums: LayerSums
    ) -> None:
        counted = count_macs(func, args, kwargs, result)
        if counted is None:
            self.uncounted[name_of(func)] = None
            self.attention_counted &= not is_attention(func)
            return
        sums.macs += counted.total
        of_activations = is_batched_product(func) and not self._meets_weight(args)
        sums.attention_macs += counted.total if of_activations else counted.attention

    def _meets_weight(self, args: Sequence[Any]) -> bool:
        numbers = self.book.numbers(tensors_in(args))
        return any(self.book.purposes.get(number) in ("weights", "buffers") for number in numbers)

    def _move(self, reads: Sequence[Access], writes: Sequence[Access], sums: LayerSums) -> None:
        for moved, by_storage in ((reads, sums.read_from), (writes, sums.written_to)):
            for access in moved:
                for number in self.book.numbers([access.tensor]):
                    by_storage[number] += access.num_bytes // len(plain_parts(access.tensor))
        sums.read_bytes += sum(access.num_bytes for access in reads)
        sums.written_bytes += sum(access.num_bytes for access in writes)

    def _notice_accumulation(self, func: Any, args: Sequence[Any], known: set[int]) -> None:
        """Correct what watching changes: autograd adds gradients in place unless a dispatch mode is active.

        When two gradients of one tensor meet, autograd overwrites the first if nobody else holds it. Under a dispatch
        mode it makes a new tensor instead. Nobody else holding it means that it dies right after the sum, which the
        replay checks: only a storage that dies in this very step is taken as overwritten.
        """
        if self.tracker.phase != "backward" or func is not torch.ops.aten.add.Tensor or len(args) != 2:
            return
        first, second = args
        if (
            not (isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor))
            or first.shape != second.shape
        ):
            return
        number = self.book.number(first)
        if number != NO_STORAGE and number in known and number in self.book.producers:
            self.book.reused[self.book.step] = number
