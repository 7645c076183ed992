"""Which build of torch to install, found out without downloading it.

The surprise a newcomer must be spared: on Linux the public index answers ``pip install torch`` with a CUDA
build and several gigabytes of libraries that a machine without a GPU never uses. The small CPU build lies on
PyTorch's own index, which some networks do not let through, while some mirrors serve a CPU build of their
own. So three questions are asked in this order, each cheap and each limited in time:

1. Do the indexes and folders that pip is configured for list a version marked ``+cpu``? (One page is read.)
2. Does PyTorch's CPU index answer, and list one? (One page, a few seconds at most where nothing answers.)
3. Does the default index serve an unmarked build that asks for no CUDA package? (A dry run, stopped when it
   downloads.)

The variable ``MULTUM_TORCH`` overrules all of it: ``cpu``, ``cuda``, or the URL of an index.
"""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from setup_pip import Limits, Runner, SetupError, pip_command

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of builds without CUDA."""

_LISTING = Limits(seconds=30.0)
_DRY_RUN = Limits(seconds=60.0, file_bytes=300 * 10**6)
_GPU_NAMES = ("nvidia-", "cuda-", "triton", "pytorch-triton", "rocm", "amd-")


@dataclass(frozen=True, kw_only=True)
class TorchSource:
    """What to ask pip for, and where."""

    requirement: str
    """The requirement, as in ``torch==2.13.0``."""
    arguments: tuple[str, ...] = ()
    """Further arguments of ``pip install``."""
    reason: str
    """Why this one, in a few words for the progress line."""


def read_wish(value: str | None) -> str:
    """Check the value of ``MULTUM_TORCH``.

    Args:
        value: The variable's value; None or empty when it is not set.

    Returns:
        ``auto``, ``cpu``, ``cuda`` or the URL of an index.

    Raises:
        SetupError: When it is none of these.

    Example:
        >>> read_wish(None), read_wish("CPU")
        ('auto', 'cpu')
    """
    if not value:
        return "auto"
    if value.lower() in {"auto", "cpu", "cuda"}:
        return value.lower()
    if "://" in value:
        return value
    raise SetupError(
        f"MULTUM_TORCH must be cpu, cuda or the URL of a package index; got {value!r};"
        " leave it unset to let the set-up decide"
    )


def needs_cpu_build(wish: str, system: str, *, has_gpu: bool) -> bool:
    """Tell whether a build without CUDA must be looked for.

    Args:
        wish: What `read_wish` returned.
        system: As ``platform.system()`` says it. macOS has only builds without CUDA.
        has_gpu: Whether an NVIDIA GPU answers.

    Returns:
        True when the default index must not be trusted.

    Example:
        >>> needs_cpu_build("auto", "Linux", has_gpu=False), needs_cpu_build("auto", "Darwin", has_gpu=False)
        (True, False)
    """
    return system == "Linux" and (wish == "cpu" or (wish == "auto" and not has_gpu))


def lists_version(listing: str, version: str) -> bool:
    r"""Tell whether ``pip index versions`` names exactly this version.

    Args:
        listing: What pip printed.
        version: A version with its local mark, as in ``2.13.0+cpu``.

    Returns:
        Whether it stands among the available versions.

    Example:
        >>> lists_version("torch (2.14.0)\nAvailable versions: 2.14.0, 2.13.0+cpu", "2.13.0+cpu")
        True
    """
    words = (
        line.partition(":")[2] for line in listing.splitlines() if line.startswith("Available versions:")
    )
    return any(version in {word.strip() for word in line.split(",")} for line in words)


def brings_cuda(report: str) -> bool:
    """Tell whether an installation report of pip contains a CUDA package.

    Args:
        report: The JSON text that ``pip install --dry-run --report`` wrote.

    Returns:
        True when a GPU library or a torch marked for one would be installed.
    """
    items = [item["metadata"] for item in json.loads(report)["install"]]
    marked = any(item["name"] == "torch" and "+cu" in item["version"] for item in items)
    return marked or any(_is_gpu_package(item["name"]) for item in items)


def _is_gpu_package(name: str) -> bool:
    return name.lower().replace("_", "-").startswith(_GPU_NAMES)


def choose_torch(
    version: str, wish: str, system: str, *, has_gpu: bool, python: Path, constraints: Path, runner: Runner
) -> TorchSource:
    """Decide where torch comes from; asks the network only where the answer depends on it.

    Args:
        version: The pinned version without a local mark.
        wish: What `read_wish` returned.
        system: As ``platform.system()`` says it.
        has_gpu: Whether an NVIDIA GPU answers.
        python: The interpreter of the virtual environment.
        constraints: The file of pinned versions.
        runner: Runs the probes.

    Returns:
        What to install.

    Raises:
        SetupError: When a build without CUDA is needed and none is within reach.
    """
    plain = f"torch=={version}"
    if "://" in wish:
        return TorchSource(
            requirement=plain, arguments=("--index-url", wish, "--no-deps"), reason=f"from {wish}"
        )
    if not needs_cpu_build(wish, system, has_gpu=has_gpu):
        return TorchSource(requirement=plain, reason="from the default index")

    marked = f"{version}+cpu"
    found = _list_versions(python, runner)
    if lists_version(found, marked):
        return TorchSource(requirement=f"torch=={marked}", reason="CPU build, from the default index")
    there = _list_versions(python, runner, "--index-url", CPU_INDEX, "--timeout", "5", "--retries", "0")
    if lists_version(there, marked):
        arguments = ("--index-url", CPU_INDEX, "--no-deps")
        return TorchSource(
            requirement=f"torch=={marked}", arguments=arguments, reason="CPU build, from PyTorch's index"
        )
    if _default_is_free_of_cuda(plain, python, constraints, runner):
        return TorchSource(requirement=plain, reason="build without CUDA, from the default index")
    raise SetupError(
        f"no CPU build of torch {version} is within reach: the default package index has none for this Python,"
        f" and PyTorch's CPU index ({CPU_INDEX}) does not answer; set MULTUM_TORCH=<URL of an index that has one>,"
        " or MULTUM_TORCH=cuda to take the CUDA build (several GB) all the same"
    )


def _list_versions(python: Path, runner: Runner, *arguments: str) -> str:
    return runner(pip_command(python, "index", "versions", "torch", *arguments), _LISTING).output


def _default_is_free_of_cuda(requirement: str, python: Path, constraints: Path, runner: Runner) -> bool:
    """Ask pip what it would install; a probe that fails or takes too long counts as a no."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        probe = [
            "--dry-run",
            "--report",
            str(report),
            "--only-binary",
            ":all:",
            "--constraint",
            str(constraints),
        ]
        once = ["--retries", "0", "--resume-retries", "0"]
        done = runner(pip_command(python, "install", *probe, *once, requirement), _DRY_RUN)
        return done.code == 0 and report.exists() and not brings_cuda(report.read_text(encoding="utf-8"))


def pinned_version(constraints: Iterable[str], name: str) -> str:
    """Read the version of one package from the lines of a constraints file.

    Args:
        constraints: The lines.
        name: The package, spelled as in the file.

    Returns:
        The version.

    Raises:
        SetupError: When the file does not pin it.

    Example:
        >>> pinned_version(["numpy==2.4.6", "torch==2.13.0"], "torch")
        '2.13.0'
    """
    for line in constraints:
        left, equal, right = line.partition("==")
        if equal and left.strip() == name:
            return right.split(";")[0].split("#")[0].strip()
    raise SetupError(f"constraints.txt must pin {name}; it does not; restore the file from the repository")
