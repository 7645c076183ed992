"""A key/value cache for transformers that holds only the rows its schedule keeps, in bit planes or as they came.

While a prompt is read its keys and values wait as the model computed them; at its end every layer copies the rows it
keeps into storage of their own, and the rest of the memory is given back. From then on a new token's row takes the slot
of the one given up for it. Rows of one layer lie in any order: attention does not care, and the places of their tokens
are known beside them.

Shape legend: B sequences, H query heads, G key/value heads, Q rows of one forward, C slots of a layer, D head width,
S slots and new rows together, K kept rows.
"""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import Cache, CacheLayerMixin

from multum.attention.cache_centre import Centre, centre_of
from multum.attention.cache_pruning import CachedTokens, Stage, stage_mask
from multum.attention.cache_readmission import ReadmittingTokens
from multum.attention.cache_schedule import CacheSchedule
from multum.attention.cache_whole_rows import whole_rows_of
from multum.attention.decoders import Decoder, find_decoder
from multum.attention.generation_heads import CachedHeads
from multum.attention.generation_record import ForwardFacts, LayerShape, Snapshot, layer_shape
from multum.attention.prompt_pruning import PromptPruningTokens
from multum.attention.quantization_schedule import ProgressiveQuantization
from multum.attention.sparse_schedule import GenerationSchedule
from multum.core import UserError, invalid
from multum.ops import importance_attention
from multum.ops.bit_planes import FloatRows, PlaneRows, RowFrame, Rows
from multum.ops.decode_attention import DecodeResult, DecodeStep


class SparseLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer: the rows it keeps, and those of the running forward."""

    is_sliding = False
    is_croppable = False

    def __init__(
        self, tokens: CachedTokens, number: int, quantization: ProgressiveQuantization | None
    ) -> None:
        super().__init__()
        self.tokens, self.number, self.quantization = tokens, number, quantization
        self.bits = None if quantization is None else quantization.of_layer(number)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.key: Rows | None = None
        self.value: Rows | None = None
        self.new_key_BGQD: Tensor | None = None
        self.new_value_BGQD: Tensor | None = None
        self.received_BS: Tensor | None = None
        self.result: DecodeResult | None = None
        self.centre: Centre | None = None
        self.key_frame = self.value_frame = self._frame(None)
        self.num_slots = 0
        self._held_bytes: int | None = None
        self._step: DecodeStep | None = None

    # what transformers asks of a layer ----------------------------------------------------------------------------

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:  # noqa: ARG002
        """There is nothing to be learned from the first keys."""
        self.is_initialized = True

    def update(
        self,
        key_states: Float[Tensor, "B G Q D"],
        value_states: Float[Tensor, "B G Q D"],
        *_: object,
        **__: object,
    ) -> tuple[Tensor, Tensor]:
        """Take the rows of the running forward; returns them as they came: attention finds the rest here."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.tokens.stepping:
            self._write(key_states, value_states)
        else:
            self.new_key_BGQD, self.new_value_BGQD = key_states, value_states
        return key_states, value_states

    def get_seq_length(self) -> int:
        """Tokens seen, padding and pruned ones included: where the next token stands."""
        return self.tokens.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the mask over all tokens seen."""
        return self.tokens.seen + query_length, 0

    def get_max_length(self) -> int:
        """No limit of its own."""
        return -1

    # attention ----------------------------------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        """Which tokens this layer keeps."""
        return self.tokens.stage_of(self.number)

    def attend(
        self,
        query_BHQD: Float[Tensor, "B H Q D"],
        scale: float | None,
        *,
        group_BH: Int[Tensor, "B H"] | None = None,
        num_values: Callable[[int], int] | None = None,
        impl: Any = "auto",
    ) -> Float[Tensor, "B H Q D"]:
        """Attention of the running forward's rows over what the layer holds; scores are noted for the end of it."""
        if not self.tokens.stepping:
            return self._attend_rows(query_BHQD, scale, group_BH)
        assert self.key is not None
        assert self.value is not None
        key, value, count_B = self.key, self.value, self.stage.count_B
        choice = self.tokens.choose(self.number)
        if choice is not None:
            index_BK, count_B = choice
            key, value = key.select(index_BK[:, None]), value.select(index_BK[:, None])
        num_values_B = None
        if num_values is not None:
            num_values_B = torch.tensor([num_values(n) for n in count_B.tolist()], device=count_B.device)
        self.result = self._step_over(key, value, query_BHQD.shape[1], scale)(
            query_BHQD[:, :, 0],
            count_B,
            group_BH=group_BH,
            num_values_B=num_values_B,
            impl=impl,
            whole_BC=self.tokens.whole_of(self.number),
        )
        self.received_BS = self.result.importance_BC
        self.tokens.add_at_once(self.number, self.received_BS)
        return self.result.context_BHD[:, :, None]

    def _step_over(self, key: Rows, value: Rows, num_heads: int, scale: float | None) -> DecodeStep:
        """The kernel's call over these rows; the last one's again as long as the rows stay where they are."""
        last = self._step if key is self.key else None
        if last is None or last.key is not key or last.value is not value or last.num_heads != num_heads:
            threshold = None if self.bits is None else self.bits.threshold
            last = DecodeStep(key, value, num_heads, threshold=threshold, scale=scale, frame=self.value_frame)
            self._step = last if key is self.key else None  # rows chosen for one step are not kept
        return last

    def _attend_rows(
        self, query_BHQD: Tensor, scale: float | None, group_BH: Tensor | None
    ) -> Float[Tensor, "B H Q D"]:
        """Several rows at once, each seeing the cache and the new rows up to its own; full precision for the latter."""
        key_BGSD, value_BGSD = self.new_key_BGQD, self.new_value_BGQD
        assert key_BGSD is not None
        assert value_BGSD is not None
        rows_BQ = mask_BS = self.tokens.new_rows_of(self.number)
        if self.key is not None and self.value is not None:
            key_BGSD = torch.cat([self._restored(self.key, key_BGSD.dtype, is_key=True), key_BGSD], dim=2)
            old_BGCD = self._restored(self.value, value_BGSD.dtype, is_key=False)
            value_BGSD = torch.cat([old_BGCD, value_BGSD], dim=2)
            mask_BS = torch.cat([stage_mask(self.stage), mask_BS], dim=1)
        if group_BH is not None:
            batch_B1 = torch.arange(len(group_BH), device=group_BH.device)[:, None]
            key_BGSD, value_BGSD = key_BGSD[batch_B1, group_BH], value_BGSD[batch_B1, group_BH]
        num_rows, prompt_rows = query_BHQD.shape[2], self.tokens.schedule.prompt_rows
        context_BHQD, importance_BHS = importance_attention(
            query_BHQD,
            key_BGSD,
            value_BGSD,
            key_mask_BK=None if bool(mask_BS.all()) else mask_BS,
            query_mask_BQ=None if bool(rows_BQ.all()) else rows_BQ,
            scale=scale,
            causal=True,
            importance_from=0 if prompt_rows is None else max(0, num_rows - prompt_rows),
        )
        self.received_BS = importance_BHS.sum(dim=1)
        self.tokens.add_rows(self.received_BS)
        return context_BHQD

    # storage ------------------------------------------------------------------------------------------------------

    def keep(self, index_BK: Int[Tensor, "B K"]) -> None:
        """End a forward of several rows: copy the chosen rows into storage of their own, let go of the rest."""
        new = self.new_key_BGQD, self.new_value_BGQD
        if self.quantization is not None and self.quantization.centre and self.key is None:
            assert new[0] is not None
            assert new[1] is not None
            self._centre_on(centre_of(new[0], new[1], self.tokens.new_rows_of(self.number)))
        index_B1K = index_BK[:, None]
        kept: list[Rows] = []
        for old, new_BGQD in zip((self.key, self.value), new, strict=True):
            assert new_BGQD is not None
            if old is None:
                index_BGKD = index_B1K[..., None].expand(-1, new_BGQD.shape[1], -1, new_BGQD.shape[3])
                kept.append(self._stored(new_BGQD.gather(2, index_BGKD), is_key=not kept))
            else:
                kept.append(joined(old, self._stored(new_BGQD, is_key=not kept)).select(index_B1K))
        self.key, self.value = kept
        self._step = None  # or the rows of before would live on in it
        self.new_key_BGQD = self.new_value_BGQD = None
        self.num_slots = index_BK.shape[1]
        self._held_bytes = None

    def _write(self, key_BG1D: Float[Tensor, "B G 1 D"], value_BG1D: Float[Tensor, "B G 1 D"]) -> None:
        assert self.key is not None
        assert self.value is not None
        stage = self.stage
        missing = stage.position_BC.shape[1] - self.num_slots
        if missing > 0:
            self.key, self.value = (with_more_slots(rows, missing) for rows in (self.key, self.value))
            self.num_slots += missing
            self._held_bytes = None
        self.key.write(stage.slot_B, key_BG1D[:, :, 0], self.key_frame)
        self.value.write(stage.slot_B, value_BG1D[:, :, 0], self.value_frame)

    def _stored(self, rows_BGKD: Tensor, *, is_key: bool) -> Rows:
        if self.bits is None:
            return FloatRows(rows=rows_BGKD.contiguous())
        bits = self.bits.msb_bits if is_key else self.bits.value_bits
        frame = self.key_frame if is_key else self.value_frame
        return PlaneRows.quantize(frame.into(rows_BGKD), bits, two_planes=is_key)

    def _restored(self, rows: Rows, dtype: torch.dtype, *, is_key: bool) -> Float[Tensor, "B G C D"]:
        """Stored rows as the model knows them: numbers again, turned back, their mean added."""
        frame = self.key_frame if is_key else self.value_frame
        return frame.out_of(rows.dequantize(dtype=dtype))

    def _centre_on(self, centre: Centre) -> None:
        self.centre = centre
        self.key_frame, self.value_frame = self._frame(centre.key_BG1D), self._frame(centre.value_BG1D)

    def _frame(self, mean_BG1D: Tensor | None) -> RowFrame:
        turned = self.quantization is not None and self.quantization.rotate
        return RowFrame(mean_BG1D=mean_BG1D, turned=turned)

    @property
    def num_bytes_held(self) -> int:
        """Bytes of the memory behind the layer's rows, scales and free slots included."""
        if self._held_bytes is None or self.new_key_BGQD is not None:
            stores = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in self._tensors()}
            self._held_bytes = sum(stores.values())
        return self._held_bytes

    def _tensors(self) -> Iterator[Tensor]:
        for rows in (self.key, self.value):
            if isinstance(rows, PlaneRows):
                yield from (t for t in (rows.msb, rows.lsb, rows.scale) if t is not None)
            elif rows is not None:
                yield rows.rows
        if self.centre is not None:
            yield from (self.centre.key_BG1D, self.centre.value_BG1D)
        yield from (t for t in (self.new_key_BGQD, self.new_value_BGQD) if t is not None)

    def take_sequences(self, index_B: Int[Tensor, " b"]) -> None:
        """Reorder, repeat or drop sequences."""
        if self.key is not None and self.value is not None:
            self.key, self.value = (
                of_every_tensor(rows, lambda t: t.index_select(0, index_B)) for rows in (self.key, self.value)
            )
            self._step = None
            if self.centre is not None:
                self._centre_on(self.centre.take_sequences(index_B))
            self._held_bytes = None


