"""The processor's measured ceiling of float32 multiply-adds: the floor under every time."""

from multum.ops.fma_peak.peak import FmaPeak, measure_fma_peak

__all__ = ["FmaPeak", "measure_fma_peak"]
