"""The door: finds the command, runs it, and turns whatever happens into an exit code.

    0   done
    2   the user's wish cannot be fulfilled; one line on standard error says why
    130 interrupted with Ctrl-C
    1   a bug of ours, with its traceback

Standard output carries results only. With `--json` that is one JSON document and nothing else, even when a
library below prints.
"""

import contextlib
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from multum.cli.commands import COMMANDS, SYSTEMS
from multum.cli.help_page import drawn, help_page
from multum.cli.verb import AnyVerb, Command, Outcome, RunVerb
from multum.core.errors import UserError, did_you_mean
from multum.version import __version__

if TYPE_CHECKING:
    from multum.cli.parsing import Parsed

EXIT_DONE = 0
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141

TRACEBACK_VARIABLE = "MULTUM_TRACEBACK"
"""Set to 1 in the environment, it shows where a user error came from."""

TOLD_WITHOUT_TRACEBACK = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
    }
)
"""What the operating system refuses for reasons that lie with the user's machine."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The words after `multum`; those of the process when None.

    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None and not sys.stderr.isatty():
        os.environ.setdefault(
            "TQDM_DISABLE", "1"
        )  # the bars of libraries below fill logs with control characters
    try:
        return _run(words)
    except UserError as problem:
        return _complain(str(problem))
    except KeyboardInterrupt:
        print("multum: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `multum ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except OSError as problem:
        if problem.errno not in TOLD_WITHOUT_TRACEBACK:
            raise
        place = f"{problem.filename}: " if problem.filename else ""
        return _complain(f"{place}{(problem.strerror or str(problem)).lower()}")


def find_command(words: Sequence[str]) -> Command:
    """Find the command that a command line begins with.

    Args:
        words: What the user typed after `multum`.

    Returns:
        The command; its own words are the first of `words`.

    Raises:
        UserError: When there is none, naming those that come close.
    """
    for command in COMMANDS:
        if tuple(words[: len(command.words)]) == command.words:
            return command
    first = words[0]
    if first in SYSTEMS:
        verbs = [command.words[1] for command in COMMANDS if command.words[0] == first]
        if len(words) == 1 or words[1].startswith("-"):
            raise UserError(f"multum {first} needs a verb: {', '.join(verbs)}")
        raise UserError(f"{words[1]!r} is not a verb of multum {first}; {did_you_mean(words[1], verbs)}")
    known = [command.words[0] for command in COMMANDS]
    raise UserError(f"{first!r} is not a command of multum; {did_you_mean(first, dict.fromkeys(known))}")


def _run(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help", "help"}:
        _print_text(help_page(COMMANDS, SYSTEMS))
        return EXIT_DONE
    if words[0] in {"-V", "--version"}:
        print(f"multum {__version__}")
        return EXIT_DONE
    if words[0] in SYSTEMS and words[1:2] and words[1] in {"-h", "--help"}:
        _print_text(help_page(COMMANDS, SYSTEMS, system=words[0]))
        return EXIT_DONE
    command = find_command(words)
    return _run_command(command, words[len(command.words) :])


def _run_command(command: Command, words: list[str]) -> int:
    from multum.cli.parsing import parse

    verb = command.load()
    try:
        parsed = parse(verb, words, name=command.name, summary=command.summary)
    except SystemExit:  # `--help` was printed
        return EXIT_DONE
    if parsed.output.dry_run:
        _print_json(effective_configuration(parsed))
        return EXIT_DONE
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.showwarning = _warn  # catch_warnings puts the old one back
        outcome = _execute(verb, parsed)
    if parsed.output.json:
        _print_json(dict(outcome.result))
    else:
        _print_text(outcome.text)
    return EXIT_DONE


def _execute(verb: AnyVerb, parsed: "Parsed") -> Outcome:
    if isinstance(verb, RunVerb):
        assert parsed.folder is not None
        return verb.execute(parsed.options, parsed.folder)
    return verb.execute(parsed.options)


def effective_configuration(parsed: "Parsed") -> dict[str, Any]:
    """Tell what a command would run with, in the form that `run.json` has."""
    from multum.core.config import to_dict

    return to_dict(parsed.options)


def _print_json(data: object) -> None:
    from multum.core.files import to_json_text

    sys.stdout.write(to_json_text(data, name="result"))
    sys.stdout.flush()


def _print_text(text: object) -> None:
    if not isinstance(text, str):
        text = drawn(text)
    print(text.rstrip("\n"), flush=True)


def _warn(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001 (the form that the warnings module asks for)
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Tell a warning as users read it, without the line of code that gave it."""
    sentence = " ".join(str(message).split()).removeprefix("multum: ")
    print(f"multum: warning: {sentence}", file=sys.stderr)


def _complain(sentence: str) -> int:
    if os.environ.get(TRACEBACK_VARIABLE) == "1":
        traceback.print_exc()
    print(f"multum: error: {' '.join(sentence.split())}", file=sys.stderr)
    return EXIT_USER_ERROR
