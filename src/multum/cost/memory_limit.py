"""A hard limit on the memory of this process: what wants more ends with an error instead of taking it.

The system counts what a process may write to (Linux: `RLIMIT_DATA`), pages that it has not touched yet included, so
that a block under a limit has proven that so much is enough. The allocator is told to give freed memory back at once,
as it does not by itself.
"""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from multum.core.errors import UserError, invalid

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of glibc's dials for `mallopt`."""
_RETURNED_AT_ONCE: Final = 65536
"""Blocks of so many bytes or more are taken from the system one by one, and given back one by one."""
_STATUS: Final = Path("/proc/self/status")


@contextmanager
def memory_limit(growth_bytes: int | None) -> Iterator[None]:
    """Let the process grow by so much at most, for the length of a block.

    Args:
        growth_bytes: Beyond what it has at the beginning; None sets no limit.

    Raises:
        UserError: The block wanted more; or this is not Linux, or the number is not positive.

    >>> with memory_limit(None):
    ...     pass
    """
    if growth_bytes is None:
        yield
        return
    if growth_bytes < 1:
        raise invalid("growth_bytes", "positive", growth_bytes)
    if not sys.platform.startswith("linux"):
        raise UserError("a hard limit on memory needs Linux; leave it out")
    import resource  # which other systems lack

    give_back_at_once()
    gc.collect()
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_writable_bytes() + growth_bytes, before[1]))
    try:
        yield
    except (MemoryError, RuntimeError) as problem:
        if not is_about_memory(problem):
            raise
        wanted = f"{growth_bytes / 1e6:g} MB"
        raise UserError(
            f"memory must not grow by more than {wanted}; more was wanted: {problem}"
        ) from problem
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def give_back_at_once() -> None:
    """Tell glibc to return freed memory to the system; on other systems nothing is done."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim"):
        libc.mallopt(_MMAP_THRESHOLD, _RETURNED_AT_ONCE)
        libc.mallopt(_TRIM_THRESHOLD, 0)
        libc.malloc_trim(0)


def is_about_memory(problem: BaseException) -> bool:
    """Whether an error says that there was no memory; torch and its libraries say so in many ways.

    >>> is_about_memory(MemoryError()), is_about_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    words = (
        "allocate",
        "bad_alloc",
        "out of memory",
        "could not create a memory",
        "could not create a primitive",
    )
    return isinstance(problem, MemoryError) or any(it in str(problem).lower() for it in words)


def _writable_bytes() -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise UserError("/proc/self/status must tell VmData; this system's does not")
