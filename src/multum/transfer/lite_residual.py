"""The lite residual module: a small branch beside a frozen block that learns features at little training memory.

    a' = F_W(a) + b + F_lite(reduce(a))

F_W, the block's own branch, stays frozen but for its shifts b. The lite branch sees the input at half the resolution,
with groups instead of an expansion, so that little of it is kept for backward, 3.8 % of the activations by the paper.
A block's identity skip lies outside both, so the branch is added to the block as a whole.

Shape legend: B batch, C and O channels in and out, H and W pixels.

Source: TinyTL (NeurIPS 2020), section 3.2 and Fig. 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from multum.core import invalid

GROUPS = 2
"""Of the first convolution."""
KERNEL, SMALL_KERNEL = 5, 3
"""Of the first convolution; the smaller one where the pooled map is smaller than the larger."""


class LiteResidual(nn.Module):
    """Pool, convolve in groups, norm, bend, mix channels, norm, and blow up to the size of the block's output.

    Args:
        in_channels: C.
        out_channels: O.
        stride: The block's.
        map_size: Smaller side of the input that it is built for, in pixels.
        make_norm: Makes a norm of so many channels.

    Raises:
        UserError: A map of no pixels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        map_size: int,
        make_norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if map_size < 1:
            raise invalid("map_size", "at least 1", map_size)
        pooled = map_size // 2
        kernel = KERNEL if pooled >= KERNEL else SMALL_KERNEL if pooled > 1 else 1
        groups = GROUPS if in_channels % GROUPS == 0 else 1
        self.reduce: nn.Module = nn.AvgPool2d(2) if pooled > 1 else nn.AdaptiveAvgPool2d(1)
        self.depth = nn.Sequential(
            nn.Conv2d(*(in_channels, in_channels, kernel, stride, kernel // 2), groups=groups, bias=False),
            make_norm(in_channels),
            nn.ReLU(),
        )
        self.mix = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), make_norm(out_channels))
        self.start_silent()

    @property
    def last_norm(self) -> nn.Module:
        """The norm behind the mixing of channels; its shift says nothing that the block's own does not."""
        return self.mix[-1]

    def start_silent(self, by: Literal["scale", "mix"] = "scale") -> None:
        """Let the branch add nothing at first: the last norm's scale is 0, as in the paper, or the mixing is."""
        scale, mixing = self.last_norm.weight, self.mix[0].weight
        assert isinstance(scale, Tensor), "every norm here has one"
        assert isinstance(mixing, Tensor), "a convolution's"
        nn.init.constant_(scale, float(by == "mix"))
        if by == "mix":
            nn.init.zeros_(mixing)

    def forward(
        self, a_BCHW: Float[Tensor, "B C H W"], y_BOhw: Float[Tensor, "B O h w"]
    ) -> Float[Tensor, "B O h w"]:
        """The block's output y for its input a, and what the branch adds to it."""
        small: Tensor = self.mix(self.depth(self.reduce(a_BCHW)))
        size = y_BOhw.shape[-2:]
        if small.shape[-2:] != size:
            small = functional.interpolate(small, size=size, mode="bilinear", align_corners=False)
        return y_BOhw + small


class WithLite(nn.Module):
    """A block and its lite residual."""

    def __init__(self, block: nn.Module, lite: LiteResidual) -> None:
        super().__init__()
        self.block = block
        self.lite = lite

    def forward(self, a_BCHW: Float[Tensor, "B C H W"]) -> Float[Tensor, "B O h w"]:
        """The block's output and what the lite residual adds; the block runs first."""
        added: Tensor = self.lite(a_BCHW, self.block(a_BCHW))
        return added


@dataclass(frozen=True, kw_only=True)
class LitePlace:
    """A block that gets a lite residual, and what goes through it."""

    path: str
    """Where the block hangs in the model."""
    in_channels: int
    """C."""
    out_channels: int
    """O."""
    stride: int
    """By how much its output is smaller."""
    map_size: int
    """The smaller side of its input, in pixels."""


RESIDUAL_BLOCKS = ("InvertedResidual", "ResidualBlock", "BasicBlock", "Bottleneck", "MBConv")
"""Kinds of blocks that are found by themselves, by the names that their authors gave them."""


def is_residual_block(module: nn.Module) -> bool:
    """Whether it is of a kind in `RESIDUAL_BLOCKS`; a lean block is still of its kind."""
    return not _kinds(module).isdisjoint(RESIDUAL_BLOCKS)


def find_places(
    model: nn.Module, example: Float[Tensor, "B C H W"], blocks: Sequence[str] | None = None
) -> tuple[LitePlace, ...]:
    """Find the blocks of a network, and the shapes that go through them.

    Args:
        model: Any network of convolutions.
        example: Pictures of the size that will be trained on; the network sees them once.
        blocks: Paths of its blocks; None: all of the kinds in `RESIDUAL_BLOCKS` but those without an expansion.

    Raises:
        UserError: No block, or a path at which there is none.
    """
    modules = dict(model.named_modules())
    wanted = list(blocks) if blocks is not None else [path for path, it in modules.items() if _is_block(it)]
    missing = [path for path in wanted if path not in modules]
    if missing or not wanted:
        raise invalid(
            "blocks",
            f"paths of blocks of the model, of which kinds like {', '.join(RESIDUAL_BLOCKS)} are found by themselves",
            missing or "none",
            "name them: blocks=['layer1.0', ...]",
        )
    shapes: dict[str, tuple[torch.Size, torch.Size]] = {}

    def watch(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(_: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> None:
            shapes.setdefault(path, (given[0].shape, found.shape))

        return note

    handles = [modules[path].register_forward_hook(watch(path)) for path in wanted]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(example)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return tuple(_place(path, *shapes[path]) for path in wanted if path in shapes)


def attach_lite(
    model: nn.Module, places: Sequence[LitePlace], make_norm: Callable[[int], nn.Module] = nn.BatchNorm2d
) -> None:
    """Put a lite residual beside each block, in place; they are on the device and of the type of their block."""
    for place in places:
        parent_path, _, name = place.path.rpartition(".")
        parent, block = model.get_submodule(parent_path), model.get_submodule(place.path)
        lite = LiteResidual(
            place.in_channels,
            place.out_channels,
            stride=place.stride,
            map_size=place.map_size,
            make_norm=make_norm,
        )
        like = next(block.parameters())
        both = WithLite(block, lite.to(device=like.device, dtype=like.dtype))
        both.train(block.training)
        setattr(parent, name, both)


def _is_block(module: nn.Module) -> bool:
    if not is_residual_block(module):
        return False
    convs = sum(isinstance(it, nn.Conv2d) for it in module.modules())
    return convs > 2 or "InvertedResidual" not in _kinds(module)  # one of two has no expansion


def _kinds(module: nn.Module) -> set[str]:
    return {kind.__name__ for kind in type(module).__mro__}


def _place(path: str, given: torch.Size, found: torch.Size) -> LitePlace:
    return LitePlace(
        path=path,
        in_channels=given[1],
        out_channels=found[1],
        stride=max(1, round(given[2] / found[2])),
        map_size=min(given[2:]),
    )
