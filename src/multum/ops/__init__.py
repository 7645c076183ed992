"""Kernels, each in its own folder with its reference twin; see `docs/kernels.md` for how to add one."""

from multum.ops.fast_linear import fast_linear, fast_linears, fast_linears_available
from multum.ops.fma_peak import FmaPeak, measure_fma_peak
from multum.ops.importance_attention import importance_attention

__all__ = [
    "FmaPeak",
    "fast_linear",
    "fast_linears",
    "fast_linears_available",
    "importance_attention",
    "measure_fma_peak",
]
