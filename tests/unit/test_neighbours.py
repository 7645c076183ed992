"""The dense table of a kernel map: the same pairs, in blocks that list the offsets they need."""

import pytest
import torch

from multum.ops.kernel_map import (
    KernelMap,
    kernel_map,
    kernel_offsets,
    pack_neighbours,
    sort_voxels,
    table_size,
    view_neighbours,
)
from small_voxels import surface


def make_map(count: int, size: tuple[int, int, int] = (3, 3, 3)) -> KernelMap:
    voxels = sort_voxels(surface(count, seed=count))
    half_N4 = surface(count, seed=count)
    half_N4[:, 1:] >>= 1
    return kernel_map(voxels, sort_voxels(half_N4).distinct(), kernel_offsets(size), (2, 2, 2))


def triples(offset: torch.Tensor, target: torch.Tensor, source: torch.Tensor) -> set[tuple[int, int, int]]:
    return set(zip(offset.tolist(), target.tolist(), source.tolist(), strict=True))


@pytest.mark.parametrize(
    ("count", "size"), [(1, (3, 3, 3)), (700, (3, 3, 3)), (900, (2, 2, 2)), (300, (5, 5, 5))]
)
def test_table_holds_the_pairs_of_its_map_and_no_other(count: int, size: tuple[int, int, int]) -> None:
    for pairs in (make_map(count, size), make_map(count, size).transposed()):
        table = pack_neighbours(pairs)
        assert table.dtype == torch.int32
        assert len(table) == table_size(pairs.num_targets, pairs.num_offsets)
        parts = view_neighbours(table, pairs.num_targets, pairs.num_offsets)
        rows = parts.row_R[: pairs.num_targets]
        assert torch.equal(rows.sort().values, torch.arange(pairs.num_targets, dtype=torch.int32))
        assert bool((parts.row_R[pairs.num_targets :] == -1).all())
        offset, place = (parts.source_KR >= 0).nonzero(as_tuple=True)
        found = triples(offset, parts.row_R[place], parts.source_KR[offset, place])
        assert found == triples(pairs.offset_P, pairs.target_P, pairs.source_P)


def test_a_block_lists_the_offsets_that_some_row_of_it_needs() -> None:
    pairs = make_map(700)
    parts = view_neighbours(pack_neighbours(pairs), pairs.num_targets, 27)
    for rows, offset_BK in parts.offset_BK.items():
        blocks = (parts.source_KR >= 0).view(27, -1, rows).any(dim=2)
        for block, (offsets, count) in enumerate(zip(offset_BK, parts.count_B[rows], strict=True)):
            assert offsets[: int(count)].tolist() == blocks[:, block].nonzero().flatten().tolist()
            assert sorted(offsets.tolist()) == list(range(27))


def test_sorted_rows_need_fewer_offsets_than_rows_in_the_order_of_space() -> None:
    voxels = sort_voxels(surface(4000, seed=1))
    pairs = kernel_map(voxels, voxels, kernel_offsets((3, 3, 3)))
    parts = view_neighbours(pack_neighbours(pairs), 4000, 27)
    in_space = torch.full((27, len(parts.row_R)), -1)
    in_space[pairs.offset_P, voxels.rank_N[pairs.target_P].long()] = 0
    unsorted = (in_space >= 0).view(27, -1, 64).any(dim=2).sum()
    assert int(parts.count_B[64].sum()) < 0.8 * int(unsorted)


def test_both_directions_are_made_once_and_shared() -> None:
    pairs = make_map(300)
    back = pairs.transposed()
    assert pairs.neighbours() is back.neighbours(back=True)
    assert pairs.neighbours(back=True) is back.neighbours()
    assert back.transposed().neighbours() is pairs.neighbours()
    assert torch.equal(back.neighbours(), pack_neighbours(back))


def test_nothing_has_an_empty_table() -> None:
    none = sort_voxels(torch.zeros(0, 4, dtype=torch.int32))
    pairs = kernel_map(none, none, kernel_offsets((3, 3, 3)))
    assert len(pairs.neighbours()) == 0
    assert view_neighbours(pairs.neighbours(), 0, 27).source_KR.shape == (27, 0)
