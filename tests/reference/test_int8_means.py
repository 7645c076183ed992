"""Means of norms follow the rounding of weights: each norm sees its input as far from its mean as before."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from multum.transfer import make_lean, to_int8
from multum.transfer.int8_means import input_means
from small_cnns import bordered_mobile, foreign_residual, small_mobile

NETS: dict[str, Callable[[], nn.Module]] = {
    "mobile": small_mobile,
    "foreign": foreign_residual,
    "bordered": bordered_mobile,
}


def a_net(name: str) -> tuple[nn.Module, Tensor]:
    """Frozen, in float64, with the statistics of what goes through it."""
    torch.manual_seed(0)
    net, pictures = NETS[name]().double(), torch.randn(16, 3, 32, 32, dtype=torch.float64)
    for it in net.modules():
        if isinstance(it, nn.BatchNorm2d):
            it.momentum = 1.0
    net.train()(pictures)
    return net.eval().requires_grad_(False), pictures


def means_of(net: nn.Module) -> dict[str, Tensor]:
    return {
        name: it.running_mean.clone()
        for name, it in net.named_modules()
        if isinstance(it, nn.BatchNorm2d) and it.running_mean is not None
    }


@pytest.mark.parametrize("is_lean", [False, True], ids=["stock", "lean"])
@pytest.mark.parametrize("name", NETS)
def test_inputs_stay_as_far_from_the_means_as_they_were(name: str, is_lean: bool) -> None:
    net, pictures = a_net(name)
    if is_lean:
        make_lean(net)
    kinds = [type(it) for it in net.modules() if not isinstance(it, (nn.Conv2d, nn.Linear))]
    before = {path: input_means(net, pictures)[path] - mean for path, mean in means_of(net).items()}
    state = {path: it.clone() for path, it in net.named_parameters() if not path.endswith("weight")}
    to_int8(net, pictures)
    after, moved = input_means(net, pictures), means_of(net)
    assert before.keys() == moved.keys()
    for path, apart in before.items():
        torch.testing.assert_close(after[path] - moved[path], apart, msg=path)
    assert kinds == [type(it) for it in net.modules() if not isinstance(it, (nn.Conv2d, nn.Linear))]
    assert not any(it._forward_pre_hooks for it in net.modules())
    for path, it in net.named_parameters():
        assert path not in state or torch.equal(it, state[path]), "nothing that could train is touched"


def test_a_network_in_training_stays_in_training() -> None:
    net, pictures = a_net("mobile")
    net.train()
    to_int8(net, pictures)
    assert net.training