def of_every_tensor(rows: Rows, change: Callable[[Tensor], Tensor]) -> Rows:
    """Rows with every tensor changed alike; axes are (B, G, C) and, but for scales, bytes or channels."""
    if isinstance(rows, FloatRows):
        return FloatRows(rows=change(rows.rows))
    lsb = None if rows.lsb is None else change(rows.lsb)
    return replace(rows, msb=change(rows.msb), lsb=lsb, scale=change(rows.scale))


def with_more_slots(rows: Rows, more: int) -> Rows:
    """Rows with free slots behind them."""
    return of_every_tensor(rows, lambda t: functional.pad(t, (0, 0) * (t.dim() - 3) + (0, more)))


def joined(first: Rows, second: Rows) -> Rows:
    """Rows of one kind, the slots of the second behind those of the first."""
    if isinstance(first, FloatRows):
        assert isinstance(second, FloatRows)
        return FloatRows(rows=torch.cat([first.rows, second.rows], dim=2))
    assert isinstance(second, PlaneRows)
    lsb = None if first.lsb is None or second.lsb is None else torch.cat([first.lsb, second.lsb], dim=2)
    msb, scale = torch.cat([first.msb, second.msb], dim=2), torch.cat([first.scale, second.scale], dim=2)
    return replace(first, msb=msb, lsb=lsb, scale=scale)


