"""Compiled and exported, decode attention is one operation with the same results."""

import jaxtyping
import pytest
import torch
from torch import nn

from decode_attention_cases import make_problem
from multum.ops import PlaneRows, decode_attention

NAME = "multum.decode_attention"


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compilers look through every function; the tests' shape checking is none of their business."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    torch.compiler.reset()


class Decoder(nn.Module):
    """Attention over a cache given as plain tensors."""

    def forward(
        self,
        query: torch.Tensor,
        msb: torch.Tensor,
        lsb: torch.Tensor,
        scale: torch.Tensor,
        count: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        key = PlaneRows(msb=msb, lsb=lsb, scale=scale, msb_bits=8, width=64)
        value = PlaneRows(msb=msb, lsb=None, scale=scale, msb_bits=8, width=64)
        result = decode_attention(2 * query, key, value, count, threshold=0.2)
        return result.context_BHD + 1, result.importance_BC, result.flat_BH


def draw_inputs(slots: int) -> tuple[torch.Tensor, ...]:
    problem = make_problem(slots)
    assert isinstance(problem.key, PlaneRows)
    assert problem.key.lsb is not None
    return problem.query, problem.key.msb, problem.key.lsb, problem.key.scale, problem.count


class Operator(nn.Module):
    """The registered operator; around it the tests' own checks of dataclasses would be in the compiler's way."""

    def forward(
        self,
        query: torch.Tensor,
        msb: torch.Tensor,
        lsb: torch.Tensor,
        scale: torch.Tensor,
        count: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        key, value = (msb, lsb, scale, 8), (msb, None, scale, 8)
        found = torch.ops.multum.decode_attention(
            2 * query, *key, *value, count, None, None, 0.2, 64**-0.5, "auto"
        )
        return found[0] + 1, found[1], found[2]


@torch.no_grad()
def test_compiled_module_equals_the_eager_one_at_every_length() -> None:
    model = Decoder()
    compiled = torch.compile(Operator(), fullgraph=True, backend="aot_eager", dynamic=True)
    for slots in (7, 24, 40):
        inputs = draw_inputs(slots)
        for other, eager in zip(compiled(*inputs), model(*inputs), strict=True):
            torch.testing.assert_close(other, eager)


@torch.no_grad()
def test_exported_program_holds_one_operation_and_picks_its_path_where_it_runs() -> None:
    model, inputs = Decoder().eval(), draw_inputs(20)
    program = torch.export.export(model, inputs)
    nodes = [node for node in program.graph.nodes if NAME in str(node.target)]
    assert len(nodes) == 1
    assert nodes[0].args[-1] == "auto"
    for other, eager in zip(program.module()(*inputs), model(*inputs), strict=True):
        torch.testing.assert_close(other, eager)
