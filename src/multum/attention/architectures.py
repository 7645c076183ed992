"""Which networks can be pruned, and where their layers are. One row per architecture; the rest is one mechanism.

A network fits when its layers hand unknown keyword arguments down to transformers' attention interface and take
(hidden_states, attention_mask) first. Every row here is proven by the same contract test.
"""

from dataclasses import dataclass

from torch import nn

from multum.core import UserError, wrong_type

LAYERS_BY_MODEL_TYPE: dict[str, str] = {
    "bert": "encoder.layer",
    "camembert": "encoder.layer",
    "distilbert": "transformer.layer",
    "electra": "encoder.layer",
    "roberta": "encoder.layer",
    "xlm-roberta": "encoder.layer",
}
"""Path from the base model to its list of layers, by `config.model_type`."""

BERT_PROJECTIONS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
)
"""Paths from a layer to the four linear layers of its attention, as BERT and its kin name them."""
PROJECTIONS_BY_MODEL_TYPE: dict[str, tuple[str, str, str, str]] = {
    "distilbert": ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin")
}
"""Architectures that name them otherwise."""

_SLIDING = "its attention slides a window over the sentence, so that no key is seen by all rows"
_POSITION = "its attention adds relative positions to the scores"
_CROSS = "its decoder has cross-attention, which looks at another sequence"
_GENERATES = "it generates; give a CacheSchedule or a GenerationSchedule"
UNSUPPORTED_BY_MODEL_TYPE: dict[str, str] = {
    **dict.fromkeys(("big_bird", "bigbird_pegasus", "led", "longformer", "modernbert"), _SLIDING),
    **dict.fromkeys(("deberta", "deberta-v2", "mpnet", "xlnet"), _POSITION),
    **dict.fromkeys(("bart", "encoder-decoder", "mbart", "pegasus", "t5"), _CROSS),
    **dict.fromkeys(("gpt2", "llama", "mistral", "qwen2", "qwen3"), _GENERATES),
}
"""Why some well-known architectures do not fit."""


SHARED_CONFIG = (
    "model must have a config object of its own beside a pruned one; got one that shares it; "
    "build it from copy.deepcopy(config)"
)
"""Why a model that nobody pruned cannot run: its attention is named in a config that a pruned model shares."""


@dataclass(frozen=True, kw_only=True)
class Projections:
    """The linear layers of one attention."""

    query: nn.Module
    """From hidden states to queries."""
    key: nn.Module
    """From hidden states to keys."""
    value: nn.Module
    """From hidden states to values."""
    output: nn.Module
    """From the heads' results back to hidden states."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder's parts that pruning touches."""

    base: nn.Module
    """The network below the head: takes token ids, gives hidden states."""
    layers: tuple[nn.Module, ...]
    """Its Transformer layers in order."""
    projections: tuple[Projections, ...]
    """The linear layers of each layer's attention."""
    configs: tuple[object, ...]
    """Every configuration object that names the attention implementation."""
    num_heads: int
    """Heads of each layer."""
    head_width: int
    """Channels of a head."""
    longest_input: int
    """Tokens that the network has positions for."""


def find_encoder(model: nn.Module) -> Encoder:
    """Locate base model, layers and configuration.

    Args:
        model: A transformers encoder, with or without a head.

    Raises:
        UserTypeError: Not a transformers model.
        UserError: An architecture that is not supported (the message lists those that are), or a decoder.
    """
    config = getattr(model, "config", None)
    base = getattr(model, "base_model", None)
    if config is None or not isinstance(base, nn.Module):
        raise wrong_type("model", "a transformers model", type(model).__name__)
    model_type = str(getattr(config, "model_type", ""))
    if model_type not in LAYERS_BY_MODEL_TYPE:
        supported = ", ".join(sorted(LAYERS_BY_MODEL_TYPE))
        reason = UNSUPPORTED_BY_MODEL_TYPE.get(
            model_type, "token pruning of other architectures is not built"
        )
        raise UserError(
            f"model must be of a supported architecture ({supported}); got {model_type!r} "
            f"({type(model).__name__}); {reason}"
        )
    for setting in ("is_decoder", "add_cross_attention"):
        if getattr(config, setting, False):
            raise UserError(
                f"model must be an encoder; got {type(model).__name__} with {setting}=True; "
                f"load it with {setting}=False"
            )
    layers = base.get_submodule(LAYERS_BY_MODEL_TYPE[model_type])
    assert isinstance(layers, nn.ModuleList)
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    num_heads = int(config.num_attention_heads)
    return Encoder(
        base=base,
        layers=tuple(layers),
        projections=tuple(_find_projections(layer, model_type) for layer in layers),
        configs=tuple(configs.values()),
        num_heads=num_heads,
        head_width=int(config.hidden_size) // num_heads,
        longest_input=longest_input(base),
    )


def longest_input(base: nn.Module) -> int:
    """Tokens that a base model has positions for; RoBERTa's kind counts them from behind its padding id."""
    positions = getattr(getattr(base, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    limit = int(base.config.max_position_embeddings)  # type: ignore[union-attr, arg-type]
    return limit - (0 if padding is None else int(padding) + 1)


def _find_projections(layer: nn.Module, model_type: str) -> Projections:
    query, key, value, output = PROJECTIONS_BY_MODEL_TYPE.get(model_type, BERT_PROJECTIONS)
    return Projections(
        query=layer.get_submodule(query),
        key=layer.get_submodule(key),
        value=layer.get_submodule(value),
        output=layer.get_submodule(output),
    )
