"""The Triton kernels of sparse convolution, run by Triton's interpreter on the CPU, against float64; and compiled.

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

from sparse_convolution_cases import CHECKS, INTERPRETED

pytestmark = pytest.mark.timeout(600)  # half a minute of work, which others may leave a tenth of a core for
TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed; it comes with torch's CUDA builds, or by pip install triton")
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(TESTS / "sparse_convolution_cases.py")],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", INTERPRETED, ids=str)
def test_interpreted_kernels_are_within_the_tolerance_there_and_back(
    errors: dict[str, float], case: tuple[object, ...]
) -> None:
    assert errors[str(case)] <= 1.0


@pytest.mark.parametrize("check", CHECKS)
def test_interpreted_kernels_pass_the_check(errors: dict[str, float], check: str) -> None:
    assert errors[check] <= 1.0


LISTS = {"source": "*i32", "target": "*i32", "starts": "*i64", "needed": "*i32", "count": "*i32"}
BLOCKS = {"BLOCK_M": 64, "BLOCK_P": 32, "BLOCK_C": 32, "BLOCK_O": 64}


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", ["_implicit_kernel", "_scatter_kernel", "_weight_kernel"])
def test_kernels_compile_for_a_device(name: str, dtype: str) -> None:
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from multum.ops.sparse_convolution import triton as kernels

    kernel = getattr(kernels, name)
    features = dict.fromkeys(("x", "weight", "bias", "base", "gradient"), f"*{dtype}")
    results = {"y": "*fp32" if name == "_scatter_kernel" else f"*{dtype}", "part": "*fp32"}
    constants: dict[str, Any] = {it: BLOCKS[it] for it in BLOCKS if it in kernel.arg_names}
    constants["PRECISION"] = "ieee"
    constants |= {it: True for it in ("BIAS", "BASE", "RELU") if it in kernel.arg_names}
    kinds = {
        **dict.fromkeys(kernel.arg_names, "i32"),
        **LISTS,
        **features,
        **results,
        **dict.fromkeys(constants, "constexpr"),
    }
    source = ASTSource(
        fn=kernel,
        signature={argument: kinds[argument] for argument in kernel.arg_names},
        constexprs={(kernel.arg_names.index(argument),): value for argument, value in constants.items()},
    )
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
