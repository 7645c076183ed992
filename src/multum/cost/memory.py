"""Live memory: which storages exist, since when, and what they are for.

Torch keeps one Python object for each storage as long as the storage lives, so a weak reference to it tells the
moment at which the memory is really given back: also when the last owner was autograd, deep in C++. Every storage
gets a number when it is first seen; births and deaths are written down in order; and since it is often known only at
the end what a storage was for (a gradient is born as just another tensor), the timeline is replayed afterwards.
"""

import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

import torch

from multum.cost.traffic import plain_parts

Purpose = Literal["weights", "buffers", "inputs", "activations", "gradients", "optimizer"]

NO_STORAGE: Final = -1
"""Number given to tensors that hold no memory that could be followed."""


@dataclass
class Level:
    """Bytes alive, by purpose."""

    by_purpose: dict[Purpose, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def total(self) -> int:
        """All bytes alive."""
        return sum(self.by_purpose.values())


@dataclass
class StorageBook:
    """Numbers storages as they appear, and writes down their births and deaths."""

    device_type: str
    """Only memory on this kind of device is counted."""

    step: int = 0
    """Number of the operation at work."""

    purposes: dict[int, Purpose] = field(default_factory=dict)
    """What a storage turned out to be for; activations are what is left."""

    events: list[tuple[int, int, int]] = field(default_factory=list)
    """Step, storage and change in bytes."""

    sizes: dict[int, int] = field(default_factory=dict)
    """Bytes of each storage, as last seen."""

    largest: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """Bytes of each storage at its largest, wherever it lives."""

    producers: dict[int, str] = field(default_factory=dict)
    """Layer whose operation made a storage; those that were there before have none."""

    reused: dict[int, int] = field(default_factory=dict)
    """Step of a sum that overwrites one of its terms in a run that nobody watches: the storage of that term."""

    def __post_init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._watches: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def number(self, tensor: torch.Tensor, *, born: str | None = None) -> int:
        """Number the storage of a dense tensor, writing down its birth if it is new.

        Args:
            tensor: Any dense tensor.
            born: The layer whose operation has just made it; None if it was there before.

        Returns:
            The storage's number, or `NO_STORAGE`.
        """
        if tensor.layout is not torch.strided:
            return NO_STORAGE
        storage = tensor.untyped_storage()
        key = storage._cdata
        number = self._numbers.get(key)
        if number is None:
            number = len(self.sizes)
            self._numbers[key] = number
            self._watches[key] = weakref.ref(storage, partial(self._bury, key))
            self.sizes[number] = 0
            if born is not None:
                self.producers[number] = born
        self.largest[number] = max(self.largest[number], storage.nbytes())
        self._resize(number, storage.nbytes() if tensor.device.type == self.device_type else 0)
        return number

    def numbers(self, tensors: Iterable[torch.Tensor], *, born: str | None = None) -> list[int]:
        """Number the storages of several tensors, sparse ones included."""
        return [self.number(part, born=born) for tensor in tensors for part in plain_parts(tensor)]

    def assign(self, tensors: Iterable[torch.Tensor], purpose: Purpose) -> int:
        """Say what some tensors are for, and tell how many bytes that adds up to.

        Args:
            tensors: Tensors; those whose storage has a purpose already keep it.
            purpose: What they are for.

        Returns:
            Bytes of the storages that got this purpose now.
        """
        total = 0
        for number in dict.fromkeys(self.numbers(tensors)):
            if number != NO_STORAGE and self.purposes.setdefault(number, purpose) == purpose:
                total += self.sizes[number]
        return total

    def replay(self) -> Iterator[tuple[int, Level]]:
        """Walk through the pass and tell, for each step, the highest level of live memory in it.

        Births of a step count before its deaths: while an operation runs, its arguments and results are all alive.

        Returns:
            Step and level; the level is one object that changes as the walk goes on.
        """
        level, position = Level(), 0
        for step in range(self.step + 1):
            now = position
            while position < len(self.events) and self.events[position][0] == step:
                position += 1
            events = self.events[now:position]
            early = self.reused.get(step)
            for _, number, change in events:
                if change > 0 or number == early:
                    level.by_purpose[self.purposes.get(number, "activations")] += change
            yield step, level
            for _, number, change in events:
                if change <= 0 and number != early:
                    level.by_purpose[self.purposes.get(number, "activations")] += change

    def alive(self) -> set[int]:
        """Number the storages that live now."""
        return set(self._numbers.values())

    def close(self) -> None:
        """Stop following storages."""
        self._watches.clear()
        self._numbers.clear()

    def _resize(self, number: int, size_bytes: int) -> None:
        change = size_bytes - self.sizes[number]
        if change:
            self.sizes[number] = size_bytes
            self.events.append((self.step, number, change))

    def _bury(self, key: int, _dead: object) -> None:
        number = self._numbers.pop(key, None)
        self._watches.pop(key, None)
        if number is not None and self.sizes[number]:
            self.events.append((self.step, number, -self.sizes[number]))
