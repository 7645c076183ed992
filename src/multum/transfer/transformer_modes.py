"""Which parameters of a Transformer train, and what backward then keeps: one call.

    last | bias | lora | lora-fa | full

What is kept for each token and layer, H the width, 4 H that of the feed-forward layer, in numbers of the input's type:

|                                                        | full | lora | lora-fa        | bias |
|--------------------------------------------------------|------|------|----------------|------|
| inputs of linear layers; query, key, value share one   | 6 H  | H    | R each adapter | 0    |
| attention, torch's fused one: query, key, value        | 3 H  | 3 H  | 3 H            | 3 H  |
| attention's output, also the input of a linear layer   | H    | H    | H              | H    |
| GELU's input; a byte an element with gelu="8bit"       | 4 H  | 4 H  | 4 H            | 4 H  |
| inputs of two norms; a byte each with keeps="8bit"     | 2 H  | 2 H  | 2 H            | 2 H  |

torch's own linear layers keep nothing either while their weight is frozen (its convolutions do). So on a Transformer a
mode saves what the first row says, and no more is to be had exactly without computing again; bytes for GELU and norms
are the way to the rest.

Source: Ben-Zaken et al., "BitFit" (2022), section 3; Hu et al., "LoRA" (2021); Zhang et al., "LoRA-FA" (2023).
Differs from the papers: what is kept is stated; a pooler is part of the network and not of the classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from multum.core import invalid
from multum.transfer.lean import LeanReport, make_lean
from multum.transfer.lean_gelu import GELU_KEEPS, GeluKeeps, gelu_to_8bit
from multum.transfer.lean_layers import LeanReLU
from multum.transfer.lora import LoRALinear, attach_lora, linear_layers
from multum.transfer.modes import NORMS, count_trained, replace_classifier
from multum.transfer.norm_functions import Keeps

TransformerMode = Literal["last", "bias", "lora", "lora-fa", "full"]
"""What trains."""
TRANSFORMER_MODES: Final[tuple[str, ...]] = get_args(TransformerMode)


@dataclass(frozen=True, kw_only=True)
class AdaptedTransformer:
    """What became of a Transformer."""

    mode: TransformerMode
    """What trains."""
    classifier: str
    """Path of the last layer."""
    trained: tuple[str, ...]
    """Names of the parameters that train."""
    num_trained: int
    """How many numbers they are."""
    num_frozen: int
    """How many numbers do not train."""
    adapters: tuple[str, ...]
    """Paths of the layers that have an adapter."""
    gelu_8bit: tuple[str, ...]
    """Paths of the GELUs that keep a byte an element."""
    lean: LeanReport
    """Which layers are lean, and which stay stock. Attention is a function and not among them."""


def adapt_transformer(
    model: nn.Module,
    mode: TransformerMode = "lora-fa",
    *,
    num_classes: int | None = None,
    classifier: str | None = None,
    rank: int = 8,
    alpha: float = 16.0,
    targets: Sequence[str] | None = None,
    keeps: Keeps = "exact",
    gelu: GeluKeeps = "exact",
    generator: torch.Generator | None = None,
) -> AdaptedTransformer:
    """Make a Transformer ready to be trained on another task, in place.

    Args:
        model: transformers' BERT, RoBERTa, DistilBERT, ViT and their like, or any module with linear layers. Inside
            `nn.MultiheadAttention` are no layers that an adapter could stand beside: name others as targets.
        mode: What trains. `last`: the head, which is all that a model of transformers has beside its base model, or
            the last linear layer. `bias`: that, and every bias of linear layers, convolutions and norms. `lora` and
            `lora-fa`: the head, and adapters.
        num_classes: Classes of the new task: a new last layer is put in, drawn by torch's generator; None: it stays.
        classifier: Path of the last layer; None: the last linear layer.
        rank: Of adapters, see `LoRALinear`.
        alpha: Of adapters, likewise.
        targets: Layers that get one, see `attach_lora`.
        keeps: What norms keep for backward, see `make_lean`.
        gelu: What GELU keeps, see `gelu_to_8bit`.
        generator: Of the adapters' start; None: torch's own.

    Raises:
        UserError: A mode that there is not, no linear layer, no targets, or a model with adapters already.
    """
    _check(model, mode, gelu)
    path = classifier or _last_linear(model)
    if num_classes is not None:
        replace_classifier(model, path, num_classes)
        _tell_classes(model, num_classes)
    adapters: tuple[str, ...] = ()
    if mode in ("lora", "lora-fa"):
        adapters = attach_lora(
            model, rank=rank, alpha=alpha, targets=targets, freeze_a=mode == "lora-fa", generator=generator
        )
    if path in adapters:
        raise invalid("targets", "layers below the classifier, which trains as a whole", path)
    rounded = gelu_to_8bit(model) if gelu == "8bit" else ()
    _bend_leanly(model)
    report = make_lean(model, keeps)
    set_trained_transformer(model, mode, path)
    trained, num_trained, num_frozen = count_trained(model)
    return AdaptedTransformer(
        mode=mode,
        classifier=path,
        trained=trained,
        num_trained=num_trained,
        num_frozen=num_frozen,
        adapters=adapters,
        gelu_8bit=rounded,
        lean=report,
    )


def _check(model: nn.Module, mode: TransformerMode, gelu: GeluKeeps) -> None:
    if mode not in TRANSFORMER_MODES:
        raise invalid("mode", f"one of {', '.join(TRANSFORMER_MODES)}", mode)
    if gelu not in GELU_KEEPS:
        raise invalid("gelu", f"one of {', '.join(GELU_KEEPS)}", gelu)
    if any(isinstance(it, LoRALinear) for it in model.modules()):
        raise invalid("model", "one without adapters", "adapters", "merge_lora(model) first")


def set_trained_transformer(model: nn.Module, mode: TransformerMode, classifier: str) -> None:
    """Freeze everything but what a mode trains.

    Args:
        model: With its adapters, where the mode has them.
        mode: What trains.
        classifier: Path of the last layer.
    """
    model.requires_grad_(mode == "full")
    for module in model.modules():
        if mode == "bias" and isinstance(module, _WITH_BIAS):
            _train(module, "bias")
        if mode == "bias" and isinstance(module, nn.MultiheadAttention):
            _train(module, "in_proj_bias")
    for part in (*_head(model), model.get_submodule(classifier)):
        part.requires_grad_(True)
    for module in model.modules():
        if isinstance(module, LoRALinear):
            module.requires_grad_(True)
            module.base.requires_grad_(False)
            module.lora_a.requires_grad_(mode == "lora")


_WITH_BIAS = (nn.Linear, nn.modules.conv._ConvNd, *NORMS)


def _head(model: nn.Module) -> list[nn.Module]:
    """What a model of transformers has beside its base model; empty for any other."""
    prefix = getattr(model, "base_model_prefix", "")
    if not (isinstance(prefix, str) and prefix and isinstance(getattr(model, prefix, None), nn.Module)):
        return []
    return [it for name, it in model.named_children() if name != prefix]


def _last_linear(model: nn.Module) -> str:
    paths = [path for path, _ in linear_layers(model)]
    if not paths:
        raise invalid("model", "one with an nn.Linear in it", type(model).__name__)
    return paths[-1]


def _tell_classes(model: Any, num_classes: int) -> None:
    """What a model of transformers computes its loss by."""
    if hasattr(model, "num_labels"):
        model.num_labels = num_classes
    config: Any = getattr(model, "config", None)
    if config is not None and hasattr(config, "num_labels"):
        config.num_labels = num_classes


def _bend_leanly(model: nn.Module) -> None:
    """Let torch's encoder layers, which hold their activation as a function, keep a bit an element of a ReLU."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and module.activation is functional.relu:
            module.activation = LeanReLU()


def _train(module: nn.Module, name: str) -> None:
    parameter = getattr(module, name, None)
    if isinstance(parameter, nn.Parameter):
        parameter.requires_grad_(True)
