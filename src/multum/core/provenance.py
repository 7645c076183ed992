"""Where a number comes from.

Every result that this package writes carries the answer to "what exactly produced this?": the version and
commit of the code, the versions under it, the kind of machine, the number of threads, the seed and the
command. It carries nothing that identifies the
owner: no host name, no user name, no path of the machine.
"""

import datetime as dt
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from multum.version import __version__

GIT_TIMEOUT_SECONDS = 10.0
"""How long git may take; a checkout on a sleepy network disk must not hang a run."""

PACKAGES = ("torch", "numpy", "transformers", "safetensors", "scipy")
"""Whose versions are recorded, when they are installed."""

CODE = (":(top)src", ":(top)benchmarks", ":(top)pyproject.toml", ":(top,exclude)benchmarks/results")
"""What makes a checkout dirty: changed code. Results and texts may change without making a number doubtful.
"""


def provenance(*, seed: int | None = None, device: str = "cpu") -> dict[str, object]:
    """Describe what is about to produce a result.

    Args:
        seed: The seed of the run, if it has one.
        device: Where it computes, as torch writes it: `cpu`, `cuda`, `cuda:1`.

    Returns:
        Plain values that JSON can hold: `multum`, `git` (`commit` and `dirty`; both None outside a
        checkout), `versions`, `platform`, `cpu` (`model`, `num_cores`, `capability`), `memory_bytes`,
        `num_threads`, `device`, `device_name`, `seed`, `time` (UTC), `command`.
    """
    import torch

    return {
        "multum": __version__,
        "git": git_state(Path(__file__).parent),
        "versions": _versions(device),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": {
            "model": cpu_model(),
            "num_cores": _num_cores(),
            "capability": torch.backends.cpu.get_cpu_capability(),
        },
        "memory_bytes": _memory_bytes(),
        "num_threads": torch.get_num_threads(),
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_model(),
        "seed": seed,
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": command_line(sys.argv),
    }


def git_state(folder: Path) -> dict[str, object]:
    """Ask git which commit a folder of this project is at.

    Args:
        folder: A folder inside the checkout, holding at least one tracked file.

    Returns:
        `commit` (the full hash) and `dirty` (whether code differs from it), both None when the folder
        belongs to no checkout, git is not there, or it does not answer in time.
    """
    tracked = _git(folder, "ls-files", "--", ".")
    commit = (
        _git(folder, "rev-parse", "HEAD") if tracked else None
    )  # an environment inside someone else's checkout
    if not commit:
        return {"commit": None, "dirty": None}
    changes = _git(folder, "status", "--porcelain", "--", *CODE)
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def cpu_model() -> str:
    """Name the processor as its maker does, or at least its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return re.sub(r"\s+", " ", value).strip()
    except OSError:
        pass  # no Linux: the standard library's answer will do
    return platform.processor() or platform.machine() or "unknown"


def command_line(arguments: list[str]) -> str:
    """Tell a command line without the places of this machine: of an absolute path only the last name is kept.

    Args:
        arguments: The program and its arguments, as in `sys.argv`.

    Returns:
        One line.

    >>> command_line(["/home/ada/bin/multum", "cost", "/home/ada/small", "--html=/tmp/page.html"])
    'multum cost small --html=page.html'
    """
    words = [
        re.sub(r"(^|=)(?:~|[A-Za-z]:|file:/)?[/\\](?:[^=]*[/\\])?([^/\\=]*)$", r"\1\2", word)
        for word in arguments
    ]
    return " ".join(word if word and " " not in word else repr(word) for word in words)


def _versions(device: str) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if device.startswith("cuda"):
        import torch

        versions["cuda"] = str(torch.version.cuda)
    return versions


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # what this process may use, which a container limits
    return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 (fixed words, no shell)
            ["git", "-C", str(folder), *arguments],  # noqa: S607 (git from the path is the user's git)
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
