"""The ruler against arithmetic done by hand."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from multum.cost import Cost, measure

FLOAT = 4


class Function(nn.Module):
    """A module around a function, so that it can be measured."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


def infer(model: nn.Module, *inputs: torch.Tensor) -> Cost:
    return measure(model, inputs, latency=False)


def train(model: nn.Module, *inputs: torch.Tensor, optimizer=None) -> Cost:
    return measure(model, inputs, mode="training", optimizer=optimizer, latency=False)


class TestMacs:
    def test_linear_is_rows_times_weights(self) -> None:
        assert infer(nn.Linear(7, 5), torch.zeros(2, 3, 7)).macs == 2 * 3 * 7 * 5

    def test_training_a_linear_layer_costs_three_times_its_forward_pass(self) -> None:
        model = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 4))
        first, second = 6 * 7 * 5, 6 * 5 * 4
        cost = train(model, torch.zeros(6, 7))
        # the first layer's input needs no gradient
        assert [cost.layer(path).macs for path in ("0", "1")] == [2 * first, 3 * second]

    @pytest.mark.parametrize("groups", [1, 2, 8])
    def test_convolution_by_hand(self, groups: int) -> None:
        model = nn.Conv2d(8, 16, 3, stride=2, padding=1, groups=groups)
        assert infer(model, torch.zeros(2, 8, 10, 12)).macs == 2 * 16 * (8 // groups) * 9 * 5 * 6

    @pytest.mark.parametrize("groups", [1, 2, 8])
    def test_gradients_of_a_grouped_convolution_cost_what_the_forward_pass_costs(self, groups: int) -> None:
        model = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=groups))
        forward = 2 * 8 * (8 // groups) * 9 * 8 * 8
        assert train(model, torch.zeros(2, 8, 10, 10)).layer("1").macs == 3 * forward

    def test_transposed_convolution_by_hand(self) -> None:
        model = nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1)
        assert infer(model, torch.zeros(2, 6, 5, 5)).macs == 2 * 25 * 6 * 4 * 16

    @pytest.mark.parametrize("causal", [False, True])
    def test_attention_counts_scores_and_values_in_full(self, causal: bool) -> None:
        model = Function(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal))
        cost = infer(model, torch.zeros(2, 3, 5, 4), torch.zeros(2, 3, 5, 4), torch.zeros(2, 3, 5, 4))
        assert cost.macs == cost.attention_macs == 2 * 3 * 5 * 5 * (4 + 4)
        assert cost.attention_counted

    def test_fused_and_eager_attention_agree(self) -> None:
        def eager(q, k, v):
            return (q @ k.transpose(-1, -2)).softmax(-1) @ v

        tensors = [torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3)]
        fused = infer(Function(F.scaled_dot_product_attention), *tensors)
        assert infer(Function(eager), *tensors).attention_macs == fused.attention_macs == fused.macs

    def test_backward_of_attention_is_five_products(self) -> None:
        class Attention(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.query = nn.Parameter(torch.randn(2, 3, 5, 4))

            def forward(self, key):
                return F.scaled_dot_product_attention(self.query, key, key)

        assert train(Attention(), torch.randn(2, 3, 5, 4)).attention_macs == 2 * 3 * 5 * 5 * 4 * (2 + 5)

    def test_a_product_with_a_weight_is_no_attention(self) -> None:
        class Experts(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.randn(3, 4, 5))

            def forward(self, x):
                return torch.bmm(x, self.weight)

        cost = infer(Experts(), torch.randn(3, 2, 4))
        assert (cost.macs, cost.attention_macs) == (3 * 2 * 4 * 5, 0)

    def test_fast_path_of_the_encoder_layer_counts_as_the_slow_one(self) -> None:
        torch.manual_seed(0)
        layer, tokens = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), torch.randn(2, 5, 16)
        linear, attention = 2 * 5 * (4 * 16 * 16 + 2 * 16 * 32), 2 * 2 * 5 * 5 * 16
        fast = infer(layer, tokens)
        assert (fast.macs, fast.attention_macs) == (linear + attention, attention)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            slow = infer(layer, tokens)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
        assert (slow.macs, slow.attention_macs) == (fast.macs, fast.attention_macs)

    def test_recurrent_layers_use_each_weight_at_each_step(self) -> None:
        model = nn.LSTM(8, 6, num_layers=2, bidirectional=True)
        weights = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() == 2)
        assert infer(model, torch.zeros(5, 3, 8)).macs == 5 * 3 * weights

    def test_bilinear_layer_multiplies_every_pair(self) -> None:
        assert infer(nn.Bilinear(4, 5, 3), torch.zeros(2, 4), torch.zeros(2, 5)).macs == 2 * 4 * 5 * 3

    def test_inference_mode_of_the_caller_changes_nothing(self) -> None:
        model, pictures = (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 2)),
            torch.zeros(1, 3, 5, 5),
        )
        plain = infer(model, pictures)
        with torch.inference_mode():
            assert infer(model, pictures).macs == plain.macs == 9 * 4 * 27 + 36 * 2


