"""Compiled kernels are built, kept and found again; where they cannot be had, one warning and the reference."""

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from importance_attention_cases import make_problem, solve
from multum.core import UserError
from multum.native import NativeLibrary, cache_folder, library, load_native
from multum.native.build import (
    LEVELS,
    NoCompilerError,
    compile_source,
    compiler_command,
    find_compiler,
    library_name,
    native_level,
)
from multum.ops import importance_attention
from multum.ops.dispatch import Implementation, choose
from multum.ops.fma_peak import peak
from multum.ops.importance_attention import cpu
from tolerances import assert_close

ORDERED_LEVELS = list(LEVELS)
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler to build with")
TINY = 'extern "C" int multum_answer(int x) { return x + %d; }\n'


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MULTUM_KERNELS", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_kernel(tmp_path / "tiny" / "cpu.cpp", TINY % 1)


@pytest.fixture
def attention_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the attention kernel a new place, so that it is looked for afresh."""
    source = tmp_path / "importance_attention" / "cpu.cpp"
    source.parent.mkdir()
    shutil.copy(cpu.SOURCE, source)
    monkeypatch.setattr(cpu, "SOURCE", source)
    return source


def write_kernel(source: Path, text: str) -> Path:
    source.parent.mkdir(exist_ok=True)
    source.write_text(text)
    return source


def hide_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")


def load_afresh(source: Path) -> NativeLibrary | None:
    return library.load_native.__wrapped__(source)


def assert_reference_runs_with_warning(match: str) -> None:
    problem = make_problem(7, 9, 8, masks="both")
    masks = {"key_mask_BK": problem.key_mask, "query_mask_BQ": problem.query_mask}
    with pytest.warns(RuntimeWarning, match=match) as told:
        results = [
            importance_attention(problem.query, problem.key, problem.value, **masks, scale=problem.scale)
            for _ in range(3)
        ]
    assert len(told) == 1
    assert "reference path in plain torch runs instead" in str(told[0].message)
    for result in results:
        for found, true in zip(result, solve(problem), strict=True):
            assert_close(found, true)


@pytest.mark.usefixtures("attention_source")
def test_without_a_compiler_the_reference_runs_and_one_warning_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide_compilers(monkeypatch)
    assert_reference_runs_with_warning("no C\\+\\+ compiler found")


@needs_compiler
def test_source_that_does_not_compile_falls_back_with_the_compilers_words(attention_source: Path) -> None:
    attention_source.write_text("int main( { nonsense")
    assert_reference_runs_with_warning(r"(?s)could not compile cpu.cpp: .*error")


@pytest.mark.usefixtures("attention_source")
def test_cache_that_cannot_be_written_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("MULTUM_CACHE", str(tmp_path / "a file"))
    assert_reference_runs_with_warning("'importance_attention' is not available")


@pytest.mark.parametrize("off", ["off", "OFF", "0", "no"])
def test_kernels_switched_off_are_not_missed(off: str, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTUM_KERNELS", off)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_native(tiny) is None


@pytest.mark.usefixtures("attention_source")
def test_switched_off_kernel_asked_for_by_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTUM_KERNELS", "off")
    query = torch.randn(1, 1, 2, 4)
    with pytest.raises(UserError, match="impl must be available on this machine; got 'cpu'"):
        importance_attention(query, query, query, impl="cpu")


@needs_compiler
def test_kernel_is_built_once_and_then_found_in_the_cache(tiny: Path, own_cache: Path) -> None:
    first, second = load_afresh(tiny), load_afresh(tiny)
    assert first is not None
    assert second is not None
    assert (first.origin, second.origin) == ("built", "cache")
    assert first.level == native_level()
    assert first.handle.multum_answer(41) == 42
    assert [path.name.split("-")[0] for path in (own_cache / "kernels").iterdir()] == ["tiny"]


@needs_compiler
def test_changed_source_is_built_anew(tiny: Path) -> None:
    before = load_afresh(tiny)
    write_kernel(tiny, TINY % 2)
    after = load_afresh(tiny)
    assert before is not None
    assert after is not None
    assert after.origin == "built"
    assert (before.handle.multum_answer(40), after.handle.multum_answer(40)) == (41, 42)


@needs_compiler
def test_library_beside_its_source_needs_no_compiler(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_source(tiny, tiny.with_name(library_name(native_level())))
    hide_compilers(monkeypatch)
    loaded = load_afresh(tiny)
    assert loaded is not None
    assert loaded.origin == "wheel"
    assert loaded.handle.multum_answer(41) == 42


@needs_compiler
def test_shipped_library_that_does_not_load_is_built_here(tiny: Path) -> None:
    tiny.with_name(library_name(native_level())).write_bytes(b"for another system")
    loaded = load_afresh(tiny)
    assert loaded is not None
    assert loaded.origin == "built"
    assert loaded.handle.multum_answer(41) == 42


@needs_compiler
def test_damaged_library_in_the_cache_is_built_anew(
    tiny: Path, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_afresh(tiny) is not None
    (built,) = (own_cache / "kernels").iterdir()
    damaged = (
        tmp_path / "other cache" / "kernels" / built.name
    )  # a place that this process has not loaded from
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"cut off")
    monkeypatch.setenv("MULTUM_CACHE", str(tmp_path / "other cache"))
    loaded = load_afresh(tiny)
    assert loaded is not None
    assert loaded.origin == "built"
    assert loaded.handle.multum_answer(41) == 42


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"MULTUM_CACHE": "/a/b", "XDG_CACHE_HOME": "/c"}, Path("/a/b")),
        ({"XDG_CACHE_HOME": "/c"}, Path("/c/multum")),
        ({"HOME": "/home/someone"}, Path("/home/someone/.cache/multum")),
    ],
)
def test_cache_lies_where_the_user_says(
    variables: dict[str, str], expected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MULTUM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == expected


def test_compile_without_a_compiler_says_where_it_looked(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_compilers(monkeypatch)
    with pytest.raises(NoCompilerError, match=r"looked at \$CXX, c\+\+, g\+\+, clang\+\+"):
        compile_source(tiny, tmp_path / "out.so")
    assert not (tmp_path / "out.so").exists()


@needs_compiler
def test_failed_compile_names_compiler_and_file_and_leaves_nothing(tmp_path: Path) -> None:
    broken = write_kernel(tmp_path / "broken" / "cpu.cpp", "int f() { return undeclared_name; }")
    with pytest.raises(NoCompilerError, match=r"(?s)\S+ could not compile cpu\.cpp: .*undeclared_name"):
        compile_source(broken, tmp_path / "out" / "broken.so")
    assert list((tmp_path / "out").iterdir()) == []


def test_compiler_that_is_no_compiler_is_an_error_with_its_name(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impostor = tmp_path / "impostor"
    impostor.write_text("not a program")
    impostor.chmod(0o755)
    monkeypatch.setenv("CXX", str(impostor))
    with pytest.raises(NoCompilerError, match="impostor"):
        compile_source(tiny, tmp_path / "out.so")


@needs_compiler
def test_wished_compiler_comes_first_and_a_missing_one_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = find_compiler()
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert find_compiler() == default
    wished = tmp_path / "my-compiler"
    wished.symlink_to(str(default))
    monkeypatch.setenv("CXX", str(wished))
    assert find_compiler() == str(wished)


@needs_compiler
def test_all_words_of_the_wished_compiler_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    wrapper = write_kernel(tmp_path / "my wrapper", f'#!/bin/sh\necho "$1" > "{told}"\nexec "$@"\n')
    wrapper.chmod(0o755)
    default = find_compiler()
    monkeypatch.setenv("CXX", f"'{wrapper}' {default} -DMULTUM_WRAPPED")
    assert compiler_command() == (str(wrapper), default, "-DMULTUM_WRAPPED")
    text = "#ifdef MULTUM_WRAPPED\n" + TINY % 1 + "#endif\n"
    loaded = load_afresh(write_kernel(tmp_path / "tiny" / "cpu.cpp", text))
    assert loaded is not None
    assert loaded.handle.multum_answer(41) == 42
    assert told.read_text().strip() == default


def test_wished_compiler_with_an_open_quotation_mark_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    default = compiler_command()
    monkeypatch.setenv("CXX", "g++ 'oops")
    assert compiler_command() == default


@needs_compiler
def test_every_level_compiles_and_those_that_run_here_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if native_level() == "generic":
        pytest.skip("this processor has no vector level beyond the generic one")
    runnable = ORDERED_LEVELS[ORDERED_LEVELS.index(native_level()) :]
    problem = make_problem(31, 37, 20, masks="both")
    for level in ORDERED_LEVELS:
        output = tmp_path / library_name(level)
        compile_source(cpu.SOURCE, output, level)
        assert output.stat().st_mode & 0o777 == 0o755
        if level not in runnable:
            continue
        loaded = NativeLibrary(handle=library.ctypes.CDLL(str(output)), level=level, origin="built")
        monkeypatch.setattr(cpu, "library", lambda loaded=loaded: loaded)
        result = cpu.importance_attention_cpu(
            problem.query, problem.key, problem.value, problem.key_mask, problem.query_mask, problem.scale
        )
        for found, true in zip(result, solve(problem), strict=True):
            assert_close(found, true)


@needs_compiler
@pytest.mark.parametrize("level", LEVELS)
def test_ceiling_kernel_compiles_at_every_level(level: str, tmp_path: Path) -> None:
    if native_level() == "generic" and level != "generic":
        pytest.skip("only the generic level is for this kind of processor")
    compile_source(peak.SOURCE, tmp_path / "peak.so", level)
    assert (tmp_path / "peak.so").stat().st_size > 1000


def path_for(device: str, *, available: bool = True) -> Implementation:
    return Implementation(device=device, dtypes=(torch.float32,), available=lambda: available)


def test_auto_takes_the_first_that_fits_and_is_there() -> None:
    paths = {"gpu": path_for("cuda"), "missing": path_for("cpu", available=False), "cpu": path_for("cpu")}
    assert choose("auto", torch.zeros(1), paths) == "cpu"
    assert choose("auto", torch.zeros(1).double(), paths) == "reference"
    assert choose("reference", torch.zeros(1), paths) == "reference"
    assert choose("cpu", torch.zeros(1), paths) == "cpu"


def test_auto_does_not_build_what_would_not_fit() -> None:
    def build() -> bool:
        raise AssertionError("asked whether it is available")

    path = Implementation(device="cpu", dtypes=(torch.float32,), available=build)
    assert choose("auto", torch.zeros(1).double(), {"cpu": path}) == "reference"


@pytest.mark.parametrize(
    ("impl", "message"),
    [
        ("cp", r"impl must be one of \['auto', 'reference', 'gpu', 'missing'\]; got 'cp'"),
        ("gpu", r"the tensors of impl='gpu' must be \['torch.float32'\] on cuda; got 'torch.float32 on cpu'"),
        ("missing", r"impl must be available on this machine; got 'missing'; use impl=\"auto\""),
    ],
)
def test_wish_that_cannot_be_met_is_refused(impl: str, message: str) -> None:
    paths = {"gpu": path_for("cuda"), "missing": path_for("cpu", available=False)}
    with pytest.raises(UserError, match=message):
        choose(impl, torch.zeros(1), paths)


def test_the_simulator_starts_without_torch() -> None:
    script = "import sys, multum.accelerator, multum.native; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
