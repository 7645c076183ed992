"""A wheel carries everything that multum reads while it runs: data, papers, templates and sources of kernels."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="the set-up installs it; a bare `pip install multum[test]` does not")


@pytest.fixture(scope="module")
def names_in_wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the files in a wheel built where there is no compiler, which takes a second."""
    folder = tmp_path_factory.mktemp("wheel")
    without_compiler = {key: value for key, value in os.environ.items() if key != "CXX"} | {
        "PATH": str(folder)
    }
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=repository,
        env=without_compiler,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl"), "nothing was compiled, so it fits everywhere"
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_of_the_package_is_in_the_wheel(names_in_wheel: set[str], repository: Path) -> None:
    source = repository / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "multum").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }
    assert expected - names_in_wheel == set()
    suffixes = {Path(name).suffix for name in expected}
    assert suffixes >= {".py", ".toml", ".json", ".j2", ".css", ".js", ".cpp", ".typed"}


def test_wheel_holds_the_package_and_its_licence_and_nothing_else(names_in_wheel: set[str]) -> None:
    roots = {name.partition("/")[0] for name in names_in_wheel}
    assert "multum" in roots
    (metadata,) = roots - {"multum"}
    assert metadata.endswith(".dist-info")
    assert f"{metadata}/licenses/LICENSE" in names_in_wheel
