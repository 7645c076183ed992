"""Provenance says what produced a number, and nothing about whose machine it was."""

import getpass
import json
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from multum.core.provenance import command_line, cpu_model, git_state, provenance
from multum.version import __version__


def test_provenance_is_json_and_says_what_computed() -> None:
    told = json.loads(json.dumps(provenance(seed=3)))
    assert told["multum"] == __version__
    assert told["versions"]["torch"].startswith(torch.__version__.split("+")[0])
    assert told["num_threads"] == torch.get_num_threads()
    assert told["seed"] == 3
    assert told["device"] == "cpu"
    assert told["cpu"]["num_cores"] >= 1
    assert told["memory_bytes"] > 2**28


def test_provenance_tells_no_host_user_or_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", [str(tmp_path / "multum"), "demo", str(tmp_path / "out")])
    text = json.dumps(provenance())
    assert str(Path.home()) not in text.replace("/root", str(Path.home()))
    assert str(tmp_path) not in text
    assert socket.gethostname() not in text
    assert f'"{getpass.getuser()}"' not in text


def test_command_line_keeps_relative_words_and_drops_places() -> None:
    words = [
        "/opt/bin/multum",
        "demo",
        "--out=/var/data/x y",
        "../shared/data",
        "--rate",
        "1/2",
        "~/models/m",
    ]
    assert command_line(words) == "multum demo '--out=x y' ../shared/data --rate 1/2 m"
    assert command_line(["C:\\Users\\ada\\multum.exe", "demo"]) == "multum.exe demo"


def commit_something(folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "src" / "code.py").write_text("a = 1\n")
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)


def test_git_state_sees_commit_and_changed_code(tmp_path: Path) -> None:
    commit_something(tmp_path)
    clean = git_state(tmp_path / "src")
    assert len(str(clean["commit"])) == 40
    assert clean["dirty"] is False
    (tmp_path / "notes.md").write_text("text does not change a number")
    assert git_state(tmp_path / "src")["dirty"] is False
    (tmp_path / "src" / "code.py").write_text("a = 2\n")
    assert git_state(tmp_path / "src") == {"commit": clean["commit"], "dirty": True}


def test_environment_inside_someone_elses_checkout_is_not_taken_for_ours(tmp_path: Path) -> None:
    commit_something(tmp_path)
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "installed.py").write_text("")
    assert git_state(tmp_path / "environment") == {"commit": None, "dirty": None}


def test_outside_a_checkout_or_without_git_nothing_is_claimed(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_state(tmp_path) == {"commit": None, "dirty": None}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(repository / "src" / "multum" / "core") == {"commit": None, "dirty": None}


def test_cpu_has_a_name_even_where_the_system_tells_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, **kwargs: object) -> str:
        raise OSError("no /proc here")

    assert cpu_model()
    monkeypatch.setattr(Path, "read_text", refuse)
    assert cpu_model()
