"""`measure`: whose work is whose, special modules, custom operations, and every complaint."""

import math
from typing import Any

import jaxtyping
import pytest
import torch
from torch import nn

from multum.core.errors import UserError
from multum.cost import MacCount, measure, register_macs
from multum.cost.assemble import MOST_MOMENTS, thin_out
from multum.cost.layers import LOSS, OPTIMIZER, ROOT
from multum.cost.macs import looks_like_product
from multum.cost.result import Moment


def chain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


@torch.library.custom_op("multum_test::described", mutates_args=())
def described(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left @ right) @ right


@torch.library.custom_op("multum_test::unknown", mutates_args=())
def unknown(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left @ right


@torch.library.custom_op("multum_test::attention_like", mutates_args=())
def attention_like(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left @ right


@register_macs(described)
def described_macs(left: torch.Tensor, right: torch.Tensor, *, out_val: torch.Tensor) -> MacCount:
    return MacCount(2 * left.numel() * out_val.shape[-1], attention=7)


class Calls(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


class TestLayers:
    def test_backward_work_belongs_to_the_layer_that_went_forward(self) -> None:
        cost = measure(chain(), torch.randn(3, 8), mode="training", latency=False)
        assert {row.path: row.macs for row in cost.layers if row.macs} == {
            "0": 2 * 3 * 8 * 16,
            "2": 3 * 3 * 16 * 4,
        }

    def test_work_outside_of_layers_belongs_to_the_root_the_loss_and_the_optimizer(self) -> None:
        class Residual(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(8, 8)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.layer(x) @ x.T

        model = Residual()
        settings = {"mode": "training", "loss": lambda y: (y @ y).sum(), "optimizer": torch.optim.Adam}
        cost = measure(model, torch.randn(3, 8), **settings, latency=False)
        assert cost.layer(ROOT).macs == 2 * 3 * 3 * 8  # forward, and one gradient
        assert cost.layer(LOSS).macs == 3 * 3**3
        assert cost.layer(OPTIMIZER).dram_written_bytes >= 3 * 72 * 4
        assert {moment.phase for moment in cost.timeline} == {"forward", "loss", "backward", "optimizer"}

    def test_a_module_called_twice_is_one_row_with_two_calls(self) -> None:
        layer = nn.Linear(8, 8)
        row = measure(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(3, 8), latency=False).layer("0")
        assert (row.num_calls, row.num_parameters, row.macs) == (2, 72, 2 * 3 * 64)
        assert row.output_bytes == 2 * 3 * 8 * 4

    def test_tied_weights_count_once(self) -> None:
        embed, head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
        head.weight = embed.weight
        cost = measure(nn.Sequential(embed, head), torch.zeros(2, 3, dtype=torch.long), latency=False)
        assert cost.num_parameters == 40
        assert cost.parameter_bytes == 160
        assert [row.num_parameters for row in cost.layers] == [40, 0]

    def test_frozen_parameters_are_told_apart(self) -> None:
        model = chain()
        model[0].requires_grad_(False)
        cost = measure(model, torch.zeros(3, 8), mode="training", latency=False)
        assert (cost.num_parameters, cost.num_trainable_parameters) == (16 * 9 + 4 * 17, 4 * 17)
        assert cost.gradient_bytes == 4 * 17 * 4
        assert cost.layer("0").num_trainable_parameters == 0

    def test_a_layer_that_is_not_there_is_named(self) -> None:
        with pytest.raises(UserError, match=r"path must be the path of a measured layer; got '7'"):
            measure(chain(), torch.zeros(3, 8), latency=False).layer("7")

    @pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
    def test_root_module_without_hooks_owns_everything(self) -> None:
        scripted = torch.jit.trace(chain(), torch.zeros(3, 8))
        assert measure(scripted, torch.zeros(3, 8), latency=False).macs == 3 * (8 * 16 + 16 * 4)


class TestOperations:
    def test_a_described_custom_operation_is_counted(self) -> None:
        cost = measure(Calls(described), (torch.zeros(3, 4), torch.zeros(4, 4)), latency=False)
        assert (cost.macs, cost.attention_macs, cost.uncounted_ops) == (2 * 12 * 4, 7, ())

    def test_an_unknown_custom_operation_is_listed(self) -> None:
        cost = measure(Calls(unknown), (torch.zeros(3, 4), torch.zeros(4, 4)), latency=False)
        assert (cost.macs, cost.uncounted_ops) == (0, ("multum_test.unknown",))
        assert cost.attention_counted
        assert "multum_test.unknown" in str(cost)

    def test_unknown_attention_is_said_to_be_uncounted(self) -> None:
        cost = measure(Calls(attention_like), (torch.zeros(3, 4), torch.zeros(4, 4)), latency=False)
        assert not cost.attention_counted
        assert "not counted" in str(cost)

    def test_an_operation_is_described_only_once(self) -> None:
        with pytest.raises(UserError, match="it has one already"):
            register_macs(described)(described_macs)

    def test_only_operations_can_be_described(self) -> None:
        with pytest.raises(TypeError, match="operation must be a torch operation"):
            register_macs(torch.add)

    def test_a_formula_that_fails_makes_the_operation_uncounted(self) -> None:
        @torch.library.custom_op("multum_test::misdescribed", mutates_args=())
        def misdescribed(left: torch.Tensor) -> torch.Tensor:
            return left * 2

        @register_macs(torch.ops.multum_test.misdescribed)
        def wrong(left: torch.Tensor, right: torch.Tensor, *, out_val: torch.Tensor) -> int:
            return 0

        cost = measure(Calls(misdescribed), torch.zeros(3), latency=False)
        assert cost.uncounted_ops == ("multum_test.misdescribed",)

    @pytest.mark.parametrize(
        "name", ["mm", "convolution", "_scaled_dot_product_flash_attention", "linear", "lstm"]
    )
    def test_products_are_recognised_by_name(self, name: str) -> None:
        assert looks_like_product(getattr(torch.ops.aten, name))

    @pytest.mark.parametrize(
        "name", ["add", "upsample_bilinear2d", "_fused_sdp_choice", "softmax", "comm", "norm"]
    )
    def test_other_operations_are_not(self, name: str) -> None:
        packet = getattr(torch.ops.aten, name, None)
        assert packet is None or not looks_like_product(packet)


class TestSpecialModules:
    def test_a_compiled_model_is_measured_as_it_is_written(self) -> None:
        model = chain()
        plain = measure(model, torch.zeros(3, 8), latency=False)
        compiled = torch.compile(model, backend="eager")
        cost = measure(compiled, torch.zeros(3, 8), latency=False)
        assert (cost.macs, cost.peak_live_bytes) == (plain.macs, plain.peak_live_bytes)
        assert [row.macs for row in cost.layers if row.macs] == [384, 192]

    def test_an_exported_program_is_measured(self) -> None:
        program = torch.export.export(chain(), (torch.zeros(3, 8),))
        cost = measure(program.module(), torch.zeros(3, 8), latency=False)
        assert cost.macs == 3 * (8 * 16 + 16 * 4)

    def test_layers_frozen_on_purpose_stay_frozen_in_training(self) -> None:
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
        model[1].eval()
        seen: list[bool] = []
        model[1].register_forward_hook(lambda module, *_: seen.append(module.training))
        measure(model, torch.randn(3, 4), mode="training", latency=False)
        assert seen == [False]

    def test_a_model_in_eval_is_trained_in_train_and_put_back(self) -> None:
        model, seen = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 4)).eval(), []
        model[0].register_forward_hook(lambda module, *_: seen.append(module.training))
        measure(model, torch.randn(3, 4), mode="training", latency=False)
        assert seen == [True]
        assert not model[0].training

    def test_no_grad_around_it_does_not_matter(self) -> None:
        model, x = chain(), torch.randn(3, 8)
        with torch.no_grad():
            within = measure(model, x, mode="training", latency=False)
        assert within == measure(model, x, mode="training", latency=False)
        assert within.gradient_bytes == within.parameter_bytes

    def test_a_users_optimizer_is_left_as_it_was(self) -> None:
        model, x = chain(), torch.randn(3, 8)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        model(x).square().mean().backward()
        optimizer.step()
        weights = [parameter.clone() for parameter in model.parameters()]
        state = {key: value.clone() for key, value in optimizer.state[model[0].weight].items()}
        cost = measure(model, x, mode="training", optimizer=optimizer, latency=True, min_run_seconds=1e-4)
        assert cost.optimizer_bytes == 2 * cost.parameter_bytes + 4 * 4
        assert all(torch.equal(*pair) for pair in zip(model.parameters(), weights, strict=True))
        assert all(torch.equal(optimizer.state[model[0].weight][key], value) for key, value in state.items())

    def test_a_fresh_optimizer_is_fresh_afterwards(self) -> None:
        model = chain()
        optimizer = torch.optim.Adam(model.parameters())
        measure(model, torch.randn(3, 8), mode="training", optimizer=optimizer, latency=False)
        assert len(optimizer.state) == 0

    def test_a_models_own_loss_is_taken(self) -> None:
        model = Calls(lambda x, weight: {"loss": (x @ weight).sum(), "logits": x * math.nan})
        model.weight = nn.Parameter(torch.ones(4, 2))
        inputs = {"x": torch.ones(3, 4), "weight": model.weight}
        cost = measure(model, inputs, mode="training", latency=False)
        assert cost.gradient_bytes == 32

    def test_everything_is_put_back_after_a_failure(self) -> None:
        model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3), nn.Linear(5, 2)).train()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(UserError):
            measure(model, torch.randn(6, 4), mode="training", latency=False)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()
        assert not torch.nn.modules.module._global_forward_hooks


