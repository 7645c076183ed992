"""How lite residuals start: all add nothing at first, but what becomes of them depends on why they do.

    F_lite(a) = norm2(mix(relu(norm1(depth(reduce(a))))))

The paper's last norm has scale 0: the mixing of channels is random, and the scale that grows lets random features
through. Where the mixing is 0 and the scale 1, the first step already points where the loss falls. And as norms here
keep their statistics, which are 0 and 1 in a new one, the first one norms nothing, unless its statistics are measured.

Shape legend: B pictures, C channels, H and W pixels.

Source: TinyTL (NeurIPS 2020), section 4.1, which starts with scale 0 and pre-trains on ImageNet instead.
"""

from typing import Final, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.core import invalid
from multum.transfer.lite_residual import LiteResidual

LiteStart = Literal["scale", "mix", "measured+scale", "measured+mix"]
"""What is 0 at first, the last norm's scale or the mixing of channels; and whether the first norm is measured."""
STARTS: Final[tuple[str, ...]] = get_args(LiteStart)

AT_A_TIME = 8
"""So many pictures are measured at a time."""


@torch.no_grad()
def start_lite(model: nn.Module, start: LiteStart, pictures: Float[Tensor, "B 3 H W"] | None = None) -> None:
    """Bring the lite residuals of a network to their start, in place; they add nothing then.

    Args:
        model: With lite residuals, whose convolutions keep the random weights that they have.
        start: How.
        pictures: What the network will see; where the first norms are measured.

    Raises:
        UserError: A start that there is not; nothing to measure, or no norms that keep statistics.
    """
    if start not in STARTS:
        raise invalid("lite_start", f"one of {', '.join(STARTS)}", start)
    lites = [it for it in model.modules() if isinstance(it, LiteResidual)]
    for lite in lites:
        lite.start_silent("mix" if start.endswith("mix") else "scale")
    if start.startswith("measured"):
        if pictures is None or not bool(pictures.any()):
            raise invalid("pictures", "some of those to learn from, to measure lite residuals by", "none")
        _measure(model, lites, pictures)


def _measure(model: nn.Module, lites: list[LiteResidual], pictures_B3HW: Tensor) -> None:
    """Set the statistics of all first norms to those of what goes through them; nothing is added meanwhile."""
    sums = {it: _Moments() for it in lites}

    def note(lite: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(lite, LiteResidual), "nothing else is watched"
        sums[lite].add(lite.depth[0](lite.reduce(given[0])))

    handles = [it.register_forward_pre_hook(note) for it in lites]
    was_training = model.training
    try:
        model.eval()
        for some in pictures_B3HW.split(AT_A_TIME):
            model(some)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    for lite, moments in sums.items():
        moments.put_into(lite.depth[1])


class _Moments:
    """Mean and variance of channels, summed in float64."""

    def __init__(self) -> None:
        self.count, self.sum_C, self.square_C = 0, torch.zeros(()), torch.zeros(())

    def add(self, a_BCHW: Tensor) -> None:
        wide = a_BCHW.double()
        self.count += a_BCHW.numel() // a_BCHW.shape[1]
        self.sum_C = self.sum_C + wide.sum((0, 2, 3))
        self.square_C = self.square_C + wide.square().sum((0, 2, 3))

    def put_into(self, norm: nn.Module) -> None:
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
            raise invalid("norms of lite residuals", "such as keep statistics, to be measured", norm)
        mean_C = self.sum_C / self.count
        norm.running_mean.copy_(mean_C)
        norm.running_var.copy_((self.square_C / self.count - mean_C.square()).clamp_min(0.0))
