"""Checkpoints: everything that moves during a training, in one file, without pickle.

A training goes on bit for bit after a kill only if *all* of its state comes back: what is trained, what the optimizer
remembers, and where every generator of random numbers stands. The surprise is how little that needs: tensors are
already what safetensors holds, a generator's state is a tensor of bytes, and an optimizer's state is tensors and a few
numbers, which go into the header.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multum.core import UserError
from multum.training.tensor_file import copy_into, read_tensor_file, write_tensor_file

SCHEMA = "multum.checkpoint/1"
"""Name and version of the form of a checkpoint."""

GLOBAL_CPU = "torch.cpu"
"""Name under which torch's own generator of the CPU is kept; CUDA's follow as `torch.cuda.0`, ..."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The live objects whose state a checkpoint holds; restoring fills them in place."""

    tensors: Mapping[str, Tensor]
    """What moves: trained parameters, running statistics, moving averages. What stays as it is needs no place here."""
    optimizers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)
    """By name; restored into optimizers made over the same parameters in the same order."""
    generators: Mapping[str, torch.Generator] = field(default_factory=dict)
    """By name, beside torch's own, which are always kept."""


def save_checkpoint(path: Path, state: TrainingState, progress: Mapping[str, object]) -> None:
    """Write a checkpoint, completely or not at all.

    Args:
        path: Where to; the one before is replaced in a single step.
        state: What to keep.
        progress: Where the training stands, in plain values: the step, best score so far, ...

    Raises:
        UserError: The file cannot be written, or an optimizer keeps something that has no JSON form.

    >>> import tempfile
    >>> weight = torch.ones(2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(Path(folder) / "last", TrainingState(tensors={"weight": weight}), {"step": 3})
    ...     _ = weight.zero_()
    ...     restore_checkpoint(Path(folder) / "last", TrainingState(tensors={"weight": weight}))
    {'step': 3}
    >>> weight
    tensor([1., 1.])
    """
    tensors = {f"tensor/{name}": tensor for name, tensor in state.tensors.items()}
    plain: dict[str, Any] = {}
    for name, optimizer in state.optimizers.items():
        found, plain[name] = flatten_optimizer(optimizer)
        tensors |= {f"optimizer/{name}/{key}": tensor for key, tensor in found.items()}
    tensors |= {f"generator/{name}": it for name, it in _generator_states(state.generators).items()}
    write_tensor_file(path, tensors, {"progress": dict(progress), "optimizers": plain}, schema=SCHEMA)


def restore_checkpoint(path: Path, state: TrainingState) -> dict[str, Any]:
    """Bring everything back to where a checkpoint was written.

    Args:
        path: The checkpoint.
        state: The same live objects, freshly made.

    Returns:
        The progress that was saved.

    Raises:
        UserError: The file is missing or broken, or belongs to another training: other names, shapes, types.
    """
    tensors, header = read_tensor_file(path, schema=SCHEMA)
    kept = _below(tensors, "tensor/")
    if kept.keys() != state.tensors.keys() or header["optimizers"].keys() != state.optimizers.keys():
        other = sorted(kept.keys() ^ state.tensors.keys()) or sorted(header["optimizers"])
        raise UserError(
            f"{path} must be of the same training; it differs in {', '.join(other[:3])}; "
            "choose another folder, or start over"
        )
    for name, target in state.tensors.items():
        copy_into(target, kept[name], name)
    for name, optimizer in state.optimizers.items():
        restore_optimizer(optimizer, _below(tensors, f"optimizer/{name}/"), header["optimizers"][name])
    _restore_generators(state.generators, _below(tensors, "generator/"))
    progress: dict[str, Any] = header["progress"]
    return progress


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Part an optimizer's state into tensors, named `PARAMETER/KEY`, and plain values."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, entry in state["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"{index}/{key}"] = value
            else:
                plain.setdefault(str(index), {})[key] = value
    return tensors, {"state": plain, "groups": state["param_groups"]}


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """Give an optimizer the state that `flatten_optimizer` took."""
    entries: dict[int, dict[str, Any]] = {int(index): dict(it) for index, it in plain["state"].items()}
    for name, tensor in tensors.items():
        index, _, key = name.partition("/")
        entries.setdefault(int(index), {})[key] = tensor
    groups = [
        {**group, **({"betas": tuple(group["betas"])} if "betas" in group else {})}  # JSON knows no tuples
        for group in plain["groups"]
    ]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def _generator_states(generators: Mapping[str, torch.Generator]) -> dict[str, Tensor]:
    states = {name: generator.get_state() for name, generator in generators.items()}
    if torch.cuda.is_available():
        cuda = torch.cuda.get_rng_state_all()
        states |= {f"torch.cuda.{index}": state for index, state in enumerate(cuda)}
    return {**states, GLOBAL_CPU: torch.get_rng_state()}


def _restore_generators(generators: Mapping[str, torch.Generator], states: Mapping[str, Tensor]) -> None:
    for name, generator in generators.items():
        if name not in states:
            raise UserError(f"the checkpoint must hold the state of generator {name!r}; got {sorted(states)}")
        generator.set_state(states[name])
    torch.set_rng_state(states[GLOBAL_CPU])
    cuda = [state for name, state in sorted(states.items()) if name.startswith("torch.cuda.")]
    if cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(cuda)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): it for name, it in tensors.items() if name.startswith(prefix)}
