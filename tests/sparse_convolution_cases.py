"""Maps and numbers for tests of sparse convolution.

Run as a script this file solves small problems with the Triton kernels in Triton's interpreter, which has to be chosen
before Triton is imported (TRITON_INTERPRET=1), and prints the largest error of each in units of its tolerance.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from unittest import mock

import torch
from torch import Tensor

from multum.ops.dispatch import Implementation
from multum.ops.kernel_map import KernelMap, kernel_map, kernel_offsets, sort_voxels
from multum.ops.sparse_convolution import sparse_convolution, sparse_convolution_reference
from small_voxels import surface
from tolerances import tolerance


def maps(count: int, seed: int = 0) -> dict[str, KernelMap]:
    """A layer that stays, one that goes down, one that goes down further than its kernel, and the ways back."""
    fine_N4 = surface(count, seed=seed)
    half_N4 = torch.cat([fine_N4[:, :1], fine_N4[:, 1:] >> 1], dim=1)
    fine, half = sort_voxels(fine_N4), sort_voxels(half_N4).distinct()
    found = {
        "stays": kernel_map(fine, fine, kernel_offsets((3, 3, 3))),
        "down": kernel_map(fine, half, kernel_offsets((2, 2, 2)), (2, 2, 2)),
        "overlaps": kernel_map(fine, half, kernel_offsets((3, 3, 3)), (2, 2, 2)),
    }
    return found | {f"{name} back": it.transposed() for name, it in found.items()}


def draw(pairs: KernelMap, inputs: int, outputs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(inputs * 1000 + outputs)
    x = torch.randn(pairs.num_sources, inputs, generator=generator, dtype=torch.float64)
    weight = torch.randn(pairs.num_offsets, inputs, outputs, generator=generator, dtype=torch.float64)
    gradient = torch.randn(pairs.num_targets, outputs, generator=generator, dtype=torch.float64)
    return x.to(dtype), weight.to(dtype) / (inputs * 14) ** 0.5, gradient.to(dtype)


def exact(pairs: KernelMap, x: Tensor, weight: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
    """Outputs and the gradients of x and of the weight, in float64."""
    leaves = [it.detach().double().requires_grad_() for it in (x, weight)]
    y = sparse_convolution_reference(*leaves, pairs)
    return y.detach(), *torch.autograd.grad(y, leaves, gradient.double())


def units(found: Tensor, true: Tensor, num_terms: int) -> float:
    """The largest error in units of what is allowed, where the largest number is 1."""
    allowed = tolerance(found.dtype, num_terms=num_terms)
    scale = float(true.abs().max()) if true.numel() else 1.0
    scale = scale or 1.0
    error = (found.double() - true).abs() / scale
    worst = (error / (allowed.absolute + allowed.relative * true.abs() / scale)).flatten()
    return max(worst.tolist(), default=0.0, key=lambda it: math.inf if math.isnan(it) else it)


INTERPRETED: tuple[tuple[str, int, int, int, str], ...] = (
    ("stays", 35, 4, 20, "float32"),
    ("stays", 9, 33, 40, "float32"),
    ("stays", 1, 1, 1, "float32"),
    ("down", 130, 16, 17, "float32"),
    ("down back", 90, 5, 16, "float32"),
    ("overlaps", 20, 33, 7, "float16"),
    ("overlaps back", 20, 9, 40, "float16"),
)
"""Map, voxels, inputs, outputs and type of problems for the interpreter, where every number takes its time.

Not bfloat16: the interpreter multiplies its bits as whole numbers.
"""
CHECKS = (
    "pieces",
    "turned weight",
    "bias base and relu",
    "order of voxels",
    "a NaN",
    "second gradients",
    "no pairs",
    "no rows",
    "no table",
    "large kernel",
    "opcheck",
    "compiled",
)
"""What else is looked at there."""


@contextmanager
def interpreted() -> Iterator[None]:
    """Let the public function take Triton's path for tensors on the CPU."""
    from multum.ops.sparse_convolution import op, operations

    paths = {"triton": replace(op.implementations()["triton"], device="cpu")}

    def triton_alone() -> dict[str, Implementation]:  # functions, for torch.compile looks inside
        return paths

    def everywhere(x: Tensor) -> bool:
        return True

    with (
        mock.patch.object(op, "implementations", triton_alone),
        mock.patch.object(operations, "is_on_device", everywhere),
    ):
        yield


