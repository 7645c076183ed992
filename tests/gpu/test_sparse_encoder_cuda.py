"""Sparse encoders on a CUDA device: the same tokens, heads and states as on the CPU."""

import copy
from typing import Any

import pytest
import torch

from encoder_dials import DIALS, exact_encoder
from multum.attention import EncoderSchedule, prune
from small_encoders import draw_tokens, make_encoder, pad

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@torch.no_grad()
def pruned(model: Any, inputs: dict[str, torch.Tensor], schedule: EncoderSchedule) -> tuple[Any, ...]:
    with prune(model, schedule) as run:
        hidden = model(**inputs).last_hidden_state
    return hidden[run.mask].cpu(), run.positions[run.mask].cpu(), run.heads[-1].head_BK.cpu(), run.records


@pytest.mark.parametrize("dials", DIALS)
def test_device_keeps_what_the_cpu_keeps(dials: str) -> None:
    model, inputs = exact_encoder("bert"), pad(draw_tokens(9, 17, 13))
    expected = pruned(model, inputs, DIALS[dials])
    moved = {name: tensor.cuda() for name, tensor in inputs.items()}
    found = pruned(copy.deepcopy(model).cuda(), moved, DIALS[dials])
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=1e-9)
    assert torch.equal(found[1], expected[1])
    assert torch.equal(found[2], expected[2])
    assert found[3] == expected[3]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_under_every_dial(dtype: torch.dtype) -> None:
    model = make_encoder().to("cuda", dtype)
    inputs = {name: tensor.cuda() for name, tensor in pad(draw_tokens(9, 17)).items()}
    hidden, *_ = pruned(model, inputs, DIALS["everything"])
    assert torch.isfinite(hidden).all()
