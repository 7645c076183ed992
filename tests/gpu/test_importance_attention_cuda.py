"""The Triton kernel and a whole pruned model on a CUDA device, against loops in float64 and the CPU."""

import importlib.util
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from importance_attention_cases import (
    LAYOUTS,
    LENGTHS,
    MASKS,
    WIDTHS,
    Layout,
    Masks,
    Problem,
    make_problem,
    solve,
)
from multum.attention import LAYERS_BY_MODEL_TYPE, TokenSchedule, prune
from multum.core import UserError
from multum.ops import importance_attention
from multum.ops.dispatch import choose
from multum.ops.importance_attention import implementations, importance_attention_reference
from small_encoders import draw_tokens, make_encoder, pad
from tolerances import assert_close

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]

HALF_TYPES = [torch.bfloat16, torch.float16]


def run(problem: Problem, impl: Any = "triton") -> tuple[torch.Tensor, torch.Tensor]:
    return importance_attention(
        problem.query,
        problem.key,
        problem.value,
        key_mask_BK=problem.key_mask,
        query_mask_BQ=problem.query_mask,
        scale=problem.scale,
        causal=problem.causal,
        importance_from=problem.importance_from,
        impl=impl,
    )


def assert_solved(problem: Problem, dtype: torch.dtype = torch.float32) -> None:
    on_device = problem.to(dtype).to("cuda")
    context, importance = run(on_device)
    assert context.dtype is dtype
    assert importance.dtype is torch.float32
    true_context, true_importance = solve(problem.to(dtype))
    assert_close(context.cpu(), true_context, num_terms=problem.num_terms)
    # probabilities are kept in float32 whatever the inputs are, but a score may come from rounded products
    assert_close(importance.cpu().to(dtype), true_importance, num_terms=problem.num_terms)


@pytest.mark.parametrize("width", [width for width in WIDTHS if width <= 128])
def test_every_length_at_every_width(width: int) -> None:
    for index, (rows, keys) in enumerate(zip(LENGTHS, LENGTHS[3:] + LENGTHS[:3], strict=True)):
        masks, layout = MASKS[(index + width) % len(MASKS)], LAYOUTS[index % len(LAYOUTS)]
        assert_solved(make_problem(rows, keys, width, masks=masks, layout=layout, heads=2))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("masks", MASKS)
def test_every_mask_in_every_layout(masks: Masks, layout: Layout) -> None:
    assert_solved(make_problem(65, 131, 32, masks=masks, layout=layout, batch=3))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("rows", "keys"), [(1, 1), (131, 131), (17, 200), (200, 17), (65, 64)])
def test_causal_attention_with_shared_keys_and_late_importance(rows: int, keys: int, groups: int) -> None:
    for masks in MASKS:
        assert_solved(
            make_problem(
                rows, keys, 32, masks=masks, heads=4, groups=groups, causal=True, importance_from=rows // 2
            )
        )


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("masks", ["none", "both", "no key"])
def test_half_precision_stays_within_its_tolerance(masks: Masks, dtype: torch.dtype) -> None:
    assert_solved(make_problem(131, 65, 64, masks=masks, layout="packed"), dtype)


def test_every_run_gives_the_same_bits() -> None:
    problem = make_problem(384, 384, 64, masks="both", layout="packed", heads=12).to("cuda")
    expected = run(problem)
    for _ in range(5):
        for found, first in zip(run(problem), expected, strict=True):
            assert torch.equal(found, first)


def test_auto_takes_triton_and_float64_the_reference() -> None:
    problem = make_problem(17, 23, 20).to("cuda")
    assert choose("auto", problem.query, implementations()) == "triton"
    assert choose("auto", problem.query.double(), implementations()) == "reference"
    for automatic, chosen in zip(run(problem, "auto"), run(problem), strict=True):
        assert torch.equal(automatic, chosen)


