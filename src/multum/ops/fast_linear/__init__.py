"""Linear layers through oneDNN, for processors on which torch's default library takes a slow path."""

from multum.ops.fast_linear.linear import fast_linear, fast_linears, fast_linears_available

__all__ = ["fast_linear", "fast_linears", "fast_linears_available"]
