"""The Triton kernel, run by Triton's interpreter on the CPU, against loops in float64; and compiled for a device.

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

from decode_attention_cases import INTERPRETED

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed; it comes with torch's CUDA builds, or by pip install triton")
    done = subprocess.run(
        [sys.executable, str(TESTS / "decode_attention_cases.py")],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(TESTS), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", INTERPRETED, ids=str)
def test_interpreted_kernel_is_within_the_tolerance(
    errors: dict[str, float], case: dict[str, object]
) -> None:
    assert errors[str(case)] <= 1.0


POINTERS = {
    "query": "*fp32",
    "first": "*u8",
    "low": "*u8",
    "scale": "*fp16",
    "chosen": "*i8",
    "flat": "*i8",
    "whole": "*u8",
    **dict.fromkeys(("count", "group", "num_values"), "*i64"),
    **dict.fromkeys(("score", "log_sum", "importance", "part"), "*fp32"),
}
NUMBERS = {"factor": "fp32", "threshold": "fp32"}
BLOCKS = {"BLOCK_C": 64, "BLOCK_D": 64}


@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("_score_kernel", {"BITS": 8, "LOW": True, "MIDDLE": False, "WHOLE": False, **BLOCKS}),
        ("_score_kernel", {"BITS": 6, "LOW": False, "MIDDLE": True, "WHOLE": False, **BLOCKS}),
        ("_score_kernel", {"BITS": 4, "LOW": False, "MIDDLE": True, "WHOLE": True, **BLOCKS}),
        ("_row_kernel", {"BLOCK": 512, "AGAIN": False}),
        ("_choose_kernel", {"TOP": 29, "BLOCK": 512}),
        ("_importance_kernel", {"BLOCK": 512}),
        ("_mix_kernel", {"BITS": 12, "CHOSEN": True, "SPLIT": 256, **BLOCKS}),
    ],
)
def test_kernels_compile_for_a_device(name: str, constants: dict[str, Any]) -> None:
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from multum.ops.decode_attention import triton as kernels

    kernel = getattr(kernels, name)
    kinds = {
        **dict.fromkeys(kernel.arg_names, "i32"),
        **POINTERS,
        **NUMBERS,
        **dict.fromkeys(constants, "constexpr"),
    }
    source = ASTSource(
        fn=kernel,
        signature={argument: kinds[argument] for argument in kernel.arg_names},
        constexprs={(kernel.arg_names.index(argument),): value for argument, value in constants.items()},
    )
    assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
