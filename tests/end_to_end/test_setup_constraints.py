"""The constraints file pins everything that can get installed, for every Python and system that we name."""

import importlib.metadata
import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from setup_scripts import REPOSITORY, setup

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LINES = [
    line
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
PINS = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in LINES}
PYTHONS = ("3.11", "3.12", "3.13")
SYSTEMS = (("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"))


def environments() -> Iterator[dict[str, str]]:
    """Marker environments of every Python and system that the set-up is for."""
    for python, (platform, system, machine) in itertools.product(PYTHONS, SYSTEMS):
        yield {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{python}.0",
            "platform_python_implementation": "CPython",
            "sys_platform": platform,
            "platform_system": system,
            "platform_machine": machine,
            "platform_release": "6.1",
            "platform_version": "",
            "os_name": "posix",
        }


def of_extra(text: str, extra: str) -> str:
    """A requirement of an extra as a package's metadata spells it, its own marker kept."""
    package, _, marker = text.partition(";")
    condition = f'({marker.strip()}) and extra == "{extra}"' if marker else f'extra == "{extra}"'
    return f"{package.strip()} ; {condition}"


def requirements(name: str) -> list[str]:
    """What a package asks for: our own table for multum, else the metadata of what is installed here."""
    if name == "multum":
        extras = PROJECT["optional-dependencies"]
        mine = [of_extra(text, extra) for extra in extras for text in extras[extra]]
        return [*PROJECT["dependencies"], *mine]
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []  # of another system, or an extra that is not installed here


def needed(roots: Iterable[tuple[str, frozenset[str]]], environment: dict[str, str]) -> set[str]:
    """Names of all packages that these and their extras lead to."""
    waiting, seen = list(roots), set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for text in requirements(name):
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(
                marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)
            ):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {name for name, _ in seen}


@pytest.mark.parametrize(
    "environment", list(environments()), ids=lambda e: f"{e['python_version']}-{e['platform_machine']}"
)
def test_everything_that_gets_installed_is_pinned(environment: dict[str, str]) -> None:
    everything = frozenset(PROJECT["optional-dependencies"])
    tools = [(name, frozenset[str]()) for name in setup._BUILD_TOOLS]
    names = needed([("multum", everything), *tools], environment) | set(setup._MODELS)
    assert len(names) > 60  # the walk went deep, also where the extras are not all installed
    assert names - {"multum"} - PINS.keys() == set()


def test_the_pins_admit_the_oldest_python_that_we_name() -> None:
    """A patch version matters: Debian's 3.11 is 3.11.2, and some packages ask for a later one."""
    refused = {}
    for name in PINS:
        try:
            metadata = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if importlib.metadata.version(name).partition("+")[0] != PINS[name]:
            continue
        wanted = metadata["Requires-Python"] or ""
        if not all(f"{python}.0" in SpecifierSet(wanted) for python in PYTHONS):
            refused[name] = wanted
    assert refused == {}


def test_our_own_bounds_admit_the_pins() -> None:
    texts = [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]
    for requirement in map(Requirement, texts):
        if requirement.name != "multum":
            assert PINS[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_a_pin_is_a_name_and_a_version_and_nothing_else() -> None:
    assert len(LINES) > 100
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []


def test_no_package_is_pinned_twice() -> None:
    assert len(PINS) == len(LINES)
