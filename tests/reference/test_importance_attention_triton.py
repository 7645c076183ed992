"""The Triton kernel, run by Triton's interpreter on the CPU, against loops in float64.

What a GPU adds to this (its own instructions, half precision, speed) is tested in `tests/gpu`.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from importance_attention_cases import INTERPRETED, INTERPRETED_CAUSAL

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed; it comes with torch's CUDA builds, or by pip install triton")
    done = subprocess.run(
        [sys.executable, str(TESTS / "importance_attention_cases.py")],
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(TESTS), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", [*INTERPRETED, *INTERPRETED_CAUSAL], ids=str)
def test_interpreted_kernel_is_within_the_tolerance(
    errors: dict[str, float], case: tuple[object, ...]
) -> None:
    assert errors[str(case)] <= 1.0


def test_nan_in_a_query_row_reaches_that_row_and_its_head_only(errors: dict[str, float]) -> None:
    assert errors["NaN"] == 0.0
