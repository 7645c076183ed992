"""What a folder holds, as people see it: no hidden files, nothing from outside, in the order in which people count."""

import re
from dataclasses import dataclass
from pathlib import Path

from multum.core.errors import invalid


@dataclass(frozen=True, kw_only=True)
class Entries:
    """The visible content of one folder."""

    folders: tuple[Path, ...] = ()
    """Sub-folders."""
    files: tuple[Path, ...] = ()
    """Files."""
    notes: tuple[str, ...] = ()
    """What was left out although it is visible, a sentence each."""


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Order names as people do: digits come first, by their value; letters count without their case.

    Example:
        >>> sorted(["img10", "img2", "Img1", "7"], key=natural_key)
        ['7', 'Img1', 'img2', 'img10']
    """
    pieces = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces], name


def visible_entries(folder: Path, root: Path) -> Entries:
    """List a folder in natural order, without what is hidden or leads out of `root`.

    Args:
        folder: The folder.
        root: The tree that links may point into.

    Returns:
        Its content.

    Raises:
        UserError: It cannot be read.
    """
    tree = root.resolve()
    folders, files, notes = [], [], []
    try:
        paths = sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise invalid(f"folder {folder}", "a readable folder", reason, "check its permissions") from problem
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.is_symlink() and not _leads_into(path, tree):
            notes.append(f"{path}: a link that leads out of {root}, or nowhere")
        elif path.is_dir():
            folders.append(path)
        elif path.is_file():
            files.append(path)
        else:
            notes.append(f"{path}: neither a file nor a folder")
    return Entries(folders=tuple(folders), files=tuple(files), notes=tuple(notes))


def _leads_into(link: Path, tree: Path) -> bool:
    """Whether a link ends at something inside the tree."""
    try:
        return link.resolve(strict=True).is_relative_to(tree)
    except (OSError, RuntimeError):  # a circle is an OSError or, in older versions of Python, a RuntimeError
        return False
