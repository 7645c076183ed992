"""Linear layers through oneDNN equal torch's own, and leave no trace when their block ends."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from multum.ops import fast_linear, fast_linears, fast_linears_available
from multum.ops.fast_linear import linear
from tolerances import assert_close

INPUTS: dict[str, Callable[[], torch.Tensor]] = {
    "one row": lambda: torch.randn(1, 24),
    "a vector": lambda: torch.randn(24),
    "three axes": lambda: torch.randn(2, 5, 24),
    "four axes": lambda: torch.randn(2, 1, 5, 24),
    "nothing": lambda: torch.randn(0, 24),
    "transposed": lambda: torch.randn(24, 7).T,
    "every second column": lambda: torch.randn(7, 48)[:, ::2],
    "one row for all": lambda: torch.randn(1, 24).expand(7, 24),
    "off by one number": lambda: torch.randn(7 * 24 + 1)[1:].view(7, 24),
}
needs_onednn = pytest.mark.skipif(
    not fast_linears_available(), reason="this torch has no oneDNN linear operator"
)


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(24, 32)
        self.second = nn.Linear(32, 8, bias=False)
        self.own = Doubled(24, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(self.own(x)).relu())


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("name", INPUTS)
def test_equals_the_stock_layer(name: str, has_bias: bool) -> None:
    x, weight = INPUTS[name](), torch.randn(10, 24)
    bias = torch.randn(10) if has_bias else None
    found = fast_linear(x, weight, bias)
    true = functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    assert_close(found, true, num_terms=64)


def test_strided_weight_and_bias_are_read_rightly() -> None:
    x, weight, bias = torch.randn(5, 24), torch.randn(24, 20).T[::2], torch.randn(20)[::2]
    assert not bias.is_contiguous()
    assert_close(fast_linear(x, weight, bias), functional.linear(x.double(), weight.double(), bias.double()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_take_the_stock_layer(dtype: torch.dtype) -> None:
    x, weight, bias = torch.randn(5, 24).to(dtype), torch.randn(10, 24).to(dtype), torch.randn(10).to(dtype)
    assert torch.equal(fast_linear(x, weight, bias), functional.linear(x, weight, bias))


@pytest.mark.parametrize("trainable", ["inputs", "weight", "bias"])
def test_gradients_flow_wherever_one_is_wanted(trainable: str) -> None:
    tensors = {"inputs": torch.randn(5, 24), "weight": torch.randn(10, 24), "bias": torch.randn(10)}
    tensors[trainable].requires_grad_()
    found = fast_linear(*tensors.values())
    (grad,) = torch.autograd.grad(found.square().sum(), tensors[trainable])
    (true,) = torch.autograd.grad(functional.linear(*tensors.values()).square().sum(), tensors[trainable])
    torch.testing.assert_close(grad, true)


def test_autocast_keeps_its_say() -> None:
    x, weight = torch.randn(5, 24), torch.randn(10, 24)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert fast_linear(x, weight, None).dtype is torch.bfloat16


@needs_onednn
def test_block_replaces_exact_linear_layers_and_nothing_else() -> None:
    model, x = Stack().eval(), torch.randn(3, 24)
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    with torch.no_grad():
        expected = model(x)
        with fast_linears(model) as num_layers:
            assert num_layers == 2
            assert "forward" not in vars(model.own)
            assert_close(model(x), expected.double(), num_terms=64)
        assert torch.equal(model(x), expected)
    assert {name: dict(vars(module)) for name, module in model.named_modules()} == before


@needs_onednn
def test_block_really_runs_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = Stack().eval(), []
    assert fast_linears_available()  # asked before: its own trial of the operator does not count
    inner = linear._onednn_linear
    monkeypatch.setattr(linear, "_onednn_linear", lambda *args: calls.append(args[1]) or inner(*args))
    with torch.no_grad(), fast_linears(model):
        model(torch.randn(3, 24))
    assert [id(weight) for weight in calls] == [id(model.first.weight), id(model.second.weight)]


def test_a_single_row_takes_the_stock_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(linear, "fast_linears_available", lambda: True)
    monkeypatch.setattr(
        linear, "_onednn_linear", lambda *args: seen.append(args[0].shape) or functional.linear(*args)
    )
    weight = torch.randn(5, 3)
    for shape in ((1, 1, 3), (2, 1, 3), (3,)):
        linear.fast_linear(torch.randn(shape), weight, None)
    assert seen == [(2, 1, 3)]


def test_hooks_still_run_inside_the_block() -> None:
    model, seen = Stack().eval(), []
    model.first.register_forward_pre_hook(lambda _, args: seen.append("before"))
    model.first.register_forward_hook(lambda _, args, output: seen.append(tuple(output.shape)))
    with torch.no_grad(), fast_linears(model):
        model(torch.randn(3, 24))
    assert seen == ["before", (3, 32)]


def test_error_inside_the_block_leaves_no_trace() -> None:
    model = Stack().eval()
    with pytest.raises(RuntimeError, match="out of luck"), fast_linears(model):
        raise RuntimeError("out of luck")
    assert all("forward" not in vars(module) for module in model.modules())


def test_nested_blocks_end_with_the_outer_one() -> None:
    model, x = Stack().eval(), torch.randn(3, 24)
    with fast_linears(model) as outer:
        with fast_linears(model) as inner:
            assert inner == 0
        assert sum("forward" in vars(module) for module in model.modules()) == outer
        with torch.no_grad():
            assert model(x).shape == (3, 8)
    assert all("forward" not in vars(module) for module in model.modules())


def test_training_inside_the_block_works() -> None:
    model, x = Stack(), torch.randn(3, 24)
    twin = copy.deepcopy(model)
    with fast_linears(model):
        model(x).square().sum().backward()
    twin(x).square().sum().backward()
    for parameter, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad)


def test_weights_changed_inside_the_block_are_used() -> None:
    model, x = Stack().eval(), torch.randn(3, 24)
    with torch.no_grad(), fast_linears(model):
        model.second.weight = nn.Parameter(torch.zeros(8, 32))
        assert not model(x).any()


def test_without_the_operator_the_stock_layers_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "fast_linears_available", lambda: False)
    model, x = Stack().eval(), torch.randn(3, 24)
    with torch.no_grad():
        expected = model(x)
        with fast_linears(model) as num_layers:
            assert num_layers == 0
            assert torch.equal(model(x), expected)
        assert torch.equal(fast_linear(x, model.first.weight, None), functional.linear(x, model.first.weight))


@pytest.mark.parametrize("surroundings", [torch.enable_grad, torch.inference_mode])
def test_availability_does_not_depend_on_who_asks_first(surroundings: Callable[[], torch.no_grad]) -> None:
    known = fast_linears_available()
    for around in (surroundings, lambda: torch.autocast("cpu", torch.bfloat16)):
        linear.fast_linears_available.cache_clear()
        with around():
            assert fast_linears_available() == known
    linear.fast_linears_available.cache_clear()
