"""A chain of frozen convolutions is what torch computes of them one by one, in pieces of any size."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from multum.backbones import InvertedResidual, SamePadding, mobilenet_v2
from multum.ops.masked_activation import Bend
from multum.transfer import block_paths, make_lean, make_stock
from multum.transfer.frozen_chain import Link, _pictures_of_a_piece, frozen_chain
from multum.transfer.frozen_convolution import Geometry
from multum.transfer.frozen_weight import plain, scaled
from multum.transfer.lean_sequence import LeanInvertedResidual

WIDE, DEEP = 24, 6
PLAIN = Geometry(stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def bordered_block() -> list[Link]:
    """Widen, look around with a border that is not even, narrow; a scale in one weight, one shift missing."""
    look = replace(PLAIN, stride=(2, 2), groups=WIDE, border=SamePadding(3, 2).border)
    return [
        Link(weight=plain(draw(WIDE, DEEP, 1, 1)), shift=draw(WIDE), geometry=PLAIN, bend=Bend(high=6.0)),
        Link(weight=scaled(draw(WIDE, 1, 3, 3), draw(WIDE)), shift=None, geometry=look, bend=Bend()),
        Link(weight=plain(draw(DEEP, WIDE, 1, 1)), shift=draw(DEEP), geometry=PLAIN),
    ]


def grouped_and_dilated() -> list[Link]:
    """Activations at the end and a slope below the bend; stride, padding and dilation differ by direction."""
    odd = Geometry(stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=2)
    leaky = Bend(negative_slope=0.1)
    return [
        Link(weight=plain(draw(8, DEEP // 2, 3, 2)), shift=draw(8), geometry=odd, bend=leaky),
        Link(weight=plain(draw(4, 4, 1, 1)), shift=draw(4), geometry=replace(PLAIN, groups=2), bend=leaky),
    ]


CHAINS = {"bordered_block": bordered_block, "grouped_and_dilated": grouped_and_dilated}


def by_torch(x: Tensor, links: Sequence[Link]) -> Tensor:
    """Obviously right, and keeps everything."""
    for it in links:
        geometry, bend = it.geometry, it.bend
        if geometry.border is not None:
            x = functional.pad(x, geometry.border(*x.shape[-2:]))
        weight = it.weight.build(*it.weight.stored)
        x = functional.conv2d(
            x, weight, it.shift, geometry.stride, geometry.padding, geometry.dilation, geometry.groups
        )
        if bend is not None:
            x = (
                functional.leaky_relu(x, bend.negative_slope)
                if bend.negative_slope
                else x.clamp(min=bend.low)
            )
            x = x if bend.high is None else x.clamp(max=bend.high)
    return x


@pytest.fixture(params=[1, 2, 3, 64])
def pictures_of_a_piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Pieces of so many pictures, whatever their size."""
    count: int = request.param
    monkeypatch.setattr("multum.transfer.frozen_chain._pictures_of_a_piece", lambda *_: count)
    return count


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("trains", ["input", "shifts", "all", "last shift"])
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.usefixtures("pictures_of_a_piece")
def test_outputs_and_gradients_are_torchs(chain: str, trains: str, channels_last: bool) -> None:
    links = CHAINS[chain]()
    shifts = [it.shift for it in links if it.shift is not None]
    x = draw(5, DEEP, 11, 8)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_(trains in ("input", "all"))
    for place, it in enumerate(shifts):
        it.requires_grad_(
            trains in ("shifts", "all") or (trains == "last shift" and place + 1 == len(shifts))
        )
    wanted = [it for it in (x, *shifts) if it.requires_grad]
    ours, theirs = frozen_chain(x, links), by_torch(x, links)
    torch.testing.assert_close(ours, theirs)
    came = torch.randn_like(theirs)
    before = came.clone()
    found = torch.autograd.grad(ours, wanted, came)
    assert torch.equal(came, before), "the gradient that comes is another's"
    for mine, stock in zip(found, torch.autograd.grad(theirs, wanted, came), strict=True):
        torch.testing.assert_close(mine, stock)


