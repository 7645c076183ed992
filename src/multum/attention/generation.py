"""Attach sparse attention to a generating transformers model for the length of a `with` block.

Nothing of the model is copied or rewritten. Before the base model runs, a hook puts a `SparseCache` in the place of the
cache that was given and lets it make room; every layer hands the cache its new keys and values as it would any cache;
the attention function, one entry in transformers' attention interface, attends to what the cache holds; after the base
model, a hook lets the cache choose what stays. `model.generate` never notices. All of it is undone when the block ends.

Shape legend: B sequences, H query heads, G key/value heads, Q rows of one forward, D head width.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from multum.attention.architectures import SHARED_CONFIG
from multum.attention.cache_schedule import CacheSchedule
from multum.attention.decoders import Decoder, find_decoder
from multum.attention.generation_heads import check_projections, narrow
from multum.attention.generation_run import GenerationRun
from multum.attention.kv_cache import SparseCache, as_generation_schedule, check_depth
from multum.attention.prompt_pruning import PromptPruningTokens
from multum.attention.sparse_schedule import GenerationSchedule
from multum.core import UserError, invalid, require_module

__all__ = ["GenerationRun", "prune_generation"]

ATTENTION_NAME = "multum_sparse_cache"
"""The name under which transformers knows our attention function."""
TRAVELLING = "multum_cache"
"""The keyword argument in which the cache travels through the model."""

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]


@contextmanager
def prune_generation(
    model: nn.Module,
    schedule: GenerationSchedule | CacheSchedule,
    *,
    keep_history: bool = False,
    impl: Literal["auto", "reference", "cpu", "triton"] = "auto",
) -> Iterator[GenerationRun]:
    """Run `model` with a pruned key/value cache inside the block: `model.generate`, or calls of one's own.

    Args:
        model: A transformers network that generates (see `decoders.py`).
        schedule: What each layer's cache keeps, and in how many bits; for as many layers as the model has.
        keep_history: Note for every forward and layer which tokens were present, for pictures.
        impl: Implementation of the attention over the cache.

    Yields:
        A `GenerationRun`.

    Raises:
        UserError: Unsupported architecture, a schedule of another depth, a model inside another such block; in the
            forward: NaN in the attention, a cache of another model or schedule, a sequence longer than the model.

    Source: SpAtten, sections III-A to III-D.
    Differs from the paper: a prompt's own attention is in full precision, and dense unless the schedule says
    `prune_prompt`; pruning and bits apply to what the cache holds after it.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> sizes = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=50, eos_token_id=None, **sizes)).eval()
    >>> half = CacheSchedule(keep_ratios=(1.0, 0.5), protect_first=1, grace_tokens=4)
    >>> with prune_generation(model, half) as run:
    ...     tokens = model.generate(torch.arange(1, 21)[None], max_new_tokens=11, pad_token_id=0)
    >>> [stage.count_B.tolist() for stage in run.cache.tokens.stages]
    [[30], [15]]
    """
    decoder, wanted = find_decoder(model), as_generation_schedule(schedule)
    check_depth(wanted, decoder)
    if any(str(config._attn_implementation).startswith("multum") for config in decoder.configs):  # type: ignore[attr-defined]
        raise UserError(
            "model must not be pruned twice; got one inside a prune block, or whose config object is shared by one; "
            "leave that block first"
        )
    if wanted.heads is not None:
        check_projections(decoder.attentions)
    _register_attention()
    run = GenerationRun(model, wanted, impl=impl, keep_history=keep_history)
    with ExitStack() as undo:
        for config in decoder.configs:
            undo.callback(setattr, config, "_attn_implementation", config._attn_implementation)  # type: ignore[attr-defined]
            config._attn_implementation = ATTENTION_NAME  # type: ignore[attr-defined]
        for handle in _attach(decoder, run):
            undo.callback(handle.remove)
        yield run


def _attach(decoder: Decoder, run: GenerationRun) -> Iterator[torch.utils.hooks.RemovableHandle]:
    names = tuple(inspect.signature(decoder.base.forward).parameters)

    def start(_: nn.Module, args: Arguments, kwargs: Keywords) -> tuple[Arguments, Keywords]:
        kwargs = {**kwargs, **dict(zip(names, args, strict=False))}
        _refuse_what_pruning_breaks(decoder, kwargs)
        cache = _cache_for(decoder, run, kwargs.get("past_key_values"))
        cache.begin(_new_mask(kwargs, cache.tokens.seen), next(decoder.base.parameters()).dtype)
        run.use(cache)
        return (), {**kwargs, "past_key_values": cache, "use_cache": True, TRAVELLING: (cache, run)}

    def finish(_: nn.Module, args: Arguments, kwargs: Keywords, output: object) -> None:  # noqa: ARG001
        kwargs[TRAVELLING][0].finish()

    yield decoder.base.register_forward_pre_hook(start, with_kwargs=True)
    yield decoder.base.register_forward_hook(finish, with_kwargs=True)
    if run.schedule.tokens is not None and run.schedule.tokens.prune_prompt:
        yield from _attach_prompt(decoder)
    heads = run.schedule.heads
    for layer, attention in enumerate(decoder.attentions):
        if heads is not None and heads.num_heads(layer, decoder.num_heads) < decoder.num_heads:
            yield from _attach_heads(layer, attention, decoder.head_width)


def _attach_prompt(decoder: Decoder) -> Iterator[torch.utils.hooks.RemovableHandle]:
    """Let every layer of a prompt read only the rows that are left."""

    def narrow_rows(
        layer: int, _: nn.Module, args: Arguments, kwargs: Keywords
    ) -> tuple[Arguments, Keywords]:
        tokens: PromptPruningTokens = kwargs[TRAVELLING][0].tokens
        if not tokens.pruning:
            return args, kwargs
        return (tokens.enter(layer, args[0]), *args[1:]), tokens.placed(kwargs)

    def widen_rows(_: nn.Module, args: Arguments, kwargs: Keywords, output: Tensor) -> Tensor:  # noqa: ARG001
        tokens: PromptPruningTokens = kwargs[TRAVELLING][0].tokens
        return tokens.leave(output)

    for number, layer in enumerate(decoder.layers):
        yield layer.register_forward_pre_hook(partial(narrow_rows, number), with_kwargs=True)
    yield decoder.layers[-1].register_forward_hook(widen_rows, with_kwargs=True)


def _attach_heads(
    layer: int, attention: nn.Module, head_width: int
) -> Iterator[torch.utils.hooks.RemovableHandle]:
    """Compute the living heads of one layer only."""
    widen: list[Callable[[], None]] = []

    def before(_: nn.Module, args: Arguments, kwargs: Keywords) -> None:  # noqa: ARG001
        living = kwargs[TRAVELLING][0].heads.living[layer]
        widen.append(narrow(attention, living, head_width))

    def after(*_: object) -> None:
        while widen:
            widen.pop()()

    yield attention.register_forward_pre_hook(before, with_kwargs=True)
    yield attention.register_forward_hook(after, always_call=True)


def _cache_for(decoder: Decoder, run: GenerationRun, given: Any) -> SparseCache:
    """The cache of this forward: the given one, or a new one in place of none or of an empty one of transformers."""
    if isinstance(given, SparseCache):
        given.belongs_to(decoder.base, run.schedule)
        return given
    if given is not None and type(given).__name__ != "DynamicCache":
        raise UserError(
            f"past_key_values must be left to prune(); got a {type(given).__name__}; leave past_key_values and "
            "cache_implementation out, for the pruned cache takes their place"
        )
    if given is not None and given.get_seq_length() > 0:
        raise UserError(
            f"past_key_values must be empty or of this block; got a {type(given).__name__} of "
            f"{given.get_seq_length()} tokens; read the prompt inside the block"
        )
    return run.new_cache()


def _refuse_what_pruning_breaks(decoder: Decoder, kwargs: Keywords) -> None:
    """Raise for settings of a call under which a pruned cache would be wrong."""
    wanted = kwargs.get("output_attentions")
    if getattr(decoder.base.config, "output_attentions", False) if wanted is None else wanted:
        raise UserError("output_attentions must be False under prune(); got True; importance is in the run")
    if kwargs.get("use_cache") is False:
        raise UserError("use_cache must be True under prune(); got False; what is pruned is the cache")
    if decoder.base.training:
        raise UserError("model must be in evaluation mode to generate; got training mode; call model.eval()")
    if torch.is_grad_enabled() and any(p.requires_grad for p in decoder.base.parameters()):
        raise UserError(
            "gradients must be off to generate from a pruned cache; got grad mode; call it under torch.no_grad()"
        )


def _new_mask(kwargs: Keywords, seen: int) -> Bool[Tensor, "B Q"]:
    """Which of the new columns are tokens; all of them when no mask was given."""
    rows = kwargs.get("input_ids")
    rows = kwargs.get("inputs_embeds") if rows is None else rows
    if not isinstance(rows, Tensor) or rows.dim() < 2:
        raise invalid("the model's input", "input_ids of shape (B, Q) or inputs_embeds (B, Q, D)", rows)
    batch_size, num_rows = rows.shape[:2]
    mask = kwargs.get("attention_mask")
    if mask is None:
        return torch.ones(batch_size, num_rows, dtype=torch.bool, device=rows.device)
    if not isinstance(mask, Tensor) or mask.dim() != 2 or len(mask) != batch_size:
        raise invalid("attention_mask", f"of shape ({batch_size}, {seen + num_rows})", mask)
    if mask.shape[1] not in (seen + num_rows, num_rows):
        raise invalid("attention_mask", f"of shape ({batch_size}, {seen + num_rows})", tuple(mask.shape))
    new: Tensor = mask[:, -num_rows:].to(rows.device).bool()
    return new


def _sparse_attention(
    module: nn.Module,
    query: Float[Tensor, "B H Q D"],
    key: Float[Tensor, "B G Q D"],  # noqa: ARG001 - the cache has them
    value: Float[Tensor, "B G Q D"],  # noqa: ARG001
    attention_mask: Tensor | None,  # noqa: ARG001 - the cache knows who is there
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "B Q H D"], None]:
    """Transformers' attention interface: context as (B, Q, H, D), scores noted in the cache."""
    if TRAVELLING not in kwargs:
        raise UserError(SHARED_CONFIG)
    cache, run = kwargs[TRAVELLING]
    layer: Any = module.layer_idx
    values = run.schedule.values
    num_values: Callable[[int], int] | None = None
    if values is not None and values.keep_ratios[layer] < 1.0:

        def num_values(num_keys: int) -> int:
            count: int = values.num_values(layer, num_keys)
            return count

    living = cache.heads.living.get(layer)
    context = cache.layers[layer].attend(
        query,
        scaling,
        group_BH=None if living is None else living.slot_BK,
        num_values=num_values,
        impl=run.impl,
    )
    if not cache.tokens.stepping:
        cache.heads.leave_layer(layer, context, cache.tokens.new_rows_of(layer))
    return context.transpose(1, 2), None


def _register_attention() -> None:
    """Tell transformers of our attention function; harmless to repeat."""
    transformers: Any = require_module("transformers", "transformers")
    transformers.AttentionInterface.register(ATTENTION_NAME, _sparse_attention)
    # the model need not build a mask: the cache knows which tokens are there
    transformers.AttentionMaskInterface.register(ATTENTION_NAME, lambda *_, **__: None)
