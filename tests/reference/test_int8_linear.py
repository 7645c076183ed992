"""Linear layers over int8 weights: compiled kernel against the reference, against loops, and inside models."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from multum.core import UserError
from multum.native import NativeLibrary
from multum.native.build import LEVELS, compile_source, find_compiler, native_level
from multum.ops import Int8Layer, int8_linear, int8_linears, int8_linears_, quantize_weight
from multum.ops.int8_linear import cpu, implementations, round_rows
from multum.ops.int8_linear.op import Activations, Choice
from tolerances import assert_close

HAS_CPU = implementations()["cpu"].available()
BOTH: list[Choice] = ["cpu", "reference"] if HAS_CPU else ["reference"]
needs_cpu = pytest.mark.skipif(not HAS_CPU, reason="the kernel is not compiled here: no C++ compiler")
KINDS: list[Activations] = ["float", "int8"]
OPERATION = torch.ops.multum.int8_linear.default
SIZES = [
    (1, 1, 1), (1, 3, 5), (2, 64, 64), (3, 65, 17), (4, 100, 130), (5, 16, 63), (6, 2, 64), (7, 129, 4),
    (16, 48, 33), (17, 48, 33), (18, 127, 65), (64, 9, 66), (65, 9, 66), (97, 66, 66), (200, 34, 130),
]  # fmt: skip
"""Rows, inputs, outputs: around the sizes of the kernel's tiles, panels and blocks."""


def draw(rows: int, inputs: int, outputs: int, *, has_bias: bool = True) -> tuple[torch.Tensor, ...]:
    """Inputs of very different size from row to row, weights likewise from output to output, and a bias."""
    generator = torch.Generator().manual_seed(10000 * rows + 100 * inputs + outputs)
    x = torch.randn(rows, inputs, generator=generator) * torch.logspace(-2, 2, rows)[:, None]
    weight = torch.randn(outputs, inputs, generator=generator) * torch.logspace(-1, 1, outputs)[:, None]
    return x, weight, torch.randn(outputs, generator=generator) if has_bias else None


def solve(x: torch.Tensor, code: torch.Tensor, scale: torch.Tensor, bias: Any, kind: str) -> torch.Tensor:
    """The layer in numpy's float64, row by row."""
    weight = code.numpy().astype(np.int64)
    result = np.zeros((len(x), len(weight)))
    for m, row in enumerate(x.numpy()):
        values = row.astype(np.float64)
        if kind == "int8":
            largest = np.float32(np.abs(row).max())
            codes = np.rint(row * (np.float32(127) / largest)).astype(np.int64)
            values = codes * (np.float64(largest) / 127)
        result[m] = (weight @ values) * scale.double().numpy()
    return torch.from_numpy(result) + (0 if bias is None else bias.double())


def assert_solved(found: torch.Tensor, true: torch.Tensor, x: torch.Tensor, code: Any, scale: Any) -> None:
    """Errors are measured in units of what each result's terms add up to, without their signs."""
    unit = (x.double().abs() @ (code.double() * scale.double()[:, None]).abs().T) / math.sqrt(x.shape[1]) + 1
    assert_close((found.double() / unit).float(), true / unit, num_terms=x.shape[1])


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_bias", [True, False])
def test_every_size_equals_loops_in_float64(has_bias: bool, kind: Activations, impl: Choice) -> None:
    for sizes in SIZES:
        x, weight, bias = draw(*sizes, has_bias=has_bias)
        code, scale = quantize_weight(weight)
        found = int8_linear(x, code, scale, bias, activations=kind, impl=impl)
        assert_solved(found, solve(x, code, scale, bias, kind), x, code, scale)


@needs_cpu
def test_codes_of_activations_are_the_references_to_the_last_one() -> None:
    x = torch.randn(400, 1000)
    x[:200] = (x[:200] * 40).round() / 2  # many ties
    identity = torch.eye(1000).to(torch.int8)
    scale = torch.ones(1000)
    found, twin = (int8_linear(x, identity, scale, activations="int8", impl=impl) for impl in BOTH)
    assert torch.equal(found, twin)


