"""The environments of the peers: one virtual environment each, outside the repository, at pinned versions.

Peers pin what we do not (kvpress wants an older transformers, llama.cpp is compiled), so none of them can live in the
project's own environment. Their environments see the project's packages behind their own: torch is the same in
all of them, and only what differs is installed a second time.
"""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

from multum.core.errors import UserError
from multum.core.progress import say

FOLDER_VARIABLE = "MULTUM_PEERS"
"""Names another folder for the environments."""
BORROWED = "multum_peers_borrowed.pth"
"""The file that lets a peer's environment see the project's packages after its own."""


def peers_folder() -> Path:
    """The folder that holds the environments: $MULTUM_PEERS, or `multum/peers` in the user's cache."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "multum" / "peers"


@dataclass(frozen=True, kw_only=True)
class PeerEnvironment:
    """One virtual environment and what pip puts into it."""

    name: str
    """Its folder."""
    about: str
    """What it is for, in one line."""
    requirements: tuple[str, ...]
    """What pip installs, at exact versions."""
    packages: tuple[str, ...]
    """Distributions whose versions stand in the results."""

    @property
    def folder(self) -> Path:
        """Where the environment is."""
        return peers_folder() / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def installed(self) -> bool:
        """Whether the environment was made, to the end, for these requirements."""
        stamp = self.folder / "requirements.txt"
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == "\n".join(self.requirements)

    @property
    def remedy(self) -> str:
        """How to get the environment."""
        return f"run python -m benchmarks.peers install {self.name}"

    def versions(self) -> dict[str, str]:
        """Versions of what is compared, as this environment has them; empty where it is not installed."""
        if not self.installed:
            return {}
        places = [str(self._packages_folder), sysconfig.get_paths()["purelib"]]  # its own come first
        found = {
            name: next(iter(importlib.metadata.distributions(name=name, path=places)), None)
            for name in self.packages
        }
        return {name: it.version for name, it in found.items() if it is not None}

    def install(self) -> None:
        """Make the environment, or bring it to these requirements.

        Raises:
            UserError: pip fails.
        """
        say(f"{self.name}: {self.about}; installing {', '.join(self.requirements)}")
        if not self.python.exists():
            venv.create(self.folder, with_pip=True)
        self._borrow()
        command = [str(self.python), "-m", "pip", "install", "--quiet", *self.requirements]
        if subprocess.run(command, check=False).returncode:
            raise UserError(f"pip could not install {self.name}; its message stands above")
        (self.folder / "requirements.txt").write_text("\n".join(self.requirements), encoding="utf-8")

    def _borrow(self) -> None:
        """Let the environment see the project's packages behind its own."""
        text = sysconfig.get_paths()["purelib"] + "\n"
        (self._packages_folder / BORROWED).write_text(text, encoding="utf-8")

    @property
    def _packages_folder(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"


ENVIRONMENTS = {
    environment.name: environment
    for environment in (
        PeerEnvironment(
            name="runtimes",
            about="ONNX Runtime and OpenVINO, for encoders",
            requirements=(
                "onnxruntime==1.32.0",
                "openvino==2026.4.1",
                "onnx==1.23.2",
                "onnxscript==0.7.2",
                "nncf==3.4.0",
            ),
            packages=("onnxruntime", "openvino", "nncf"),
        ),
        PeerEnvironment(
            name="caches",
            about="the back ends of transformers' quantized cache",
            requirements=("optimum-quanto==0.2.7", "hqq==0.2.8.post1"),
            packages=("transformers", "optimum-quanto", "hqq"),
        ),
        PeerEnvironment(
            name="kvpress",
            about="kvpress, and its transformers",
            requirements=("kvpress==0.5.5", "transformers==5.2.0", "hqq==0.2.8.post1"),
            packages=("kvpress", "transformers", "hqq"),
        ),
        PeerEnvironment(
            name="turboquant",
            about="a TurboQuant cache",
            requirements=("turboquant==0.2.0", "numpy==2.3.5"),  # it calls what numpy 2.4 took away
            packages=("turboquant", "transformers"),
        ),
        PeerEnvironment(
            name="peft",
            about="peft's LoRA, for training in little memory",
            requirements=("peft==0.21.2",),
            packages=("transformers", "peft"),
        ),
        PeerEnvironment(
            name="spconv",
            about="spconv's sparse convolution, on the CPU",
            requirements=("spconv==2.3.8",),
            packages=("spconv", "cumm"),
        ),
        PeerEnvironment(
            name="llama_cpp",
            about="llama.cpp, compiled on this machine (takes ten minutes or more)",
            requirements=("llama-cpp-python==0.3.36",),
            packages=("llama-cpp-python",),
        ),
    )
}
"""All environments, by name."""
