"""Putting a delta onto a backbone: everything is checked and built beside the network, then swapped in at once.

A swap exchanges one attribute of one module and remembers what was there, so undoing it gives back the very same
objects, and no number of the backbone is ever written to.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from multum.core import UserError, invalid
from multum.training.tensor_file import copy_into
from multum.transfer.delta import Delta, DeltaHeader
from multum.transfer.frozen_hash import frozen_hash, split_name
from multum.transfer.group_norm import to_group_norm
from multum.transfer.lean import make_lean
from multum.transfer.lite_residual import LitePlace, WithLite, attach_lite
from multum.transfer.modes import Adapted

REMEDY = "build and load the backbone that the delta was made on"


@dataclass(frozen=True, kw_only=True, eq=False)
class Swap:
    """One attribute of one module, as it is in the backbone and as it is for a task."""

    owner: nn.Module
    name: str
    before: Any
    after: Any

    def put(self) -> None:
        """Let the task's be there."""
        setattr(self.owner, self.name, self.after)

    def undo(self) -> None:
        """Let the backbone's be there."""
        setattr(self.owner, self.name, self.before)


def apply_delta(model: nn.Module, delta: Delta) -> Adapted:
    """Turn a fresh backbone into the adapted network, in place, ready to be used or trained further.

    Args:
        model: The same network with the same weights as the one that was adapted, as it was before; its norms become
            group norms where they did then.
        delta: What `load_delta` read.

    Returns:
        What `adapt` returned for the network that the delta was taken of.

    Raises:
        UserError: Another backbone, in names, shapes or weights, or one that is adapted already; it stays as it is.
    """
    if delta.header.norms == "group" and any(isinstance(it, nn.BatchNorm2d) for it in model.modules()):
        to_group_norm(trial := copy.deepcopy(model))
        plan_swaps(trial, delta)  # fails, if it does, before anything is changed
        to_group_norm(model)
    for swap in plan_swaps(model, delta):
        swap.put()
    report = make_lean(model, delta.header.keeps)
    parameters = dict(model.named_parameters())
    trained = set(delta.header.trained)
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trained)
    num_trained = sum(it.numel() for it in parameters.values() if it.requires_grad)
    return Adapted(
        mode=delta.header.mode,
        classifier=delta.header.classifier,
        trained=tuple(name for name in parameters if name in trained),
        num_trained=num_trained,
        num_frozen=sum(it.numel() for it in parameters.values()) - num_trained,
        lite_places=delta.header.lite_places,
        lean=report,
    )


def plan_swaps(model: nn.Module, delta: Delta) -> tuple[Swap, ...]:
    """Check a backbone, and build what a delta puts into it; nothing is changed yet.

    Args:
        model: The backbone.
        delta: Of this backbone.

    Raises:
        UserError: As `apply_delta`.
    """
    if any(isinstance(it, WithLite) for it in model.modules()):
        raise invalid("model", "a backbone as it was before", "one with lite residuals", "build it anew")
    places = {it.path: it for it in delta.header.lite_places}
    own: dict[str, Tensor] = {}
    of_lite: dict[str, dict[str, Tensor]] = {path: {} for path in places}
    for name, tensor in delta.tensors.items():
        path, rest = split_name(name, delta.header.lite_places)
        (own if path is None else of_lite[path])[rest] = tensor
    head = {name: own.pop(name) for name in list(own) if name.startswith(f"{delta.header.classifier}.")}
    _check_names(model, own, places)
    _check_shapes(model, own)
    head_swap = _head_swap(model, delta.header.classifier, head)
    _check_frozen(model, own, delta.header)
    return (
        head_swap,
        *(_tensor_swap(model, name, tensor) for name, tensor in own.items()),
        *(_lite_swap(model, places[path], tensors) for path, tensors in of_lite.items()),
    )