@pytest.mark.skipif(find_compiler() is None, reason="there is no C++ compiler to build with")
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_of_instructions_agrees(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = list(LEVELS)
    if native_level() == "generic" and level != "generic":
        pytest.skip("only the generic level is for this kind of processor")
    compile_source(cpu.SOURCE, tmp_path / "cpu.so", level)
    if order.index(level) < order.index(native_level()):
        return
    handle = cpu.ctypes.CDLL(str(tmp_path / "cpu.so"))
    monkeypatch.setattr(cpu, "library", lambda: NativeLibrary(handle=handle, level=level, origin="built"))
    for sizes in SIZES:
        x, weight, bias = draw(*sizes)
        code, scale = quantize_weight(weight)
        for kind in KINDS:
            found = cpu.int8_linear_cpu(x, code, scale, bias, kind == "int8", vnni=False)
            assert_solved(found, solve(x, code, scale, bias, kind), x, code, scale)


@needs_cpu
def test_many_rows_widen_few_outputs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = draw(70, 24, 31)
    code, scale = quantize_weight(weight)
    monkeypatch.setattr(cpu, "WIDENED_AT_ONCE", 24 * 10)
    for given in (bias, None):
        found = int8_linear(x, code, scale, given, impl="cpu")
        assert_solved(found, solve(x, code, scale, given, "float"), x, code, scale)


def test_compiled_layer_equals_the_eager_one_and_an_exported_one_is_one_operation(as_shipped: None) -> None:
    x, weight, bias = draw(6, 24, 10)
    code, scale = quantize_weight(weight)

    def layer(inputs: torch.Tensor) -> torch.Tensor:
        return int8_linear(inputs, code, scale, bias, activations="int8")

    with torch.no_grad():
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), layer(x))
    nodes = torch.export.export(Int8Module(code, scale), (x,)).graph.nodes
    assert sum("multum.int8_linear" in str(node.target) for node in nodes) == 1


class Int8Module(nn.Module):
    def __init__(self, code: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("code", code)
        self.register_buffer("scale", scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return int8_linear(x, self.code, self.scale)


@needs_cpu
def test_both_kinds_of_integer_products_give_the_same_bits() -> None:
    for sizes in SIZES:
        x, weight, bias = draw(*sizes)
        inputs = x, *quantize_weight(weight), bias, True
        assert torch.equal(cpu.int8_linear_cpu(*inputs), cpu.int8_linear_cpu(*inputs, vnni=False))


@pytest.mark.parametrize("impl", BOTH)
def test_largest_codes_of_many_inputs_do_not_overflow(impl: Choice) -> None:
    num_inputs = 65_536
    code = torch.full((2, num_inputs), 127, dtype=torch.int8)
    code[1] = -127
    x = torch.ones(3, num_inputs)
    found = int8_linear(x, code, torch.ones(2), activations="int8", impl=impl)
    torch.testing.assert_close(found, torch.tensor([[127.0, -127.0]]).expand(3, 2) * num_inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_error_is_within_what_rounding_explains(kind: Activations) -> None:
    x, weight, bias = draw(40, 96, 50)
    code, scale = quantize_weight(weight)
    exact = functional.linear(x.double(), weight.double(), bias.double())
    found = int8_linear(x, code, scale, bias, activations=kind)
    allowed = x.double().abs().sum(dim=1)[:, None] * scale.double() / 2  # every weight is off by half a scale
    if kind == "int8":
        steps = x.double().abs().amax(dim=1) / 127
        allowed = allowed + steps[:, None] / 2 * (code.double() * scale.double()[:, None]).abs().sum(dim=1)
    assert ((found - exact).abs() <= allowed * 1.001 + 1e-4).all()


def test_weights_are_off_by_half_a_scale_at_most() -> None:
    _, weight, _ = draw(1, 300, 70)
    code, scale = quantize_weight(weight)
    assert code.dtype is torch.int8
    assert scale.dtype is torch.float32
    assert (code.abs().amax(dim=1) == 127).all()
    assert ((code * scale[:, None] - weight).abs() <= scale[:, None] * 0.50001).all()


def test_ties_go_to_the_even_code() -> None:
    code, _ = round_rows(torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]]))
    assert code.tolist() == [[127, 0, 2, 2, 0, -2]]


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_outputs_of_zeros_give_the_bias(kind: Activations, impl: Choice) -> None:
    x, weight, bias = draw(5, 20, 9)
    x[2], weight[4] = 0.0, 0.0
    x[3] = 1e-38
    found = int8_linear(x, *quantize_weight(weight), bias, activations=kind, impl=impl)
    torch.testing.assert_close(found[2], bias)
    torch.testing.assert_close(found[3], bias)
    torch.testing.assert_close(found[:, 4], bias[4].expand(5))


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rows", [3, 20])
def test_row_that_is_not_finite_gives_no_finite_lie(
    rows: int, bad: float, kind: Activations, impl: Choice
) -> None:
    x, weight, bias = draw(rows, 20, 9)
    x[1, 7] = bad
    found = int8_linear(x, *quantize_weight(weight), bias, activations=kind, impl=impl)
    assert not found[1].isfinite().any()
    assert found[0].isfinite().all()
    assert found[2:].isfinite().all()


