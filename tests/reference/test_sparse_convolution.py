"""Sparse convolution: the compiled kernel against torch offset by offset, torch against a dense grid; gradients too."""

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from multum.core import UserError
from multum.ops.kernel_map import kernel_map, kernel_offsets, sort_voxels
from multum.ops.sparse_convolution import sparse_convolution, sparse_convolution_reference
from multum.ops.sparse_convolution.op import _lists
from multum.ops.sparse_convolution.operations import convolve, convolve_weight
from small_voxels import surface
from sparse_convolution_cases import draw, maps
from tolerances import tolerance

WIDTHS = [(1, 1), (4, 20), (16, 16), (33, 130), (64, 64), (70, 7), (130, 36)]


@pytest.mark.parametrize("way", maps(2))
@pytest.mark.parametrize("widths", WIDTHS)
def test_it_is_torch_offset_by_offset_there_and_back(way: str, widths: tuple[int, int]) -> None:
    pairs = maps(600)[way]
    given = draw(pairs, *widths, torch.float32)
    found, expected = [], []
    for impl, dtype, into in (("cpu", torch.float32, found), ("reference", torch.float64, expected)):
        x, weight, gradient = (it.to(dtype) for it in given)
        x.requires_grad_()
        weight.requires_grad_()
        y = sparse_convolution(x, weight, pairs, impl=impl)  # type: ignore[arg-type]
        into += [y, *torch.autograd.grad(y, (x, weight), gradient)]
    terms = (27 * widths[0], 27 * widths[1], 2 * pairs.num_targets)
    for ours, theirs, num_terms in zip(found, expected, terms, strict=True):
        limit = tolerance(torch.float32, num_terms=num_terms)
        scale = float(theirs.detach().abs().max()) or 1.0
        torch.testing.assert_close(
            ours.double() / scale, theirs / scale, rtol=limit.relative, atol=limit.absolute
        )


