"""Sparse convolution and weighted sums of rows on a CUDA device: maps, Triton kernels, measured settings."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multum.core.files import read_json
from multum.ops.dispatch import choose
from multum.ops.kernel_map import KernelMap, kernel_map, kernel_offsets, sort_voxels
from multum.ops.sparse_convolution import implementations, sparse_convolution, tuning
from multum.ops.sparse_convolution.op import _lists
from multum.ops.sparse_convolution.operations import convolve, convolve_weight
from multum.ops.sparse_convolution.settings import Problem, settings_of
from multum.ops.sparse_convolution.tuning import can_measure
from multum.ops.weighted_rows import RowLists, turn_rows, weighted_rows, weighted_rows_reference
from small_voxels import surface
from sparse_convolution_cases import draw, ends_error, exact, maps, to, units
from tolerances import tolerance
from weighted_rows_cases import draw_lists, draw_x

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]

TYPES = [torch.float32, torch.bfloat16, torch.float16]
WAYS = ["stays", "down", "overlaps", "down back", "overlaps back"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Let settings be measured, and kept in a folder of the test."""
    monkeypatch.setattr(tuning, "can_measure", can_measure)
    monkeypatch.setenv("MULTUM_CACHE", str(tmp_path))
    tuning.file_of.cache_clear()
    yield tmp_path / "settings"
    tuning.file_of.cache_clear()


