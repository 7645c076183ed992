"""Warnings that are told once.

A fallback on a hot path would otherwise repeat itself at every call: the user reads it the first time and
is annoyed the next thousand. Python's own "once" filter depends on global filter state that test runners
and libraries change, so what was said is remembered here, where `forget_warnings` can clear it (each test
starts with a clean slate).
"""

import threading
import warnings

_told: set[tuple[type[Warning], str]] = set()
_lock = threading.Lock()


def warn_once(message: str, category: type[Warning] = RuntimeWarning, *, stacklevel: int = 3) -> None:
    """Warn, unless exactly this was already said in this process.

    Args:
        message: The sentence; two different sentences are two warnings.
        category: Class of the warning.
        stacklevel: Whose line the warning names: 2 is the one that calls this, 3 its caller (the user of a
            public function).
    """
    key = (category, message)
    with _lock:
        if key in _told:
            return
        _told.add(key)
    warnings.warn(message, category, stacklevel=stacklevel)


def forget_warnings() -> None:
    """Forget what was said, so that `warn_once` says it again."""
    with _lock:
        _told.clear()
