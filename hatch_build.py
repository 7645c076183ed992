"""Put compiled kernels into the wheel.

A wheel built where there is a C++ compiler carries each kernel's shared library, one per instruction-set level,
beside its source, so that its user needs no compiler. Without a compiler the wheel is pure and kernels are
compiled on first use, as they are in an editable installation. The compiling itself is `multum.native.build`, loaded
by its path: torch, and so multum, cannot be imported while the wheel that brings them is being built.
"""

import importlib.util
import platform
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def load_build_module(root: Path) -> ModuleType:
    """Load `multum.native.build` from its file.

    Args:
        root: The repository, or an unpacked source distribution.

    Returns:
        The module.
    """
    path = root / "src" / "multum" / "native" / "build.py"
    spec = importlib.util.spec_from_file_location("multum_native_build", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wheel_tag() -> str:
    """Return the tag of a wheel that runs on every Python 3 of this platform: its libraries know no Python."""
    return "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")


def levels_here(build: ModuleType) -> list[str]:
    """Return the instruction-set levels to compile for: all of them on x86, only the generic one elsewhere.

    Args:
        build: What `load_build_module` returned.
    """
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    return [level for level in build.LEVELS if is_x86 or level == "generic"]


def compile_kernels(root: Path, folder: Path) -> dict[str, str]:
    """Compile every kernel at every level into a folder.

    Args:
        root: The repository, or an unpacked source distribution.
        folder: Where the libraries go.

    Returns:
        Library by its place in the wheel.

    Raises:
        RuntimeError: When there is no compiler or it fails.
    """
    build = load_build_module(root)
    included: dict[str, str] = {}
    for source in sorted((root / "src" / "multum").rglob("cpu.cpp")):
        place = source.parent.relative_to(root / "src")
        for level in levels_here(build):
            name = build.library_name(level)
            build.compile_source(source, folder / place / name, level)
            included[str(folder / place / name)] = str(place / name)
    return included


class KernelBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles the kernels while hatchling builds a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the compiled kernels to what the wheel holds.

        Args:
            version: ``standard``, or ``editable``: then nothing is compiled.
            build_data: What hatchling builds from; changed in place.
        """
        if self.target_name != "wheel" or version == "editable":
            return
        self.folder = tempfile.TemporaryDirectory()
        try:
            included = compile_kernels(Path(self.root), Path(self.folder.name))
        except RuntimeError as error:
            self.folder.cleanup()
            self.app.display_warning(
                f"no compiled kernels in this wheel, they are compiled on first use: {error}"
            )
            return
        if included:
            build_data["force_include"].update(included)
            build_data["pure_python"] = False
            build_data["tag"] = wheel_tag()

    def finalize(
        self,
        version: str,  # noqa: ARG002 (hatchling's signature)
        build_data: dict[str, Any],  # noqa: ARG002
        artifact_path: str,  # noqa: ARG002
    ) -> None:
        """Remove the libraries that were made for the wheel.

        Args:
            version: As in `initialize`.
            build_data: As in `initialize`.
            artifact_path: The wheel that was written.
        """
        if folder := getattr(self, "folder", None):
            folder.cleanup()