class SparseCache(Cache):  # type: ignore[misc]
    """The cache of one model under one schedule; it works inside that model's `prune` block only.

    Args:
        model: The network whose cache it is.
        schedule: What it keeps, and in how many bits.
    """

    def __init__(self, model: nn.Module, schedule: GenerationSchedule | CacheSchedule) -> None:
        self.schedule = as_generation_schedule(schedule)
        decoder = find_decoder(model)
        check_depth(self.schedule, decoder)
        self._base = weakref.ref(decoder.base)
        self.max_length = decoder.max_length
        keep_all = CacheSchedule(keep_ratios=(1.0,) * decoder.num_layers, protect_first=0, grace_tokens=1)
        tokens = self.schedule.tokens or keep_all
        quantization = self.schedule.quantization
        kind = ReadmittingTokens if tokens.readmit else CachedTokens
        kind = PromptPruningTokens if tokens.prune_prompt else kind
        self.tokens = kind(tokens, whole_rows_of(quantization))
        super().__init__(
            layers=[SparseLayer(self.tokens, layer, quantization) for layer in range(decoder.num_layers)]
        )
        self._running = False
        self.heads = CachedHeads(self.schedule.heads, decoder.num_heads, decoder.num_groups)
        self.keep_history = False
        self.forwards: list[ForwardFacts] = []
        """What every forward since the cache was begun did."""
        self._shapes: tuple[LayerShape, ...] | None = None

    def belongs_to(self, base: nn.Module, schedule: GenerationSchedule) -> None:
        """Raise unless it was made for this network and this schedule."""
        if self._base() is not base:
            raise UserError(
                "past_key_values must be a cache of this model; got one that was made for another; "
                "make one by run.new_cache()"
            )
        if self.schedule != schedule:
            raise UserError(
                "past_key_values must be a cache under this block's schedule; got one under another; "
                "make one by run.new_cache()"
            )

    # a forward ------------------------------------------------------------------------------------------------------

    def begin(self, mask_BQ: Bool[Tensor, "B Q"], dtype: torch.dtype) -> None:
        """Prepare for the rows of one forward; False in the mask stands for padding."""
        tokens = self.tokens
        if self._running:
            raise UserError("the cache must be whole; got one whose last forward failed; call cache.reset()")
        batch_size, num_rows = mask_BQ.shape
        if tokens.batch_size == 0:
            tokens.open(batch_size, mask_BQ.device, torch.promote_types(dtype, torch.float32))
        if batch_size != tokens.batch_size:
            raise invalid("the batch", f"of the cache's {tokens.batch_size} sequences", batch_size)
        if max(tokens.lengths) + num_rows > self.max_length and tokens.would_exceed(mask_BQ, self.max_length):
            raise invalid(
                "the sequence",
                f"within the model's {self.max_length} positions",
                max(tokens.lengths) + num_rows,
                "generate fewer tokens or shorten the prompt",
            )
        self._running = True
        tokens.begin(mask_BQ)

    def finish(self) -> None:
        """End the forward: take the scores in, choose what stays, give back the memory of the rest."""
        before_SB = self.tokens.attended_SB() if self.tokens.stepping else self.tokens.held_SB()
        received = [layer.received_BS for layer in self.layers]
        chosen = self.tokens.finish(received)
        for stage, index_BK in chosen:
            for layer in stage.layers:
                self.layers[layer].keep(index_BK)
        self.heads.finish()
        self._note(before_SB)
        for layer in self.layers:
            layer.received_BS = None
        self._running = False

    def _note(self, before_SB: Int[Tensor, "S B"]) -> None:
        """Write down what the forward did; `before_SB` are the rows each stage had while it ran."""
        tokens, layers = self.tokens, self.layers
        new_B = tokens.new_mask_BQ.sum(dim=1)
        queries_SB = None if tokens.stepping else tokens.new_rows_SB()
        results = [layer.result for layer in layers] if tokens.stepping else []
        snapshot = None
        if self.keep_history:
            snapshot = Snapshot(
                position_SBC=tuple(stage.position_BC.clone() for stage in tokens.stages),
                count_SB=torch.stack([stage.count_B for stage in tokens.stages]),
                importance_BN=tokens.importance_BN[:, : max(tokens.lengths)].clone(),
            )
        facts = ForwardFacts(
            iteration=len(self.forwards),
            num_queries=(1,) * tokens.batch_size if tokens.stepping else tuple(new_B.tolist()),
            length_B=tuple(tokens.lengths),
            count_SB=before_SB if queries_SB is None else before_SB + queries_SB,
            held_SB=None if tokens.stepping else before_SB,
            queries_SB=queries_SB,
            whole_SB=tokens.num_whole_SB() if tokens.stepping else None,
            flat_BX=torch.cat([it.flat_BH for it in results], dim=1) if results else None,
            value_rows_BY=torch.cat([it.value_rows_BG for it in results], dim=1) if results else None,
            held_bytes=tuple(layer.num_bytes_held for layer in layers),
            layers=self._layer_shapes(),
            snapshot=snapshot,
        )
        self.forwards.append(facts)

    def _layer_shapes(self) -> tuple[LayerShape, ...]:
        if self._shapes is None:
            batch_size, num_heads = self.tokens.batch_size, self.heads.num_heads
            share = num_heads // self.heads.num_groups
            everybody = [list(range(num_heads))] * batch_size
            own_group = [[head // share for head in range(num_heads)]] * batch_size
            stages = [number for number, stage in enumerate(self.tokens.stages) for _ in stage.layers]
            shapes = []
            for stage, layer in zip(stages, self.layers, strict=True):
                living = self.heads.living.get(layer.number)
                heads = everybody if living is None else living.head_BK.tolist()
                slots = own_group if living is None else living.slot_BK.tolist()
                shapes.append(layer_shape(stage, heads, slots, layer.key, layer.value, layer.centre))
            self._shapes = tuple(shapes)
        return self._shapes

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Store the rows of the running forward."""
        if not self._running:
            raise UserError(
                "a SparseCache must be used inside the prune block of its model; got a forward outside; "
                "call the model inside `with prune(model, schedule):`"
            )
        result: tuple[Tensor, Tensor] = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        return result

    # what transformers asks of a cache --------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget every sequence."""
        for layer in self.layers:
            layer.reset()
        self.tokens.reset()
        self.heads.reset()
        self.forwards, self._shapes = [], None
        self._running = False

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse to go back, unless by nothing: what was pruned for a token does not come back with it."""
        if tokens_to_remove != 0:
            raise UserError(
                f"a SparseCache must not be cropped; got crop({tokens_to_remove}): rows pruned for the tokens taken "
                "back are gone; do without assisted decoding"
            )

    def reorder_cache(self, beam_idx: Int[Tensor, " b"]) -> None:
        """Let each beam go on with everything of the beam it comes from."""
        self._take_sequences(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these sequences only; numbers or a mask."""
        self._take_sequences(indices.nonzero()[:, 0] if indices.dtype is torch.bool else indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sequence so many times."""
        self._take_sequences(torch.arange(self.tokens.batch_size).repeat_interleave(repeats))

    def _take_sequences(self, index_B: Tensor) -> None:
        if self.tokens.batch_size == 0:
            return
        index_B = index_B.to(self.tokens.device)
        self.tokens.take_sequences(index_B)
        self.heads.take_sequences(index_B)
        self._shapes = None
        for layer in self.layers:
            layer.take_sequences(index_B)

    @property
    def num_bytes_held(self) -> int:
        """Bytes of the memory behind all keys and values, scales and free slots included."""
        return sum(layer.num_bytes_held for layer in self.layers)


def as_generation_schedule(schedule: GenerationSchedule | CacheSchedule) -> GenerationSchedule:
    """A schedule of all dials; one of tokens alone leaves the others at dense."""
    return GenerationSchedule(tokens=schedule) if isinstance(schedule, CacheSchedule) else schedule


def check_depth(schedule: GenerationSchedule, decoder: Decoder) -> None:
    """Raise for a schedule of another depth than the model's."""
    if schedule.num_layers not in (None, decoder.num_layers):
        raise invalid(
            "schedule",
            f"for the model's {decoder.num_layers} layers",
            schedule.num_layers,
            "give one dial a layer",
        )