@pytest.fixture(autouse=True)
def first_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure nothing where a test does not ask for it: to compile every setting takes its time."""
    monkeypatch.setattr(tuning, "can_measure", lambda device: False)


def on_device(pairs: KernelMap) -> KernelMap:
    return to(pairs, "cuda")


def run(pairs: KernelMap, x: Tensor, weight: Tensor, gradient: Tensor) -> list[Tensor]:
    """Outputs and both gradients, from numbers on the CPU."""
    leaves = [it.cuda().requires_grad_() for it in (x, weight)]
    y = sparse_convolution(*leaves, pairs, impl="triton")
    return [y.detach(), *torch.autograd.grad(y, leaves, gradient.cuda())]


def assert_solved(pairs: KernelMap, inputs: int, outputs: int, dtype: torch.dtype) -> None:
    given = draw(pairs, inputs, outputs, dtype)
    terms = (27 * inputs, 27 * outputs, 2 * pairs.num_targets)
    found = run(on_device(pairs), *given)
    for ours, theirs, num_terms in zip(found, exact(pairs, *given), terms, strict=True):
        assert ours.dtype == dtype
        assert units(ours.cpu(), theirs, num_terms) <= 1.0


@pytest.mark.parametrize("count", [1, 300, 5000])
def test_voxels_are_sorted_and_maps_found_as_on_the_cpu(count: int) -> None:
    fine_N4 = torch.cat([surface(count, seed=0), surface(count, seed=0)[: count // 3]])
    half_N4 = torch.cat([fine_N4[:, :1], fine_N4[:, 1:] >> 1], dim=1)
    expected, found = (
        [sort_voxels(it.to(device)) for it in (fine_N4, half_N4)] for device in ("cpu", "cuda")
    )
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(one.cpu(), other) for one, other in zip(ours, theirs, strict=True))
    for size, stride, target in (((3, 3, 3), 1, 0), ((2, 2, 2), 2, 1), ((5, 1, 4), 2, 1)):
        ours, theirs = (
            kernel_map(it[0].distinct(), it[target].distinct(), kernel_offsets(size), (stride,) * 3)
            for it in (found, expected)
        )
        for field in ("source_P", "target_P", "starts_KB", "back_starts_KB"):
            assert torch.equal(getattr(ours, field).cpu(), getattr(theirs, field)), field
        assert ours.neighbours().is_cuda
        for back in (False, True):
            assert torch.equal(ours.neighbours(back=back).cpu(), theirs.neighbours(back=back))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("widths", [(1, 1), (4, 20), (33, 130), (64, 64), (70, 7), (130, 36)])
def test_float32_is_within_the_tolerance_there_and_back(way: str, widths: tuple[int, int]) -> None:
    assert_solved(maps(3000)[way], *widths, torch.float32)


@pytest.mark.parametrize("dtype", TYPES[1:])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("widths", [(16, 16), (33, 70), (128, 64)])
def test_half_types_are_added_in_full(way: str, widths: tuple[int, int], dtype: torch.dtype) -> None:
    assert_solved(maps(3000)[way], *widths, dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["forward", "weight"])
def test_every_setting_gives_the_right_numbers(kind: str, dtype: torch.dtype) -> None:
    from multum.ops.sparse_convolution import triton

    pairs = maps(3000)["stays"]
    x, weight, gradient = draw(pairs, 144, 160, dtype)
    true, _, of_weight = exact(pairs, x, weight, gradient)
    there = on_device(pairs)
    lists, table = (there.source_P, there.target_P, there.starts_KB), there.neighbours()
    problem = Problem(
        kind=kind, dtype=dtype, device=there.source_P.device, num_offsets=27, inputs=144, outputs=160,
        num_targets=pairs.num_targets, num_pairs=pairs.num_pairs, has_table=True,
    )  # fmt: skip
    for setting in settings_of(problem):
        if kind == "forward":
            y = triton.convolve(x.cuda(), weight.cuda(), lists, pairs.num_targets, table, setting)
            assert units(y.cpu(), true, 27 * 144) <= 1.0, setting
        else:
            y = triton.weight_gradient(x.cuda(), gradient.cuda(), lists, setting)
            assert units(y.cpu(), of_weight, 2 * pairs.num_targets) <= 1.0, setting


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("way", ["stays", "down back"])
def test_every_run_gives_the_same_bits(way: str, dtype: torch.dtype) -> None:
    pairs = maps(30_000)[way]
    given, there = draw(pairs, 48, 64, dtype), on_device(pairs)
    first = run(there, *given)
    for _ in range(4):
        assert all(map(torch.equal, run(there, *given), first))
    for it in (there, there.transposed()):
        it.tables.clear()
    assert all(map(torch.equal, run(there, *given), first)), "with tables made anew"


def test_offset_by_offset_gives_the_same_bits_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multum.ops.sparse_convolution.op.SMALL_TABLE", 0)
    monkeypatch.setattr("multum.ops.sparse_convolution.op.SPARSEST", 0)
    pairs = maps(20_000)["overlaps"]
    given, there = draw(pairs, 32, 40, torch.float32), on_device(pairs)
    first = run(there, *given)
    assert not there.tables
    assert units(first[0].cpu(), exact(pairs, *given)[0], 27 * 32) <= 1.0
    assert all(map(torch.equal, run(there, *given), first))


def test_any_order_of_voxels_gives_the_same_bits() -> None:
    voxel_N4 = surface(3000, seed=3)
    found = []
    for shuffle in (torch.arange(3000), torch.randperm(3000, generator=torch.Generator().manual_seed(0))):
        voxels = sort_voxels(voxel_N4[shuffle].cuda())
        pairs = kernel_map(voxels, voxels, kernel_offsets((3, 3, 3)))
        x, weight, gradient = draw(pairs, 24, 40, torch.float32)
        y, of_x, of_weight = run(pairs, x[shuffle], weight, gradient[shuffle])
        back = shuffle.argsort().cuda()
        found.append((y[back], of_x[back], of_weight))
    assert all(map(torch.equal, *found))


def test_settings_are_measured_once_and_kept(
    first_setting: None, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from multum.ops.sparse_convolution import triton

    pairs = maps(4000)["stays"]
    given, there = draw(pairs, 32, 32, torch.float32), on_device(pairs)
    first = run(there, *given)
    (path,) = measured.glob("*.json")
    kept = read_json(path)
    assert sorted(key.split()[0] for key in kept) == ["forward", "weight"], "the way back is of the same kind"
    monkeypatch.setattr(triton, "measure_seconds", lambda run: pytest.fail("it is known"))
    assert all(map(torch.equal, run(there, *given), first))
    tuning.file_of.cache_clear()  # another process
    assert all(map(torch.equal, run(there, *given), first))
    assert read_json(path) == kept
    for ours, theirs in zip(first, exact(pairs, *given), strict=True):
        assert units(ours.cpu(), theirs, 2 * pairs.num_targets) <= 1.0


def test_nothing_in_gives_nothing_out() -> None:
    none = sort_voxels(torch.zeros(0, 4, dtype=torch.int32, device="cuda"))
    pairs = kernel_map(none, none, kernel_offsets((3, 3, 3)))
    y, of_x, of_weight = run(pairs, torch.zeros(0, 3), torch.ones(27, 3, 4), torch.zeros(0, 4))
    assert y.shape == (0, 4)
    assert of_x.shape == (0, 3)
    assert not of_weight.any()
    far = [sort_voxels(torch.tensor([[0, at, 0, 0]], dtype=torch.int32, device="cuda")) for at in (0, 50)]
    apart = kernel_map(*far, kernel_offsets((3, 3, 3)))
    found = run(apart, torch.ones(1, 3), torch.ones(27, 3, 4), torch.ones(1, 4))
    assert not any(it.any() for it in found)


def test_auto_takes_triton_and_float64_the_reference() -> None:
    pairs = on_device(maps(200)["overlaps"])
    x, weight, gradient = (it.cuda() for it in draw(pairs, 5, 6, torch.float32))
    assert choose("auto", x, implementations()) == "triton"
    assert choose("auto", x.double(), implementations()) == "reference"
    assert torch.equal(
        sparse_convolution(x, weight, pairs), sparse_convolution(x, weight, pairs, impl="triton")
    )
    double = sparse_convolution(x.double(), weight.double(), pairs)
    assert units(sparse_convolution(x, weight, pairs), double, 27 * 5) <= 1.0
    tables = (pairs.neighbours(), pairs.neighbours(back=True))
    x.requires_grad_()
    weight.requires_grad_()
    ends = (torch.ones(6, device="cuda"), gradient, True)
    torch.library.opcheck(convolve, (x, weight, *_lists(pairs), *ends, *tables))
    torch.library.opcheck(convolve_weight, (x, gradient, *_lists(pairs), *tables))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("dense", [False, True])
def test_bias_base_and_relu_are_part_of_it(
    dtype: torch.dtype, dense: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not dense:
        monkeypatch.setattr("multum.ops.sparse_convolution.op.SMALL_TABLE", 0)
        monkeypatch.setattr("multum.ops.sparse_convolution.op.SPARSEST", 0)
    assert ends_error(maps(2000)["overlaps"], dtype, "cuda") <= 1.0


def test_gradients_of_gradients_are_right() -> None:
    pairs = on_device(maps(60)["overlaps"])
    x, weight, _ = draw(pairs, 2, 3, torch.float32)
    found = []
    for impl in ("triton", "reference"):
        leaves = [it.cuda().requires_grad_() for it in (x, weight)]
        first = torch.autograd.grad(
            sparse_convolution(*leaves, pairs, impl=impl).pow(3).sum(), leaves, create_graph=True
        )
        found.append(torch.autograd.grad(sum(it.pow(2).sum() for it in first), leaves))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_a_graph_is_captured_and_replayed() -> None:
    pairs = on_device(maps(2000)["stays"])
    x, weight, _ = (it.cuda() for it in draw(pairs, 32, 32, torch.float16))
    expected = sparse_convolution(x, weight, pairs)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = sparse_convolution(x, weight, pairs)
    y.zero_()
    graph.replay()
    assert torch.equal(y, expected)


def rows_on_device(lists: RowLists) -> RowLists:
    numbers = (it.cuda() for it in (lists.starts_M1, lists.column_E, lists.weight_E))
    return RowLists(*numbers, lists.num_columns)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("channels", [1, 4, 15, 16, 33, 64, 130])
@pytest.mark.parametrize("sizes", [(1, 1, 8), (700, 90, 8), (90, 1300, 8), (3, 500, 4000), (0, 5, 8)])
def test_weighted_sums_are_those_of_torch(
    sizes: tuple[int, int, int], channels: int, dtype: torch.dtype
) -> None:
    lists = draw_lists(*sizes)
    x = draw_x(lists, channels).to(dtype)
    there, leaf = rows_on_device(lists), x.cuda().requires_grad_()
    found = []
    for _ in range(2):
        y = weighted_rows(leaf, there, impl="triton")
        found.append((y, torch.autograd.grad(y, leaf, torch.ones_like(y))[0]))
    assert all(map(torch.equal, *found)), "every run gives the same bits"
    wide = x.double().requires_grad_()
    true = weighted_rows_reference(wide, lists)
    (back,) = torch.autograd.grad(true, wide, torch.ones_like(true))
    limit = tolerance(dtype, num_terms=max(200, *sizes))
    for ours, theirs in zip(found[0], (true, back), strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double().cpu(), theirs, rtol=limit.relative, atol=limit.absolute)


def test_lists_are_made_and_turned_on_the_device_as_on_the_cpu() -> None:
    target_N = torch.randint(0, 40, (500,), generator=torch.Generator().manual_seed(0))
    expected = RowLists.of_targets(target_N, 50).means()
    found = RowLists.of_targets(target_N.cuda(), 50).means()
    for ours, theirs in ((found, expected), (turn_rows(found), turn_rows(expected))):
        for field in ("starts_M1", "column_E", "weight_E"):
            torch.testing.assert_close(getattr(ours, field).cpu(), getattr(theirs, field))