@pytest.fixture
def plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch the tests' own shape and type checks off: a user has none, and meets our complaints instead."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("plain_python")
class TestComplaints:
    def test_not_a_module(self) -> None:
        with pytest.raises(TypeError, match=r"model must be a torch.nn.Module; got <function"):
            measure(lambda x: x, torch.zeros(1))

    def test_unknown_mode(self) -> None:
        with pytest.raises(UserError, match=r"mode must be 'inference' or 'training'; got 'sleeping'"):
            measure(chain(), torch.zeros(3, 8), mode="sleeping")

    def test_inputs_of_a_strange_type(self) -> None:
        with pytest.raises(
            TypeError, match="inputs must be a tensor, a tuple of positional arguments or a mapping"
        ):
            measure(chain(), [torch.zeros(3, 8)])

    def test_inputs_that_the_model_refuses_are_shown(self) -> None:
        with pytest.raises(UserError) as caught:
            measure(chain(), torch.zeros(3, 5))
        assert (
            "inputs must be what Sequential accepts; got float32[3, 5]; the model said RuntimeError:"
            in str(caught.value)
        )

    def test_keywords_that_the_model_does_not_know_are_shown(self) -> None:
        with pytest.raises(
            UserError, match=r"got mask=None, x=\(float32\[2\], 1\); the model said TypeError"
        ):
            measure(chain(), {"mask": None, "x": [torch.zeros(2), 1]})

    def test_a_loss_that_is_not_finite(self) -> None:
        model = chain()
        with torch.no_grad():
            model[0].weight[0, 0] = math.nan
        with pytest.raises(
            UserError, match="loss must be finite; got nan; look for NaN in the weights or inputs"
        ):
            measure(model, torch.ones(3, 8), mode="training")

    def test_a_loss_that_is_no_number(self) -> None:
        with pytest.raises(TypeError, match="loss must be a function that returns a tensor with one number"):
            measure(chain(), torch.ones(3, 8), mode="training", loss=lambda output: output)

    def test_an_output_without_numbers_to_train_on(self) -> None:
        with pytest.raises(TypeError, match="pass loss=, a function of the output"):
            measure(Calls(lambda x: x.argmax()), torch.ones(3), mode="training")

    def test_loss_and_optimizer_belong_to_training(self) -> None:
        with pytest.raises(
            UserError, match=r'optimizer must be None for inference; got .*; use mode="training"'
        ):
            measure(chain(), torch.ones(3, 8), optimizer=torch.optim.Adam)
        with pytest.raises(UserError, match="loss must be None for inference"):
            measure(chain(), torch.ones(3, 8), loss=torch.sum)

    def test_an_optimizer_that_is_none(self) -> None:
        with pytest.raises(TypeError, match="optimizer must be an optimizer, or a function that makes one"):
            measure(chain(), torch.ones(3, 8), mode="training", optimizer="adam")
        with pytest.raises(TypeError, match="optimizer must be an optimizer, or a function that makes one"):
            measure(chain(), torch.ones(3, 8), mode="training", optimizer=list)

    def test_a_lazy_model_must_run_first(self) -> None:
        with pytest.raises(UserError, match="run the model once before measuring it"):
            measure(nn.LazyLinear(3), torch.ones(3, 8))