def errors_of(pairs: KernelMap, x: Tensor, weight: Tensor, gradient: Tensor) -> float:
    """Largest error of the outputs and of both gradients."""
    leaves = [it.detach().requires_grad_() for it in (x, weight)]
    y = sparse_convolution(*leaves, pairs)
    found = (y, *torch.autograd.grad(y, leaves, gradient))
    assert all(it.dtype == x.dtype for it in found)
    terms = (27 * x.shape[1], 27 * weight.shape[2], 2 * pairs.num_targets)
    true = exact(pairs, x, weight, gradient)
    return max(units(ours, theirs, many) for ours, theirs, many in zip(found, true, terms, strict=True))


def interpret() -> dict[str, float]:
    """The largest error of each problem, and of each check."""
    found = {}
    with interpreted():
        for case in INTERPRETED:
            way, count, inputs, outputs, dtype = case
            pairs = maps(count)[way]
            given = draw(pairs, inputs, outputs, getattr(torch, dtype))
            found[str(case)] = max(errors_of(pairs, *given), *_errors_of_settings(pairs, *given))
        for name in CHECKS:
            found[name] = CHECK_FUNCTIONS[name]()
    return found


def _errors_of_settings(pairs: KernelMap, x: Tensor, weight: Tensor, gradient: Tensor) -> Iterator[float]:
    """The same of a setting of each dataflow that differs from the default in every dial."""
    from multum.ops.sparse_convolution import triton
    from multum.ops.sparse_convolution.settings import Setting

    lists = (pairs.source_P, pairs.target_P, pairs.starts_KB)
    true, _, of_weight = exact(pairs, x, weight, gradient)
    other = Setting(dataflow="implicit", block_rows=32, block_inputs=16, block_outputs=16)
    table = pairs.neighbours()
    for setting in (other, replace(other, dataflow="scatter")):
        y = triton.convolve(x, weight, lists, pairs.num_targets, table, setting)
        yield units(y, true, 27 * x.shape[1])
    ours = triton.weight_gradient(x, gradient, lists, replace(other, dataflow="weight"))
    yield units(ours, of_weight, 2 * pairs.num_targets)


def _pieces() -> float:
    from multum.ops.sparse_convolution import triton

    pairs = maps(80)["down"]
    with mock.patch.object(triton, "PIECE_PAIRS", 3):
        assert triton.num_pieces(pairs.num_pairs, pairs.num_offsets, 5, 6) > 2
        return errors_of(pairs, *draw(pairs, 5, 6, torch.float32))


def _turned_weight() -> float:
    pairs = maps(20)["stays"]
    x, weight, gradient = draw(pairs, 12, 20, torch.float32)
    turned = weight.mT.contiguous().mT
    assert not turned.is_contiguous()
    return errors_of(pairs, x, turned, gradient)


def ends_error(pairs: KernelMap, dtype: torch.dtype, device: str = "cpu") -> float:
    """Largest error with a bias, a base and a ReLU at the end, there and back."""
    x, weight, gradient = draw(pairs, 12, 20, dtype)
    given = (x, weight, torch.linspace(-1, 1, 20).to(dtype), gradient.flip(0))
    found = []
    for impl, kind, place in (("auto", dtype, device), ("reference", torch.float64, "cpu")):
        leaves = [it.detach().to(kind).to(place).requires_grad_() for it in given]
        ends = {"bias_O": leaves[2], "base_MO": leaves[3], "relu": True}
        y = sparse_convolution(*leaves[:2], pairs if place == "cpu" else to(pairs, place), impl=impl, **ends)
        grads = torch.autograd.grad(y, leaves, gradient.to(kind).to(place))
        found.append([it.detach().cpu() for it in (y, *grads)])
    terms = (27 * 12, 27 * 20, *[2 * pairs.num_targets] * 3)
    return max(units(ours, theirs, many) for ours, theirs, many in zip(*found, terms, strict=True))


def to(pairs: KernelMap, device: str) -> KernelMap:
    """The same map on a device."""
    return KernelMap(
        **{
            it.name: getattr(pairs, it.name).to(device)
            for it in fields(pairs)
            if it.name not in {"tables", "is_turned"}
        }
    )


def _bias_base_and_relu() -> float:
    from multum.ops.sparse_convolution import op

    pairs = maps(20)["overlaps"]
    errors = [ends_error(pairs, torch.float32)]
    with mock.patch.multiple(op, SMALL_TABLE=0, SPARSEST=0):
        errors.append(ends_error(pairs, torch.float32))
    x, weight, _ = draw(pairs, 12, 20, torch.float32)
    x[:] = torch.nan
    keeps = sparse_convolution(x, weight, pairs, relu=True).isnan().all()
    return max(errors) if keeps else math.inf


