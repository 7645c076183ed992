"""Which Python the set-up takes, and what it says where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest

from setup_scripts import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "setup.sh"


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A project folder with the real setup.sh, a setup.py that tells who runs it, and an empty folder for PATH."""
    (tmp_path / "project" / "scripts").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "project" / "scripts" / "setup.sh").write_bytes(SCRIPT.read_bytes())
    return tmp_path


def interpreter(path: Path, *, fitness: int) -> None:
    """Write a stand-in for a Python: its answer to the question whether it is fit is an exit status."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && exit {fitness}\necho "{path.name} of {path.parent.name} runs: $2 $3"\n'
    )
    path.chmod(0o755)


def run(bench: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "scripts/setup.sh", "demo", "test"],
        cwd=bench / "project",
        env={"PATH": str(bench / "bin"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a set-up that cannot start."""
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("multum set-up: ")
    return lines[0]


def test_no_python_at_all_is_said_in_one_sentence(bench: Path) -> None:
    assert "Python 3.11 or newer is needed and none was found" in refusal(run(bench))


def test_a_python_that_is_too_old_is_named(bench: Path) -> None:
    interpreter(bench / "bin" / "python3", fitness=3)
    assert "'python3' is older" in refusal(run(bench))


def test_a_python_without_ensurepip_names_the_package_to_install(bench: Path) -> None:
    interpreter(bench / "bin" / "python3", fitness=4)
    assert "python3-venv" in refusal(run(bench))


def test_the_first_fit_python_is_taken(bench: Path) -> None:
    interpreter(bench / "bin" / "python3", fitness=3)
    interpreter(bench / "bin" / "python3.13", fitness=4)
    interpreter(bench / "bin" / "python3.12", fitness=0)
    interpreter(bench / "bin" / "python3.11", fitness=0)
    assert run(bench).stdout == "python3.12 of bin runs: demo test\n"


def test_the_variable_python_goes_before_everything(bench: Path) -> None:
    interpreter(bench / "bin" / "python3", fitness=0)
    interpreter(bench / "mine" / "snake", fitness=0)
    interpreter(bench / "project" / ".venv" / "bin" / "python", fitness=0)
    done = run(bench, PYTHON=str(bench / "mine" / "snake"))
    assert done.stdout == "snake of mine runs: demo test\n"


@pytest.mark.parametrize(("fitness", "part"), [(3, "is older"), (4, "python3-venv"), (127, "does not run")])
def test_the_variable_python_is_never_passed_over_silently(bench: Path, fitness: int, part: str) -> None:
    interpreter(bench / "bin" / "python3", fitness=0)
    interpreter(bench / "mine" / "snake", fitness=fitness)
    assert part in refusal(run(bench, PYTHON=str(bench / "mine" / "snake")))


def test_the_python_of_an_existing_environment_is_kept(bench: Path) -> None:
    interpreter(bench / "bin" / "python3", fitness=0)
    interpreter(bench / "project" / ".venv" / "bin" / "python", fitness=0)
    assert run(bench).stdout == "python of bin runs: demo test\n"


def test_an_environment_whose_python_is_gone_is_passed_over(bench: Path) -> None:
    interpreter(bench / "bin" / "python3", fitness=0)
    (bench / "project" / ".venv" / "bin").mkdir(parents=True)
    (bench / "project" / ".venv" / "bin" / "python").symlink_to("/nowhere/python3.11")
    assert run(bench).stdout == "python3 of bin runs: demo test\n"


def test_a_real_python_passes_the_question(bench: Path) -> None:
    (bench / "project" / "scripts" / "setup.py").write_text(
        "import sys; print(sys.version_info[:2] >= (3, 11))"
    )
    assert run(bench, PYTHON=sys.executable).stdout == "True\n"
