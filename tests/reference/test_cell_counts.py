"""Cells of the synthesized Verilog: as many as the modules' sizes say, where Yosys is there."""

import pytest

from multum.accelerator import TopkEngine
from multum.accelerator.cell_counts import REMEDY, CellCounts, count_cells, has_synthesizer
from multum.core import UserError

needs_yosys = pytest.mark.skipif(not has_synthesizer(), reason=REMEDY)


@needs_yosys
@pytest.mark.parametrize("lanes", [4, 8])
def test_zero_eliminator_holds_a_row_and_its_count(lanes: int) -> None:
    bits = 6
    counts = count_cells(TopkEngine(parallelism=lanes), top="zero_eliminator", score_bits=bits)
    layers = lanes.bit_length() - 1
    registers = lanes * bits + layers + 1
    assert counts.cells["flip_flop"] == registers
    assert counts.memory_bits == 0
    assert counts.cells["mux2"] >= bits * layers * lanes // 2, "each layer moves a row"


@needs_yosys
def test_engine_keeps_three_fifos() -> None:
    engine = TopkEngine(parallelism=2, fifo_depth=4)
    counts = count_cells(engine, score_bits=4)
    assert counts.memory_bits == 3 * engine.capacity * 4
    assert counts.mm2() > 1e-6 * counts.logic_um2 * (40 / 45) ** 2 > 0


def test_without_yosys_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="apt-get install yosys"):
        count_cells(TopkEngine())


def test_area_is_cells_times_the_library() -> None:
    counts = CellCounts(cells={"nand2": 10, "flip_flop": 2}, memory_bits=0)
    assert counts.logic_um2 == pytest.approx(10 * 0.798 + 2 * 4.522)
