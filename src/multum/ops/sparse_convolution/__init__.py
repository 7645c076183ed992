"""Sparse convolution over the pairs of a kernel map."""

from multum.ops.sparse_convolution.op import implementations, sparse_convolution
from multum.ops.sparse_convolution.reference import sparse_convolution_reference, weight_gradient_reference

__all__ = [
    "implementations",
    "sparse_convolution",
    "sparse_convolution_reference",
    "weight_gradient_reference",
]