def _tensor_swap(model: nn.Module, name: str, tensor: Tensor) -> Swap:
    path, _, own = name.rpartition(".")
    owner = model.get_submodule(path)
    before = getattr(owner, own)
    after = torch.empty_like(before).detach().copy_(tensor)
    if isinstance(before, nn.Parameter):
        after = nn.Parameter(after, requires_grad=False)
    return Swap(owner=owner, name=own, before=before, after=after)


def _head_swap(model: nn.Module, path: str, tensors: Mapping[str, Tensor]) -> Swap:
    parent, _, name = path.rpartition(".")
    before = dict(model.named_modules()).get(path)
    if not isinstance(before, nn.Linear):
        raise invalid(f"{path!r} of the model", "an nn.Linear, its last layer", type(before).__name__, REMEDY)
    weight, like = tensors[f"{path}.weight"], next(iter(before.state_dict().values()))
    if weight.shape[1] != before.in_features:
        raise invalid(f"{path} of the model", f"of {weight.shape[1]} inputs", before.in_features, REMEDY)
    with torch.random.fork_rng(devices=[]):
        after = nn.Linear(weight.shape[1], len(weight), f"{path}.bias" in tensors, dtype=weight.dtype)
    for own, target in after.state_dict().items():
        copy_into(target, tensors[f"{path}.{own}"], f"{path}.{own}")
    after.to(like.device).train(before.training).requires_grad_(False)
    return Swap(owner=model.get_submodule(parent), name=name, before=before, after=after)


def _lite_swap(model: nn.Module, place: LitePlace, tensors: Mapping[str, Tensor]) -> Swap:
    """Build a block and its lite residual in a module of their own, for the model is not to be changed yet."""
    path, _, name = place.path.rpartition(".")
    owner, block = model.get_submodule(path), model.get_submodule(place.path)
    beside = nn.Module()
    beside.add_module("block", block)
    with torch.random.fork_rng(devices=[]):  # what is drawn is overwritten
        attach_lite(beside, [replace(place, path="block")])
    both = beside.get_submodule("block")
    assert isinstance(both, WithLite), "attach_lite makes one"
    if not any(own.endswith("running_mean") for own in tensors):
        to_group_norm(both.lite)
    state = both.lite.state_dict()
    _check_same_names(state, tensors, f"the lite residual of {place.path}")
    for own, target in state.items():
        copy_into(target, tensors[own], f"{place.path}.lite.{own}")
    both.lite.requires_grad_(False)
    return Swap(owner=owner, name=name, before=block, after=both)


def _check_same_names(found: Iterable[str], wanted: Iterable[str], what: str) -> None:
    differing = sorted(set(found) ^ set(wanted))
    if differing:
        raise UserError(
            f"{what} must have the tensors that the delta has; they differ in {', '.join(differing[:3])}; "
            "use the version of multum that wrote it"
        )


def _check_names(model: nn.Module, own: Iterable[str], places: Iterable[str]) -> None:
    tensors, modules = model.state_dict(), dict(model.named_modules())
    missing = [it for it in own if it not in tensors] + [it for it in places if it not in modules]
    if missing:
        raise UserError(
            f"model must have what the delta changes; it has no {', '.join(sorted(missing)[:3])}; {REMEDY}"
        )


def _check_shapes(model: nn.Module, own: Mapping[str, Tensor]) -> None:
    state = model.state_dict()
    for name, tensor in own.items():
        if (state[name].shape, state[name].dtype) != (tensor.shape, tensor.dtype):
            expected = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
            raise invalid(f"{name} of the model", expected, state[name], REMEDY)


def _check_frozen(model: nn.Module, own: Iterable[str], header: DeltaHeader) -> None:
    state = model.state_dict()
    head = {name for name in state if name.startswith(f"{header.classifier}.")}
    found = frozen_hash(state, head.union(own))
    if found != header.backbone:
        norms = "with to_group_norm" if header.norms == "group" else "and leave its norms in evaluation"
        raise UserError(
            f"model must be the backbone that the delta was made for, frozen weights {header.backbone[:12]}; "
            f"got {found[:12]}; {REMEDY}, {norms}"
        )
