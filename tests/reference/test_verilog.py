"""The Verilog modules do in every cycle what their Python twins do."""

from pathlib import Path

import pytest
from benchmarks import verilog_problem
from benchmarks.verilog_problem import REMEDY, equal_vectors, has_simulator

from multum.accelerator import TopkEngine
from multum.accelerator.verilog import SOURCES, topk_engine_verilog, write_topk_engine_verilog
from multum.core import UserError

needs_simulator = pytest.mark.skipif(not has_simulator(), reason=REMEDY)


@needs_simulator
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("top", "engine", "score_bits"),
    [
        ("topk_engine", TopkEngine(), 16),
        ("topk_engine", TopkEngine(parallelism=2, fifo_depth=64, seed=1), 5),
        ("zero_eliminator", TopkEngine(parallelism=8), 12),
    ],
)
def test_verilog_and_python_agree_to_the_cycle(top: str, engine: TopkEngine, score_bits: int) -> None:
    found = equal_vectors(top, engine, vectors=6, most=60, score_bits=score_bits, seed=3)
    assert found == 6


@needs_simulator
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            "assign is_smaller[lane] = here && item < pivot;",
            "assign is_smaller[lane] = here && item <= pivot;",
        ),
        ("ELIMINATE: state <= WRITE;", "ELIMINATE: state <= num_left == 0 ? WRITE : IDLE; // never"),
        ("register[3]};", "register[4]};"),
    ],
)
def test_other_verilog_is_noticed(monkeypatch: pytest.MonkeyPatch, right: str, wrong: str) -> None:
    def write_changed(engine: TopkEngine, folder: Path, *, score_bits: int) -> list[Path]:
        paths = write_topk_engine_verilog(engine, folder, score_bits=score_bits)
        text = paths[-1].read_text()
        assert right in text
        paths[-1].write_text(text.replace(right, wrong))
        return paths

    monkeypatch.setattr(verilog_problem, "write_topk_engine_verilog", write_changed)
    engine = TopkEngine(parallelism=4, fifo_depth=32)
    found = equal_vectors("topk_engine", engine, vectors=4, most=40)
    assert found == 4 if "never" in wrong else found < 4


def test_without_a_simulator_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verilog_problem.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="apt-get install iverilog"):
        equal_vectors("topk_engine", TopkEngine(), vectors=1, most=8)


def test_sources_carry_the_parameters_of_the_engine(tmp_path: Path) -> None:
    engine = TopkEngine(parallelism=8, fifo_depth=32, seed=0xBEEF)
    paths = write_topk_engine_verilog(engine, tmp_path, score_bits=12)
    assert [path.name for path in paths] == list(SOURCES)
    top = paths[-1].read_text()
    for line in (
        "parameter LANES = 8,",
        "parameter LOG_LANES = 3,",
        "parameter LOG_DEPTH = 5,",
        "parameter WIDTH = 12,",
        "parameter [15:0] SEED = 16'hBEEF",
    ):
        assert line in top
    assert "parameter LANES = 8," in paths[0].read_text()


@pytest.mark.parametrize(
    ("engine", "score_bits", "message"),
    [
        (TopkEngine(parallelism=1), 16, "parallelism must be at least 2 in Verilog; got 1"),
        (TopkEngine(fifo_depth=48), 16, "fifo_depth must be a power of two, at least 2, in Verilog; got 48"),
        (TopkEngine(), 0, "score_bits must be in 1..64; got 0"),
    ],
)
def test_sizes_that_verilog_cannot_have_are_refused(
    engine: TopkEngine, score_bits: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        topk_engine_verilog(engine, score_bits=score_bits)
