"""The wheel carries compiled kernels where there is a compiler, and is pure where there is none."""

import ctypes
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from multum.native.build import LEVELS, find_compiler, library_name, native_level
from setup_scripts import REPOSITORY

KERNEL = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture(scope="module")
def hook_module() -> ModuleType:
    pytest.importorskip(
        "hatchling", reason="the set-up installs it; a bare `pip install multum[test]` does not"
    )
    spec = importlib.util.spec_from_file_location("hatch_build", REPOSITORY / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small_project(tmp_path: Path) -> Path:
    """A project with the real build module and one kernel that compiles at once."""
    ops = tmp_path / "src" / "multum" / "ops"
    (ops / "answer").mkdir(parents=True)
    (ops / "answer" / "cpu.cpp").write_text(KERNEL)
    native = ops.parent / "native"
    native.mkdir()
    shutil.copy(REPOSITORY / "src" / "multum" / "native" / "build.py", native)
    return tmp_path


class Hook:
    """The build hook on a project, without the rest of hatchling around it."""

    def __init__(self, hook_module: ModuleType, root: Path, target: str = "wheel") -> None:
        self.warnings: list[str] = []
        app = SimpleNamespace(display_warning=self.warnings.append)
        arguments: list[Any] = [str(root), {}, None, None, str(root / "dist"), target]
        self.hook = hook_module.KernelBuildHook(*arguments, app=app)
        self.data: dict[str, Any] = {"force_include": {}, "pure_python": True, "infer_tag": False}

    def run(self, version: str = "standard") -> dict[str, Any]:
        self.hook.initialize(version, self.data)
        return self.data


@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler on this machine")
def test_a_wheel_carries_a_library_that_loads_for_every_level(
    hook_module: ModuleType, small_project: Path
) -> None:
    hook = Hook(hook_module, small_project)
    data = hook.run()
    places = {place: Path(library) for library, place in data["force_include"].items()}
    names = {
        library_name(level) for level in hook_module.levels_here(hook_module.load_build_module(REPOSITORY))
    }
    assert set(places) == {f"multum/ops/answer/{name}" for name in names}
    assert names <= {library_name(level) for level in LEVELS}
    best = places[f"multum/ops/answer/{library_name(native_level())}"]
    assert ctypes.CDLL(str(best)).answer() == 42
    assert data["pure_python"] is False
    assert data["tag"].startswith("py3-none-")
    assert data["tag"] != "py3-none-any"
    hook.hook.finalize("standard", data, "")
    assert not best.exists()


def test_an_editable_installation_and_a_source_distribution_compile_nothing(
    hook_module: ModuleType, small_project: Path
) -> None:
    assert Hook(hook_module, small_project).run("editable")["force_include"] == {}
    assert Hook(hook_module, small_project, target="sdist").run()["force_include"] == {}


def test_without_a_compiler_the_wheel_is_pure_and_says_so(
    hook_module: ModuleType, small_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(small_project))
    monkeypatch.delenv("CXX", raising=False)
    hook = Hook(hook_module, small_project)
    data = hook.run()
    assert data == {"force_include": {}, "pure_python": True, "infer_tag": False}
    assert len(hook.warnings) == 1
    assert "no C++ compiler" in hook.warnings[0]


def test_the_real_kernels_are_all_found(
    hook_module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folders that the hook walks are those that hold a `cpu.cpp`; compiling them is other tests' work."""
    build = hook_module.load_build_module(REPOSITORY)
    monkeypatch.setattr(build, "compile_source", lambda source, output, level: None)
    monkeypatch.setattr(hook_module, "load_build_module", lambda root: build)
    places = hook_module.compile_kernels(REPOSITORY, tmp_path).values()
    kernels = {path.parent.name for path in (REPOSITORY / "src" / "multum").rglob("cpu.cpp")}
    assert kernels
    assert {place.split("/")[2] for place in places} == kernels
