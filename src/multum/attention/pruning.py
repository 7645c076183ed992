"""Attach token pruning to a transformers encoder for the length of a `with` block.

Nothing of the model is copied or rewritten. Three kinds of hooks and one entry in transformers' attention interface do
it: before the base model runs, a fresh `SentenceTokens` joins the keyword arguments and travels with them to every
layer; before a layer, the mask is replaced by that of the tokens still alive; inside it, the attention function also
returns the importance; after it, the pruned rows leave the hidden states. All of it is undone when the block ends,
errors included.

Shape legend: B sentences, H heads, L tokens present, N tokens of the input, D width (of a head in attention).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from multum.attention.architectures import Encoder, find_encoder
from multum.attention.schedule import TokenSchedule
from multum.attention.token_pruning import LayerTokens, SentenceTokens
from multum.core import UserError, invalid, require_module
from multum.ops import importance_attention
from multum.ops.importance_attention.reference import attention_prob

ATTENTION_NAME = "multum_token_pruning"
"""The name under which transformers knows our attention function."""
TRAVELLING = "multum_tokens"
"""The keyword argument in which `SentenceTokens` travels through the model."""

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]


class PruningRun:
    """What the last forward inside the block did."""

    def __init__(self, schedule: TokenSchedule) -> None:
        self.schedule = schedule
        self._layers: tuple[LayerTokens, ...] = ()

    @property
    def layers(self) -> tuple[LayerTokens, ...]:
        """Per layer: positions, mask and importance of the tokens it worked on.

        Raises:
            UserError: The model has not run inside the block yet.
        """
        if not self._layers:
            raise UserError(
                "the model must have run inside the block; got no forward yet; call model(...) first"
            )
        return self._layers

    @property
    def mask(self) -> Bool[Tensor, "B L"]:
        """True for the real tokens of `last_hidden_state`; pool with this mask, not with the input's."""
        return self.layers[-1].mask_BL

    @property
    def positions(self) -> Int[Tensor, "B L"]:
        """Input position of every row of `last_hidden_state`."""
        return self.layers[-1].position_BL

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Real tokens that each layer worked on, summed over the batch."""
        return tuple(int(layer.mask_BL.sum()) for layer in self.layers)

    def record(self, tokens: SentenceTokens) -> None:
        """Take over what a finished forward did."""
        self._layers = tuple(tokens.history)


@contextmanager
def prune(model: nn.Module, schedule: TokenSchedule, *, keep_scoring: bool = False) -> Iterator[PruningRun]:
    """Run `model` with cascade token pruning inside the block.

    Args:
        model: A transformers encoder (see `architectures.py`), with or without a head that reads [CLS] or pools.
        schedule: How many tokens each layer keeps; as many layers as the model.
        keep_scoring: Score every layer, also after the last pruning, for pictures; costs a little time.

    Yields:
        A `PruningRun`: after each forward it holds the kept positions, their mask and their importance.

    Raises:
        UserError: Unsupported architecture, a schedule for another number of layers, a model inside another such
            block; in the forward: NaN in the attention, a sentence of padding only, `output_attentions`, gradient
            checkpointing.

    Source: SpAtten, section III-A.
    Differs from the paper: an encoder's output has only the surviving rows, in their order; heads that need every token
    are not served yet.

    >>> from transformers import BertConfig, BertModel
    >>> from multum.attention import flat_schedule
    >>> sizes = dict(hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16)
    >>> model = BertModel(BertConfig(vocab_size=50, **sizes)).eval()
    >>> with prune(model, flat_schedule(3, 0.5)) as run:
    ...     output = model(torch.arange(10)[None])
    >>> output.last_hidden_state.shape, run.tokens_per_layer
    (torch.Size([1, 5, 8]), (10, 5, 5))
    """
    encoder = find_encoder(model)
    if schedule.num_layers != len(encoder.layers):
        raise invalid(
            "schedule",
            f"for the model's {len(encoder.layers)} layers",
            schedule.num_layers,
            "give one ratio a layer",
        )
    if any(config._attn_implementation == ATTENTION_NAME for config in encoder.configs):  # type: ignore[attr-defined]
        raise UserError(
            "model must not be pruned twice; got one inside a prune block; leave that block first"
        )
    _register_attention()
    run = PruningRun(schedule)
    with ExitStack() as undo:
        undo.enter_context(_attention_implementation(encoder, ATTENTION_NAME))
        for handle in _attach(encoder, run, schedule, keep_scoring):
            undo.callback(handle.remove)
        yield run


def _attach(
    encoder: Encoder, run: PruningRun, schedule: TokenSchedule, keep_scoring: bool
) -> Iterator[torch.utils.hooks.RemovableHandle]:
    def start(_: nn.Module, args: Arguments, kwargs: Keywords) -> tuple[Arguments, Keywords]:
        _refuse_what_pruning_breaks(encoder, kwargs)
        mask_BL = _input_mask(args, kwargs)
        tokens = SentenceTokens(schedule=schedule, mask_BL=mask_BL, keep_scoring=keep_scoring)
        return args, {**kwargs, TRAVELLING: tokens}

    def finish(_: nn.Module, args: Arguments, kwargs: Keywords, output: object) -> None:  # noqa: ARG001
        run.record(kwargs[TRAVELLING])

    yield encoder.base.register_forward_pre_hook(start, with_kwargs=True)
    yield encoder.base.register_forward_hook(finish, with_kwargs=True)
    for layer in encoder.layers:
        yield layer.register_forward_pre_hook(_before_layer, with_kwargs=True)
        yield layer.register_forward_hook(_after_layer, with_kwargs=True)


def _refuse_what_pruning_breaks(encoder: Encoder, kwargs: Mapping[str, Any]) -> None:
    """Raise for settings of the model under which a pruned forward would be wrong."""
    wanted = kwargs.get("output_attentions")
    if getattr(encoder.base.config, "output_attentions", False) if wanted is None else wanted:
        raise UserError("output_attentions must be False under prune(); got True; importance is in the run")
    if any(layer.training and getattr(layer, "gradient_checkpointing", False) for layer in encoder.layers):
        raise UserError(
            "gradient checkpointing must be off under prune(), for a layer that runs twice would prune twice; "
            "got True; call model.gradient_checkpointing_disable()"
        )


def _input_mask(args: Arguments, kwargs: Mapping[str, Any]) -> Bool[Tensor, "B N"]:
    """The input's padding mask as booleans; all True when none was given."""
    tokens = args[0] if args else kwargs.get("input_ids")
    tokens = kwargs.get("inputs_embeds") if tokens is None else tokens
    if not isinstance(tokens, Tensor) or tokens.dim() < 2:
        raise invalid("the model's input", "input_ids of shape (B, N) or inputs_embeds (B, N, D)", tokens)
    mask = args[1] if len(args) > 1 else kwargs.get("attention_mask")
    if mask is None:
        return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    if mask.shape != tokens.shape[:2]:
        raise invalid("attention_mask", f"of shape {tuple(tokens.shape[:2])}", tuple(mask.shape))
    real: Tensor = mask.to(device=tokens.device).bool()
    return real


