"""LoRA: what a task changes in a frozen linear layer is a matrix of low rank, learned beside it.

    y = x W' + b + (alpha / R) (x A') B'        A (R, F) starts random, B (G, R) starts at 0

It trains few numbers, which makes a small optimizer; it does not by itself make backward keep less: A's gradient needs
the layer's input. With A frozen at its random start (`freeze_a`, LoRA-FA) only R numbers a token are kept.

The frozen weight stays what it is: of a lean layer, or in int8. `merge_lora` folds the adapters into the weights.

Shape legend: F and G features in and out, R the rank.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), section 4; Zhang et al., "LoRA-FA"
(2023).
Differs from the paper: A starts normal with variance 1 / F, so that x A' is as large as x; see also `lora_functions`.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.core import invalid
from multum.transfer.frozen_weight import plain
from multum.transfer.int8_backbone import Int8Linear, to_float
from multum.transfer.lean_layers import LeanLinear
from multum.transfer.lora_functions import lora_linear

ATTENTION_TARGETS: Final = (
    *("query", "key", "value"),  # transformers' BERT, RoBERTa, ELECTRA; ViT before 5
    *("q_proj", "k_proj", "v_proj"),  # its ViT, and most decoders
    *("q_lin", "k_lin", "v_lin"),  # its DistilBERT
    *("to_q", "to_k", "to_v", "qkv", "in_proj"),  # timm's and others
)
"""Names of attention's projections, the default targets."""