def test_gradients_equal_those_of_autograd_in_float64() -> None:
    problem = make_problem(17, 23, 20, masks="both").to("cuda")
    double = problem.to(torch.float64)
    expected = importance_attention_reference(
        *(t.requires_grad_() for t in (double.query, double.key, double.value)),
        double.key_mask,
        double.query_mask,
        double.scale,
    )
    for tensor in (problem.query, problem.key, problem.value):
        tensor.requires_grad_()
    found = run(problem)
    weights = [torch.randn_like(t) for t in expected]
    sum((w * t).sum() for w, t in zip(weights, expected, strict=True)).backward()
    sum((w.float() * t).sum() for w, t in zip(weights, found, strict=True)).backward()
    for name in ("query", "key", "value"):
        got, true = getattr(problem, name).grad, getattr(double, name).grad
        assert_close(got, true, num_terms=64 * problem.num_terms)  # a product of products, of size above one


def test_registration_passes_torchs_own_check() -> None:
    problem = make_problem(5, 7, 16, masks="both", layout="packed").to("cuda")
    inputs = [t.detach().clone().requires_grad_() for t in (problem.query, problem.key, problem.value)]
    operation = torch.ops.multum.importance_attention.default
    checked = torch.library.opcheck(operation, (*inputs, problem.key_mask, problem.query_mask, 0.3, "triton"))
    assert set(checked.values()) == {"SUCCESS"}


def test_flop_counter_sees_both_products() -> None:
    problem = make_problem(17, 23, 32).to("cuda")
    with FlopCounterMode(display=False) as counter:
        run(problem)
    assert counter.get_total_flops() == 2 * 2 * (2 * 3 * 17 * 23 * 32)


def test_tensors_on_two_devices_are_refused() -> None:
    problem = make_problem(5, 7, 8)
    with pytest.raises(UserError, match=r"of one dtype on one device; got .*cuda"):
        importance_attention(problem.query.cuda(), problem.key, problem.value)


@pytest.mark.parametrize("model_type", LAYERS_BY_MODEL_TYPE)
@pytest.mark.parametrize("score", ["attention", "value"])
def test_whole_model_is_pruned_as_on_the_cpu(model_type: str, score: Any) -> None:
    model, inputs = make_encoder(model_type), pad(draw_tokens(40, 17, 1))
    schedule = TokenSchedule(keep_ratios=(1.0, 0.7, 0.5, 0.3), score=score, window=8)
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        with prune(model, schedule) as run_cpu:
            expected = model(**inputs).last_hidden_state
        model.cuda()
        with prune(model, schedule) as run_cuda:
            hidden = model(**{name: tensor.cuda() for name, tensor in inputs.items()}).last_hidden_state
    assert run_cuda.positions.is_cuda
    assert run_cuda.tokens_per_layer == run_cpu.tokens_per_layer
    mask = run_cpu.mask
    assert torch.equal(run_cuda.mask.cpu(), mask)
    assert torch.equal(run_cuda.positions.cpu()[mask], run_cpu.positions[mask])
    torch.testing.assert_close(hidden.cpu()[mask], expected[mask], rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_half_precision_model_is_pruned_on_the_device(dtype: torch.dtype) -> None:
    model, inputs = make_encoder().to("cuda", dtype), pad(draw_tokens(40, 17))
    with torch.no_grad(), prune(model, TokenSchedule(keep_ratios=(1.0, 0.7, 0.5, 0.3))) as run_cuda:
        hidden = model(**{name: tensor.cuda() for name, tensor in inputs.items()}).last_hidden_state
    assert hidden.dtype is dtype
    assert torch.isfinite(hidden[run_cuda.mask]).all()
    assert run_cuda.tokens_per_layer == (57, 28 + 12, 20 + 9, 12 + 6)


def test_training_step_works_on_the_device() -> None:
    model, inputs = make_encoder().train().cuda(), pad(draw_tokens(20, 9))
    with prune(model, TokenSchedule(keep_ratios=(1.0, 0.7, 0.5, 0.3))) as run_cuda:
        hidden = model(**{name: tensor.cuda() for name, tensor in inputs.items()}).last_hidden_state
        hidden[run_cuda.mask].square().sum().backward()
    grad = model.embeddings.word_embeddings.weight.grad
    assert torch.isfinite(grad).all()
    assert grad.any()
