"""The Triton kernel of decode attention on a CUDA device, against loops in float64."""

import importlib.util
from dataclasses import replace
from typing import Any

import pytest
import torch

from decode_attention_cases import FLOAT, Problem, make_problem, solve
from multum.ops import DecodeResult, FloatRows, PlaneRows, decode_attention, evict_lowest
from multum.ops.decode_attention import implementations
from multum.ops.dispatch import choose
from tolerances import assert_close

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]


def to_device(rows: PlaneRows | FloatRows) -> PlaneRows | FloatRows:
    if isinstance(rows, FloatRows):
        return FloatRows(rows=rows.rows.cuda())
    lsb = None if rows.lsb is None else rows.lsb.cuda()
    return replace(rows, msb=rows.msb.cuda(), lsb=lsb, scale=rows.scale.cuda())


def run(problem: Problem, impl: Any = "triton") -> DecodeResult:
    options = {
        name: it.cuda() if isinstance(it, torch.Tensor) else it for name, it in problem.options.items()
    }
    key, value = to_device(problem.key), to_device(problem.value)
    result = decode_attention(problem.query.cuda(), key, value, problem.count.cuda(), **options, impl=impl)
    return DecodeResult(**{name: tensor.cpu() for name, tensor in result._asdict().items()})


@pytest.mark.parametrize("bits", [4, 6, 8, 10, 12, FLOAT])
@pytest.mark.parametrize("width", [4, 20, 64, 80, 128])
def test_every_setting_at_every_width(bits: int, width: int) -> None:
    for slots, threshold, num_values in ((1, None, None), (70, 0.3, 5), (700, 1.0, 33)):
        threshold = None if bits == FLOAT else threshold
        problem = make_problem(
            slots, width, key_bits=bits, value_bits=bits, heads=6, threshold=threshold, num_values=num_values
        )
        found, true = run(problem), solve(problem)
        assert torch.equal(found.flat_BH, true.flat_BH)
        assert torch.equal(found.value_rows_BG, true.value_rows_BG)
        assert_close(found.context_BHD, true.context_BHD, num_terms=problem.num_terms)
        assert_close(found.importance_BC, true.importance_BC, num_terms=6 * problem.num_terms)


def test_heads_choose_their_groups() -> None:
    problem = make_problem(300, heads=8, groups=3, regroup=True, threshold=0.1, num_values=20)
    found, true = run(problem), solve(problem)
    assert torch.equal(found.value_rows_BG, true.value_rows_BG)
    assert_close(found.context_BHD, true.context_BHD, num_terms=problem.num_terms)


@pytest.mark.parametrize("bits", [4, 6, 8, 10, 12])
def test_whole_rows_are_read_with_both_planes_from_the_start(bits: int) -> None:
    problem = make_problem(300, key_bits=bits, value_bits=bits, threshold=0.05, num_values=9, whole=0.2)
    found, true = run(problem), solve(problem)
    assert torch.equal(found.flat_BH, true.flat_BH)
    assert_close(found.context_BHD, true.context_BHD, num_terms=problem.num_terms)


def test_every_run_gives_the_same_bits() -> None:
    problem = make_problem(2000, heads=12, groups=12, threshold=0.1, num_values=200)
    expected = run(problem)
    for _ in range(5):
        for name, tensor in vars(run(problem)).items():
            assert torch.equal(tensor, getattr(expected, name))


def test_auto_takes_triton_and_half_precision_queries_come_back_as_such() -> None:
    problem = make_problem(100)
    assert choose("auto", problem.query.cuda(), implementations()) == "triton"
    halved = replace(problem, query=problem.query.bfloat16())
    assert run(halved, "auto").context_BHD.dtype is torch.bfloat16


def test_rows_are_written_and_evicted_on_the_device() -> None:
    rows = PlaneRows.zeros((2, 3, 5), 64, 8, device="cuda")
    new = torch.randn(2, 3, 64, device="cuda")
    rows.write(torch.tensor([4, 0], device="cuda"), new)
    assert torch.equal(rows.dequantize()[0, :, 4], PlaneRows.quantize(new, 8).dequantize()[0])
    slot = evict_lowest(torch.tensor([[3.0, 1.0]], device="cuda"), None, torch.tensor([2], device="cuda"))
    assert slot.tolist() == [1]
