"""What a task changed in a Transformer, in a small file: biases or adapters, the head, and a hash of all the rest.

The file is safetensors with a JSON header: reading it runs nothing. Rank, scale and places of adapters are in it, and a
start that stays random is too, so that a fresh model becomes the adapted one by the file alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from multum.core import UserError, from_dict, invalid, to_dict
from multum.training import hash_tensors, read_tensor_file, write_tensor_file
from multum.training.tensor_file import copy_into
from multum.transfer.lora import LoRALinear
from multum.transfer.transformer_modes import AdaptedTransformer, TransformerMode, adapt_transformer
from multum.version import __version__

SCHEMA: Final = "multum.transformer_delta/1"
OF_AN_ADAPTER: Final = (".lora_a", ".lora_b")


@dataclass(frozen=True, kw_only=True)
class TransformerHeader:
    """What is said about the tensors."""

    mode: TransformerMode
    """What trained."""
    classifier: str
    """Path of the last layer."""
    num_classes: int
    """Its outputs."""
    trained: tuple[str, ...]
    """Names of the parameters that trained, in the adapted model."""
    adapters: tuple[str, ...] = ()
    """Paths of the layers that have an adapter."""
    rank: int = 0
    """Of the adapters; 0: there are none."""
    alpha: float = 0.0
    """Of the adapters, see `LoRALinear`."""
    model: str
    """Hash of every tensor that stayed, by its name without adapters."""
    multum: str = __version__
    """Version that wrote it."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the writer wanted to say: data, accuracy, provenance."""


def save_transformer_delta(
    path: Path, model: nn.Module, adapted: AdaptedTransformer, *, about: Mapping[str, Any] | None = None
) -> TransformerHeader:
    """Write what changed, completely or not at all.

    Args:
        path: Where to; an existing file is replaced.
        model: As `adapt_transformer` made it, trained or not.
        adapted: What `adapt_transformer` returned.
        about: Whatever else is to be known; JSON must be able to hold it.

    Returns:
        The header of the file.

    Raises:
        UserError: Not the adapted model, a tensor that is not finite, or the file cannot be written.
    """
    state = model.state_dict()
    layers = {name: it for name, it in model.named_modules() if isinstance(it, LoRALinear)}
    head = state.get(f"{adapted.classifier}.weight")
    missing = sorted(set(adapted.trained) - state.keys())
    if head is None or missing or tuple(layers) != adapted.adapters:
        raise invalid(
            "model",
            "the one that `adapted` tells of",
            missing or f"{len(layers)} adapters",
            "give both as they are",
        )
    changed = _changed(state, adapted.trained, adapted.classifier)
    for name, tensor in changed.items():
        if not bool(torch.isfinite(tensor).all()):
            raise invalid(name, "finite", "NaN or infinity", "the training went wrong: lower its rate")
    first = next(iter(layers.values()), None)
    rank = 0 if first is None else len(first.lora_a)
    header = TransformerHeader(
        mode=adapted.mode,
        classifier=adapted.classifier,
        num_classes=len(head),
        trained=adapted.trained,
        adapters=adapted.adapters,
        rank=rank,
        alpha=0.0 if first is None else first.scale * rank,
        model=_frozen_hash(state, changed),
        about=dict(about or {}),
    )
    write_tensor_file(path, changed, to_dict(header), schema=SCHEMA)
    return header


def load_transformer_delta(model: nn.Module, path: Path) -> AdaptedTransformer:
    """Turn a fresh model into the adapted one, in place, ready to be used or trained further.

    Args:
        model: The same model with the same weights as the one that was adapted, as it was before.
        path: What `save_transformer_delta` wrote.

    Returns:
        What `adapt_transformer` returned for it; layers of exact derivative, see there for others.

    Raises:
        UserError: The file is missing or broken, or of another model, in names, shapes or weights: it stays as it is.
    """
    tensors, found = read_tensor_file(path, schema=SCHEMA)
    header = from_dict(TransformerHeader, found)
    _check_model(model, header, tensors)
    adapted = adapt_transformer(
        model,
        header.mode,
        num_classes=header.num_classes,
        classifier=header.classifier,
        rank=header.rank or 1,
        alpha=header.alpha or 1.0,
        targets=header.adapters or None,
        generator=torch.Generator(),  # what is drawn is overwritten
    )
    state = model.state_dict()
    for name, tensor in tensors.items():
        copy_into(state[name], tensor, name)
    return adapted


def _changed(state: Mapping[str, Tensor], trained: tuple[str, ...], classifier: str) -> dict[str, Tensor]:
    kept = set(trained)
    return {
        name: it
        for name, it in state.items()
        if name in kept or name.startswith(f"{classifier}.") or name.endswith(OF_AN_ADAPTER)
    }


def _frozen_hash(state: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> str:
    """Of what stayed: an adapter's layer has the name that it has without."""
    return hash_tensors({_plain(name): it for name, it in state.items() if name not in changed})


def _plain(name: str) -> str:
    path, _, own = name.rpartition(".")
    return f"{path.removesuffix('.base')}.{own}" if path else own


def _check_model(model: nn.Module, header: TransformerHeader, tensors: Mapping[str, Tensor]) -> None:
    if any(isinstance(it, LoRALinear) for it in model.modules()):
        raise invalid("model", "one without adapters", "adapters", "build it anew")
    state, modules = model.state_dict(), dict(model.named_modules())
    own = {_plain(name): it for name, it in tensors.items() if not name.endswith(OF_AN_ADAPTER)}
    missing = [it for it in own if it not in state] + [it for it in header.adapters if it not in modules]
    if missing:
        raise UserError(
            f"model must have what the delta changes; it has no {', '.join(sorted(missing)[:3])}; {_REMEDY}"
        )
    for name, tensor in own.items():
        is_head = name.startswith(f"{header.classifier}.")  # a fresh one may have other classes
        if not is_head and state[name].shape != tensor.shape:
            raise invalid(f"{name} of the model", f"of shape {tuple(tensor.shape)}", state[name], _REMEDY)
    frozen = _frozen_hash(state, {name: it for name, it in state.items() if name in own})
    if frozen != header.model:
        raise invalid(
            "model",
            f"the one that the delta was made for, frozen weights {header.model[:12]}",
            frozen[:12],
            _REMEDY,
        )


_REMEDY = "build and load the model that the delta was made on"
