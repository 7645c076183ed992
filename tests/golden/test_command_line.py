"""The command line is a promise: it changes on purpose, or not at all.

After a change that is wanted, `MULTUM_UPDATE_SNAPSHOTS=1 pytest tests/golden/test_command_line.py` writes
the snapshot anew; the difference then shows in review.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from multum.cli import main
from multum.cli.entry import COMMANDS

SNAPSHOT = Path(__file__).with_name("command_line.txt")


def entries_of(page: str) -> Iterator[tuple[str, str]]:
    """Read the options off a help page: each with its placeholder, and its explanation."""
    entry, told, positional = "", "", False
    for line in page.splitlines():
        if line.startswith("╭"):
            positional = "positional" in line
        inside = re.fullmatch(r"│ (.*) │", line)
        starts = inside is not None and (inside[1].startswith("-") or (positional and inside[1][0] != " "))
        if entry and (starts or inside is None):
            yield entry, told.strip()
            entry, told = "", ""
        if inside is not None and starts:
            entry, _, told = inside[1].strip().partition("  ")
        elif inside is not None and entry:
            told += f" {inside[1].strip()}"


def describe(page: str) -> list[tuple[str, str, str]]:
    """Split each option's explanation from its default."""
    found = []
    for entry, told in entries_of(page):
        default = re.search(r"\((?:default: (.*)|(required))\)$", told)
        value = (default[1] or default[2]) if default else ""
        found.append((entry, value, told[: default.start()].strip() if default else told))
    return found


@pytest.fixture
def pages(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("tyro._fmtlib._FORCE_UTF8_BOXES", True)
    found = {}
    for command in COMMANDS:
        assert main([*command.words, "--help"]) == 0
        found[command.name] = capsys.readouterr().out
    return found


def test_commands_options_and_defaults_are_those_of_the_snapshot(pages: dict[str, str]) -> None:
    lines = []
    for name, page in pages.items():
        lines.append(f"multum {name}")
        lines += [
            f"    {entry}" + (f"  = {default}" if default else "") for entry, default, _ in describe(page)
        ]
    text = "\n".join(lines) + "\n"
    if os.environ.get("MULTUM_UPDATE_SNAPSHOTS") == "1":
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert text == SNAPSHOT.read_text(encoding="utf-8")


def test_every_option_explains_itself(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        options = describe(page)
        assert {"--json", "--dry-run"} <= {entry.split()[0] for entry, _, _ in options}
        for entry, _, told in options:
            assert told.endswith((".", "exit")), f"multum {name} {entry} does not explain itself: {told!r}"
