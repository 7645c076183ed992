"""Attention of one new token over a pruned cache in bit planes, scores accumulated in the same pass."""

from multum.ops.decode_attention.eviction import evict_lowest, evict_lowest_reference
from multum.ops.decode_attention.op import decode_attention, implementations
from multum.ops.decode_attention.reference import decode_attention_reference
from multum.ops.decode_attention.result import DecodeResult, decode_bytes_read
from multum.ops.decode_attention.step import DecodeStep

__all__ = [
    "DecodeResult",
    "DecodeStep",
    "decode_attention",
    "decode_attention_reference",
    "decode_bytes_read",
    "evict_lowest",
    "evict_lowest_reference",
    "implementations",
]
