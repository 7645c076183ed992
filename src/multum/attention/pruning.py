"""Attach sparse attention to a transformers model, for the length of a `with` block or for good.

Nothing of the model is copied or rewritten. Three kinds of hooks and one entry in transformers' attention interface do
it for an encoder: before the base model runs, a fresh `EncoderForward` joins the keyword arguments and travels with
them to every layer; before a layer, the mask is replaced by that of the tokens still alive, and its projections by
those of the heads still alive; inside it, the attention function adds up what tokens and heads earn; after it, the
pruned rows leave the hidden states. All of it is undone when the block ends, errors included.

Shape legend: B sentences, H heads, L tokens present, N tokens of the input, D width (of a head in attention).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from multum.attention.architectures import SHARED_CONFIG, Encoder, Projections, find_encoder
from multum.attention.cache_schedule import CacheSchedule
from multum.attention.encoder_forward import EncoderForward
from multum.attention.head_projection import check_projections, install, uninstall
from multum.attention.head_pruning import SentenceHeads, every_head
from multum.attention.model_heads import ModelHeadRule, rule_for
from multum.attention.pruning_run import PruningRun
from multum.attention.schedule import TokenSchedule
from multum.attention.sparse_schedule import KINDS, EncoderSchedule, GenerationSchedule
from multum.attention.token_pruning import SentenceTokens
from multum.attention.word_worth import token_worth
from multum.core import UserError, invalid, require_module, wrong_type

if TYPE_CHECKING:
    from multum.attention.generation import GenerationRun

ATTENTION_NAME = "multum_token_pruning"
"""The name under which transformers knows our attention function."""
TRAVELLING = "multum_tokens"
"""The keyword argument in which `EncoderForward` travels through the model."""

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]


@overload
def prune(
    model: nn.Module,
    schedule: TokenSchedule | EncoderSchedule,
    *,
    keep_scoring: bool = False,
    rule: ModelHeadRule | None = None,
) -> AbstractContextManager[PruningRun]: ...
@overload
def prune(
    model: nn.Module,
    schedule: CacheSchedule | GenerationSchedule,
    *,
    keep_scoring: bool = False,
    rule: None = None,
) -> "AbstractContextManager[GenerationRun]": ...
def prune(
    model: nn.Module,
    schedule: TokenSchedule | EncoderSchedule | CacheSchedule | GenerationSchedule,
    *,
    keep_scoring: bool = False,
    rule: ModelHeadRule | None = None,
) -> AbstractContextManager[Any]:
    """Run `model` with sparse attention inside the block.

    Args:
        model: A transformers encoder (see `architectures.py`) with any head that a rule is known for, or a model that
            generates.
        schedule: What each layer keeps; for as many layers as the model has. The kind of schedule says whether the
            model encodes (`TokenSchedule`, `EncoderSchedule`) or generates (`CacheSchedule`, `GenerationSchedule`).
        keep_scoring: For pictures: score every layer, also after the last pruning (a model that generates notes
            which rows were present at every step). Costs a little time.
        rule: What the model's head reads, and so which tokens may not go; by default the rule of its class.

    Yields:
        A `PruningRun` (a `GenerationRun` for a model that generates): after each forward it holds what was kept.

    Raises:
        UserError: Unsupported architecture or head, a schedule for another number of layers, a model inside another
            such block; in the forward: NaN in the attention, a sentence of padding only, more protected tokens than
            kept ones, an input longer than the model, `output_attentions`, gradient checkpointing.

    Source: SpAtten, sections III-A to III-D.
    Differs from the paper: an encoder without a head gives only the surviving rows, in their order; what a head of
    its own gets is the table of `docs/attention/model_heads.md`.

    >>> from transformers import BertConfig, BertModel
    >>> from multum.attention import flat_schedule
    >>> sizes = dict(hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16)
    >>> model = BertModel(BertConfig(vocab_size=50, **sizes)).eval()
    >>> with prune(model, flat_schedule(3, 0.5)) as run:
    ...     output = model(torch.arange(10)[None])
    >>> output.last_hidden_state.shape, run.tokens_per_layer
    (torch.Size([1, 5, 8]), (10, 5, 5))
    """
    if not isinstance(schedule, tuple(KINDS.values())):
        kinds = ", ".join(kind.__name__ for kind in KINDS.values())
        raise wrong_type("schedule", f"one of {kinds}", schedule, "default_schedule(model) chooses one")
    if isinstance(schedule, CacheSchedule | GenerationSchedule):
        if rule is not None:
            raise invalid("rule", "None for a model that generates", rule, "it is for the heads of encoders")
        from multum.attention.generation import prune_generation

        return prune_generation(model, schedule, keep_history=keep_scoring)
    return _prune_encoder(model, schedule, keep_scoring, rule)


class Pruned:
    """A model pruned for good: what `prune_` gives back."""

    def __init__(self, run: Any, undo: ExitStack) -> None:
        self.run = run
        self._undo = undo

    def remove(self) -> None:
        """Make the model as it was before; harmless to repeat."""
        self._undo.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Pruned":
        """A copy of a pruned model is pruned too and shares its run."""
        return self


def prune_(
    model: nn.Module,
    schedule: TokenSchedule | EncoderSchedule | CacheSchedule | GenerationSchedule,
    *,
    rule: ModelHeadRule | None = None,
) -> Pruned:
    """Make `model` sparse until told otherwise: for a transformers pipeline, a server, a training loop.

    Args:
        model: As in `prune`.
        schedule: As in `prune`.
        rule: As in `prune`.

    Returns:
        A handle: its `run` tells what the last forward did, its `remove()` undoes everything. `state_dict`,
        `save_pretrained` and `copy.deepcopy` work meanwhile; to pickle the whole model, remove first.

    Raises:
        UserError: As `prune`.

    >>> from transformers import BertConfig, BertModel
    >>> from multum.attention import flat_schedule
    >>> sizes = dict(hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=16)
    >>> model = BertModel(BertConfig(vocab_size=50, **sizes)).eval()
    >>> pruned = prune_(model, flat_schedule(3, 0.5))
    >>> model(torch.arange(10)[None]).last_hidden_state.shape
    torch.Size([1, 5, 8])
    >>> pruned.remove()
    >>> model(torch.arange(10)[None]).last_hidden_state.shape
    torch.Size([1, 10, 8])
    """
    undo = ExitStack()
    run = undo.enter_context(prune(model, schedule, rule=rule))  # type: ignore[arg-type]
    pruned = Pruned(run, undo)
    undo.callback(model.register_forward_pre_hook(partial(_hold, pruned)).remove)
    return pruned


def _hold(pruned: Pruned, *_: object) -> None:
    """Do nothing: as a hook of the model it keeps alive a block that would otherwise end when nobody holds it."""


@contextmanager
def _prune_encoder(
    model: nn.Module,
    schedule: TokenSchedule | EncoderSchedule,
    keep_scoring: bool,
    rule: ModelHeadRule | None,
) -> Iterator[PruningRun]:
    encoder = find_encoder(model)
    dials = EncoderSchedule(tokens=schedule) if isinstance(schedule, TokenSchedule) else schedule
    if dials.num_layers not in (None, len(encoder.layers)):
        raise invalid(
            "schedule",
            f"for the model's {len(encoder.layers)} layers",
            dials.num_layers,
            "give one ratio a layer",
        )
    if any(config._attn_implementation == ATTENTION_NAME for config in encoder.configs):  # type: ignore[attr-defined]
        raise UserError(
            "model must not be pruned twice; got one inside a prune block, or whose config object is shared by one; "
            "leave that block first"
        )
    if dials.heads is not None:
        check_projections(encoder)
    run = PruningRun(model, dials, rule or rule_for(model), encoder.head_width)
    _register_attention()
    with ExitStack() as undo:
        undo.enter_context(_attention_implementation(encoder, ATTENTION_NAME))
        for parts in encoder.projections:
            undo.callback(uninstall, parts)
        for handle in _attach(encoder, run, keep_scoring):
            undo.callback(handle.remove)
        yield run


def _attach(
    encoder: Encoder, run: PruningRun, keep_scoring: bool
) -> Iterator[torch.utils.hooks.RemovableHandle]:
    def start(_: nn.Module, args: Arguments, kwargs: Keywords) -> tuple[Arguments, Keywords]:
        _refuse_what_pruning_breaks(encoder, kwargs)
        return args, {**kwargs, TRAVELLING: _start_forward(encoder, run, keep_scoring, args, kwargs)}

    def finish(_: nn.Module, args: Arguments, kwargs: Keywords, output: object) -> None:  # noqa: ARG001
        run.record(kwargs[TRAVELLING])

    yield encoder.base.register_forward_pre_hook(start, with_kwargs=True)
    yield encoder.base.register_forward_hook(finish, with_kwargs=True)
    yield encoder.layers[0].register_forward_pre_hook(_enter, with_kwargs=True)
    for layer, parts in zip(encoder.layers, encoder.projections, strict=True):
        narrow, widen = partial(_before_layer, parts, encoder.head_width), partial(_widen, parts)
        yield layer.register_forward_pre_hook(narrow, with_kwargs=True)
        yield layer.register_forward_hook(widen, with_kwargs=True, always_call=True)
        yield layer.register_forward_hook(_after_layer, with_kwargs=True)


def _start_forward(
    encoder: Encoder, run: PruningRun, keep_scoring: bool, args: Arguments, kwargs: Mapping[str, Any]
) -> EncoderForward:
    """The state of one forward, from the model's input."""
    inputs = args[0] if args else kwargs.get("input_ids")
    mask_BL = _input_mask(args, kwargs)
    _refuse_too_long(encoder, mask_BL.shape[1], kwargs.get("position_ids"))
    token_types = args[2] if len(args) > 2 else kwargs.get("token_type_ids")
    everything = TokenSchedule(keep_ratios=(1.0,) * len(encoder.layers), protect_first=False)
    tokens = SentenceTokens(
        schedule=run.schedule.tokens or everything,
        mask_BL=mask_BL,
        keep_scoring=keep_scoring,
        protect_first=run.rule.protects_first,
        protected_BL=run.rule.protected_tokens(inputs, token_types),
    )
    if tokens.schedule.spare_tokens is not None:
        if inputs is None:
            raise invalid("the model's input", "input_ids, which spare_tokens are sought in", None)
        tokens.worth_BL = token_worth(inputs, tokens.schedule.spare_tokens)
    heads = SentenceHeads(
        schedule=run.schedule.heads,
        head_BK=every_head(len(mask_BL), encoder.num_heads, mask_BL.device),
        keep_scoring=keep_scoring,
    )
    return EncoderForward(schedule=run.schedule, tokens=tokens, heads=heads, rule=run.rule)


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
    if kwargs.get("encoder_hidden_states") is not None:
        raise UserError(
            "encoder_hidden_states must be None under prune(), for cross-attention is not pruned; got a tensor"
        )


