"""Lean layers compute what torch's do, forward and backward, and keep less; in float64, so that any slip shows."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from multum.core import UserError
from multum.cost.witness import kept_by_autograd
from multum.transfer import lean, make_lean, make_stock
from multum.transfer.lean_sequence import LeanSequential
from small_cnns import bordered_mobile, every_lean_layer, foreign_residual, small_mobile

NETS: dict[str, Callable[[], nn.Module]] = {
    "every_layer": every_lean_layer,
    "mobile": small_mobile,
    "foreign": foreign_residual,
    "bordered": bordered_mobile,
}


def train_nothing_but(model: nn.Module, what: str) -> None:
    """Shifts of norms, scales as well, every second parameter, the last layer, everything, or nothing."""
    model.requires_grad_(what == "all")
    parameters = dict(model.named_parameters())
    if what == "last":
        for it in list(parameters.values())[-2:]:
            it.requires_grad_()
    if what == "every second":
        for it in list(parameters.values())[::2]:
            it.requires_grad_()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and what in ("shifts", "norms"):
            module.bias.requires_grad_()
            module.weight.requires_grad_(what == "norms")


def channels_inmost(model: nn.Module) -> None:
    """What `model.to(memory_format=torch.channels_last)` does, which torch's own types do not know."""
    for it in model.parameters():
        if it.dim() == 4:
            it.data = it.data.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("input_trains", [False, True], ids=["pictures", "input_wants_gradient"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("what", ["shifts", "norms", "every second", "last", "all", "nothing"])
@pytest.mark.parametrize("net", NETS)
def test_outputs_and_gradients_are_torchs(
    net: str, what: str, channels_last: bool, input_trains: bool
) -> None:
    stock = NETS[net]().double().eval()
    train_nothing_but(stock, what)
    ours = copy.deepcopy(stock)
    make_lean(ours)
    ours.train()  # norms keep their statistics
    x = torch.randn(3, 3, 33, 30, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
        for it in (stock, ours):
            channels_inmost(it)
    theirs_x, our_x = x.clone().requires_grad_(input_trains), x.clone().requires_grad_(input_trains)
    expected, found = stock(theirs_x), ours(our_x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert found.requires_grad == expected.requires_grad
    if not found.requires_grad:
        return
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    if input_trains:
        torch.testing.assert_close(our_x.grad, theirs_x.grad, rtol=1e-11, atol=1e-12)
    for (name, mine), theirs in zip(ours.named_parameters(), stock.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-11, atol=1e-12, msg=name)


def test_trained_shifts_keep_one_bit_of_what_is_bent_and_nothing_else() -> None:
    net = small_mobile()
    make_lean(net)
    train_nothing_but(net, "shifts")
    bent: list[int] = []
    for module in net.modules():
        if isinstance(module, nn.ReLU6):
            module.register_forward_hook(lambda _, __, y: bent.append(y.numel()))
    with torch.no_grad():
        stock = copy.deepcopy(net)
        make_stock(stock)
        stock.eval()(torch.randn(4, 3, 32, 32))
    y = net(torch.randn(4, 3, 32, 32))
    kept = kept_by_autograd(y, known=(*net.parameters(), *net.buffers()))
    scales = 4 * sum(it.num_features for it in net.modules() if isinstance(it, nn.BatchNorm2d))
    assert sum(bent) / 8 <= kept <= sum(bent) / 8 + scales + 2048


def test_a_border_is_put_around_a_picture_at_a_time() -> None:
    net = bordered_mobile()
    make_lean(net)
    train_nothing_but(net, "shifts")
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            found = func(*args, **(kwargs or {}))
            nonlocal largest
            if func is torch.nn.functional.pad:
                largest = max(largest, len(found))
            return found

    with Watch():
        net(torch.randn(4, 3, 32, 32)).sum().backward()
    assert largest == 1


def test_below_the_first_trained_layer_nothing_is_kept() -> None:
    net = every_lean_layer()
    make_lean(net)
    train_nothing_but(net, "last")
    y = net(torch.randn(2, 3, 32, 32))
    assert kept_by_autograd(y, known=(*net.parameters(), *net.buffers())) <= 4 * 2 * 12


def test_float32_by_onednn_is_as_close_as_torch_itself() -> None:
    exact = small_mobile().double().eval()
    train_nothing_but(exact, "shifts")
    x = torch.randn(3, 3, 40, 40, dtype=torch.float64)
    exact(x).square().sum().backward()
    results = []
    for make in (make_lean, lambda _: None):
        net = copy.deepcopy(exact).float()
        channels_inmost(net)
        for it in net.parameters():
            it.grad = None
        make(net)
        net(x.float().contiguous(memory_format=torch.channels_last)).square().sum().backward()
        results.append([it.grad for it in net.parameters() if it.requires_grad])
    true = [it.grad for it in exact.parameters() if it.requires_grad]
    worst = [
        max(
            float(torch.dist(mine.double(), it) / it.norm())
            for mine, it in zip(found, true, strict=True)
            if mine is not None and it is not None
        )
        for found in results
    ]
    assert worst[0] <= max(2 * worst[1], 1e-6)


def test_a_block_undoes_it_and_names_stay() -> None:
    net = foreign_residual()
    names, kinds = list(net.state_dict()), [type(it) for it in net.modules()]
    with lean(net) as report:
        assert type(net) is LeanSequential
        assert list(net.state_dict()) == names
        assert report.stock_layers == ("act: Hardswish",)
        assert "layer1.conv1" in report.lean_layers
    assert [type(it) for it in net.modules()] == kinds


def test_one_picture_is_enough() -> None:
    net = small_mobile()
    make_lean(net)
    train_nothing_but(net, "shifts")
    net.train()
    together = net(pictures := torch.randn(4, 3, 32, 32))
    alone = torch.cat([net(it[None]) for it in pictures])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_layers_that_are_not_known_stay_exact() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.GELU()
    )
    net.requires_grad_(False)
    expected = net(x := torch.randn(1, 3, 8, 8))
    assert make_lean(net).stock_layers == ("2: GELU",)
    torch.testing.assert_close(net(x), expected)


def test_a_norm_without_statistics_is_refused() -> None:
    net = nn.Sequential(nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(UserError, match="the norm 0 must be one with running statistics"):
        make_lean(net)
