"""A convolution with its norm and activation: the brick of every backbone.

Convolutions are plain `nn.Conv2d` everywhere, so that whoever replaces layers finds them. Where a network wants
TensorFlow's padding, a small module in front of the convolution pads.

Shape legend: B pictures, C channels, H and W height and width, h and w those after padding.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from multum.core import check_fields, invalid

Activation = Literal["relu6", "relu"]
"""What follows a norm; ReLU6 is ReLU cut off at 6, made for few bits."""
Padding = Literal["symmetric", "tensorflow"]
"""Zeros around a picture: as many on either side, or TensorFlow's "same"."""


@dataclass(frozen=True, kw_only=True)
class LayerStyle:
    """What all layers of a network have in common.

    Raises:
        UserError: A value outside its range.
    """

    norm_eps: float = 1e-5
    """Added to variances under the root; positive."""
    norm_momentum: float = 0.1
    """Weight of a batch in the running statistics, in (0, 1]."""
    activation: Activation = "relu6"
    """What follows the norm, where anything follows."""
    padding: Padding = "symmetric"
    """How the borders are padded where a convolution skips places."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.norm_eps <= 0:
            raise invalid("norm_eps", "positive", self.norm_eps)
        if not 0 < self.norm_momentum <= 1:
            raise invalid("norm_momentum", "in (0, 1]", self.norm_momentum)


class SamePadding(nn.Module):
    """Zeros around a picture as TensorFlow's "same" puts them: an odd one goes to the right and to the bottom.

    A convolution with `stride` then answers with the size over the stride, rounded up. A symmetric padding has the
    same size, but looks at places that lie one pixel further up and left, which trained weights do not forgive.

    Args:
        kernel: Height and width of the convolution's kernel.
        stride: Its stride.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, images_BCHW: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        """Pad."""
        return functional.pad(images_BCHW, self.border(*images_BCHW.shape[-2:]))

    def border(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Zeros at the left, right, top and bottom of pictures of a size."""
        return *self._before_and_after(width), *self._before_and_after(height)

    def _before_and_after(self, size: int) -> tuple[int, int]:
        seen = size % self.stride or self.stride  # of the pixels that are there, by the last place
        zeros = max(self.kernel - seen, 0)
        return zeros // 2, zeros - zeros // 2

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        return f"kernel={self.kernel}, stride={self.stride}"


def convolution(
    in_width: int,
    out_width: int,
    style: LayerStyle,
    *,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    active: bool = True,
) -> nn.Sequential:
    """Build padding where it is a step of its own (`pad`), convolution (`conv`), norm (`norm`), activation (`act`).

    Args:
        in_width: Channels that come in.
        out_width: Channels that go out.
        style: What the network's layers have in common.
        kernel: Height and width of the kernel, odd.
        stride: Only every so many-th place is computed.
        groups: Groups of channels that do not see each other.
        active: Whether an activation follows.

    Returns:
        The layers, by these names.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    padding = kernel // 2
    if (
        style.padding == "tensorflow" and stride > 1 and kernel > 1
    ):  # with stride 1 the two paddings are the same
        layers["pad"] = SamePadding(kernel, stride)
        padding = 0
    layers["conv"] = nn.Conv2d(
        in_width, out_width, kernel, stride=stride, padding=padding, groups=groups, bias=False
    )
    layers["norm"] = nn.BatchNorm2d(out_width, eps=style.norm_eps, momentum=style.norm_momentum)
    if active:
        layers["act"] = nn.ReLU6() if style.activation == "relu6" else nn.ReLU()
    return nn.Sequential(layers)