class LoRALinear(nn.Module):
    """A frozen linear layer, as `base`, with a low-rank adapter beside it."""

    def __init__(
        self,
        base: nn.Linear,
        *,
        rank: int,
        alpha: float,
        freeze_a: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        """Put an adapter beside a layer, which is frozen by it.

        Args:
            base: Plain, lean or in int8.
            rank: Of what is added to the weight.
            alpha: The adapter's output is multiplied with alpha / rank.
            freeze_a: Whether A stays at its random start.
            generator: Of A's start, on the CPU; None: torch's own.

        Raises:
            UserError: A rank that is not between 1 and the layer's smaller side, or an alpha that is not above 0.

        >>> layer = LoRALinear(nn.Linear(8, 4), rank=2, alpha=4.0)
        >>> [name for name, it in layer.named_parameters() if it.requires_grad]
        ['lora_a', 'lora_b']
        """
        super().__init__()
        _check_size(base, rank, alpha)
        self.base = base.requires_grad_(False)
        self.scale = alpha / rank
        like = base.weight
        start = torch.randn(rank, base.in_features, generator=generator) / math.sqrt(base.in_features)
        self.lora_a = nn.Parameter(start.to(device=like.device, dtype=like.dtype), requires_grad=not freeze_a)
        self.lora_b = nn.Parameter(like.new_zeros(base.out_features, rank))

    @property
    def in_features(self) -> int:
        """F."""
        return self.base.in_features

    @property
    def out_features(self) -> int:
        """G."""
        return self.base.out_features

    @property
    def weight(self) -> Float[Tensor, "G F"]:
        """The weight with the adapter in it, made anew at every call: for code that reads a layer's weight itself."""
        return self.base.weight + self.scale * (self.lora_b @ self.lora_a)

    @property
    def bias(self) -> Float[Tensor, " G"] | None:
        """The layer's own."""
        return self.base.bias

    def forward(self, x: Float[Tensor, "... F"]) -> Float[Tensor, "... G"]:
        """The layer's output and the adapter's."""
        weight = self.base.frozen_weight() if isinstance(self.base, LeanLinear) else plain(self.base.weight)
        if self.base.weight.requires_grad:
            raise invalid("the weight beside an adapter", "frozen", "requires_grad=True", "merge_lora first")
        assert weight is not None, "a frozen one"
        return lora_linear(x, weight, self.base.bias, self.lora_a, self.lora_b, self.scale)

    def extra_repr(self) -> str:
        """Rank and scale."""
        return f"rank={len(self.lora_a)}, scale={self.scale:g}"


def attach_lora(
    model: nn.Module,
    *,
    rank: int,
    alpha: float,
    targets: Sequence[str] | None = None,
    freeze_a: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[str, ...]:
    """Put adapters beside a model's linear layers, in place; each of these is frozen by it, nothing else is.

    Args:
        model: Any module with linear layers; its outputs stay what they are until the adapters train.
        rank: See `LoRALinear`.
        alpha: See `LoRALinear`.
        targets: Ends of the paths of layers, such as `query` or `layer.0.output.dense`; None: attention's projections,
            by the names in `ATTENTION_TARGETS`.
        freeze_a: See `LoRALinear`.
        generator: See `LoRALinear`.

    Returns:
        Paths of the layers that have an adapter now.

    Raises:
        UserError: A target that ends no linear layer's path, no attention projection by the usual names, a layer that
            has an adapter already, or a rank or alpha that does not go.

    >>> net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    >>> attach_lora(net, rank=2, alpha=2.0, targets=["2"])
    ('2',)
    """
    if any(isinstance(it, LoRALinear) for it in model.modules()):
        raise invalid("model", "one without adapters", "adapters", "merge_lora(model) first")
    layers = dict(linear_layers(model))
    chosen = _chosen(layers, targets)
    for path in chosen:
        _check_size(layers[path], rank, alpha)
    for path in chosen:
        adapter = LoRALinear(layers[path], rank=rank, alpha=alpha, freeze_a=freeze_a, generator=generator)
        replace(model, path, adapter.train(layers[path].training))
    return chosen


def merge_lora(model: nn.Module) -> tuple[str, ...]:
    """Fold the adapters into the weights, in place: linear layers again, frozen, of the same outputs but for rounding.

    A weight in int8 becomes a float one, for its codes cannot hold what was learned.

    Returns:
        Paths of the layers that had an adapter.

    Raises:
        UserError: The model is itself an adapter, which has nothing around it to be put back into.
    """
    if isinstance(model, LoRALinear):
        raise invalid("model", "a module with adapters in it", "an adapter", "merge the model around it")
    adapters = {path: it for path, it in model.named_modules() if isinstance(it, LoRALinear)}
    for path, adapter in adapters.items():
        base = adapter.base
        with torch.no_grad():
            merged = adapter.weight
            if isinstance(base, Int8Linear):
                to_float(base)
            base.weight.copy_(merged)
        replace(model, path, base)
    return tuple(adapters)


def linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers that are called as layers: not those whose weights `nn.MultiheadAttention` reads itself."""
    inside = {id(it.out_proj) for it in model.modules() if isinstance(it, nn.MultiheadAttention)}
    for path, it in model.named_modules():
        if isinstance(it, nn.Linear) and id(it) not in inside and path:
            yield path, it


def replace(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put another module where one is."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def _check_size(layer: nn.Linear, rank: int, alpha: float) -> None:
    most = min(layer.in_features, layer.out_features)
    if not 1 <= rank <= most:
        raise invalid("rank", f"from 1 to {most}, the smaller side of the layer", rank)
    if not (alpha > 0 and math.isfinite(alpha)):
        raise invalid("alpha", "above 0", alpha)


def _chosen(layers: dict[str, nn.Linear], targets: Sequence[str] | None) -> tuple[str, ...]:
    found = {
        target: [path for path in layers if path == target or path.endswith(f".{target}")]
        for target in (ATTENTION_TARGETS if targets is None else targets)
    }
    missing = [target for target, paths in found.items() if not paths]
    paths = {path for them in found.values() for path in them}
    if not paths or (targets is not None and missing):
        raise invalid(
            "targets",
            f"ends of linear layers' paths: {', '.join(layers) or 'there are none that can have an adapter'}",
            "the usual names of attention's projections" if targets is None else ", ".join(missing) or "none",
            "name them: targets=['query', 'value']",
        )
    return tuple(path for path in layers if path in paths)