def _refuse_too_long(encoder: Encoder, num_tokens: int, position_ids: Tensor | None) -> None:
    """Raise for an input that the model has no positions for, before its embedding fails with less to say."""
    if position_ids is None and num_tokens > encoder.longest_input:
        limit = f"at most {encoder.longest_input} tokens long, the model's limit"
        raise invalid("the model's input", limit, num_tokens, "truncate or split it")


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


def _enter(_: nn.Module, args: Arguments, kwargs: Keywords) -> tuple[Arguments, Keywords]:
    """Let the first layer begin with the tokens that are worth it."""
    forward: EncoderForward = kwargs[TRAVELLING]
    return (forward.enter(args[0]), *args[1:]), kwargs


def _before_layer(
    parts: Projections, head_width: int, _: nn.Module, args: Arguments, kwargs: Keywords
) -> tuple[Arguments, Keywords]:
    """Project living heads only, and take the input's mask out: the attention function knows the living tokens'."""
    forward: EncoderForward = kwargs[TRAVELLING]
    if not forward.heads.all_alive:
        install(parts, forward.heads, head_width)
    if len(args) > 1:
        return (args[0], None, *args[2:]), kwargs
    return args, {**kwargs, "attention_mask": None}


def _widen(parts: Projections, _: nn.Module, args: Arguments, kwargs: Keywords, output: object) -> None:  # noqa: ARG001
    """Give the projections back whole, also after an error inside the layer."""
    uninstall(parts, kwargs[TRAVELLING].heads)


def _after_layer(_: nn.Module, args: Arguments, kwargs: Keywords, output: Tensor) -> Tensor:  # noqa: ARG001
    forward: EncoderForward = kwargs[TRAVELLING]
    return forward.leave_layer(output)


def _sparse_attention(
    module: nn.Module,  # noqa: ARG001 - the interface's signature
    query: Float[Tensor, "B H L D"],
    key: Float[Tensor, "B H L D"],
    value: Float[Tensor, "B H L D"],
    attention_mask: Tensor | None,  # noqa: ARG001 - the living tokens know their mask
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "B L H D"], None]:
    """Transformers' attention interface: context as (B, L, H, D)."""
    if TRAVELLING not in kwargs:
        raise UserError(SHARED_CONFIG)
    forward: EncoderForward = kwargs[TRAVELLING]
    return forward.attend(query, key, value, dropout, scaling).transpose(1, 2), None


def _register_attention() -> None:
    """Tell transformers of our attention function; harmless to repeat."""
    transformers: Any = require_module("transformers", "transformers")
    transformers.AttentionInterface.register(ATTENTION_NAME, _sparse_attention)
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