class TestKeptBytes:
    def test_linear_relu_linear_by_hand(self) -> None:
        batch, wide, narrow = 6, 16, 3
        model = nn.Sequential(nn.Linear(5, wide), nn.ReLU(), nn.Linear(wide, narrow))
        cost = train(model, torch.zeros(batch, 5))
        # the first layer keeps its input, ReLU its result, which is the next layer's input, the loss the output
        assert cost.kept_input_bytes == batch * 5 * FLOAT
        assert {row.path: row.kept_bytes for row in cost.layers if row.kept_bytes} == {
            "1": batch * wide * FLOAT,
            "(loss)": batch * narrow * FLOAT,
        }
        assert cost.kept_bytes == batch * (wide + narrow) * FLOAT

    def test_frozen_layers_in_front_keep_nothing(self) -> None:
        model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))
        model[0].requires_grad_(False)
        cost = train(model, torch.zeros(6, 5))
        assert cost.kept_input_bytes == 0
        assert cost.layer("2").kept_bytes == 6 * 16 * FLOAT

    def test_a_view_keeps_its_whole_storage_once(self) -> None:
        class Sliced(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.ones(1))

            def forward(self, x):
                made = x + 1  # not saved by itself
                return made[:, :1] * self.scale, made[:, 1:2] * self.scale

        cost = measure(
            Sliced(),
            torch.zeros(6, 10),
            mode="training",
            loss=lambda pair: (pair[0] + pair[1]).sum(),
            latency=False,
        )
        assert cost.kept_bytes == 6 * 10 * FLOAT

    def test_a_branch_that_never_reaches_the_loss_is_not_kept(self) -> None:
        class Forgetful(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Linear(4, 4)

            def forward(self, x):
                self.layer(x).exp().sin()
                return self.layer(x)

        model, x = Forgetful(), torch.randn(8, 4)
        assert train(model, x).kept_bytes == 8 * 4 * FLOAT

    def test_batch_norm_keeps_its_statistics(self) -> None:
        model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
        cost = train(model, torch.randn(2, 3, 4, 4))
        result = 2 * 8 * 16 * FLOAT
        assert cost.layer("1").kept_bytes == result + 2 * 8 * FLOAT


class TestLivePeak:
    def test_a_chain_holds_two_activations_at_a_time(self) -> None:
        sizes = [1000, 3000, 2000, 500]
        layers = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes)]
        cost = infer(nn.Sequential(*layers), torch.zeros(7, sizes[0]))
        weights = sum(a * b for a, b in itertools.pairwise(sizes))
        # the inputs stay alive; beside them, the pair of neighbouring activations that is largest
        assert cost.peak_live_bytes == FLOAT * (weights + 7 * (1000 + 3000 + 2000))
        assert cost.resident_bytes == FLOAT * (weights + 7 * 1000)

    def test_an_in_place_activation_needs_no_room(self) -> None:
        inputs = torch.zeros(7, 100)
        apart = infer(nn.Sequential(nn.Linear(100, 300), nn.ReLU()), inputs)
        within = infer(nn.Sequential(nn.Linear(100, 300), nn.ReLU(inplace=True)), inputs)
        assert apart.peak_live_bytes - within.peak_live_bytes == 7 * 300 * FLOAT

    def test_training_peak_of_a_chain_by_hand(self) -> None:
        model = nn.Sequential(nn.Linear(10, 400, bias=False), nn.ReLU(), nn.Linear(400, 400, bias=False))
        cost = train(model, torch.randn(64, 10))
        weights, activation = 10 * 400 + 400 * 400, 64 * 400
        # worst when the second layer's gradients are both there: beside them its input (ReLU's result), the gradient
        # of its output, the inputs of the model, and two single numbers, the loss and the loss's own gradient
        at_second_layer = weights + 64 * 10 + 2 * activation + (activation + 400 * 400) + 2
        assert cost.peak_live_bytes == FLOAT * at_second_layer
        assert cost.gradient_bytes == FLOAT * (10 * 400 + 400 * 400)

    def test_adam_keeps_two_numbers_and_a_counter_for_each_parameter(self) -> None:
        model = nn.Linear(10, 20)
        cost = train(model, torch.randn(3, 10), optimizer=torch.optim.Adam)
        assert cost.optimizer_bytes == 2 * 220 * FLOAT + 2 * FLOAT
        assert cost.resident_bytes == 220 * FLOAT + cost.optimizer_bytes + 30 * FLOAT

    def test_plain_sgd_keeps_nothing(self) -> None:
        cost = train(nn.Linear(10, 20), torch.randn(3, 10), optimizer=lambda p: torch.optim.SGD(p, lr=0.1))
        assert cost.optimizer_bytes == 0

    def test_gradients_that_meet_are_added_in_place(self) -> None:
        """Autograd overwrites the first of two gradients; only under a dispatch mode does it make a third tensor."""

        class Fork(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.ones(1))

            def forward(self, x):
                made = x * self.weight
                return made.sin() + made.cos()

        x = torch.randn(100_000)
        size = x.numel() * FLOAT
        cost = measure(Fork(), x, mode="training", loss=lambda output: output.sum(), latency=False)
        # x, made, and the larger of: both branches with their sum; two gradients and one more on its way
        assert cost.peak_live_bytes - cost.peak_live_bytes % size == 5 * size


