"""`multum accelerator verilog`, as a plain function: the top-k engine and its zero eliminators as Verilog."""

from dataclasses import dataclass
from pathlib import Path

from multum.accelerator.lfsr import SEED
from multum.accelerator.topk_engine import TopkEngine
from multum.accelerator.verilog import TOP, topk_engine_verilog, write_topk_engine_verilog
from multum.core import UserError, read_text

CAPACITY = TopkEngine().capacity
"""Scores of the paper's longest row, which the FIFOs hold when nobody says how deep they are."""


@dataclass(frozen=True, kw_only=True)
class VerilogConfig:
    """Where to write, and the engine's size."""

    folder: Path
    """Folder for the sources."""

    parallelism: int = 16
    """Scores a cycle, a power of two of at least 2."""

    fifo_depth: int | None = None
    """Words of each FIFO, a power of two of at least 2; enough for 1,024 scores when left alone."""

    score_bits: int = 16
    """Bits of a score, an unsigned integer."""

    seed: int = SEED
    """State of the pivots' shift register when a search begins."""

    overwrite: bool = False
    """Replace files of these names that hold something else."""


@dataclass(frozen=True, kw_only=True)
class WrittenVerilog:
    """What `write_verilog` wrote."""

    files: tuple[str, ...]
    """The sources, in the order in which a tool reads them."""
    top: str
    """The module of the whole engine."""
    parallelism: int
    """Scores a cycle."""
    fifo_depth: int
    """Words of each FIFO."""
    longest_input: int
    """Scores of the longest row."""
    score_bits: int
    """Bits of a score."""


def write_verilog(config: VerilogConfig) -> WrittenVerilog:
    """Write the sources, each atomically.

    Raises:
        UserError: A size that cannot be, or a file that would be lost.
    """
    depth = config.fifo_depth
    if depth is None:
        depth = max(2, CAPACITY // max(1, config.parallelism))
    engine = TopkEngine(parallelism=config.parallelism, fifo_depth=depth, seed=config.seed)
    for name, text in topk_engine_verilog(engine, score_bits=config.score_bits).items():
        path = config.folder / name
        if path.exists() and not config.overwrite and read_text(path) != text:
            raise UserError(f"{path} is there already and holds something else; --overwrite replaces it")
    files = write_topk_engine_verilog(engine, config.folder, score_bits=config.score_bits)
    return WrittenVerilog(
        files=tuple(str(it) for it in files),
        top=TOP,
        parallelism=engine.parallelism,
        fifo_depth=engine.fifo_depth,
        longest_input=engine.capacity,
        score_bits=config.score_bits,
    )