class TestTimeline:
    def moments(self, levels: list[int]) -> list[Moment]:
        return [
            Moment(step=step, phase="forward", layer="", operation="", live_bytes=level)
            for step, level in enumerate(levels)
        ]

    def test_a_short_one_is_kept_whole(self) -> None:
        moments = self.moments([3, 1, 2])
        assert thin_out(moments) == tuple(moments)

    def test_a_long_one_keeps_its_peak_and_its_start(self) -> None:
        levels = [(step * 7919) % 1009 for step in range(5 * MOST_MOMENTS)]
        levels[2345] = 10**6
        thin = thin_out(self.moments(levels))
        assert len(thin) <= MOST_MOMENTS
        assert max(moment.live_bytes for moment in thin) == 10**6
        assert [moment.step for moment in thin] == sorted({moment.step for moment in thin})

    def test_parts_of_a_moment_fit_in_the_whole(self) -> None:
        cost = measure(chain(), torch.randn(3, 8), mode="training", optimizer=torch.optim.Adam, latency=False)
        assert all(
            m.activation_bytes + m.gradient_bytes + m.optimizer_bytes + cost.parameter_bytes <= m.live_bytes
            for m in cost.timeline
        )
        assert max(moment.gradient_bytes for moment in cost.timeline) == cost.gradient_bytes
        assert cost.timeline[-1].optimizer_bytes == cost.optimizer_bytes


