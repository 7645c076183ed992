"""Compile a C++ kernel behind a plain C ABI; torch-free, so that the wheel's build can use it too.

A kernel is one `cpu.cpp` that exports `extern "C"` functions over raw pointers. Without torch's headers it
compiles in a second or two and one binary serves every torch. The instruction set is chosen when the library is
*loaded*: a wheel holds one library per level of `LEVELS`, and `native_level()` names the best that runs here.
"""

import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

LEVELS: dict[str, tuple[str, ...]] = {
    "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
    "avx2": ("-march=x86-64-v3",),
    "generic": (),
}
"""Compiler flags by instruction-set level; `generic` is what every machine of the family runs."""

COMMON_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", "-fno-math-errno", "-ffp-contract=fast")
COMPILE_TIMEOUT_SECONDS = 120
HEADERS = Path(__file__).parent
"""Folder of the headers that kernels share."""


class NoCompilerError(RuntimeError):
    """No usable C++ compiler: the caller falls back to the reference path."""


def find_compiler() -> str | None:
    """The program that compiles C++, the first word of `compiler_command`; None where there is none."""
    return next(iter(compiler_command()), None)


def compiler_command() -> tuple[str, ...]:
    """The C++ compiler to use, as the words of a command; empty where there is none.

    It is `$CXX`, all its words (`ccache g++`), when the first of them is a program; else the first of c++, g++ and
    clang++ on the path.
    """
    try:
        wished = shlex.split(os.environ.get("CXX", ""))
    except ValueError:  # an unclosed quotation mark
        wished = []
    for words in [wished, ["c++"], ["g++"], ["clang++"]]:
        if words and (found := shutil.which(words[0])):
            return (found, *words[1:])
    return ()


def native_level() -> str:
    """The best level of `LEVELS` that this processor runs.

    >>> native_level() in LEVELS
    True
    """
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return "generic"
    flags = _processor_flags()
    if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags:
        return "avx512"
    if {"avx2", "fma", "bmi2", "f16c"} <= flags:
        return "avx2"
    return "generic"


def _processor_flags() -> set[str]:
    """Feature names of the first processor on Linux; empty elsewhere (the generic level runs everywhere)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    lines = (line for line in text.splitlines() if line.startswith("flags"))
    return set(next(lines, "").partition(":")[2].split())


def library_name(level: str) -> str:
    """File name of the shared library for one level: `cpu-avx2.so`."""
    return f"cpu-{level}.so"


def compile_source(source: Path, output: Path, level: str | None = None) -> None:
    """Compile one C++ file into a shared library, atomically.

    Args:
        source: The `cpu.cpp` of a kernel.
        output: Where the library goes; its folder is made.
        level: A key of `LEVELS`; by default the best for this processor.

    Raises:
        NoCompilerError: No compiler, or the compiler failed; the message holds the last lines it wrote.
        OSError: The output folder cannot be written.
    """
    compiler = compiler_command()
    if not compiler:
        raise NoCompilerError("no C++ compiler found (looked at $CXX, c++, g++, clang++)")
    output.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(suffix=".so", dir=output.parent)
    os.close(handle)
    command = [*compiler, *COMMON_FLAGS, *LEVELS[level or native_level()], f"-I{HEADERS}", str(source)]
    try:
        done = subprocess.run(  # noqa: S603 - the compiler that the user's machine names
            [*command, "-o", temporary],
            capture_output=True,
            text=True,
            timeout=COMPILE_TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise NoCompilerError(
                f"{' '.join(compiler)} could not compile {source.name}: {done.stderr.strip()[-400:]}"
            )
        Path(temporary).chmod(0o755)
        os.replace(temporary, output)  # noqa: PTH105 - atomic on every platform
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompilerError(f"{' '.join(compiler)} did not finish {source.name}: {error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