def _before_layer(_: nn.Module, args: Arguments, kwargs: Keywords) -> tuple[Arguments, Keywords]:
    """Put the mask of the living tokens in place of the input's (the attention function reads it from the tokens)."""
    if len(args) > 1:
        return (args[0], None, *args[2:]), kwargs
    return args, {**kwargs, "attention_mask": None}


def _after_layer(_: nn.Module, args: Arguments, kwargs: Keywords, output: Tensor) -> Tensor:  # noqa: ARG001
    tokens: SentenceTokens = kwargs[TRAVELLING]
    return tokens.leave_layer(output)


def _pruning_attention(
    module: nn.Module,  # noqa: ARG001 - the interface's signature
    query: Float[Tensor, "B H L D"],
    key: Float[Tensor, "B H L D"],
    value: Float[Tensor, "B H L D"],
    attention_mask: Tensor | None,  # noqa: ARG001 - the living tokens know their mask
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "B L H D"], None]:
    """Transformers' attention interface: context as (B, L, H, D), importance added to the travelling tokens."""
    tokens: SentenceTokens = kwargs[TRAVELLING]
    mask_BL = tokens.key_mask_BL
    if not tokens.needs_importance:
        mask_B11L = None if mask_BL is None else mask_BL[:, None, None, :]
        context = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask_B11L, dropout_p=dropout, scale=scaling
        )
    elif dropout > 0.0:  # training: the fast path keeps no probabilities to drop from
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        prob_BHLL = attention_prob(query, key, mask_BL, mask_BL, scale)
        tokens.add_importance(prob_BHLL.sum(dim=2), value)
        context = functional.dropout(prob_BHLL, dropout) @ value
    else:
        context, importance_BHL = importance_attention(
            query, key, value, key_mask_BK=mask_BL, query_mask_BQ=mask_BL, scale=scaling
        )
        tokens.add_importance(importance_BHL, value)
    return context.transpose(1, 2), None


def _register_attention() -> None:
    """Tell transformers of our attention function; harmless to repeat."""
    transformers: Any = require_module("transformers", "transformers")
    transformers.AttentionInterface.register(ATTENTION_NAME, _pruning_attention)
    # the model need not build a mask: each layer takes that of the living tokens
    transformers.AttentionMaskInterface.register(ATTENTION_NAME, lambda *_, **__: None)


@contextmanager
def _attention_implementation(encoder: Encoder, name: str) -> Iterator[None]:
    """Set the attention implementation of every configuration inside the block."""
    restore: list[Callable[[], None]] = []
    for config in encoder.configs:
        before = config._attn_implementation  # type: ignore[attr-defined]
        restore.append(lambda config=config, before=before: _set_implementation(config, before))  # type: ignore[misc]
        _set_implementation(config, name)
    try:
        yield
    finally:
        for undo in restore:
            undo()


def _set_implementation(config: object, name: str) -> None:
    config._attn_implementation = name  # type: ignore[attr-defined]
