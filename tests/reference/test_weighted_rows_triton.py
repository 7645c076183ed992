"""The Triton kernels of weighted sums of rows, run by Triton's interpreter on the CPU, against float64; and compiled.

The interpreter knows no types of loop variables, the compiler does, and it needs no device. What a GPU adds to this is
tested in `tests/gpu`.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weighted_rows_cases import INTERPRETED

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed; it comes with torch's CUDA builds, or by pip install triton")
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(TESTS / "weighted_rows_cases.py")],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", INTERPRETED, ids=str)
def test_interpreted_kernels_are_within_the_tolerance_there_and_back(
    errors: dict[str, float], case: tuple[object, ...]
) -> None:
    assert errors[str(case)] <= 1.0


def test_torch_knows_the_operation(errors: dict[str, float]) -> None:
    assert errors["opcheck"] == 0.0


BLOCKS = {"BLOCK_R": 16, "BLOCK_E": 64, "BLOCK_C": 64}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["_short_kernel", "_long_kernel"])
def test_kernels_compile_for_a_device(name: str, dtype: str) -> None:
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from multum.ops.weighted_rows import triton as kernels

    kernel = getattr(kernels, name)
    constants: dict[str, Any] = {it: BLOCKS[it] for it in BLOCKS if it in kernel.arg_names}
    kinds = {
        **dict.fromkeys(kernel.arg_names, "i32"),
        **dict.fromkeys(("x", "y"), f"*{dtype}"),
        "starts": "*i64",
        "column": "*i32",
        "weight": "*fp32",
        **dict.fromkeys(constants, "constexpr"),
    }
    source = ASTSource(
        fn=kernel,
        signature={argument: kinds[argument] for argument in kernel.arg_names},
        constexprs={(kernel.arg_names.index(argument),): value for argument, value in constants.items()},
    )
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
