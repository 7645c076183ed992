"""What `multum cost` does, apart from reading options and printing: load, measure, hand over the reading.

>>> config = CostConfig(target="torch.nn:Identity", shape=(2, 3), latency=False)
>>> run_cost(config).output_bytes
24
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils._pytree import tree_map_only

from multum.core.errors import invalid
from multum.cost.load import InputWish, load_model
from multum.cost.measure import measure
from multum.cost.result import Cost, Mode
from multum.cost.step import OptimizerFactory

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """Everything that `multum cost` can be told."""

    target: str
    """What to measure: a transformers folder, a .pt2 file of torch.export, or module:function."""

    mode: Mode = "inference"
    """A forward pass without gradients, or a whole training step."""

    optimizer: Literal["none", "sgd", "adamw"] = "none"
    """Optimizer of the training step."""

    batch: int = 1
    """Samples at once, for a transformers folder."""

    length: int | None = None
    """Tokens of each text, for a transformers folder; 128 or what the model takes when left alone."""

    shape: tuple[int, ...] | None = None
    """Shape of a random float input, the batch first, for a function that returns only a model."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Type of the weights of a transformers folder; float32 when left alone."""

    device: str = "cpu"
    """Where to run, for instance cpu or cuda."""

    latency: bool = True
    """Take the time as well."""

    threads: int | None = None
    """Threads for the time; torch's own setting when left alone."""

    random_weights: bool = False
    """Do not read the weights of a transformers folder: the cost is the same."""

    trust: bool = False
    """Load a .pt2 file even if loading it can run code that the file brings."""

    seed: int = 0
    """Seed of random inputs and weights."""

    html: Path | None = None
    """Write a page with the table, the layers and the memory timeline to this file."""


def run_cost(config: CostConfig) -> Cost:
    """Load what the configuration names, and measure it.

    Args:
        config: The wish. Its `html` is left to the caller, who can draw pages.

    Returns:
        The reading.

    Raises:
        UserError: When the target cannot be loaded, the device is not there, or the model refuses its inputs.
    """
    device = _device(config.device)
    wish = InputWish(batch=config.batch, length=config.length, shape=config.shape, seed=config.seed)
    loaded = load_model(
        config.target,
        wish,
        dtype=_DTYPES[config.dtype] if config.dtype else None,
        trust=config.trust,
        random_weights=config.random_weights,
    )
    cost = measure(
        loaded.model.to(device),
        tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), loaded.inputs),
        mode=config.mode,
        optimizer=_optimizer(config.optimizer),
        latency=config.latency,
        num_threads=config.threads,
    )
    return replace(cost, name=loaded.name)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as problem:  # torch asserts that it was built with CUDA
        reason = str(problem).strip().split("\n")[0]
        raise invalid("device", "one that torch can use here", name, reason) from problem
    return device


def _optimizer(name: str) -> OptimizerFactory | None:
    factories: dict[str, Any] = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
    return factories.get(name)
