"""From what a user names on the command line to a model and inputs for it.

Three kinds of targets are understood:

- a *folder* with `config.json` and safetensors weights, as transformers saves them (`load_transformers`);
- a *.pt2 file*, as `torch.export.save` writes it (`load_export`);
- `module:function`, a function in an importable module that returns a model, or a model and its inputs.
"""

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from multum.core.errors import UserError, invalid, wrong_type

DEFAULT_LENGTH: Final = 128
"""Tokens of a text when nothing else is asked for (less where the model takes less)."""


@dataclass(frozen=True, kw_only=True)
class InputWish:
    """What inputs the user wants, as far as the target leaves a choice."""

    batch: int = 1
    """Number of samples."""

    length: int | None = None
    """Tokens of each text; None takes 128, or what the model can take."""

    shape: tuple[int, ...] | None = None
    """Shape of a float input, the batch first, for a function that returns only a model."""

    seed: int = 0
    """Seed of random inputs and random weights."""

    def generator(self) -> torch.Generator:
        """Make the source of random inputs."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model with inputs that it accepts."""

    name: str
    """What to call it in reports."""

    model: nn.Module
    """The model."""

    inputs: Any
    """A tensor, a tuple of positional or a mapping of keyword arguments."""


def load_model(
    target: str,
    wish: InputWish | None = None,
    *,
    dtype: torch.dtype | None = None,
    trust: bool = False,
    random_weights: bool = False,
) -> Loaded:
    """Load whatever the user named.

    Args:
        target: A transformers folder, a `.pt2` file, or `module:function`.
        wish: Batch, length and so on.
        dtype: Type of the weights of a transformers model; float32 when None.
        trust: Whether a `.pt2` file may be loaded although loading it can run code from inside the file.
        random_weights: Whether a transformers model is only built, not loaded; its cost is the same.

    Returns:
        The model, its inputs, and a name for it.

    Raises:
        UserError: When the target is none of the three kinds, or cannot be loaded.
    """
    from multum.cost.load_export import load_export
    from multum.cost.load_transformers import load_folder

    wish, path = wish or InputWish(), Path(target)
    _check_wish(wish)
    if path.is_dir():
        return load_folder(path, wish, dtype=dtype or torch.float32, random_weights=random_weights)
    if dtype is not None or random_weights:
        name = "dtype" if dtype is not None else "random_weights"
        raise invalid(name, "left alone unless the target is a transformers folder", target)
    if path.suffix == ".pt2":
        return load_export(path, trust=trust)
    if ":" in target:
        return _load_function(target, wish)
    raise invalid(
        "model",
        "a folder with config.json and *.safetensors, a .pt2 file of torch.export, or module:function",
        target,
        "there is no such folder" if path.parent.is_dir() else "there is nothing of that name",
    )


def _check_wish(wish: InputWish) -> None:
    if wish.batch < 1:
        raise invalid("batch", "at least 1", wish.batch)
    if wish.length is not None and wish.length < 1:
        raise invalid("length", "at least 1", wish.length)
    if wish.shape is not None and (not wish.shape or min(wish.shape) < 1):
        raise invalid("shape", "one or more sizes of at least 1", wish.shape)


def _load_function(target: str, wish: InputWish) -> Loaded:
    made = _function(target)()
    model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise wrong_type(target, "a function that returns a torch.nn.Module, or one and its inputs", made)
    if inputs is None and wish.shape is None:
        raise invalid(
            target,
            "a function that returns (model, inputs)",
            type(model).__name__,
            "or name a --shape for random inputs",
        )
    if wish.shape is not None:
        inputs = torch.randn(wish.shape, generator=wish.generator())
    return Loaded(name=type(model).__name__, model=model, inputs=inputs)


def _function(target: str) -> Callable[[], object]:
    """Import `module:function`; modules in the current folder are found as well."""
    module_name, _, function_name = target.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as problem:
        raise UserError(f"module {module_name!r} of {target!r} cannot be imported: {problem}") from problem
    except ValueError as problem:  # an empty name
        raise invalid("model", "module:function", target) from problem
    finally:
        if added:
            sys.path.remove(here)
    function: object = module
    for part in function_name.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        raise invalid("model", f"module:function with a function of {module_name}", target)
    _check_takes_nothing(function, target)
    made: Callable[[], object] = function
    return made


def _check_takes_nothing(function: Callable[..., object], target: str) -> None:
    """Refuse a function that cannot be called without arguments; one without a signature is simply tried."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return
    try:
        signature.bind()
    except TypeError as problem:
        remedy = f"{problem}; write a small function of your own that calls it"
        raise invalid(
            "model", "module:function with a function that needs no arguments", target, remedy
        ) from None
