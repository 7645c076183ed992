"""Cells of the synthesized Verilog, counted by Yosys, to stand beside the area model.

The sources are mapped to gates of two inputs, multiplexers and flip-flops of one kind; memories stay memories, and
their bits are counted by themselves. Times the areas of a standard-cell library that everybody can look into, the
counts become square micrometres without a floor plan: no wires, no clock, no room left free.

Source: areas of the NanGate FreePDK45 Open Cell Library (`papers/nangate_45.toml`).
"""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from multum.accelerator.area import AreaConstants
from multum.accelerator.topk_engine import TopkEngine
from multum.accelerator.verilog import SOURCES, write_topk_engine_verilog
from multum.core import UserError, published

SYNTHESIZER = "yosys"
REMEDY = "Yosys is not installed (Debian: apt-get install yosys)"
"""What to say where there is no synthesizer."""
TIMEOUT_SECONDS = 1800

CELLS = {
    "$_NAND_": "nand2",
    "$_NOR_": "nor2",
    "$_XOR_": "xor2",
    "$_MUX_": "mux2",
    "$_NOT_": "inverter",
    "$_DFF_P_": "flip_flop",
}
"""What Yosys calls the cells, and the library."""

SCRIPT = """
read_verilog {sources}
synth -top {top} -flatten -run begin:fine
opt -full
techmap
opt -fast
dfflegalize -cell $_DFF_P_ x -mince 9999999 -minsrst 9999999
opt_clean
abc -g NAND,NOR,XOR,MUX
opt_clean
tee -o {counts} stat -json
"""


@dataclass(frozen=True, kw_only=True)
class CellCounts:
    """What a module is made of."""

    cells: dict[str, int]
    """Cells by the library's name, those of `CELLS`."""
    memory_bits: int
    """Bits of its FIFOs, which are no cells."""

    @property
    def logic_um2(self) -> float:
        """Area of the cells alone at 45 nm."""
        return sum(
            count * published("nangate_45", f"{cell}_area").number for cell, count in self.cells.items()
        )

    def mm2(self, constants: AreaConstants | None = None) -> float:
        """Area at the chip's process, memories as registers of the area model."""
        price = constants or AreaConstants()
        return 1e-6 * (price.shrink * self.logic_um2 + price.register_bit * self.memory_bits)


def has_synthesizer() -> bool:
    """Whether Yosys is there."""
    return shutil.which(SYNTHESIZER) is not None


def count_cells(engine: TopkEngine, *, top: str = "topk_engine", score_bits: int = 12) -> CellCounts:
    """Synthesize a module, and count its cells.

    Args:
        engine: Its size.
        top: `topk_engine` or `zero_eliminator`.
        score_bits: Width of a score.

    Raises:
        UserError: Yosys is not installed, or cannot make cells of the sources.
    """
    program = shutil.which(SYNTHESIZER)
    if program is None:
        raise UserError(REMEDY)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_topk_engine_verilog(engine, folder, score_bits=score_bits)
        counts = folder / "counts.json"
        script = SCRIPT.format(sources=" ".join(SOURCES), top=top, counts=counts.name)
        (folder / "script.ys").write_text(script, encoding="utf-8")
        done = subprocess.run(  # noqa: S603 - the program that was found on the path
            [program, "-q", "script.ys"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        if done.returncode:
            raise UserError(f"yosys could not synthesize {top}: {done.stderr.strip()[-300:]}")
        found = json.loads(counts.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    memories = found.pop("$mem_v2", 0)
    unknown = sorted(set(found) - set(CELLS))
    if unknown:
        raise UserError(f"yosys left cells that the library does not have: {', '.join(unknown)}")
    bits = engine.fifo_depth * score_bits
    return CellCounts(
        cells={library: found.get(cell, 0) for cell, library in CELLS.items()}, memory_bits=memories * bits
    )
