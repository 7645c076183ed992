"""Know at once whether there is anything to set up: the stamp that a finished set-up leaves behind.

The stamp holds a fingerprint of the files that decide what gets installed. It is taken away before a set-up
changes anything and written when all is done, so a set-up that was interrupted leaves none. Standard library
only: this runs on a bare machine.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What a finished set-up leaves behind in ``.venv/setup-stamp.json``."""

    fingerprint: str
    """Hash of the files that decide what gets installed."""
    root: str
    """Where the project lay: a virtual environment does not survive being moved."""
    extras: tuple[str, ...]
    """The extras that are installed, sorted."""


def read_stamp(path: Path) -> Stamp | None:
    """Read a stamp; an unreadable one counts as none.

    Args:
        path: The stamp file.

    Returns:
        The stamp, or None.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Stamp(**{**data, "extras": tuple(data["extras"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_stamp(path: Path, stamp: Stamp) -> None:
    """Write a stamp in one step, so that it is there whole or not at all.

    Args:
        path: The stamp file.
        stamp: What to write.
    """
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(stamp)) + "\n", encoding="utf-8")
    draft.replace(path)


def fingerprint(files: Sequence[Path]) -> str:
    """Hash files by name and content.

    Args:
        files: The files; a missing one counts as empty.

    Returns:
        A hexadecimal digest.
    """
    digest = hashlib.sha256()
    for path in files:
        content = path.read_bytes() if path.exists() else b""
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def plan(
    found: Stamp | None, wanted: Stamp, *, usable: bool, torch_fits: bool
) -> Literal["ready", "install", "create"]:
    """Decide what is left to do.

    Args:
        found: The stamp of the last finished set-up, or None.
        wanted: The stamp that this call would like to find.
        usable: Whether there is a virtual environment of the right Python.
        torch_fits: False when another build of torch is wished for than the one that was installed. The new
            one gets a new environment: the CUDA libraries of the old one would stay behind for ever.

    Returns:
        ``ready``: nothing; ``install``: packages; ``create``: everything from the start.
    """
    moved = found is not None and found.root != wanted.root
    if not usable or not torch_fits or moved:
        return "create"
    if found is None:
        return "install"
    same = found.fingerprint == wanted.fingerprint
    return "ready" if same and set(wanted.extras) <= set(found.extras) else "install"


def merge(found: Stamp | None, wanted: Stamp) -> Stamp:
    """Return the stamp to write: what was installed before stays installed.

    Args:
        found: The stamp of the last finished set-up, or None.
        wanted: What this call asks for.

    Returns:
        The wanted stamp with the extras of both.
    """
    if found is None:
        return wanted
    return replace(wanted, extras=tuple(sorted({*found.extras, *wanted.extras})))
