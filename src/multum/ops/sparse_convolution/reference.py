"""Sparse convolution in plain torch: offset by offset, gather, multiply, add.

    y[target] += x[source] W[k]        for the pairs of every offset k

Sums are taken in the order of offsets, onto a base, if there is one, and a bias; at the end perhaps a ReLU.

Shape legend: N voxels read, M written, C inputs, O outputs, K offsets of the kernel, P pairs.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from multum.ops.kernel_map import KernelMap


def sparse_convolution_reference(
    x_NC: Float[Tensor, "N C"],
    weight_KCO: Float[Tensor, "K C O"],
    pairs: KernelMap,
    *,
    bias_O: Float[Tensor, " O"] | None = None,
    base_MO: Float[Tensor, "M O"] | None = None,
    relu: bool = False,
) -> Float[Tensor, "M O"]:
    """Twin of `sparse_convolution`, any device and type, with torch's own gradients."""
    y_MO = x_NC.new_zeros(pairs.num_targets, weight_KCO.shape[2]) if base_MO is None else base_MO
    y_MO = y_MO if bias_O is None else y_MO + bias_O
    sizes = pairs.pairs_of_offset_K.tolist()
    sources, targets = pairs.source_P.split(sizes), pairs.target_P.split(sizes)
    for weight_CO, source_P, target_P in zip(weight_KCO, sources, targets, strict=True):
        # a target occurs once at an offset, so that no two rows are added to one in an order of their own
        y_MO = y_MO.index_add(0, target_P, x_NC[source_P] @ weight_CO)
    return y_MO.relu() if relu else y_MO


def weight_gradient_reference(
    x_NC: Float[Tensor, "N C"], gradient_MO: Float[Tensor, "M O"], pairs: KernelMap
) -> Float[Tensor, "K C O"]:
    """Twin of the gradient of the weight."""
    sizes = pairs.pairs_of_offset_K.tolist()
    sources, targets = pairs.source_P.split(sizes), pairs.target_P.split(sizes)
    parts = [x_NC[it].T @ gradient_MO[to] for it, to in zip(sources, targets, strict=True)]
    return torch.stack(parts)
