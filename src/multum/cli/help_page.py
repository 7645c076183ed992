"""The first page a user sees: `multum --help`, drawn from the list of commands without importing their insides."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from multum.cli.verb import Command

if TYPE_CHECKING:
    from rich.console import RenderableType

MOTTO = "Multum in parvo: much in little."

LEFT_COLUMN_WIDTH = 24
"""So that the summaries of all blocks stand below each other."""

EVERY_COMMAND = (
    ("--json", "print the result as JSON on standard output"),
    ("--dry-run", "print the effective configuration, and do nothing"),
    ("--help", "explain the command's own options"),
)
"""What can be said to any command."""

ENVIRONMENT = (("MULTUM_TRACEBACK=1", "show where an error came from"),)
"""What can be said to the program from outside."""

EXAMPLES = (
    ("multum demo", "run everything on a real model, and draw a report"),
    ("multum cost MODEL --json", "what a model costs, for another program to read"),
)
"""Shown at the foot of the page when their command is there."""


def help_page(
    commands: Iterable[Command], systems: Mapping[str, str], system: str | None = None
) -> "RenderableType":
    """Lay out the help page.

    Args:
        commands: The commands to show.
        systems: What each system with verbs of its own is about.
        system: Show only the verbs of this one.

    Returns:
        The page, for rich to draw.
    """
    from rich.console import Group
    from rich.text import Text

    listed = [command for command in commands if system is None or command.words[0] == system]
    words = f"{system} <verb>" if system else "<command>"
    alone = [command for command in listed if command.words[0] not in systems]
    known = {command.words[0] for command in listed}
    blocks = [
        ("Commands", [(command.name, command.summary) for command in alone]),
        *(
            (
                f"{name}: {about}",
                [(command.name, command.summary) for command in listed if command.words[0] == name],
            )
            for name, about in systems.items()
        ),
        ("Every command understands", EVERY_COMMAND),
        ("Environment", ENVIRONMENT),
        ("Examples", [line for line in EXAMPLES if line[0].split()[1] in known]),
    ]
    return Group(
        Text(MOTTO, style="bold"),
        Text(f"usage: multum {words} [INPUT] [--recipe NAME] [--option value ...]"),
        *(_block(title, lines) for title, lines in blocks if lines),
    )


def drawn(page: object) -> str:
    """Draw anything that rich can draw into a string, with colours when standard output is a terminal."""
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(page)
    return capture.get()


def _block(title: str, lines: Sequence[tuple[str, str]]) -> "RenderableType":
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 3))
    table.add_column(min_width=LEFT_COLUMN_WIDTH, no_wrap=True, style="cyan")
    table.add_column()
    for left, right in lines:
        table.add_row(Text(left), Text(right))
    return Group(Text(f"\n{title}", style="bold"), Padding(table, (0, 0, 0, 2)))