@pytest.mark.parametrize("impl", BOTH)
def test_other_rows_change_no_bit_of_a_row_with_int8_activations(impl: Choice) -> None:
    x, weight, bias = draw(150, 40, 70)
    arguments = *quantize_weight(weight), bias
    whole = int8_linear(x, *arguments, activations="int8", impl=impl)
    for part in (slice(0, 1), slice(3, 20), slice(100, 150)):
        assert torch.equal(int8_linear(x[part], *arguments, activations="int8", impl=impl), whole[part])


@needs_cpu
def test_few_rows_change_no_bit_of_each_other_with_float_activations() -> None:
    x, weight, bias = draw(16, 40, 70)
    arguments = *quantize_weight(weight), bias
    whole = int8_linear(x, *arguments, impl="cpu")
    for row in range(16):
        assert torch.equal(int8_linear(x[row], *arguments, impl="cpu"), whole[row])


@needs_cpu
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 9, 130])
def test_any_number_of_threads_gives_the_same_bits(rows: int, kind: Activations) -> None:
    x, weight, bias = draw(rows, 1030, 1100)
    arguments = *quantize_weight(weight), bias
    expected = int8_linear(x, *arguments, activations=kind)
    for num_threads in (2, 5):
        torch.set_num_threads(num_threads)
        assert torch.equal(int8_linear(x, *arguments, activations=kind), expected)


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("kind", KINDS)
def test_inputs_of_any_shape_and_stride(kind: Activations, impl: Choice) -> None:
    _, weight, bias = draw(1, 24, 10)
    code, scale = quantize_weight(weight)
    shapes = {
        "vector": torch.randn(24),
        "three axes": torch.randn(2, 5, 24),
        "nothing": torch.randn(0, 24),
        "no row of many": torch.randn(3, 0, 24),
        "transposed": torch.randn(24, 7).T,
        "every second column": torch.randn(7, 48)[:, ::2],
        "one row for all": torch.randn(1, 24).expand(7, 24),
        "off by one number": torch.randn(7 * 24 + 1)[1:].view(7, 24),
    }
    for x in shapes.values():
        found = int8_linear(x, code, scale, bias, activations=kind, impl=impl)
        assert found.shape == (*x.shape[:-1], 10)
        rows = x.contiguous().view(-1, 24)
        assert_close(found.view(-1, 10), solve(rows, code, scale, bias, kind), num_terms=24 * 64)
    spread = torch.empty(24, 20, dtype=torch.int8).T[::2]
    spread.copy_(code)
    x = torch.randn(3, 24)
    of_spread, of_code = (
        int8_linear(x, it, scale, bias, activations=kind, impl=impl) for it in (spread, code)
    )
    if impl == "reference":  # torch's own product may sum in another order where strides differ
        assert_close(of_spread, solve(x, code, scale, bias, kind), num_terms=24 * 64)
    else:
        assert torch.equal(of_spread, of_code)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_take_the_reference(dtype: torch.dtype, kind: Activations) -> None:
    x, weight, bias = draw(1, 24, 10)
    code, scale = quantize_weight(weight)
    found = int8_linear(x.to(dtype) * 100, code, scale, bias, activations=kind)
    assert found.dtype is dtype
    exact = functional.linear(x.double() * 100, code.double() * scale.double()[:, None], bias.double())
    assert ((found - exact).abs() <= 0.03 * exact.abs().max()).all()


