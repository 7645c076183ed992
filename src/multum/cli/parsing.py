"""From words to options: tyro over the dataclasses, recipes as defaults, and complaints in one line."""

import contextlib
import copy
import dataclasses
import inspect
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from multum.cli.recipes import recipes_of
from multum.cli.verb import AnyVerb, Output, RunFolder, RunVerb
from multum.core.errors import UserError, did_you_mean

HELP_WORDS = frozenset({"-h", "--help"})


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """What a command line asks for."""

    options: Any
    """Instance of the verb's options."""

    folder: RunFolder | None
    """Where to keep files; None for a verb that keeps none."""

    output: Output
    """How to tell."""


def parse(verb: AnyVerb, words: Sequence[str], *, name: str, summary: str) -> Parsed:
    """Parse the words after a command's name.

    Args:
        verb: The command's inside.
        words: What the user typed after the name.
        name: The command's name, for usage lines and complaints.
        summary: First line of the help page.

    Returns:
        The options, of the recipe where one is named, with the explicit ones over them.

    Raises:
        UserError: When the words do not fit, with near misses.
        SystemExit: With code 0, after `--help` was printed.
    """
    import tyro

    recipe_name = _recipe_wished(words) if verb.recipes else None
    arguments = _arguments(verb, recipe_name)
    complaint = io.StringIO()
    asks_help = bool(HELP_WORDS.intersection(words))
    try:
        with contextlib.nullcontext() if asks_help else contextlib.redirect_stderr(complaint):
            parsed = tyro.cli(
                arguments,
                prog=f"multum {name}",
                description=_description(verb, summary),
                args=list(words),
                config=(
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.PositionalRequiredArgs,
                    tyro.conf.PositionalMetavarFromFieldName,
                    tyro.conf.DisallowNone,
                    tyro.conf.AvoidSubcommands,  # an optional part is no command
                ),
            )
    except SystemExit as end:
        if asks_help or not end.code:
            raise
        raise UserError(f"{one_line(complaint.getvalue())}; see multum {name} --help") from None
    folder = getattr(parsed, "folder", None)
    return Parsed(options=parsed.options, folder=folder, output=parsed.output)


def one_line(box: str) -> str:
    """Turn a complaint that tyro drew as a box into one sentence.

    >>> one_line('''
    ... ╭─ Unrecognized options ─────────╮
    ... │ Unrecognized options: --fas    │
    ... │ ────────────────────────────── │
    ... │ Perhaps you meant:             │
    ... │     --fast                     │
    ... │         Be quick.              │
    ... ╰────────────────────────────────╯
    ... ''')
    'unrecognized options: --fas; did you mean --fast?'
    """
    lines = [line.strip("│ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()]
    parts: list[list[str]] = [[]]
    for line in lines:
        if re.fullmatch("[─-]{3,}", line):
            parts.append([])
        elif line and line[0] not in "╭╰":
            parts[-1].append(line)
    if len(parts) > 1 and "╭" not in box:
        del parts[
            0
        ]  # where the terminal has no lines to draw with, the title stands as text over a row of hyphens
    problem = re.sub(r"^Error parsing [^:]*: | \(required\)", "", " ".join(parts[0]))
    near = [
        line.split()[0] for part in parts[1:] if "meant" in part[0] for line in part if line.startswith("-")
    ]
    if near:
        problem += f"; did you mean {' or '.join(near[:3])}?"
    return problem[:1].lower() + problem[1:] if problem[:2].istitle() else problem


def _recipe_wished(words: Sequence[str]) -> str | None:
    """Find `--recipe NAME`, which has to be known before the options can have its defaults."""
    for position, word in enumerate(words):
        if word.startswith("--recipe="):
            return word.partition("=")[2]
        if word == "--recipe" and position + 1 < len(words):
            return words[position + 1]
    return None


def _arguments(verb: AnyVerb, recipe_name: str | None) -> type[Any]:
    """Put the verb's options and those of every command into one dataclass, without prefixes."""
    import tyro

    unprefixed = tyro.conf.arg(name="")
    fields: list[tuple[str, Any, Any]] = [
        ("options", Annotated[verb.options, unprefixed], _recipe_default(verb, recipe_name)),
    ]
    if verb.recipes:
        names = tuple(recipes_of(verb.recipes, verb.options))
        about = tyro.conf.arg(
            help="Ready-made configuration to start from; the options given here go over it."
        )
        choice = Literal[names] if names else str
        fields.append(("recipe", Annotated[choice | None, about], dataclasses.field(default=None)))
    if isinstance(verb, RunVerb):
        default = RunFolder(out=verb.out)
        fields.append(("folder", Annotated[RunFolder, unprefixed], dataclasses.field(default=default)))
    fields.append(("output", Annotated[Output, unprefixed], dataclasses.field(default=Output())))
    return dataclasses.make_dataclass("Arguments", fields, frozen=True, kw_only=True)


def _recipe_default(verb: AnyVerb, recipe_name: str | None) -> Any:
    """Make the field whose default is the recipe; what the verb works on still has to be typed."""
    import tyro

    if recipe_name is None or verb.recipes is None:
        return dataclasses.field()
    recipes = recipes_of(verb.recipes, verb.options)
    if recipe_name not in recipes:
        raise UserError(f"there is no recipe {recipe_name!r} for this; {did_you_mean(recipe_name, recipes)}")
    default = copy.copy(recipes[recipe_name]())
    for field in dataclasses.fields(verb.options):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            object.__setattr__(default, field.name, tyro.MISSING)
    return dataclasses.field(default_factory=lambda: default)


def _description(verb: AnyVerb, summary: str) -> str:
    first, _, rest = (inspect.getdoc(verb.options) or "").partition("\n\n")
    rest = rest.partition("Raises:")[0].rstrip()  # for whoever calls from Python
    return f"{summary}\n\n{rest}" if rest and not first.startswith(f"{verb.options.__name__}(") else summary
