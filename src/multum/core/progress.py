"""Progress, said on stderr.

Standard output belongs to results, so that `multum ... --json | jq` works; everything that tells how far we
are goes to standard error. On a terminal that is a moving bar. Anywhere else (a log file, a CI job) a bar
would leave thousands of control characters, so about ten plain lines tell the same.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

LINES_PER_LOOP = 10
"""How many plain lines a loop of known length prints when there is no terminal."""

SECONDS_BETWEEN_LINES = 30.0
"""How often a loop of unknown length prints a plain line."""


def say(text: str) -> None:
    """Print one status line on stderr.

    Args:
        text: The line, without an end.
    """
    print(text, file=sys.stderr, flush=True)


Item = TypeVar("Item")


def track(iterable: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Iterate, and tell how far it is.

    Args:
        iterable: What to go through; it may be a generator.
        description: What is being done, a few words.
        total: How many items there will be; asked from the iterable when it knows.

    Yields:
        The items, unchanged.

    >>> list(track([1, 2], "counting"))
    [1, 2]
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    show = _with_bar if sys.stderr.isatty() else _with_lines
    yield from show(iterable, description, total)


def _with_bar(iterable: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(iterable, total=total, description=description)


def _with_lines(iterable: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    start = last = time.perf_counter()
    done = 0
    for item in iterable:
        yield item
        done += 1
        now = time.perf_counter()
        if total:
            due = done * LINES_PER_LOOP // total > (done - 1) * LINES_PER_LOOP // total
        else:
            due = now - last >= SECONDS_BETWEEN_LINES
        if due:
            say(f"{description}: {done}{f' of {total}' if total else ''}, {now - start:.1f} s")
            last = now
    if total is None:
        say(f"{description}: all {done} done, {time.perf_counter() - start:.1f} s")
