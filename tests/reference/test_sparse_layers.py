"""Sparse layers against dense ones where voxels are, in float64 with all gradients; and between points and voxels."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from multum.core import UserError
from multum.pointcloud import (
    SparseConvolution,
    SparseTensor,
    concatenate,
    devoxelize,
    multiply_accumulates,
    quantize,
    voxelize,
)
from small_voxels import surface

LOW, SIDE = (-8, -8, -8), (20, 20, 20)
"""A grid that holds all voxels of the tests and what they reach."""


def draw(count: int, channels: int, seed: int = 0) -> SparseTensor:
    generator = torch.Generator().manual_seed(seed)
    feature_NC = torch.randn(count, channels, generator=generator, dtype=torch.float64)
    return SparseTensor.of(feature_NC, surface(count, seed=seed))


def dense_of(x: SparseTensor, low: tuple[int, int, int] = LOW, side: tuple[int, int, int] = SIDE) -> Tensor:
    return x.dense(low, side, 2)


def at_voxels(grid: Tensor, y: SparseTensor, low: tuple[int, int, int] = LOW) -> Tensor:
    place_N4 = y.voxel_N4.long()
    place_N4[:, 1:] -= torch.tensor(low)
    return grid.movedim(1, -1)[tuple(place_N4.T)]


def kernel_of(layer: SparseConvolution) -> Tensor:
    """The weight as dense convolutions have it."""
    return layer.weight.unflatten(0, layer.kernel_size).permute(4, 3, 0, 1, 2)


def padded(grid: Tensor, layer: SparseConvolution) -> Tensor:
    pads = []
    for size, dilation in zip(reversed(layer.kernel_size), reversed(layer.dilation), strict=True):
        before = size // 2 if size % 2 else 0
        pads += [dilation * before, dilation * (size - 1 - before)]
    return functional.pad(grid, pads)


def dense_twin(x: SparseTensor, layer: SparseConvolution) -> Tensor:
    return functional.conv3d(
        padded(dense_of(x), layer), kernel_of(layer), layer.bias, layer.stride, 0, layer.dilation
    )


def same_with_gradients(layer: nn.Module, x: SparseTensor, ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)
    leaves = [x.feature_NC, *layer.parameters()]
    cotangent = torch.randn(ours.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    found = torch.autograd.grad(ours, leaves, cotangent, retain_graph=True)
    expected = torch.autograd.grad(theirs, leaves, cotangent)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


SIZES = st.tuples(*[st.integers(1, 4)] * 3)
STEPS = st.tuples(*[st.integers(1, 3)] * 3)


@given(size=SIZES, dilation=STEPS, count=st.integers(1, 60), bias=st.booleans())
def test_a_layer_that_stays_is_the_dense_one_where_voxels_are(
    size: tuple[int, int, int], dilation: tuple[int, int, int], count: int, bias: bool
) -> None:
    x = draw(count, 3)
    x.feature_NC.requires_grad_()
    layer = SparseConvolution(3, 2, size, dilation=dilation, bias=bias).double()
    y = layer(x)
    assert y.level is x.level
    same_with_gradients(layer, x, y.feature_NC, at_voxels(dense_twin(x, layer), y))


@given(size=SIZES, stride=STEPS, count=st.integers(1, 60), spreads=st.booleans())
def test_a_step_down_is_the_dense_one_where_it_writes(
    size: tuple[int, int, int], stride: tuple[int, int, int], count: int, spreads: bool
) -> None:
    x = draw(count, 2)
    x.feature_NC.requires_grad_()
    layer = SparseConvolution(2, 3, size, stride=stride, spreads=spreads).double()
    y = layer(x)
    # the grid's first voxel must be a multiple of the stride, or the dense one steps beside ours
    low = tuple(-step * (8 // step + 1) for step in stride)
    side = tuple(12 - it for it in low)
    dense = functional.conv3d(padded(dense_of(x, low, side), layer), kernel_of(layer), None, layer.stride)  # type: ignore[arg-type]
    coarse_low = tuple(first // step for first, step in zip(low, stride, strict=True))
    same_with_gradients(layer, x, y.feature_NC, at_voxels(dense, y, coarse_low))  # type: ignore[arg-type]
    if spreads:
        there = torch.zeros(dense.shape[0], *dense.shape[2:], dtype=torch.bool)
        place_N4 = y.voxel_N4.long()
        place_N4[:, 1:] -= torch.tensor(coarse_low)
        there[tuple(place_N4.T)] = True
        assert not dense.movedim(1, -1)[~there].any(), "it is 0 wherever ours writes nothing"


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (3, 3), (4, 2)])
def test_a_way_up_is_the_dense_transposed_one(size: int, stride: int) -> None:
    x = draw(50, 2)
    x.feature_NC.requires_grad_()
    down = SparseConvolution(2, 3, size, stride=stride).double()
    up = SparseConvolution(3, 2, size, stride=stride, transposed=True).double()
    below = down(x)
    y = up(below)
    assert y.level is x.level
    low = tuple(-stride * (8 // stride + 1) for _ in range(3))
    coarse_low = tuple(it // stride for it in low)
    grid = below.dense(coarse_low, (16, 16, 16), 2)  # type: ignore[arg-type]
    dense = functional.conv_transpose3d(
        grid, up.weight.unflatten(0, (size,) * 3).permute(3, 4, 0, 1, 2), stride=stride
    )
    before = size // 2 if size % 2 else 0
    theirs = at_voxels(dense, y, tuple(it - before for it in low))  # type: ignore[arg-type]
    same_with_gradients(nn.ModuleList([down, up]), x, y.feature_NC, theirs)


def test_new_voxels_grow_all_around_and_lead_back() -> None:
    x = draw(20, 2)
    coarse = SparseConvolution(2, 2, 2, stride=2).double()(x)
    y = SparseConvolution(2, 4, 2, stride=2, generative=True).double()(coarse)
    assert len(y.level) == 8 * len(coarse.level)
    assert y.stride == x.stride
    children = {tuple(it) for it in y.voxel_N4.tolist()}
    for batch, *place in coarse.voxel_N4.tolist():
        for step in itertools.product((0, 1), repeat=3):
            assert (batch, *(2 * at + more for at, more in zip(place, step, strict=True))) in children


def test_levels_and_maps_are_made_once() -> None:
    x = draw(100, 2)
    down, again = (SparseConvolution(2, 2, 2, stride=2).double() for _ in range(2))
    one, other = down(x), again(x)
    assert one.level is other.level
    stays, too = SparseConvolution(2, 2).double(), SparseConvolution(2, 2).double()
    assert stays.pairs(one)[1] is too.pairs(other)[1]
    assert (one + other).level is one.level
    assert concatenate([one, other]).feature_NC.shape == (len(one.level), 4)
    assert multiply_accumulates(stays, one) == stays.pairs(one)[1].num_pairs * 4
    assert multiply_accumulates(SparseConvolution(2, 5, 1), x) == 100 * 10


def test_any_order_of_voxels_gives_the_same_bits() -> None:
    x = draw(80, 3)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(5))
    other = SparseTensor.of(x.feature_NC[order].float(), x.voxel_N4[order])
    x = x.with_features(x.feature_NC.float())
    down, up = SparseConvolution(3, 4, 2, stride=2), SparseConvolution(4, 3, 2, stride=2, transposed=True)
    assert torch.equal(up(down(x)).feature_NC[order], up(down(other)).feature_NC)


def test_wrong_wishes_are_named(as_shipped: None) -> None:
    voxel_N4 = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.int32)
    with pytest.raises(UserError, match="voxels that are there twice must be 0; got 1"):
        SparseTensor.of(torch.zeros(2, 1), voxel_N4)
    with pytest.raises(UserError, match="features must be of 1 voxels"):
        SparseTensor.of(torch.zeros(2, 1), voxel_N4[:1])
    x = draw(5, 2)
    with pytest.raises(UserError, match="go down by this stride first"):
        SparseConvolution(2, 2, 2, stride=2, transposed=True).double()(x)
    with pytest.raises(UserError, match="a divisor of"):
        SparseConvolution(2, 2, 2, stride=2, generative=True).double()(x)
    with pytest.raises(UserError, match="one of them at most"):
        SparseConvolution(2, 2, transposed=True, generative=True)
    with pytest.raises(UserError, match="at least 1"):
        SparseConvolution(2, 0)
    with pytest.raises(UserError, match="voxels must be those of"):
        x + draw(5, 2, seed=1)


# ---- Points ----------------------------------------------------------------------------------------------------------


def scan(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    xyz_N3 = 4 * torch.rand(count, 3, generator=generator, dtype=torch.float64) - 2
    xyz_N3[:, 2] = 0.3 * torch.sin(3 * xyz_N3[:, 0])
    return xyz_N3, torch.randn(count, 5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("rounding", ["floor", "round"])
def test_a_voxel_is_the_mean_of_its_points(rounding: str) -> None:
    (xyz_N3, feature_NC), (other_N3, more_NC) = scan(300), scan(100, seed=1)
    batch = quantize([xyz_N3, other_N3], [feature_NC, more_NC], 0.25, rounding=rounding)  # type: ignore[arg-type]
    voxels = batch.voxels()
    all_N3, all_NC = torch.cat([xyz_N3, other_N3]) / 0.25, torch.cat([feature_NC, more_NC])
    whole_N3 = all_N3.floor() if rounding == "floor" else all_N3.round()
    batch_N = torch.tensor([0] * 300 + [1] * 100)
    for row, (index, *place) in enumerate(voxels.voxel_N4.tolist()):
        mine = (batch_N == index) & (whole_N3 == torch.tensor(place)).all(dim=1)
        torch.testing.assert_close(voxels.feature_NC[row], all_NC[mine].mean(dim=0))
    assert len(voxels.level) == len(torch.unique(torch.cat([batch_N[:, None], whole_N3], dim=1), dim=0))


def test_voxels_have_three_edges_of_their_own() -> None:
    xyz_N3, feature_NC = scan(300)
    edges = (0.25, 0.5, 0.125)
    found = quantize([xyz_N3], [feature_NC], edges)
    as_cubes = quantize([xyz_N3 / torch.tensor(edges, dtype=torch.float64)], [feature_NC], 1.0)
    assert torch.equal(found.voxels().voxel_N4, as_cubes.voxels().voxel_N4)
    torch.testing.assert_close(found.voxels().feature_NC, as_cubes.voxels().feature_NC)
    same = quantize([xyz_N3], [feature_NC], (0.25, 0.25, 0.25))
    assert torch.equal(same.voxels().voxel_N4, quantize([xyz_N3], [feature_NC], 0.25).voxels().voxel_N4)


def test_two_edges_are_refused(as_shipped: None) -> None:
    with pytest.raises(UserError, match=r"one number or three; got \(0.1, 0.1\)"):
        quantize([torch.zeros(1, 3)], [torch.zeros(1, 1)], (0.1, 0.1))  # type: ignore[arg-type]


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_interpolation_is_the_formula_point_by_point(stride: int) -> None:
    xyz_N3, feature_NC = scan(200)
    batch = quantize([xyz_N3], [feature_NC], 0.25)
    x = batch.voxels()
    for _ in range(stride // 2):
        x = SparseConvolution(5, 5, 2, stride=2).double()(x)
    y_NC = devoxelize(x.feature_NC, batch.points, x.level)
    known = {
        tuple(place): feature for (_, *place), feature in zip(x.voxel_N4.tolist(), x.feature_NC, strict=True)
    }
    for point, found in zip((xyz_N3 / 0.25 / stride).tolist(), y_NC, strict=True):
        total, weight_sum = torch.zeros(5, dtype=torch.float64), 0.0
        for step in itertools.product((0, 1), repeat=3):
            corner = tuple(int(at // 1) + more for at, more in zip(point, step, strict=True))
            weight = 1.0
            for at, place in zip(point, corner, strict=True):
                weight *= 1 - abs(at - place)
            if corner in known:
                total, weight_sum = total + weight * known[corner], weight_sum + weight
        torch.testing.assert_close(found, total / weight_sum)


def test_points_of_the_grid_get_their_voxels_back() -> None:
    xyz_N3, feature_NC = scan(150)
    rounded = quantize([xyz_N3], [feature_NC], 0.25).rounded()
    voxels = rounded.voxels()
    assert rounded.num_points == len(voxels.level)
    for way in ("trilinear", "nearest"):
        back = devoxelize(voxels.feature_NC, rounded.points, voxels.level, way)  # type: ignore[arg-type]
        torch.testing.assert_close(back, rounded.feature_NC)


def test_gradients_of_points_and_voxels_are_right() -> None:
    xyz_N3, feature_NC = scan(20)
    batch = quantize([xyz_N3], [feature_NC], 0.5)
    coarse = SparseConvolution(5, 5, 2, stride=2).double()(batch.voxels()).level
    feature_NC.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: voxelize(f, batch.points, coarse), feature_NC)
    voxel_MC = torch.randn(len(coarse), 5, dtype=torch.float64, requires_grad=True)
    for way in ("trilinear", "nearest"):
        assert torch.autograd.gradcheck(lambda f, way=way: devoxelize(f, batch.points, coarse, way), voxel_MC)


def test_a_scan_without_points_is_a_scan_without_voxels() -> None:
    xyz_N3, feature_NC = scan(30)
    batch = quantize([xyz_N3[:0], xyz_N3], [feature_NC[:0], feature_NC], 0.25)
    assert batch.voxels().voxel_N4[:, 0].unique().tolist() == [1]
    nothing = quantize([xyz_N3[:0]], [feature_NC[:0]], 0.25)
    y = SparseConvolution(5, 3).double()(nothing.voxels())
    assert y.feature_NC.shape == (0, 3)


def test_points_that_cannot_be_voxels_are_named() -> None:
    xyz_N3, feature_NC = scan(3)
    bad_N3 = xyz_N3.clone()
    bad_N3[1, 2] = torch.nan
    with pytest.raises(UserError, match=r"points of scan 1 must be finite; got .1 that are not"):
        quantize([xyz_N3, bad_N3], [feature_NC, feature_NC], 0.25)
    with pytest.raises(UserError, match=r"within 65000 voxels; got \d+; take larger voxels"):
        quantize([1e6 * xyz_N3], [feature_NC], 0.05)
    with pytest.raises(UserError, match="features of scan 0 must be of 3 points"):
        quantize([xyz_N3], [feature_NC[:2]], 0.25)
    for bad in (0.0, float("inf"), (0.1, 0.0, 0.1)):
        with pytest.raises(UserError, match="voxel_size must be positive"):
            quantize([xyz_N3], [feature_NC], bad)
    with pytest.raises(UserError, match="within 65000 voxels"):
        quantize([1e3 * xyz_N3], [feature_NC], (1.0, 1.0, 1e-4))
    with pytest.raises(UserError, match="as many as there are features"):
        quantize([], [], 0.25)
    batch = quantize([xyz_N3], [feature_NC], 0.25)
    with pytest.raises(UserError, match="by going down"):
        devoxelize(torch.zeros(5, 2), batch.points, draw(5, 2).level)
    with pytest.raises(UserError, match="features must be of"):
        devoxelize(torch.zeros(1, 2), batch.points, batch.points.finest)
