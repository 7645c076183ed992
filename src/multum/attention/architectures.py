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


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder's parts that pruning touches."""

    base: nn.Module
    """The network below the head: takes token ids, gives hidden states."""
    layers: tuple[nn.Module, ...]
    """Its Transformer layers in order."""
    configs: tuple[object, ...]
    """Every configuration object that names the attention implementation."""


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
        raise UserError(
            f"model must be of a supported architecture ({supported}); got {model_type!r} "
            f"({type(model).__name__}); token pruning of other architectures is not built yet"
        )
    if getattr(config, "is_decoder", False):
        raise UserError(
            f"model must be an encoder; got {type(model).__name__} with is_decoder=True; "
            "load it with is_decoder=False"
        )
    layers = base.get_submodule(LAYERS_BY_MODEL_TYPE[model_type])
    assert isinstance(layers, nn.ModuleList)
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    return Encoder(base=base, layers=tuple(layers), configs=tuple(configs.values()))