class TestTraffic:
    def test_linear_reads_input_and_weight_and_writes_output(self) -> None:
        cost = infer(nn.Linear(7, 5), torch.zeros(3, 7))
        assert cost.dram_bytes == cost.dram_floor_bytes == FLOAT * (3 * 7 + 7 * 5 + 5 + 3 * 5)

    def test_a_second_operation_moves_its_input_again_but_the_floor_stays(self) -> None:
        cost = infer(nn.Sequential(nn.Linear(7, 5), nn.ReLU()), torch.zeros(3, 7))
        output = 3 * 5 * FLOAT
        assert cost.dram_bytes == cost.dram_floor_bytes + 2 * output
        assert cost.layer("1").dram_floor_bytes == 2 * output

    def test_views_are_free(self) -> None:
        cost = infer(Function(lambda x: x.view(2, 6).t()[1:].unsqueeze(0)), torch.zeros(3, 4))
        assert cost.dram_bytes == 0

    def test_an_embedding_reads_only_the_rows_that_it_looks_up(self) -> None:
        cost = infer(nn.Embedding(1000, 8), torch.tensor([[3, 5, 3]]))
        rows = 3 * 8 * FLOAT
        assert cost.dram_bytes == cost.dram_floor_bytes == 3 * 8 + rows + rows

    def test_a_broadcast_operand_is_read_once(self) -> None:
        cost = infer(Function(lambda x, b: x + b.expand(4, 6)), torch.zeros(4, 6), torch.zeros(6))
        assert cost.dram_bytes == FLOAT * (24 + 6 + 24)

    def test_overwriting_does_not_read(self) -> None:
        cost = infer(Function(lambda x: torch.zeros(10).copy_(x)), torch.zeros(10))
        assert cost.dram_bytes == (10 + 10 + 10) * FLOAT  # zeros written, x read and written

    def test_floor_of_a_training_step_is_weights_inputs_gradients_and_optimizer(self) -> None:
        model, x = nn.Linear(10, 20, bias=False), torch.randn(3, 10)
        weights = 200 * FLOAT
        plain = train(model, x)
        assert plain.dram_floor_bytes == weights + 30 * FLOAT + weights  # read both, write the gradient
        momentum = train(model, x, optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
        assert (
            momentum.dram_floor_bytes == plain.dram_floor_bytes + weights + 2 * weights
        )  # weights, momentum twice
