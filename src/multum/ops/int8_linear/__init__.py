"""Linear layers over int8 weights: a quarter of the memory, and of the bytes that generation reads for each token."""

from multum.ops.int8_linear.layers import Int8Layer, int8_linears, int8_linears_
from multum.ops.int8_linear.op import implementations, int8_linear, quantize_weight
from multum.ops.int8_linear.reference import int8_linear_reference, round_rows

__all__ = [
    "Int8Layer",
    "implementations",
    "int8_linear",
    "int8_linear_reference",
    "int8_linears",
    "int8_linears_",
    "quantize_weight",
    "round_rows",
]
