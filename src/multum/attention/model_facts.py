"""What a row costs in a network: the sizes of its matrices, sorted by what they grow with.

A token that a layer works on meets the queries', keys' and values' matrices of the heads that are computed, the part of
the output matrix that belongs to them, and every other matrix of the layer whole. What lies outside the layers (a
pooler, a classifier, a language model's head) meets one row a sentence, or every row, as the head reads.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from multum.attention.architectures import LAYERS_BY_MODEL_TYPE, find_encoder
from multum.attention.decoders import find_decoder
from multum.attention.model_heads import Reads, rule_for
from multum.core import UserError

QUERY_OR_OUTPUT = frozenset({"q_proj", "o_proj"})
"""Children of a decoder's attention whose matrices belong to query heads."""
KEY_OR_VALUE = frozenset({"k_proj", "v_proj"})
"""Children of a decoder's attention whose matrices belong to key/value heads."""
FUSED = frozenset({"c_attn", "c_proj"})
"""Children of GPT-2's attention, whose query, key and value matrices are one."""
ONE_ROW_PARTS = ("pooler", "seq_relationship")
"""Parts outside the layers that read one row a sentence whatever the head reads."""
EVERY_INPUT_PARTS = ("embeddings",)
"""Parts outside the layers that work on every token of the input."""


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """One Transformer layer."""

    path: str
    """Where it hangs in the model."""
    kind: str
    """Its class."""
    macs_per_row_and_head: int
    """Multiply-accumulates of one row in what belongs to a query head: its query, and its part of the output."""
    macs_per_row_and_group: int
    """Those in what belongs to a key/value head: its key and its value."""
    macs_per_row: int
    """Those in everything else: the feed-forward."""
    num_parameters: int
    """Its parameters."""
    num_trainable_parameters: int
    """Those of them that require a gradient."""
    parameter_bytes: int
    """Their size."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A network's sizes, as far as its cost depends on them."""

    name: str
    """The model's class."""
    layers: tuple[LayerFacts, ...]
    """Its layers in order."""
    num_heads: int
    """Query heads of a layer."""
    num_groups: int
    """Key/value heads of a layer."""
    head_width: int
    """Channels of a head."""
    macs_per_sentence: int
    """Multiply-accumulates outside the layers that a sentence costs once a forward."""
    macs_per_input_row: int
    """Those that every row of the input costs."""
    macs_per_output_row: int
    """Those that every row costs that a head reads which reads every row."""
    reads: Reads | None
    """What an encoder's head reads of the last layer; None: the network generates, and reads the last row only unless
    asked otherwise."""
    device: str
    """Where the weights are."""
    num_parameters: int
    """Parameters; a shared one counts once."""
    num_trainable_parameters: int
    """Those of them that require a gradient."""
    parameter_bytes: int
    """Size of the parameters."""
    buffer_bytes: int
    """Size of the buffers."""
    table_bytes: int
    """Size of the tables of embeddings that no product uses: of these a forward reads some rows only."""
    table_row_bytes: int
    """What one token reads of those tables."""


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """A supported network, taken apart."""

    layers: tuple[nn.Module, ...]
    query_side: frozenset[nn.Module]
    key_side: frozenset[nn.Module]
    fused: frozenset[nn.Module]
    num_heads: int
    num_groups: int
    head_width: int
    is_decoder: bool


def model_facts(model: nn.Module) -> ModelFacts:
    """Read the sizes off a model.

    Args:
        model: A transformers model that can be pruned, encoder or decoder, with or without a head.

    Raises:
        UserTypeError: Not a transformers model.
        UserError: An architecture that is not supported.

    >>> from transformers import BertConfig, BertModel
    >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    >>> layer = model_facts(BertModel(BertConfig(vocab_size=50, **sizes))).layers[0]
    >>> layer.macs_per_row == 2 * 8 * 16, layer.macs_per_row_and_head == 2 * 8 * 4
    (True, True)
    """
    parts = _take_apart(model)
    path_of = {module: path for path, module in model.named_modules()}
    inside = {module for layer in parts.layers for module in layer.modules()}
    outside = [(path_of[it], it) for it in model.modules() if it not in inside and _num_products(it)]
    reads = None if parts.is_decoder else rule_for(model).reads
    once, each_input, each_output = 0, 0, 0
    for path, module in outside:
        if any(part in path for part in EVERY_INPUT_PARTS):
            each_input += _num_products(module)
        elif reads in ("first", "survivors") or any(part in path for part in ONE_ROW_PARTS):
            once += _num_products(module)
        else:
            each_output += _num_products(module)
    used = {id(module.weight) for _, module in outside}
    tables = [it for it in model.modules() if isinstance(it, nn.Embedding) and id(it.weight) not in used]
    parameters = list(model.parameters())
    return ModelFacts(
        name=type(model).__name__,
        layers=tuple(_layer_facts(path_of[layer], layer, parts) for layer in parts.layers),
        num_heads=parts.num_heads,
        num_groups=parts.num_groups,
        head_width=parts.head_width,
        macs_per_sentence=once,
        macs_per_input_row=each_input,
        macs_per_output_row=each_output,
        reads=reads,
        device=str(parameters[0].device),
        num_parameters=sum(it.numel() for it in parameters),
        num_trainable_parameters=sum(it.numel() for it in parameters if it.requires_grad),
        parameter_bytes=sum(it.nbytes for it in parameters),
        buffer_bytes=sum(it.nbytes for it in model.buffers()),
        table_bytes=sum(it.weight.nbytes for it in tables),
        table_row_bytes=sum(it.embedding_dim * it.weight.element_size() for it in tables),
    )


