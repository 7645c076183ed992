"""Attention that sums its own probabilities: context and token importance in one pass."""

from multum.ops.importance_attention.op import implementations, importance_attention
from multum.ops.importance_attention.reference import importance_attention_reference

__all__ = ["implementations", "importance_attention", "importance_attention_reference"]