@pytest.mark.parametrize("impl", BOTH)
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_the_inputs_is_that_of_the_rounded_weights(kind: Activations, impl: Choice) -> None:
    x, weight, bias = draw(4, 12, 7)
    code, scale = quantize_weight(weight)
    x.requires_grad_()
    bias.requires_grad_()
    upstream = torch.randn(4, 7)
    found = int8_linear(x, code, scale, bias, activations=kind, impl=impl)
    x_grad, bias_grad = torch.autograd.grad((found * upstream).sum(), [x, bias])
    torch.testing.assert_close(x_grad, upstream @ (code * scale[:, None]))
    torch.testing.assert_close(bias_grad, upstream.sum(dim=0))


def test_registration_passes_torchs_own_check() -> None:
    x, weight, bias = draw(3, 8, 5)
    inputs = x.requires_grad_(), *quantize_weight(weight), bias, False, "auto"
    assert set(torch.library.opcheck(OPERATION, inputs).values()) == {"SUCCESS"}


@pytest.mark.parametrize("kind", KINDS)
def test_flop_counter_sees_the_product(kind: Activations) -> None:
    x, weight, bias = draw(6, 8, 5)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        int8_linear(x.view(2, 3, 8), *quantize_weight(weight), bias, activations=kind)
    assert counter.get_total_flops() == 2 * 6 * 8 * 5


@pytest.mark.usefixtures("as_shipped")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": torch.zeros(2, 4)}, "inputs must be floating, with a last axis of 3; got .*2, 4"),
        ({"inputs": torch.zeros(2, 3, dtype=torch.int8)}, "inputs must be floating"),
        ({"weight_OI": torch.zeros(2, 3)}, "weight must be int8 of shape .*; make it with quantize_weight"),
        ({"scale_O": torch.ones(3)}, r"scale must be floating, of shape \(2,\)"),
        ({"bias_O": torch.ones(1, 2)}, r"bias must be floating, of shape \(2,\)"),
        ({"bias_O": torch.ones(2, device="meta")}, "must be on one device"),
        ({"activations": "int4"}, "activations must be 'float' or 'int8'; got 'int4'"),
        ({"impl": "triton"}, r"impl must be one of \['auto', 'reference', 'cpu'\]"),
    ],
)
def test_misfits_are_named(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "inputs": torch.zeros(2, 3),
        "weight_OI": torch.zeros(2, 3, dtype=torch.int8),
        "scale_O": torch.ones(2),
    }
    with pytest.raises(UserError, match=message):
        int8_linear(**arguments | changes)


def test_too_many_inputs_for_integer_sums_are_refused() -> None:
    code = torch.zeros(1, 65_537, dtype=torch.int8)
    x = torch.zeros(1, 65_537)
    with pytest.raises(UserError, match=r'at most 65536 .*; got 65537; use activations="float"'):
        int8_linear(x, code, torch.ones(1), activations="int8")
    assert not int8_linear(x, code, torch.ones(1)).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    layer = nn.Linear(3, 2)
    layer.weight.data[1, 1] = bad
    with pytest.raises(UserError, match="weight must be finite"):
        quantize_weight(layer.weight)
    model = nn.Sequential(nn.Linear(3, 3), layer)
    for attempt in (lambda: int8_linears_(model), lambda: int8_linears(model).__enter__()):
        with pytest.raises(UserError, match="the weight of 1 must be finite"):
            attempt()
        assert all(type(it) is nn.Linear and "forward" not in vars(it) for it in model)


# ---- inside models


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(24, 32)
        self.second = nn.Linear(32, 8, bias=False)
        self.own = Doubled(24, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(self.own(x)).relu())


def make_gpt2(**changes: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 16, "vocab_size": 50, "n_positions": 32}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return GPT2LMHeadModel(GPT2Config(**sizes, initializer_range=0.3, **changes)).eval()


def with_rounded_weights(model: Any, *, output_layer: bool = False) -> Any:
    """A copy whose linear layers hold the rounded weights as floats; tied weights come apart."""
    twin = copy.deepcopy(model)
    head = twin.get_output_embeddings()
    for layer in [it for it in twin.modules() if type(it).__name__ in ("Linear", "Conv1D")]:
        if layer is head and not output_layer:
            continue
        weight = layer.weight if isinstance(layer, nn.Linear) else layer.weight.T
        code, scale = quantize_weight(weight)
        rounded = code * scale[:, None]
        layer.weight = nn.Parameter(rounded if isinstance(layer, nn.Linear) else rounded.T.contiguous())
    return twin


