"""spconv's layers for `benchmarks.sparse_problem`, with our weights.

Its backward on the CPU asks for a CUDA stream, which is not there; the one line that gives it none is the only change.
"""

from collections.abc import Callable
from typing import Any

import spconv.pytorch as spconv  # type: ignore[import-not-found, unused-ignore]
import torch
from spconv.core import ConvAlgo  # type: ignore[import-not-found, unused-ignore]
from spconv.pytorch import ops  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor

from benchmarks.sparse_problem import SparseProblem, ours
from multum.pointcloud import SparseConvolution

ops.get_current_stream = lambda: 0


def error_of(problem: SparseProblem) -> float:
    """How far what spconv computes is from ours, in norm, at worst: features, and gradients where it trains."""
    y, gradients = theirs(problem)()
    found = [_sorted(y)]
    if problem.trains:
        found += [gradients[0], *map(as_ours, gradients[1:], problem.layers())]
    pairs = zip((it.detach() for it in ours(problem)()), found, strict=True)
    return max(float((mine - other).norm() / mine.norm()) for mine, other in pairs)


def theirs(problem: SparseProblem) -> Callable[[], tuple[Any, list[Tensor]]]:
    """As `ours`, by spconv: its own sparse tensor, and gradients where it trains."""
    voxel_N4, feature_NC, layers = problem.voxels(), problem.features(), _layers(problem)
    for layer, our in zip(layers, problem.layers(), strict=True):
        layer.weight.data = as_theirs(our)
    shape = [2 * (int(it) // 2 + 1) for it in voxel_N4[:, 1:].amax(dim=0)]

    def compute() -> tuple[Any, list[Tensor]]:
        x = spconv.SparseConvTensor(feature_NC, voxel_N4, shape, 1)
        for layer in layers:
            x = layer(x)
        if not problem.trains:
            return x, []
        leaves = [feature_NC, *(it.weight for it in layers)]
        return x, list(torch.autograd.grad(x.features, leaves, torch.ones_like(x.features)))

    return compute if problem.trains else torch.no_grad()(compute)


def hashed_map(problem: SparseProblem) -> Callable[[], Any]:
    """The kernel map of a layer that stays, by spconv's hash table."""
    voxel_N4, ones = problem.voxels(), [1, 1, 1]
    shape = [int(it) + 1 for it in voxel_N4[:, 1:].amax(dim=0)]
    wish = (ConvAlgo.Native, [3, 3, 3], ones, ones, ones, [0, 0, 0], True, False)
    return lambda: ops.get_indice_pairs(voxel_N4, 1, shape, *wish)


def _layers(problem: SparseProblem) -> list[Any]:
    wide = (problem.inputs, problem.outputs)
    if problem.kind == "stays":
        return [spconv.SubMConv3d(*wide, 3, bias=False)]
    down = spconv.SparseConv3d(*wide, 2, stride=2, bias=False, indice_key="step")
    if problem.kind == "down":
        return [down]
    return [down, spconv.SparseInverseConv3d(*reversed(wide), 2, bias=False, indice_key="step")]


def as_theirs(layer: SparseConvolution) -> Tensor:
    """(O, kernel, kernel, kernel, C); but where it is pointwise spconv reads its memory as (C, O)."""
    if layer.is_pointwise:
        return layer.weight.detach().clone().view(layer.out_channels, 1, 1, 1, layer.in_channels)
    weight: Tensor = layer.weight.detach()
    grid: Tensor = weight.view(*layer.kernel_size, layer.in_channels, layer.out_channels)
    return grid.permute(4, 0, 1, 2, 3).contiguous()


def as_ours(weight: Tensor, like: SparseConvolution) -> Tensor:
    """(K, C, O)."""
    found: Tensor = weight.permute(1, 2, 3, 4, 0).reshape(like.weight.shape)
    return found


def _sorted(x: Any) -> Tensor:
    """Rows in the order of batch, x, y, z, as ours are."""
    place_N = x.indices.long()
    key_N = ((place_N[:, 0] * 4096 + place_N[:, 1]) * 4096 + place_N[:, 2]) * 4096 + place_N[:, 3]
    rows: Tensor = x.features.detach()
    in_order: Tensor = rows[key_N.argsort()]
    return in_order
