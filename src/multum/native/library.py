"""Find, build and load the compiled half of a kernel.

Order: a library that came with the wheel, beside its source; one built earlier into the user's cache; a fresh
build into that cache. When none works the kernel's reference twin runs and one warning says why: the absence of a
fast path never fails. `MULTUM_KERNELS=off` asks for the reference path on purpose and warns of nothing.
"""

import ctypes
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from multum.core import warn_once
from multum.native.build import (
    COMMON_FLAGS,
    HEADERS,
    LEVELS,
    NoCompilerError,
    compile_source,
    compiler_command,
    library_name,
    native_level,
)


@dataclass(frozen=True, kw_only=True)
class NativeLibrary:
    """A loaded kernel library and where it came from."""

    handle: ctypes.CDLL
    """The loaded library; functions are reached as attributes."""
    level: str
    """Instruction-set level it was compiled for."""
    origin: str
    """`wheel`, `cache` or `built`."""


def cache_folder() -> Path:
    """Where kernels compiled on first use are kept: `$MULTUM_CACHE`, else multum/ in the XDG cache folder."""
    if chosen := os.environ.get("MULTUM_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "multum"


@cache
def load_native(source: Path) -> NativeLibrary | None:
    """Load the library of one `cpu.cpp`, compiling it when needed.

    Args:
        source: The kernel's C++ file.

    Returns:
        The library, or None when there is no fast path here (a warning has said why, once).
    """
    if os.environ.get("MULTUM_KERNELS", "").lower() in {"off", "0", "no"}:
        return None
    level = native_level()
    if shipped := _load_if_sound(source.with_name(library_name(level)), level, "wheel"):
        return shipped
    try:
        name = f"{source.parent.name}-{_digest(source, level)}-{library_name(level)}"
        built = cache_folder() / "kernels" / name
        if found := _load_if_sound(built, level, "cache"):
            return found
        compile_source(source, built, level)
        return NativeLibrary(handle=ctypes.CDLL(str(built)), level=level, origin="built")
    except (NoCompilerError, OSError, RuntimeError) as error:
        warn_once(
            f"multum: the compiled kernel {source.parent.name!r} is not available ({error}); the slower "
            "reference path in plain torch runs instead. Install a C++ compiler (g++ or clang++) to change that."
        )
        return None


def _load_if_sound(library: Path, level: str, origin: str) -> NativeLibrary | None:
    """The library, or None where there is none or it is damaged or made for another system (it is built anew then)."""
    if not library.exists():
        return None
    with suppress(OSError):
        return NativeLibrary(handle=ctypes.CDLL(str(library)), level=level, origin=origin)
    return None


def _digest(source: Path, level: str) -> str:
    """Hash of everything that decides what the compiler writes."""
    recipe = repr((COMMON_FLAGS, LEVELS[level], compiler_command())).encode()
    texts = [source, *sorted(source.parent.glob("*.h")), *sorted(HEADERS.glob("*.h"))]
    return hashlib.sha256(b"".join(it.read_bytes() for it in texts) + recipe).hexdigest()[:16]