def _order_of_voxels() -> float:
    voxel_N4 = surface(40, seed=3)
    found = []
    for shuffle in (torch.arange(40), torch.randperm(40, generator=torch.Generator().manual_seed(0))):
        voxels = sort_voxels(voxel_N4[shuffle])
        pairs = kernel_map(voxels, voxels, kernel_offsets((3, 3, 3)))
        x, weight, gradient = draw(pairs, 20, 24, torch.float32)
        leaves = x[shuffle].requires_grad_(), weight.requires_grad_()
        y = sparse_convolution(*leaves, pairs)
        of_x, of_weight = torch.autograd.grad(y, leaves, gradient[shuffle])
        back = shuffle.argsort()
        found.append((y[back], of_x[back], of_weight))
    return 0.0 if all(map(torch.equal, *found)) else math.inf


def _a_nan() -> float:
    line = sort_voxels(torch.tensor([[0, 0, 0, it] for it in range(6)], dtype=torch.int32))
    pairs = kernel_map(line, line, kernel_offsets((1, 1, 3)))
    x = torch.ones(6, 2)
    x[0] = torch.nan
    bad = sparse_convolution(x, torch.ones(3, 2, 2), pairs).isnan().any(dim=1)
    return 0.0 if bad.tolist() == [True] * 2 + [False] * 4 else math.inf


def _second_gradients() -> float:
    pairs = maps(16)["overlaps"]
    x, weight, _ = draw(pairs, 2, 3, torch.float32)
    found = []
    for run in (sparse_convolution, sparse_convolution_reference):
        leaves = [it.detach().clone().requires_grad_() for it in (x, weight)]
        first = torch.autograd.grad(run(*leaves, pairs).pow(3).sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(it.pow(2).sum() for it in first), leaves))
    return max(units(ours, theirs.double(), 64 * 27) for ours, theirs in zip(*found, strict=True))


def _no_pairs() -> float:
    far = [
        sort_voxels(torch.tensor([[0, at, it, 0] for it in range(3)], dtype=torch.int32)) for at in (0, 50)
    ]
    pairs = kernel_map(*far, kernel_offsets((3, 3, 3)))
    assert pairs.num_pairs == 0
    return max(errors_of(pairs, *draw(pairs, 5, 6, torch.float32)), ends_error(pairs, torch.float32))


def _no_rows() -> float:
    none = sort_voxels(torch.zeros(0, 4, dtype=torch.int32))
    pairs = kernel_map(none, none, kernel_offsets((3, 3, 3)))
    return errors_of(pairs, *draw(pairs, 5, 6, torch.float32))


def _no_table() -> float:
    from multum.ops.sparse_convolution import op

    pairs = maps(20)["stays"]
    with mock.patch.multiple(op, SMALL_TABLE=0, SPARSEST=1):
        error = errors_of(pairs, *draw(pairs, 5, 6, torch.float32))
    return math.inf if pairs.tables else error


def _large_kernel() -> float:
    voxels = sort_voxels(surface(12, seed=2))
    pairs = kernel_map(voxels, voxels, kernel_offsets((5, 5, 5)))
    return errors_of(pairs, *draw(pairs, 3, 4, torch.float32))


def _opcheck() -> float:
    from multum.ops.sparse_convolution.op import _lists
    from multum.ops.sparse_convolution.operations import convolve, convolve_weight

    pairs = maps(20)["down"]
    x, weight, gradient = draw(pairs, 5, 6, torch.float32)
    tables = (pairs.neighbours(), pairs.neighbours(back=True))
    given = x.requires_grad_(), weight.requires_grad_(), *_lists(pairs)
    quick = ("test_schema", "test_autograd_registration", "test_faketensor")  # the rest: "compiled"
    ends = (torch.ones(6), gradient.requires_grad_(), True)
    torch.library.opcheck(convolve, (*given, *ends, *tables), test_utils=quick)
    torch.library.opcheck(convolve_weight, (x, gradient, *_lists(pairs), *tables), test_utils=quick)
    return 0.0


def _compiled() -> float:
    pairs, made_before = maps(20)["down"], maps(20)["down"]
    leaves = [it.requires_grad_() for it in draw(pairs, 5, 6, torch.float32)[:2]]
    found = []
    for it, run in (
        (made_before, sparse_convolution),
        (pairs, torch.compile(sparse_convolution, backend="aot_eager", fullgraph=True)),
        (made_before, torch.compile(sparse_convolution, backend="aot_eager", fullgraph=True)),
    ):
        y = run(*leaves, it)
        found.append((y, *torch.autograd.grad(y.square().sum(), leaves)))
    return 0.0 if all(all(map(torch.equal, found[0], it)) for it in found) else math.inf


CHECK_FUNCTIONS: dict[str, Callable[[], float]] = {
    name: globals()["_" + name.lower().replace(" ", "_")] for name in CHECKS
}


if __name__ == "__main__":
    json.dump(interpret(), sys.stdout)
