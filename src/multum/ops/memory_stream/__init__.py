"""How fast one thread reads memory: the floor under every time that is bound by memory."""

from multum.ops.memory_stream.stream import read_memory

__all__ = ["read_memory"]
