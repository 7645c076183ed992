"""The documentation mentions what there is: every verb, every option of the demo, every environment variable."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from multum.cli.commands import COMMANDS, SYSTEMS
from multum.cli.recipes import systems
from multum.demo import DemoConfig

VARIABLE = re.compile(r"`([A-Z][A-Z_]{2,})`")
SHELL_VARIABLE = re.compile(r"\$[{(]?([A-Z][A-Z_]{2,})\b")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def variables_read(source: str) -> Iterator[str]:
    """Names of the environment variables that a module reads, sets by default, or takes away."""
    tree = ast.parse(source)
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            method, arguments = node.func, node.args
            reads = is_environ(method.value) and method.attr in {"get", "setdefault", "pop"}
            if not reads and method.attr != "getenv":
                continue
            name = arguments[0]
        elif isinstance(node, ast.Subscript) and is_environ(node.value):
            name = node.slice
        else:
            continue
        assert isinstance(name, ast.Constant | ast.Name), f"not to be told from the source: {ast.dump(node)}"
        yield str(name.value if isinstance(name, ast.Constant) else constants[name.id])


def is_environ(node: ast.expr) -> bool:
    return getattr(node, "attr", getattr(node, "id", "")) == "environ"


@pytest.fixture(scope="module")
def pages(repository: Path) -> str:
    """The README and every page of the site, in one text."""
    paths = [repository / "README.md", *sorted((repository / "docs").rglob("*.md"))]
    return "\n".join(text_of(path) for path in paths if "_build" not in path.parts)


@pytest.fixture(scope="module")
def documented(repository: Path) -> set[str]:
    """Variables that the page about the environment names in code type."""
    return set(VARIABLE.findall(text_of(repository / "docs" / "environment.md")))


@pytest.mark.parametrize("words", [command.words for command in COMMANDS], ids=" ".join)
def test_every_verb_is_mentioned(words: tuple[str, ...], pages: str) -> None:
    assert re.search(rf"\bmultum {' '.join(words)}\b", pages), f"`multum {' '.join(words)}` is nowhere"


def test_no_verb_is_mentioned_that_does_not_exist(pages: str) -> None:
    known = {command.words[0] for command in COMMANDS}
    verbs = {command.words for command in COMMANDS}
    blocks = "".join(re.findall(r"^```(?:sh|text)\n(.*?)^```", pages, re.MULTILINE | re.DOTALL))
    lines = re.findall(r"^(?:\$ )?multum ([a-z].*)", blocks, re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        first, second = [*line.split(), ""][:2]
        assert first in known, f"multum {line}"
        assert first not in SYSTEMS or (first, second) in verbs, f"multum {line}"


def test_every_option_of_the_demo_is_explained(repository: Path) -> None:
    page = text_of(repository / "docs" / "demo.md")
    for field in fields(DemoConfig):
        assert f"| `--{field.name.replace('_', '-')} " in page, field.name


@pytest.mark.parametrize(
    "field", [it for it in fields(DemoConfig) if it.default is not None], ids=lambda it: it.name
)
def test_defaults_of_the_demo_are_those_of_the_page(field, repository: Path) -> None:
    page = text_of(repository / "docs" / "demo.md")
    default = field.default if isinstance(field.default, tuple) else (field.default,)
    row = next(line for line in page.splitlines() if f"`--{field.name.replace('_', '-')} " in line)
    assert row.endswith(f"| {' '.join(map(str, default))} |"), row


def test_every_variable_that_the_code_reads_is_explained(repository: Path, documented: set[str]) -> None:
    sources = [*(repository / "src").rglob("*.py"), *(repository / "scripts").glob("*.py")]
    read = {name for source in sources for name in variables_read(text_of(source))}
    assert {"MULTUM_CACHE", "MULTUM_TRACEBACK", "CXX"} <= read, "the search found too little"
    of_python_and_pip = {"PYTHONPATH", "PIP_USER"}  # taken out of the way of the set-up's own environment
    assert read - of_python_and_pip - documented == set()


def test_every_variable_that_make_takes_is_explained(repository: Path, documented: set[str]) -> None:
    makefile = text_of(repository / "Makefile")
    own = set(re.findall(r"^([A-Z_]+) *:?=", makefile, re.MULTILINE))
    optional = set(re.findall(r"^([A-Z_]+) *\?=", makefile, re.MULTILINE))
    taken = set(SHELL_VARIABLE.findall(makefile)) - own | optional
    assert {"ARGS", "WORKERS"} <= taken
    assert taken - documented == set()


def test_no_variable_of_ours_is_explained_that_nothing_reads(repository: Path, documented: set[str]) -> None:
    folders = [repository / name for name in ("src", "scripts", "tests")]
    sources = "\n".join(text_of(path) for folder in folders for path in folder.rglob("*.py"))
    for name in documented:
        assert not name.startswith("MULTUM_") or f'"{name}"' in sources, name


def test_variables_are_found_in_every_way_of_reading_them() -> None:
    source = """
NAME = "FOURTH"
os.environ["FIRST"]
environ.get("SECOND")
os.getenv("THIRD", "")
os.environ.setdefault(NAME, "1")
settings.get("NOT_THIS")
"""
    assert set(variables_read(source)) == {"FIRST", "SECOND", "THIRD", "FOURTH"}


def test_every_system_with_recipes_can_be_found_by_the_page(repository: Path) -> None:
    words = {words for command in COMMANDS for words in command.words}
    assert set(systems()) <= words, "recipes belong to a command"


def test_rings_are_told_as_they_are_held(repository: Path) -> None:
    settings = tomllib.loads(text_of(repository / "pyproject.toml"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    rings = " > ".join(layer.replace("multum.", "") for layer in contract["layers"])
    assert rings in text_of(repository / "CONTRIBUTING.md")


def test_test_folders_are_told_as_they_are(repository: Path) -> None:
    page = text_of(repository / "CONTRIBUTING.md")
    told = set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))
    there = {path.parent.name for path in (repository / "tests").glob("*/test_*.py")}
    assert there <= told


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_files_lead_somewhere(repository: Path, name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(repository / name)):
        assert (repository / target).exists(), f"{name} links to {target}"
