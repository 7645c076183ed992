"""Sorted voxels and kernel maps: the compiled walk against bisection in torch, to the bit, and what is refused."""

import pytest
import torch
from torch import Tensor

from multum.core import UserError
from multum.ops.kernel_map import (
    LARGEST,
    SortedVoxels,
    kernel_map,
    kernel_offsets,
    sort_voxels,
)
from small_voxels import surface

FIELDS = ("source_P", "target_P", "starts_KB", "back_starts_KB")
KERNELS = {
    "3x3x3": kernel_offsets((3, 3, 3)),
    "2x2x2": kernel_offsets((2, 2, 2)),
    "1x1x1": kernel_offsets((1, 1, 1)),
    "5x1x3 dilated": kernel_offsets((5, 1, 3), (2, 1, 7)),
    "4x3x2": kernel_offsets((4, 3, 2)),
}


def halved(voxel_N4: Tensor) -> SortedVoxels:
    half_N4 = voxel_N4.clone()
    half_N4[:, 1:] = voxel_N4[:, 1:] >> 1
    return sort_voxels(half_N4).distinct()


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 3000])
def test_sorted_voxels_are_those_of_torch(count: int) -> None:
    voxel_N4 = surface(count, seed=count)
    voxel_N4 = torch.cat([voxel_N4, voxel_N4[: count // 3]])
    for ours, theirs in zip(
        sort_voxels(voxel_N4, impl="cpu"), sort_voxels(voxel_N4, impl="reference"), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_extreme_voxels_sort_and_never_meet() -> None:
    edge = LARGEST
    corners = torch.cartesian_prod(torch.tensor([0, 4095]), *[torch.tensor([-edge, 0, edge])] * 3).int()
    found = sort_voxels(corners, impl="cpu")
    assert torch.equal(found.rank_N, torch.arange(len(corners), dtype=torch.int32)), "as they were made"
    far = kernel_offsets((3, 3, 3), (500, 500, 500))
    assert kernel_map(found, found, far, impl="cpu").num_pairs == len(corners), "each meets itself alone"


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("count", [1, 300, 2000])
def test_maps_are_those_of_bisection_to_the_bit(kernel: str, count: int) -> None:
    voxel_N4 = surface(count, seed=1)
    fine, coarse = sort_voxels(voxel_N4), halved(voxel_N4)
    for source, target, stride in [(fine, fine, 1), (fine, coarse, 2), (coarse, fine, 1)]:
        steps = (stride,) * 3
        ours = kernel_map(source, target, KERNELS[kernel], steps, impl="cpu")
        theirs = kernel_map(source, target, KERNELS[kernel], steps, impl="reference")
        for field in FIELDS:
            assert torch.equal(getattr(ours, field), getattr(theirs, field)), field
        assert ours.num_pairs == len(ours.offset_P)


def test_threads_change_nothing(threads: None) -> None:
    voxels = sort_voxels(surface(20_000, seed=2))
    torch.set_num_threads(1)
    alone = kernel_map(voxels, voxels, KERNELS["3x3x3"])
    torch.set_num_threads(3)
    together = kernel_map(voxels, voxels, KERNELS["3x3x3"])
    for field in FIELDS:
        assert torch.equal(getattr(alone, field), getattr(together, field))


def test_pairs_are_where_their_offset_says() -> None:
    voxel_N4 = surface(500, seed=3)
    coarse_M4 = torch.unique(torch.cat([voxel_N4[:, :1], voxel_N4[:, 1:] >> 1], dim=1), dim=0).int()
    offset_K3 = kernel_offsets((3, 3, 3))
    it = kernel_map(sort_voxels(voxel_N4), sort_voxels(coarse_M4), offset_K3, (2, 2, 2))
    source_P4, target_P4 = voxel_N4[it.source_P], coarse_M4[it.target_P]
    assert torch.equal(source_P4[:, 0], target_P4[:, 0]), "batches never mix"
    assert torch.equal(source_P4[:, 1:], 2 * target_P4[:, 1:] + offset_K3[it.offset_P])
    every = (voxel_N4[:, None, 1:] - 2 * coarse_M4[None, :, 1:]).abs().amax(dim=2) <= 1
    same = voxel_N4[:, None, 0] == coarse_M4[None, :, 0]
    assert it.num_pairs == int((every & same).sum()), "and none is missing"


def test_a_transposed_map_goes_back() -> None:
    voxel_N4 = surface(700, seed=4)
    there = kernel_map(sort_voxels(voxel_N4), halved(voxel_N4), kernel_offsets((2, 2, 2)), (2, 2, 2))
    assert there.num_pairs == there.num_sources, "each voxel has one parent"
    back = there.transposed()
    assert (back.num_sources, back.num_targets) == (there.num_targets, there.num_sources)
    for k, (first, *_, last) in enumerate(back.starts_KB.tolist()):
        targets = back.target_P[first:last]
        assert bool((targets.diff() != 0).all()), "no target twice at an offset"
        assert last - first == int(there.pairs_of_offset_K[k])


@pytest.mark.parametrize("impl", ["cpu", "reference"])
@pytest.mark.parametrize("place", range(4))
def test_voxels_out_of_range_are_named(impl: str, place: int) -> None:
    voxel_N4 = torch.zeros(3, 4, dtype=torch.int32)
    voxel_N4[1, place] = LARGEST + 1 if place else -1
    with pytest.raises(UserError, match=r"voxel 1 must be .*larger voxels"):
        sort_voxels(voxel_N4, impl=impl)  # type: ignore[arg-type]


def test_what_is_no_map_is_refused() -> None:
    once = sort_voxels(torch.zeros(1, 4, dtype=torch.int32))
    twice = sort_voxels(torch.zeros(2, 4, dtype=torch.int32))
    with pytest.raises(UserError, match=r"all different; got .1 that are there already"):
        kernel_map(twice, once, kernel_offsets((1, 1, 1)))
    with pytest.raises(UserError, match="ascending"):
        kernel_map(once, once, kernel_offsets((3, 1, 1)).flip(0))
    with pytest.raises(UserError, match=r"\[-500, 500\]"):
        kernel_map(once, once, kernel_offsets((3, 1, 1), (501, 1, 1)))
    with pytest.raises(UserError, match="stride must be at least 1"):
        kernel_map(once, once, kernel_offsets((1, 1, 1)), (0, 1, 1))
    with pytest.raises(UserError, match="kernel size"):
        kernel_offsets((0, 1, 1))
    with pytest.raises(TypeError, match="int32"):
        sort_voxels(torch.zeros(1, 4, dtype=torch.int64))


def test_no_voxel_is_a_map_too() -> None:
    none = sort_voxels(torch.zeros(0, 4, dtype=torch.int32))
    for impl in ("cpu", "reference"):
        it = kernel_map(none, none, kernel_offsets((3, 3, 3)), impl=impl)  # type: ignore[arg-type]
        assert (it.num_pairs, it.num_offsets) == (0, 27)
