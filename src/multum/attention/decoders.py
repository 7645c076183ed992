"""Which generating networks can be pruned, and where their parts are. One row per architecture.

A network fits when its layers hand unknown keyword arguments down to transformers' attention interface, give every
attention module its number as `layer_idx`, and store keys after the rotary turn. The contract test holds every row to
it.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from multum.core import UserError, wrong_type


@dataclass(frozen=True, kw_only=True)
class DecoderPaths:
    """Where an architecture keeps its layers, and their attention."""

    layers: str = "layers"
    """Path from the base model to its list of layers."""
    attention: str = "self_attn"
    """Path from a layer to its self-attention."""


DECODERS_BY_MODEL_TYPE: dict[str, DecoderPaths] = {
    "gpt2": DecoderPaths(layers="h", attention="attn"),
    "llama": DecoderPaths(),
    "mistral": DecoderPaths(),
    "qwen2": DecoderPaths(),
    "qwen3": DecoderPaths(),
}
"""By `config.model_type`; SmolLM and SmolLM2 are `llama`."""


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A generating network's parts and sizes that pruning touches."""

    base: nn.Module
    """The network below the head: takes token ids and a cache, gives hidden states."""
    layers: tuple[nn.Module, ...]
    """The layers, in order."""
    attentions: tuple[nn.Module, ...]
    """Self-attention of every layer, in order."""
    configs: tuple[object, ...]
    """Every configuration object that names the attention implementation."""
    num_heads: int
    """Query heads of a layer."""
    num_groups: int
    """Key/value heads of a layer; several query heads may share one."""
    head_width: int
    """Channels of a head."""
    max_length: int
    """The longest sequence the network was made for."""

    @property
    def num_layers(self) -> int:
        """How many layers the network has."""
        return len(self.attentions)


def find_decoder(model: nn.Module) -> Decoder:
    """Locate base model, attention modules and configuration.

    Args:
        model: A transformers network that generates, with or without its head.

    Raises:
        UserTypeError: Not a transformers model.
        UserError: An architecture that is not supported (the message lists those that are), sliding-window attention,
            cross-attention, an encoder-decoder.
    """
    config: Any = getattr(model, "config", None)
    base = getattr(model, "base_model", None)
    if config is None or not isinstance(base, nn.Module):
        raise wrong_type("model", "a transformers model", type(model).__name__)
    _refuse_what_is_not_built(config, type(model).__name__)
    paths = DECODERS_BY_MODEL_TYPE[config.model_type]
    layers = base.get_submodule(paths.layers)
    assert isinstance(layers, nn.ModuleList)
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    num_heads = int(config.num_attention_heads)
    return Decoder(
        base=base,
        layers=tuple(layers),
        attentions=tuple(layer.get_submodule(paths.attention) for layer in layers),
        configs=tuple(configs.values()),
        num_heads=num_heads,
        num_groups=int(getattr(config, "num_key_value_heads", None) or num_heads),
        head_width=int(getattr(config, "head_dim", None) or config.hidden_size // num_heads),
        max_length=int(config.max_position_embeddings),
    )


def _refuse_what_is_not_built(config: Any, name: str) -> None:
    """Raise for networks whose attention is not plain causal self-attention, each by its name."""
    model_type = str(getattr(config, "model_type", ""))
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"model must be a decoder alone; got {name}, an encoder-decoder, whose cross-attention is not built yet"
        )
    if getattr(config, "add_cross_attention", False):
        raise UserError(
            f"model must have no cross-attention; got {name} with add_cross_attention=True; "
            "pruning of cross-attention is not built yet"
        )
    if model_type not in DECODERS_BY_MODEL_TYPE:
        supported = ", ".join(sorted(DECODERS_BY_MODEL_TYPE))
        raise UserError(
            f"model must be of a supported architecture for generation ({supported}); got {model_type!r} ({name}); "
            "cache pruning of other architectures is not built yet"
        )
    layer_types = getattr(config, "layer_types", None)
    slides = (
        getattr(config, "sliding_window", None) is not None
        if layer_types is None
        else any(kind != "full_attention" for kind in layer_types)
    )
    if slides:
        raise UserError(
            f"model must attend to its whole context; got {name} with sliding-window attention "
            f"(sliding_window={config.sliding_window}); set sliding_window=None in its configuration if it may see all"
        )