def _take_apart(model: nn.Module) -> _Parts:
    config: Any = getattr(model, "config", None)
    if getattr(config, "model_type", None) in LAYERS_BY_MODEL_TYPE:
        encoder = find_encoder(model)
        return _Parts(
            layers=encoder.layers,
            query_side=frozenset(side for it in encoder.projections for side in (it.query, it.output)),
            key_side=frozenset(side for it in encoder.projections for side in (it.key, it.value)),
            fused=frozenset(),
            num_heads=encoder.num_heads,
            num_groups=encoder.num_heads,
            head_width=encoder.head_width,
            is_decoder=False,
        )
    decoder = find_decoder(model)
    named = [pair for attention in decoder.attentions for pair in attention.named_children()]
    return _Parts(
        layers=_layers_around(decoder.base, decoder.attentions),
        query_side=frozenset(it for name, it in named if name in QUERY_OR_OUTPUT),
        key_side=frozenset(it for name, it in named if name in KEY_OR_VALUE),
        fused=frozenset(it for name, it in named if name in FUSED),
        num_heads=decoder.num_heads,
        num_groups=decoder.num_groups,
        head_width=decoder.head_width,
        is_decoder=True,
    )


def _layers_around(base: nn.Module, attentions: tuple[nn.Module, ...]) -> tuple[nn.Module, ...]:
    """The layers whose attention these are: the entries of the list that holds as many."""
    for module in base.modules():
        if isinstance(module, nn.ModuleList) and len(module) == len(attentions):
            pairs = zip(module, attentions, strict=True)
            if all(attention in set(layer.modules()) for layer, attention in pairs):
                return tuple(module)
    raise UserError(f"model must keep its layers in a list; got {type(base).__name__}, which does not")


def _layer_facts(path: str, layer: nn.Module, parts: _Parts) -> LayerFacts:
    query_side = key_side = rest = 0
    for module in layer.modules():
        products = _num_products(module)
        if module in parts.query_side:
            query_side += products
        elif module in parts.key_side:
            key_side += products
        elif (
            module in parts.fused
        ):  # queries, keys and values in one matrix, and the output: as wide as the model
            query_side += products // 3 if _is_wide(module) else products
            key_side += products - products // 3 if _is_wide(module) else 0
        else:
            rest += products
    assert query_side % parts.num_heads == 0, "heads share their matrices evenly"
    assert key_side % parts.num_groups == 0, "heads share their matrices evenly"
    return LayerFacts(
        path=path,
        kind=type(layer).__name__,
        macs_per_row_and_head=query_side // parts.num_heads,
        macs_per_row_and_group=key_side // parts.num_groups,
        macs_per_row=rest,
        num_parameters=sum(it.numel() for it in layer.parameters()),
        num_trainable_parameters=sum(it.numel() for it in layer.parameters() if it.requires_grad),
        parameter_bytes=sum(it.nbytes for it in layer.parameters()),
    )


def _is_wide(module: nn.Module) -> bool:
    """Whether a matrix of GPT-2 holds queries, keys and values side by side."""
    shape = module.get_parameter("weight").shape
    return max(shape) == 3 * min(shape)


def _num_products(module: nn.Module) -> int:
    """Multiply-accumulates of one row in a module's own matrix; 0 for a module that multiplies none."""
    if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
        return module.get_parameter("weight").numel()
    return 0
