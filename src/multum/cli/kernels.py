"""`multum kernels`: which fast paths this machine has, and where each comes from."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from multum.cli.verb import Outcome, Verb


@dataclass(frozen=True, kw_only=True)
class KernelsOptions:
    """What to find out."""

    peak: bool = False
    """Measure as well how many float32 operations one core can do, the floor under every time."""


@dataclass(frozen=True, kw_only=True)
class FastPath:
    """One fast path of one operation."""

    operation: str
    """What it computes."""

    path: str
    """How: a compiled library, Triton, or one of torch's own."""

    active: bool
    """Whether it runs here; the reference in plain torch does otherwise."""

    detail: str
    """Where it comes from, or why it is not there."""


def fast_paths() -> list[FastPath]:
    """Find the fast paths of this machine; a kernel that was never compiled here is compiled now."""
    from multum import ops
    from multum.accelerator.engine import fast as engine
    from multum.ops.fast_linear import fast_linears_available

    linear = fast_linears_available()
    found = [
        FastPath(
            operation="linear layers",
            path="oneDNN",
            active=linear,
            detail="opt-in: multum.ops.fast_linears"
            if linear
            else "this torch brings none that computes the same",
        ),
        _native("accelerator engine", engine.SOURCE),
    ]
    for folder in sorted(Path(ops.__file__).parent.iterdir()):
        if (source := folder / "cpu.cpp").is_file():
            found.append(_native(folder.name, source))
        if (folder / "triton.py").is_file():
            found.append(_triton(folder.name))
    return sorted(found, key=lambda path: path.operation)


def _native(operation: str, source: Path) -> FastPath:
    from multum.native import load_native

    loaded = load_native(source)
    detail = (
        f"{loaded.level}, from {ORIGINS[loaded.origin]}"
        if loaded
        else "no C++ compiler, or MULTUM_KERNELS=off"
    )
    return FastPath(operation=operation, path="C++", active=loaded is not None, detail=detail)


def _triton(operation: str) -> FastPath:
    import torch

    from multum.ops.dispatch import has_triton

    wants: list[tuple[Callable[[], bool], str]] = [
        (has_triton, "Triton is not installed"),
        (torch.cuda.is_available, "torch finds no CUDA device"),
    ]
    missing = next((reason for is_there, reason in wants if not is_there()), None)
    return FastPath(operation=operation, path="Triton", active=missing is None, detail=missing or "CUDA")


def _list(options: KernelsOptions) -> Outcome:
    from rich.console import Group
    from rich.table import Table

    from multum.ops import measure_fma_peak

    paths, notes = fast_paths(), []
    result: dict[str, object] = {"paths": [asdict(it) for it in paths]}
    if options.peak:
        peak = measure_fma_peak()
        result["peak"] = asdict(peak)
        notes.append(
            f"one core: {peak.flops_per_second / 1e9:.0f} GFLOP/s in float32, measured with {peak.method}"
        )
    table = Table("Operation", "Path", "Active", "")
    for it in paths:
        table.add_row(it.operation, it.path, "yes" if it.active else "no", it.detail)
    return Outcome(result=result, text=Group(table, *notes))


ORIGINS = {"wheel": "the wheel", "cache": "the cache", "built": "a fresh build"}

KERNELS = Verb(options=KernelsOptions, execute=_list)
