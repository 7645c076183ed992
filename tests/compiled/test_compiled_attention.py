"""Compiled, exported and counted, the attention is one operation with the same results."""

import jaxtyping
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from importance_attention_cases import make_problem
from multum.cost import measure
from multum.ops import fast_linear, fast_linears, importance_attention
from small_encoders import NUM_HEADS, WIDTH

NAME = "multum.importance_attention"


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compilers look through every function; the tests' shape checking is none of their business."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    torch.compiler.reset()


class Attention(nn.Module):
    """Self-attention with both outputs of the operation in use."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(WIDTH, 3 * WIDTH)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        packed = self.project(hidden).unflatten(2, (3, NUM_HEADS, -1))
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind()
        context, importance = importance_attention(query, key, value, key_mask_BK=mask, query_mask_BQ=mask)
        return context.transpose(1, 2).flatten(2), importance.sum(dim=1)


def draw_inputs(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, length // 2 :] = False
    return torch.randn(2, length, WIDTH), mask


def test_compiled_module_equals_the_eager_one_forward_and_backward() -> None:
    model = Attention()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    inputs = draw_inputs(13)
    grads = []
    for run in (model, compiled):
        model.zero_grad()
        context, importance = run(*inputs)
        (context.square().sum() + importance.square().sum()).backward()
        grads.append(
            [context, importance, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
        )
    assert len(grads[0]) == 4
    for eager, other in zip(*grads, strict=True):
        torch.testing.assert_close(other, eager)


def test_compiled_causal_attention_with_shared_keys_serves_every_length() -> None:
    def attend(query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return importance_attention(query, key, key, causal=True, importance_from=3)

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager", dynamic=True)
    for length in (7, 12, 31):
        inputs = torch.randn(2, 4, length, 8), torch.randn(2, 2, length + 5, 8)
        for other, eager in zip(compiled(*inputs), attend(*inputs), strict=True):
            torch.testing.assert_close(other, eager)


def test_compiled_with_unknown_length_serves_every_length() -> None:
    model = Attention().eval()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch.no_grad():
        for length in (7, 12, 31):
            inputs = draw_inputs(length)
            for other, eager in zip(compiled(*inputs), model(*inputs), strict=True):
                torch.testing.assert_close(other, eager)


def test_exported_program_holds_one_operation_and_picks_its_path_where_it_runs() -> None:
    model, inputs = Attention().eval(), draw_inputs(9)
    length = torch.export.Dim("length", min=2, max=64)
    shapes = {"hidden": {1: length}, "mask": {1: length}}
    program = torch.export.export(model, inputs, dynamic_shapes=shapes)
    nodes = [node for node in program.graph.nodes if NAME in str(node.target)]
    assert len(nodes) == 1
    assert nodes[0].args[-1] == "auto"
    for length_now in (9, 20):
        inputs = draw_inputs(length_now)
        for other, eager in zip(program.module()(*inputs), model(*inputs), strict=True):
            torch.testing.assert_close(other, eager)


def test_fast_linears_do_not_stand_in_a_compilers_way() -> None:
    model, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval(), torch.randn(3, 8)
    with torch.no_grad(), fast_linears(model):
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), model(x))
    direct = torch.compile(fast_linear, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(direct(x, model[0].weight, model[0].bias), model[0](x))


def test_flop_counter_sees_forward_and_backward() -> None:
    problem = make_problem(17, 23, 20)
    inputs = [t.detach().clone().requires_grad_() for t in (problem.query, problem.key, problem.value)]
    product = 2 * 2 * 3 * 17 * 23 * 20
    with FlopCounterMode(display=False) as counter:
        context, importance = importance_attention(*inputs)
    assert counter.get_total_flops() == 2 * product
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(context.sum() + importance.square().sum(), inputs)
    # scores again, then gradients of probabilities, value, query and key
    assert counter.get_total_flops() == 5 * product


def test_the_ruler_counts_the_operation_as_attention() -> None:
    model, inputs = Attention(), draw_inputs(13)
    cost = measure(model, inputs, latency=False)
    attention = 2 * 2 * 13 * 13 * WIDTH
    assert cost.attention_macs == attention
    assert cost.macs == attention + 2 * 13 * WIDTH * 3 * WIDTH
    assert cost.attention_counted
    assert not cost.uncounted_ops
    training = measure(model, inputs, mode="training", loss=lambda out: out[0].sum(), latency=False)
    assert training.attention_macs == attention + 5 * attention // 2
    assert not training.uncounted_ops
