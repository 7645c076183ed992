"""Witnesses: what really happened, found by other ways than the ruler's own.

A ruler that is never held against the world is a story. Two of its numbers can be checked while a program runs:

- `kept_by_autograd` walks the graph behind a loss and looks at what each node has saved (`_saved_self` and its like,
  `saved_tensors` of Python functions). The ruler counts the same memory from the other side, as it is being saved.
  Looking at a region under activation checkpointing recomputes it, so there this witness tells too much.
- `growth_of` tells by how much the process grew while something ran. The allocator hides freed memory from the
  system unless it is told not to, so the process must have been started with `GROWTH_ENVIRONMENT`.

>>> import torch
>>> weight, picture = torch.ones(4, requires_grad=True), torch.ones(4)
>>> kept_by_autograd((weight * picture).exp().sum(), known=(weight, picture))  # exp saves its result
16
"""

import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from multum.core.errors import UserError
from multum.cost.kept import saved_in_graph
from multum.cost.traffic import plain_parts

GROWTH_ENVIRONMENT: Final = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
"""Makes glibc give freed memory back to the system at once; must be set before the process starts."""

_PAUSE_SECONDS: Final = 2e-4
_STATUS: Final = Path("/proc/self/status")
_FORGET_PEAK: Final = Path("/proc/self/clear_refs")


def kept_by_autograd(root: torch.Tensor, *, known: Iterable[torch.Tensor] = ()) -> int:
    """Add up what the autograd graph behind a tensor keeps alive; each storage counts once.

    Args:
        root: The loss, before its backward pass.
        known: Tensors that do not count, such as parameters, buffers and inputs.

    Returns:
        Bytes.
    """
    excluded = {storage._cdata for storage in _storages(known)}
    found = {
        storage._cdata: storage.nbytes()
        for storage in _storages(tensor for _, tensor in saved_in_graph(root))
    }
    return sum(size for key, size in found.items() if key not in excluded)


def _storages(tensors: Iterable[torch.Tensor]) -> Iterator[torch.UntypedStorage]:
    for tensor in tensors:
        for part in plain_parts(tensor):
            if part.layout is torch.strided:
                yield part.untyped_storage()


@dataclass(frozen=True, kw_only=True)
class Growth:
    """By how much memory grew at most while something ran."""

    sampled_bytes: int
    """Seen by a thread that looked every fifth of a millisecond; short peaks may pass unseen."""

    counted_bytes: int | None
    """Counted by the kernel of the system or the allocator of the device; None where neither is to be had."""

    @property
    def most_bytes(self) -> int:
        """The better witness: what was counted, or else what was seen."""
        return self.sampled_bytes if self.counted_bytes is None else self.counted_bytes


def growth_of(call: Callable[[], object], *, device: str | torch.device = "cpu") -> Growth:
    """Run something and tell by how much memory grew meanwhile, at most.

    Args:
        call: What to run; whatever it keeps from its first run (caches, workspaces) should exist already.
        device: On "cpu" the memory of the process (Linux only), on "cuda" what torch's allocator has given out.

    Returns:
        The growth.

    Raises:
        UserError: When the system does not tell the memory of a process.
    """
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        growth = torch.cuda.max_memory_allocated(device) - before
        return Growth(sampled_bytes=growth, counted_bytes=growth)
    before, counts = _memory_of_process("VmRSS"), _forget_peak()
    with _sampling() as most_seen:
        call()
    counted = _memory_of_process("VmHWM") - before if counts else None
    return Growth(sampled_bytes=most_seen() - before, counted_bytes=counted)


def ask_child(code: str, *words: str, folder: Path | None = None) -> Any:
    """Let another process measure its growth, started with `GROWTH_ENVIRONMENT`.

    Args:
        code: What it runs; it prints JSON at the end and nothing else.
        words: Its arguments, `sys.argv[1:]`.
        folder: Where it runs; None: here.

    Returns:
        What it printed.

    Raises:
        UserError: It did not come to its end.

    >>> ask_child("import sys; print(sys.argv[1])", "3")
    3
    """
    done = subprocess.run(  # noqa: S603 (our own interpreter on our own words)
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env={**os.environ, **GROWTH_ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"the process that measures must end well; it ended with {last}")
    return json.loads(done.stdout)


@contextmanager
def counted_growth() -> Iterator[Callable[[], int | None]]:
    """Let the system count by how much the process grows, which costs nothing while it runs.

    Yields:
        What tells the growth since the block began, at its most; None where the system does not count.
    """
    gc.collect()
    if not _STATUS.exists() or not _forget_peak():
        yield lambda: None
        return
    before = _memory_of_process("VmRSS")
    yield lambda: _memory_of_process("VmHWM") - before


@contextmanager
def _sampling() -> Iterator[Callable[[], int]]:
    """Look at the memory of the process again and again, from another thread; yields what tells the most seen."""
    seen, done = [_memory_of_process("VmRSS")], threading.Event()

    def look() -> None:
        while not done.wait(_PAUSE_SECONDS):
            seen[0] = max(seen[0], _memory_of_process("VmRSS"))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: seen[0]
    finally:
        done.set()
        thread.join()


def _memory_of_process(name: str) -> int:
    """Read one line of the process's status, in bytes."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError as problem:
        raise UserError("the growth of a process can only be seen on Linux, through /proc") from problem
    for line in lines:
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise UserError(f"/proc/self/status must tell {name}; this system's does not")


def _forget_peak() -> bool:
    """Let the system count the peak anew from here; tell whether it could be done."""
    try:
        _FORGET_PEAK.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