@pytest.mark.parametrize("kind", KINDS)
def test_block_replaces_exact_linear_layers_and_leaves_no_trace(kind: Activations) -> None:
    model, x = Stack().eval(), torch.randn(3, 24)
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    with torch.no_grad():
        expected = model(x)
        with int8_linears(model, activations=kind) as num_layers:
            assert num_layers == 2
            assert "forward" not in vars(model.own)
            found = model(x)
        assert not torch.equal(found, expected)
        assert (found - expected).abs().max() <= 0.05 * expected.abs().max()
        assert torch.equal(model(x), expected)
    assert {name: dict(vars(module)) for name, module in model.named_modules()} == before


def test_error_inside_the_block_leaves_no_trace() -> None:
    model = Stack().eval()
    with pytest.raises(RuntimeError, match="out of luck"), int8_linears(model):
        raise RuntimeError("out of luck")
    assert all("forward" not in vars(module) for module in model.modules())


def test_wish_for_gradients_of_the_weights_is_refused_with_the_layers_name() -> None:
    model, x = Stack(), torch.randn(3, 24)
    with int8_linears(model):
        with pytest.raises(UserError, match="the weight of first must be a constant inside int8_linears"):
            model(x)
        with torch.no_grad():
            model(x)
        model.requires_grad_(False)
        x.requires_grad_()
        model(x).sum().backward()
    assert x.grad.any()


def test_permanent_layers_hold_bytes_and_keep_hooks_and_class() -> None:
    model, x, seen = Stack().eval(), torch.randn(3, 24), []
    model.first.register_forward_hook(lambda _, args, output: seen.append(tuple(output.shape)))
    first = model.first
    with torch.no_grad():
        with int8_linears(model):
            expected = model(x)
        assert int8_linears_(model) == 2
        assert torch.equal(model(x), expected)
    assert model.first is first
    assert isinstance(first, Int8Layer)
    assert isinstance(first, nn.Linear)
    assert seen == [(3, 32), (3, 32)]
    held = {name: tensor.dtype for name, tensor in first.state_dict().items()}
    assert held == {"bias": torch.float32, "weight_int8": torch.int8, "weight_scale": torch.float32}
    assert "weight" not in dict(first.named_parameters())
    assert torch.equal(first.weight, first.weight_int8 * first.weight_scale[:, None])
    assert int8_linears_(model) == 0
    assert "in_features=24, out_features=32" in repr(first)


def test_permanent_layers_can_be_copied_and_their_state_loaded() -> None:
    model, other, x = Stack().eval(), Stack().eval(), torch.randn(3, 24)
    int8_linears_(model)
    int8_linears_(other)
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(x), model(x))
        assert not torch.equal(other(x), model(x))
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(x), model(x))


@pytest.mark.parametrize("output_layer", [False, True])
def test_gpt2_with_its_transposed_layers_equals_the_model_of_rounded_weights(output_layer: bool) -> None:
    model = make_gpt2()
    twin, tokens = with_rounded_weights(model, output_layer=output_layer), torch.randint(0, 50, (2, 9))
    embedding = model.transformer.wte.weight.clone()
    with torch.no_grad():
        expected = twin(tokens).logits
        with int8_linears(model, output_layer=output_layer) as num_layers:
            torch.testing.assert_close(model(tokens).logits, expected, rtol=1e-4, atol=1e-4)
        assert num_layers == 2 * 4 + output_layer
        assert int8_linears_(model, output_layer=output_layer) == num_layers
        torch.testing.assert_close(model(tokens).logits, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(model.transformer.wte.weight, embedding)
    assert model.transformer.h[0].mlp.c_fc.weight.shape == (16, 64)
    assert isinstance(model.lm_head, Int8Layer) == output_layer


def test_generation_over_int8_weights_is_that_of_the_rounded_model() -> None:
    model = make_gpt2(eos_token_id=None, bos_token_id=0, pad_token_id=0)
    twin, tokens = with_rounded_weights(model), torch.randint(0, 50, (2, 5))
    int8_linears_(model)
    options = {"max_new_tokens": 6, "do_sample": False, "attention_mask": torch.ones_like(tokens)}
    assert torch.equal(model.generate(tokens, **options), twin.generate(tokens, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_take_a_quarter_of_the_memory(kind: Activations) -> None:
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256))
    before = sum(it.nbytes for it in model.parameters())
    int8_linears_(model, activations=kind)
    after = sum(it.nbytes for it in [*model.parameters(), *model.buffers()])
    assert after < 0.27 * before
