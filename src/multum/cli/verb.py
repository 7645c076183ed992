"""What a command is: options, what to do with them, and what came out.

A command is declared once, as data. Its options *are* a frozen dataclass, so that the command line, the
JSON of a run and a call from Python can never disagree. A field without a default is what the verb works on
(a folder, a model, a text) and becomes the positional argument; all others become `--options`, with their
attribute docstrings as help.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

Options = TypeVar("Options")


@dataclass(frozen=True, kw_only=True)
class Output:
    """How a command tells what it did; the same for every command."""

    json: bool = False
    """Print the result as JSON on standard output, and nothing else there."""

    dry_run: bool = False
    """Print the effective configuration as JSON, and do nothing."""


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Where a run keeps its files, and what happens to a run that lies there already."""

    out: Path
    """Folder of this run: run.json, and whatever the run draws."""

    resume: bool = False
    """Continue the run that lies in the folder."""

    overwrite: bool = False
    """Replace the run that lies in the folder."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command found out."""

    result: Mapping[str, object]
    """Plain values for `--json`."""

    text: object
    """The same for a reader: a string, or anything that rich can draw."""


@dataclass(frozen=True, kw_only=True)
class Verb(Generic[Options]):
    """A command's inside, loaded only when it is called."""

    options: type[Options]
    """The frozen dataclass of its options."""

    execute: Callable[[Options], Outcome]
    """Does it."""

    recipes: str | None = None
    """Name of the module in `multum.recipes` whose functions return these options; None without recipes."""


@dataclass(frozen=True, kw_only=True)
class RunVerb(Generic[Options]):
    """The inside of a command that keeps its work in a run folder."""

    options: type[Options]
    """The frozen dataclass of its options: the configuration that `run.json` will hold."""

    execute: Callable[[Options, RunFolder], Outcome]
    """Does it, in that folder."""

    out: Path
    """Run folder when the user names none."""

    recipes: str | None = None
    """As for `Verb`."""


AnyVerb = Verb[Any] | RunVerb[Any]
"""The inside of some command."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line in the list of commands; cheap, because `multum --help` reads them all."""

    words: tuple[str, ...]
    """What the user types: the verb, or the system and the verb."""

    summary: str
    """One line: what it does."""

    load: Callable[[], AnyVerb]
    """Imports the inside."""

    @property
    def name(self) -> str:
        """The words as typed."""
        return " ".join(self.words)