class TestTransformations:
    """Modules whose tensors are not plain: inside of torch.func, wrapped, nested, behind higher-order operators."""

    def test_gradients_inside_of_a_model(self) -> None:
        layer = nn.Linear(4, 4)

        class Sensitive(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = layer

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.func.grad(lambda y: self.layer(y).sum())(x) * self.layer(x)

        x = torch.randn(3, 4)
        assert measure(Sensitive(), x, latency=False).macs == 3 * 3 * 16
        trained = measure(
            Sensitive(), x, mode="training", latency=False
        )  # hooks are refused: read off the graph
        assert (
            trained.kept_bytes == 3 * 48 + 4
        )  # both factors, the output, and the one that the inner gradient starts from
        assert trained.layer(LOSS).kept_bytes == 48

    def test_vectorized_layers(self) -> None:
        class Vectorized(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(4, 4)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.vmap(self.layer)(x)

        model, x = Vectorized(), torch.randn(3, 4)
        plain = measure(model.layer, x, mode="training", latency=False)
        cost = measure(model, x, mode="training", latency=False)
        assert (cost.macs, cost.kept_bytes) == (plain.macs, plain.kept_bytes)
        assert cost.layer("layer").num_calls == 1

    @pytest.mark.usefixtures(
        "plain_python"
    )  # torch traces through module hooks here, but not through their checks
    def test_only_the_branch_that_runs_is_counted(self) -> None:
        class Branching(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(4, 4)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.cond(x.sum() > 0, lambda y: self.layer(y), lambda y: y * 2, (x,))

        assert measure(Branching(), torch.ones(3, 4), latency=False).macs == 48
        assert measure(Branching(), -torch.ones(3, 4), latency=False).macs == 0

    def test_texts_of_different_length_in_one_tensor(self) -> None:
        class Ragged(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(4, 4)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.layer(torch.nested.nested_tensor([x[0], x[1][:2]], layout=torch.jagged)).values()

        assert measure(Ragged(), torch.randn(2, 5, 4), latency=False).macs == (5 + 2) * 16

    @pytest.mark.filterwarnings("ignore:.*nested tensors:UserWarning")
    def test_padding_is_not_counted_where_torch_leaves_it_out(self) -> None:
        torch.manual_seed(0)
        encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1)
        padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
        cost = measure(encoder, (torch.randn(2, 5, 16), None, padding), latency=False)
        weights, attention = 4 * 16 * 16 + 2 * 16 * 32, 2 * 16 * (5 * 5 + 3 * 3)
        assert (cost.macs, cost.attention_macs) == (8 * weights + attention, attention)

    def test_an_optimizer_that_computes_the_loss_itself_is_refused(self) -> None:
        with pytest.raises(UserError, match="optimizer must be one whose step needs no closure; got 'LBFGS'"):
            measure(chain(), torch.randn(3, 8), mode="training", optimizer=torch.optim.LBFGS)
