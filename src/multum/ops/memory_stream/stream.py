"""Read memory from one end to the other as fast as one thread can: the floor under all that is bound by memory."""

import ctypes
from pathlib import Path

from torch import Tensor

from multum.core import invalid
from multum.native import load_native

SOURCE = Path(__file__).with_name("cpu.cpp")


def read_memory(tensor: Tensor) -> None:
    """Read every byte of a tensor once, in order, on one thread; its time over its bytes is the bandwidth.

    Args:
        tensor: Contiguous, on the CPU. Take another one each time, together larger than the processor's caches.

    Raises:
        UserError: A tensor that is not contiguous or not on the CPU.

    >>> import torch
    >>> read_memory(torch.zeros(1000))
    """
    if not (tensor.is_cpu and tensor.is_contiguous()):
        raise invalid("tensor", "contiguous and on the CPU", tensor)
    loaded = load_native(SOURCE)
    if loaded is None:
        tensor.sum()  # what torch offers where nothing can be compiled
        return
    run = loaded.handle.multum_read_memory
    run.argtypes, run.restype = [ctypes.c_void_p, ctypes.c_int64], ctypes.c_int64
    run(tensor.data_ptr(), tensor.numel() * tensor.element_size())