@pytest.mark.parametrize("wants_x", [True, False])
@pytest.mark.parametrize("last", [None, Bend()], ids=["straight", "bent"])
@pytest.mark.usefixtures("pictures_of_a_piece")
def test_what_goes_past_the_chain_is_added(last: Bend | None, wants_x: bool) -> None:
    shift = draw(DEEP).requires_grad_()
    links = [
        Link(weight=plain(draw(WIDE, DEEP, 1, 1)), shift=draw(WIDE), geometry=PLAIN, bend=Bend(high=6.0)),
        Link(weight=plain(draw(DEEP, WIDE, 1, 1)), shift=shift, geometry=PLAIN, bend=last),
    ]
    x = draw(5, DEEP, 4, 3).contiguous(memory_format=torch.channels_last).requires_grad_(wants_x)
    wanted = [x, shift] if wants_x else [shift]
    ours, theirs = frozen_chain(x, links, skip=True), x + by_torch(x, links)
    torch.testing.assert_close(ours, theirs)
    came = torch.randn_like(theirs)
    before = came.clone()
    found = torch.autograd.grad(ours, wanted, came)
    assert torch.equal(came, before)
    for mine, stock in zip(found, torch.autograd.grad(theirs, wanted, came), strict=True):
        torch.testing.assert_close(mine, stock)


@pytest.mark.usefixtures("pictures_of_a_piece")
def test_no_pictures_go_through() -> None:
    x = draw(0, DEEP, 11, 8).requires_grad_()
    y = frozen_chain(x, bordered_block())
    assert y.shape == (0, DEEP, 6, 4)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.shape == x.shape


@pytest.mark.parametrize(
    ("batch", "channels", "size", "expected"),
    [
        (8, 16, 112, 1),  # 96 channels of 112 x 112 inside: 4.8 MB
        (8, 16, 56, 2),  # 1.2 MB
        (8, 16, 14, 8),
        (1, 16, 112, 1),
        (5, 16, 56, 2),
    ],
)
def test_pieces_have_few_wide_pictures(batch: int, channels: int, size: int, expected: int) -> None:
    wide, narrow = torch.empty(6 * channels, channels, 1, 1), torch.empty(channels, 6 * channels, 1, 1)
    x = torch.empty(batch, channels, size, size)
    assert _pictures_of_a_piece(x, [wide, narrow], [PLAIN, PLAIN]) == expected
    assert _pictures_of_a_piece(x.to("meta"), [wide, narrow], [PLAIN, PLAIN]) == expected
    assert _pictures_of_a_piece(x, [wide], [PLAIN]) == batch, "its result is as wide and there anyway"


def test_a_block_is_one_chain_and_still_a_block() -> None:
    net = mobilenet_v2(3).eval().requires_grad_(False)
    names, paths = list(net.state_dict()), block_paths(net)
    x = torch.randn(2, 3, 64, 64)
    before = net(x)
    make_lean(net)
    blocks = [it for it in net.modules() if isinstance(it, InvertedResidual)]
    assert {type(it) for it in blocks} == {LeanInvertedResidual}
    assert block_paths(net) == paths
    assert list(net.state_dict()) == names
    pictures = x.requires_grad_()
    y = net(pictures)
    torch.testing.assert_close(y, before)
    chains = [it for it in _nodes(y) if "FrozenChain" in it]
    assert len(chains) == 2 + len(blocks), "a stem, blocks, and a last convolution"
    make_stock(net)
    assert {type(it) for it in blocks} == {InvertedResidual}


def _nodes(y: Tensor) -> list[str]:
    """Names of the nodes of autograd behind a tensor."""
    seen: dict[object, str] = {}
    stack = [y.grad_fn]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen[node] = node.name()
            stack += [following for following, _ in node.next_functions]
    return list(seen.values())


def test_what_is_trained_inside_a_block_ends_its_chain() -> None:
    block = mobilenet_v2(3).eval().requires_grad_(False).blocks[2]
    stock, x = block, torch.randn(2, 24, 9, 9)
    conv = stock.get_submodule("depthwise.conv")
    assert isinstance(conv, nn.Conv2d)
    conv.weight.requires_grad_()
    expected = torch.autograd.grad(stock(x).square().sum(), conv.weight)[0]
    make_lean(block)
    torch.testing.assert_close(torch.autograd.grad(block(x).square().sum(), conv.weight)[0], expected)