@pytest.mark.parametrize("widths", [(3, 5), (20, 64)])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("ends", ["bias", "base", "bias and base"])
def test_bias_base_and_relu_are_part_of_it(widths: tuple[int, int], relu: bool, ends: str) -> None:
    pairs = maps(500)["overlaps"]
    x, weight, gradient = draw(pairs, *widths, torch.float64)
    leaves = {"x": x, "weight": weight}
    if "bias" in ends:
        leaves["bias_O"] = torch.linspace(-1, 1, widths[1], dtype=torch.float64)
    if "base" in ends:
        leaves["base_MO"] = gradient.flip(0)
    found = []
    for impl, dtype in (("cpu", torch.float32), ("reference", torch.float64)):
        mine = {name: it.detach().to(dtype).requires_grad_() for name, it in leaves.items()}
        extra = {name: it for name, it in mine.items() if name.endswith("O")}
        y = sparse_convolution(mine["x"], mine["weight"], pairs, relu=relu, impl=impl, **extra)  # type: ignore[arg-type]
        found.append((y.detach(), *torch.autograd.grad(y, list(mine.values()), gradient.to(dtype))))
    for ours, theirs in zip(*found, strict=True):
        scale = float(theirs.abs().max())
        torch.testing.assert_close(ours.double() / scale, theirs / scale, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(3, 3, 3), (2, 2, 2), (5, 3, 1), (4, 2, 3)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_on_a_grid_it_is_the_dense_convolution(size: tuple[int, int, int], dilation: int) -> None:
    side, inputs, outputs = 9, 3, 5
    generator = torch.Generator().manual_seed(1)
    grid = torch.randn(1, inputs, side, side, side, generator=generator, dtype=torch.float64)
    grid *= (torch.rand(1, 1, side, side, side, generator=generator) < 0.3).double()
    place_N5 = (grid != 0).any(dim=1, keepdim=True).nonzero()
    voxel_N4 = place_N5[:, [0, 2, 3, 4]].int()
    voxel_N4[:, 1:] += -4  # where they are does not count
    x = grid.permute(0, 2, 3, 4, 1)[0][tuple(place_N5[:, 2:].T)]
    weight = torch.randn(*size, inputs, outputs, generator=generator, dtype=torch.float64)
    voxels = sort_voxels(voxel_N4)
    pairs = kernel_map(voxels, voxels, kernel_offsets(size, (dilation,) * 3))
    y = sparse_convolution(x, weight.flatten(0, 2), pairs)
    reach = [
        (dilation * (it // 2), dilation * ((it - 1) // 2)) if it % 2 else (0, dilation * (it - 1))
        for it in size
    ]
    padded = functional.pad(grid, [pad for pair in reversed(reach) for pad in pair])
    dense = functional.conv3d(padded, weight.permute(4, 3, 0, 1, 2), dilation=dilation)
    there = dense.permute(0, 2, 3, 4, 1)[0][tuple(place_N5[:, 2:].T)]
    torch.testing.assert_close(y, there, rtol=1e-12, atol=1e-12)


def test_any_order_of_voxels_gives_the_same_bits() -> None:
    voxel_N4 = surface(1500, seed=3)
    order = torch.randperm(len(voxel_N4), generator=torch.Generator().manual_seed(0))
    found = []
    for shuffle in (torch.arange(len(voxel_N4)), order):
        voxels = sort_voxels(voxel_N4[shuffle])
        pairs = kernel_map(voxels, voxels, kernel_offsets((3, 3, 3)))
        x, weight, gradient = draw(pairs, 24, 40, torch.float32)
        x, gradient = x[shuffle].requires_grad_(), gradient[shuffle]
        weight.requires_grad_()
        y = sparse_convolution(x, weight, pairs)
        of_x, of_weight = torch.autograd.grad(y, (x, weight), gradient)
        back = shuffle.argsort()
        found.append((y[back], of_x[back], of_weight))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_threads_change_no_bit(threads: None) -> None:
    pairs = maps(30_000)["stays"]
    found = []
    for num_threads in (1, 2, 3):
        torch.set_num_threads(num_threads)
        x, weight, gradient = draw(pairs, 16, 32, torch.float32)
        x.requires_grad_()
        weight.requires_grad_()
        y = sparse_convolution(x, weight, pairs)
        found.append((y, *torch.autograd.grad(y, (x, weight), gradient)))
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_added_in_full(dtype: torch.dtype) -> None:
    pairs = maps(400)["overlaps"]
    x, weight, _ = draw(pairs, 48, 20, dtype)
    y = sparse_convolution(x, weight, pairs)
    assert y.dtype == dtype
    expected = sparse_convolution_reference(x.double(), weight.double(), pairs)
    limit = tolerance(dtype)
    torch.testing.assert_close(y.double(), expected, rtol=limit.relative, atol=limit.absolute)


def test_gradients_of_gradients_are_right() -> None:
    pairs = maps(40)["overlaps"]
    x, weight, _ = draw(pairs, 2, 3, torch.float64)
    assert torch.autograd.gradgradcheck(
        lambda a, b: sparse_convolution(a, b, pairs), (x.requires_grad_(), weight.requires_grad_())
    )
    once, twice = [], []
    for impl, into in (("cpu", once), ("reference", twice)):
        leaves = [it.detach().float().requires_grad_() for it in (x, weight)]
        y = sparse_convolution(*leaves, pairs, impl=impl)  # type: ignore[arg-type]
        first = torch.autograd.grad(y.pow(3).sum(), leaves, create_graph=True)
        into += torch.autograd.grad(sum(it.pow(2).sum() for it in first), leaves)
    for ours, theirs in zip(once, twice, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_torch_knows_the_operations() -> None:
    pairs = maps(100)["down"]
    x, weight, gradient = draw(pairs, 5, 6, torch.float32)
    x.requires_grad_()
    weight.requires_grad_()
    base = torch.ones(pairs.num_targets, 6, requires_grad=True)
    torch.library.opcheck(convolve, (x, weight, *_lists(pairs), None, None, False))
    torch.library.opcheck(convolve, (x, weight, *_lists(pairs), torch.ones(6), base, True))
    torch.library.opcheck(convolve_weight, (x, gradient, *_lists(pairs)))
    with FlopCounterMode(display=False) as counter:
        sparse_convolution(x, weight, pairs).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * pairs.num_pairs * 5 * 6


def test_nothing_in_gives_nothing_out() -> None:
    none = sort_voxels(torch.zeros(0, 4, dtype=torch.int32))
    pairs = kernel_map(none, none, kernel_offsets((3, 3, 3)))
    x, weight = torch.zeros(0, 3, requires_grad=True), torch.ones(27, 3, 4, requires_grad=True)
    y = sparse_convolution(x, weight, pairs)
    assert y.shape == (0, 4)
    y.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()


def test_a_nan_goes_where_it_is_read_and_no_further() -> None:
    line = sort_voxels(torch.tensor([[0, 0, 0, it] for it in range(6)], dtype=torch.int32))
    pairs = kernel_map(line, line, kernel_offsets((1, 1, 3)))
    x = torch.ones(6, 2)
    x[0] = torch.nan
    assert (
        sparse_convolution(x, torch.ones(3, 2, 2), pairs).isnan().any(dim=1).tolist()
        == [True] * 2 + [False] * 4
    )


def test_shapes_that_do_not_go_together_are_named(as_shipped: None) -> None:
    pairs = maps(10)["stays"]
    with pytest.raises(UserError, match="x must be of the map's 10 voxels"):
        sparse_convolution(torch.zeros(9, 4), torch.zeros(27, 4, 4), pairs)
    with pytest.raises(UserError, match=r"weight must be \(27, 4, outputs\)"):
        sparse_convolution(torch.zeros(10, 4), torch.zeros(8, 4, 4), pairs)
    with pytest.raises(UserError, match="of x's type"):
        sparse_convolution(torch.zeros(10, 4), torch.zeros(27, 4, 4, dtype=torch.float64), pairs)
    with pytest.raises(UserError, match=r"bias must be \(4,\), of x's type"):
        sparse_convolution(torch.zeros(10, 4), torch.zeros(27, 4, 4), pairs, bias_O=torch.zeros(5))
    with pytest.raises(UserError, match=r"base must be \(10, 4\), of x's type"):
        sparse_convolution(torch.zeros(10, 4), torch.zeros(27, 4, 4), pairs, base_MO=torch.zeros(9, 4))
