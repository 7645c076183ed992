"""The stream test reads what it is given and nothing else."""

import ctypes

import pytest
import torch

from multum.core import UserError
from multum.native import load_native
from multum.ops.memory_stream import read_memory
from multum.ops.memory_stream.stream import SOURCE


@pytest.mark.parametrize(("num_steps", "num_rest"), [(0, 0), (1, 0), (0, 15), (3, 1), (1024, 7)])
def test_every_byte_is_read_once(num_steps: int, num_rest: int) -> None:
    loaded = load_native(SOURCE)
    if loaded is None:
        pytest.skip("the kernel is not compiled here: there is no C++ compiler")
    numbers = torch.randint(-1000, 1000, (64 * num_steps,), dtype=torch.int32)  # added up as they are
    rest = torch.randint(0, 256, (num_rest,), dtype=torch.uint8)  # added up byte by byte
    memory = torch.cat([numbers.view(torch.uint8), rest])
    run = loaded.handle.multum_read_memory
    run.argtypes, run.restype = [ctypes.c_void_p, ctypes.c_int64], ctypes.c_int64
    assert run(memory.data_ptr(), len(memory)) == numbers.sum().item() + rest.sum().item()


def test_tensors_that_do_not_lie_in_one_piece_are_refused() -> None:
    read_memory(torch.zeros(5))
    with pytest.raises(UserError, match="tensor must be contiguous and on the CPU"):
        read_memory(torch.zeros(4, 4)[:, :2])
