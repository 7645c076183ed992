"""Hardware that could be built: the Verilog of the top-k engine, with the parameters of its Python twin.

The modules lie in `rtl/`, in Verilog-2005, synthesizable, a file each. They do in every cycle what `TopkEngine` and
`ZeroEliminator` say: same pivots, same passes, same survivors, so either can stand for the other.
"""

import re
from importlib import resources
from pathlib import Path

from multum.accelerator.topk_engine import TopkEngine
from multum.core import invalid, write_text_atomic

SOURCES = ("zero_eliminator.v", "lane_fifo.v", "topk_engine.v")
"""The modules, each after those that it uses."""
TOP = "topk_engine"
"""The module of the whole engine."""


def topk_engine_verilog(engine: TopkEngine, *, score_bits: int = 16) -> dict[str, str]:
    """The sources of an engine, by file name.

    Args:
        engine: Its size; a parallelism of at least 2, and a FIFO depth that is a power of two, at least 2.
        score_bits: Width of a score, an unsigned integer, in 1..64.

    Raises:
        UserError: A size that the modules cannot have.

    >>> text = topk_engine_verilog(TopkEngine(parallelism=8))["topk_engine.v"]
    >>> "parameter LANES = 8," in text
    True
    """
    depth = engine.fifo_depth
    if engine.parallelism < 2:
        raise invalid("parallelism", "at least 2 in Verilog", engine.parallelism)
    if depth < 2 or depth & (depth - 1):
        raise invalid("fifo_depth", "a power of two, at least 2, in Verilog", depth)
    if not 1 <= score_bits <= 64:
        raise invalid("score_bits", "in 1..64", score_bits)
    values = {
        "LANES": str(engine.parallelism),
        "LOG_LANES": str(engine.parallelism.bit_length() - 1),
        "LOG_DEPTH": str(depth.bit_length() - 1),
        "WIDTH": str(score_bits),
        "SEED": f"16'h{engine.seed:04X}",
    }
    folder = resources.files("multum.accelerator") / "rtl"
    return {name: _with_parameters((folder / name).read_text(encoding="utf-8"), values) for name in SOURCES}


def write_topk_engine_verilog(engine: TopkEngine, folder: Path, *, score_bits: int = 16) -> list[Path]:
    """Write the sources into a folder, each atomically; returns the files in the order in which a tool reads them."""
    texts = topk_engine_verilog(engine, score_bits=score_bits)
    paths = [folder / name for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text_atomic(path, text)
    return paths


def _with_parameters(text: str, values: dict[str, str]) -> str:
    """Put values in the place of the parameters' defaults."""
    for name, value in values.items():
        text = re.sub(rf"(parameter (?:\[15:0\] )?{name} = )[^,\n]+", rf"\g<1>{value}", text)
    return text
