"""Cascade pruning of a key/value cache while a model generates: which rows each layer keeps.

One score per token, summed over heads, layers and steps, never reset inside a sequence. After a prompt every layer
keeps the best of its tokens, no layer one that an earlier layer lost; then each new token takes the place of the worst.
The surprise is how little that takes: because all layers choose by the same scores, layers with the same dial keep the
same tokens, so that one choice serves all of them (a stage), and a token that one stage gives up is the worst of the
next.

Shape legend: B sequences, N token positions, C slots of a layer's storage, Q rows of one forward, S slots and new rows.

Source: SpAtten (HPCA 2021), section III-A and Algorithm 2.
Differs from the paper: the tokens of a step are chosen once, before its first layer, with the scores up to the step
before; the latest tokens are kept whatever they scored (`grace_tokens`); equal scores are decided for the earlier
token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.cache_whole_rows import WholeRows
from multum.core import UserError

POSITIONS_PER_GROWTH = 256
"""Tokens for which room is made at once in the table of scores."""
SLOTS_PER_GROWTH = 64
"""Rows for which room is made at once in a cache that grows."""


@dataclass(kw_only=True)
class Stage:
    """Neighbouring layers with one dial: they keep the same tokens in the same slots."""

    layers: range
    """The layers, by number."""
    position_BC: Int[Tensor, "B C"]
    """Which token, by its place in the sequence, each slot holds; meaningless from `count_B` on."""
    count_B: Int[Tensor, " B"]
    """Slots in use."""
    slot_B: Int[Tensor, " B"]
    """Where the row of the running step goes."""
    most_rows: int = 0
    """No sequence uses more slots than this (known without asking the device)."""

    def keep_slots(self, index_BK: Int[Tensor, "B K"], new_BQ: Int[Tensor, "B Q"], count_B: Tensor) -> None:
        """Take over a choice among the slots and the new rows behind them."""
        self.position_BC = torch.cat([self.position_BC, new_BQ], dim=1).gather(1, index_BK)
        self.count_B = count_B
        self.most_rows = index_BK.shape[1]

    def take_sequences(self, index_B: Int[Tensor, " b"]) -> None:
        """Reorder, repeat or drop sequences."""
        self.position_BC = self.position_BC.index_select(0, index_B)
        self.count_B = self.count_B.index_select(0, index_B)
        self.slot_B = self.slot_B.index_select(0, index_B)


def select_rows(
    importance_BN: Float[Tensor, "B N"],
    alive_BN: Bool[Tensor, "B N"],
    protected_BN: Bool[Tensor, "B N"],
    count_B: Int[Tensor, " B"],
) -> Bool[Tensor, "B N"]:
    """The best `count_B` of the tokens alive, protected ones first, earlier ones first among equals.

    >>> importance, alive = torch.tensor([[0.1, 3.0, 2.0, 1.0]]), torch.ones(1, 4, dtype=torch.bool)
    >>> select_rows(importance, alive, torch.tensor([[True, False, False, False]]), torch.tensor([2])).tolist()
    [[True, True, False, False]]
    """
    rank_BN = importance_BN.masked_fill(protected_BN, torch.inf).masked_fill(~alive_BN, -torch.inf)
    order_BN = rank_BN.argsort(dim=1, descending=True, stable=True)
    place_BN = torch.empty_like(order_BN)
    place_BN.scatter_(
        1, order_BN, torch.arange(order_BN.shape[1], device=order_BN.device).expand_as(order_BN)
    )
    return alive_BN & (place_BN < count_B[:, None])


class CachedTokens:
    """Which tokens every layer keeps, and what each token has earned: the state of the sequences of one cache."""

    def __init__(self, schedule: CacheSchedule, whole: WholeRows | None = None) -> None:
        self.schedule, self.whole = schedule, whole
        self.reset()

    def reset(self) -> None:
        """Forget every sequence."""
        self.seen = 0
        """Columns of input so far, padding included: what transformers calls the length."""
        self.lengths: list[int] = []
        """Tokens of each sequence so far, padding left aside."""
        self.stages: list[Stage] = []
        self.importance_BN = torch.zeros(0, 0)
        self.device = torch.device("cpu")
        self.stepping = False
        """Whether the running forward adds one token to every sequence of a filled cache."""
        self.all_real = True
        self.new_mask_BQ = torch.zeros(0, 0, dtype=torch.bool)
        self.new_place_BQ = torch.zeros(0, 0, dtype=torch.long)
        if self.whole is not None:
            self.whole.reset()

    @property
    def batch_size(self) -> int:
        """How many sequences there are; 0 before the first forward."""
        return len(self.lengths)

    def open(self, batch_size: int, device: torch.device, dtype: torch.dtype) -> None:
        """Begin with so many empty sequences."""
        self.lengths = [0] * batch_size
        self.device = device
        dials = self.schedule.dials
        empty_BC = torch.zeros(batch_size, 0, dtype=torch.long, device=device)
        zero_B = torch.zeros(batch_size, dtype=torch.long, device=device)
        runs = (list(run) for _, run in groupby(range(len(dials)), key=lambda layer: dials[layer]))
        self.stages = [
            Stage(layers=range(r[0], r[-1] + 1), position_BC=empty_BC, count_B=zero_B, slot_B=zero_B)
            for r in runs
        ]
        self._stage_of_layer = [stage for stage in self.stages for _ in stage.layers]
        self.importance_BN = torch.zeros(batch_size, 0, dtype=dtype, device=device)

    def stage_of(self, layer: int) -> Stage:
        """What a layer keeps."""
        return self._stage_of_layer[layer]

    def num_rows(self, stage: Stage, length: int) -> int:
        """Rows of a sequence of so many tokens that the storage of a stage holds at most."""
        return self.schedule.num_rows(stage.layers[0], length)

    def protected(self, length_B: Int[Tensor, " B"]) -> Bool[Tensor, "B N"]:
        """The first tokens and the latest ones, which stay whatever they earned."""
        place_N = torch.arange(self.importance_BN.shape[1], device=self.device)
        return (place_N < self.schedule.protect_first) | (
            place_N >= length_B[:, None] - self.schedule.grace_tokens
        )

    def choose(self, layer: int) -> tuple[Int[Tensor, "B K"], Int[Tensor, " B"]] | None:  # noqa: ARG002
        """The slots that a layer of a step attends to; None: all in use."""
        return None

    def whole_of(self, layer: int) -> Bool[Tensor, "B K"] | None:
        """Which of the slots that a layer of a step attends to are read with both planes from the start."""
        return None if self.whole is None else self.whole.mask[self.stage_of(layer).layers[0]]

    def num_whole_SB(self) -> Int[Tensor, "S B"] | None:
        """How many slots of each stage are read so in the running step."""
        marked = [self.whole_of(stage.layers[0]) for stage in self.stages if self.whole is not None]
        return torch.stack([mask.sum(dim=1) for mask in marked if mask is not None]) if marked else None

    def add_at_once(self, layer: int, received_BK: Float[Tensor, "B K"]) -> None:
        """Add scores before the next layer chooses; not needed where choices are made before the step."""

    def add_rows(self, received_BS: Float[Tensor, "B S"]) -> None:
        """The same for a layer of several rows; not needed where choices are made at their end."""

    def new_rows_of(self, layer: int) -> Bool[Tensor, "B K"]:  # noqa: ARG002
        """Which of the new rows that a layer works on are tokens."""
        return self.new_mask_BQ

    def new_rows_SB(self) -> Int[Tensor, "S B"]:
        """How many new tokens the layers of each stage work on."""
        return torch.stack([self.new_rows_of(stage.layers[0]).sum(dim=1) for stage in self.stages])

    def held_SB(self) -> Int[Tensor, "S B"]:
        """Rows that each stage's layers hold."""
        return torch.stack([stage.count_B for stage in self.stages])

    def attended_SB(self) -> Int[Tensor, "S B"]:
        """Rows that each stage's layers attended to in the running step."""
        return self.held_SB()

    def would_exceed(self, mask_BQ: Bool[Tensor, "B Q"], max_length: int) -> bool:
        """Whether so many new tokens make a sequence longer than that."""
        new = mask_BQ.sum(dim=1).tolist()
        longest: int = max(length + more for length, more in zip(self.lengths, new, strict=True))
        return longest > max_length

    def begin(self, mask_BQ: Bool[Tensor, "B Q"]) -> None:
        """Count the tokens of a forward in, and make room for them."""
        self.all_real = bool(mask_BQ.all())
        self.stepping = self.all_real and mask_BQ.shape[1] == 1 and self.seen > 0
        self.new_mask_BQ = mask_BQ
        if self.stepping:
            self.begin_step()
        else:
            self.new_place_BQ = self.begin_rows(mask_BQ)

    def finish(self, received: Sequence[Tensor]) -> list[tuple[Stage, Tensor]]:
        """Take in what every layer's tokens received; after several rows also choose what stays.

        Returns:
            For each stage, indices (B, K) into its slots followed by the new rows; nothing after a single row.
        """
        if self.stepping and not self.schedule.readmit:
            self.decay()
        for stage in self.stages if not (self.stepping and self.schedule.readmit) else ():
            received_BS = torch.stack([received[layer] for layer in stage.layers]).sum(dim=0)
            place_BS = stage.position_BC
            if not self.stepping:
                place_BS = torch.cat([place_BS, self.new_place_BQ], dim=1)
            self.importance_BN.scatter_add_(1, place_BS, received_BS.to(self.importance_BN.dtype))
        self.check_importance()
        self.seen += self.new_mask_BQ.shape[1]
        return [] if self.stepping else self.finish_rows()

    # one new row for every sequence --------------------------------------------------------------------------------

    def begin_step(self) -> None:
        """Make room for one token more: every full layer gives up the worst of its tokens, and so do those behind it.

        A token that one stage gives up is the worst of every later stage that still has it, for they choose by the same
        scores among fewer tokens; so each stage looks at its worst token only.
        """
        if min(self.lengths) == 0:
            raise UserError(
                "attention_mask must keep at least one token of every sequence; got a sequence of padding only; "
                "leave empty prompts out"
            )
        self._make_room_for_scores(max(self.lengths) + 1)
        length_B = torch.tensor(self.lengths, device=self.device)
        evicted_B = torch.full_like(length_B, -1)
        recent_B1 = None if self.whole is None else self.whole.first_recent(length_B)
        for stage in self.stages:
            capacities = [self.num_rows(stage, length + 1) for length in self.lengths]
            self._make_room_in(stage, max(capacities))
            if all(room > length for room, length in zip(capacities, self.lengths, strict=True)):
                stage.slot_B = stage.count_B  # nothing has been pruned here
                stage.count_B = stage.count_B + 1
            else:
                full_B = stage.count_B >= torch.tensor(capacities, device=self.device)
                evicted_B = self._replace_worst(stage, length_B, full_B, evicted_B)
            stage.position_BC.scatter_(1, stage.slot_B[:, None], length_B[:, None])
            if self.whole is not None and recent_B1 is not None:
                num_slots = stage.position_BC.shape[1]
                self.whole.step(stage.layers[0], num_slots, stage.slot_B, length_B, recent_B1)
        self.lengths = [length + 1 for length in self.lengths]

    def _replace_worst(
        self, stage: Stage, length_B: Tensor, full_B: Tensor, evicted_B: Tensor
    ) -> Int[Tensor, " B"]:
        """Choose the slot of the new row; returns the token given up in its favour, or -1."""
        place_BC, count_B1 = stage.position_BC, stage.count_B[:, None]
        slot_C = torch.arange(place_BC.shape[1], device=self.device)
        safe_BC = slot_C >= count_B1
        safe_BC |= place_BC < self.schedule.protect_first
        safe_BC |= place_BC > length_B[:, None] - self.schedule.grace_tokens
        score_BC = self.importance_BN.gather(1, place_BC).masked_fill_(safe_BC, torch.inf)
        lowest_B1 = score_BC.amin(dim=1, keepdim=True)
        worst_B, worst_slot_B = place_BC.masked_fill((score_BC != lowest_B1) | safe_BC, -2).max(dim=1)
        evict_B = full_B | (worst_B == evicted_B)
        stage.slot_B = torch.where(evict_B, worst_slot_B, stage.count_B)
        stage.count_B = stage.count_B + ~evict_B
        return torch.where(evict_B, worst_B, -1)

    def _make_room_in(self, stage: Stage, capacity: int) -> None:
        stage.most_rows = min(stage.most_rows + 1, capacity)
        num_slots = stage.position_BC.shape[1]
        if stage.most_rows > num_slots:
            counts = self.schedule.keep_counts
            most = num_slots + SLOTS_PER_GROWTH
            if counts is not None and not self.schedule.readmit:
                most = min(most, counts[stage.layers[0]])
            more = most - num_slots
            stage.position_BC = torch.nn.functional.pad(stage.position_BC, (0, more))

    # several new rows, padding among them ----------------------------------------------------------------------------

    def begin_rows(self, mask_BQ: Bool[Tensor, "B Q"]) -> Int[Tensor, "B Q"]:
        """Count new tokens in; returns their places in their sequences (padding gets that of a token beside it)."""
        length_B = torch.tensor(self.lengths, device=self.device)
        place_BQ = (length_B[:, None] + mask_BQ.cumsum(dim=1) - 1).clamp_min_(0)
        self.lengths = (length_B + mask_BQ.sum(dim=1)).tolist()
        self._make_room_for_scores(max(1, *self.lengths))
        return place_BQ

    def finish_rows(self) -> list[tuple[Stage, Tensor]]:
        """Choose what every stage keeps, each within the stage before it; indices beyond a count have no meaning."""
        length_B1 = torch.tensor(self.lengths, device=self.device)[:, None]
        place_N = torch.arange(self.importance_BN.shape[1], device=self.device)
        protected_BN = self.protected(length_B1[:, 0])
        keep_BN = place_N < length_B1
        if self.whole is not None:
            self.whole.choose(self.importance_BN, length_B1[:, 0], self.new_mask_BQ.sum(dim=1))
        chosen: list[tuple[Stage, Tensor]] = []
        for stage in self.stages:
            present_BS = torch.cat([stage_mask(stage), self.new_mask_BQ], dim=1)
            place_BS = torch.cat([stage.position_BC, self.new_place_BQ], dim=1)
            alive_BN = torch.zeros_like(keep_BN, dtype=torch.int8)
            alive_BN.scatter_add_(1, place_BS, present_BS.to(torch.int8))
            wished = [self.num_rows(stage, length) for length in self.lengths]
            count_B = torch.tensor(wished, device=self.device)
            keep_BN = select_rows(self.importance_BN, keep_BN & (alive_BN > 0), protected_BN, count_B)
            kept_BS = present_BS & keep_BN.gather(1, place_BS)
            count_B = kept_BS.sum(dim=1)
            index_BK = (~kept_BS).to(torch.int8).argsort(dim=1, stable=True)[:, : int(count_B.max())]
            stage.keep_slots(index_BK, self.new_place_BQ, count_B)
            if self.whole is not None:
                self.whole.place(stage.layers[0], stage.position_BC, stage_mask(stage))
            chosen.append((stage, index_BK))
        return chosen

    # scores -----------------------------------------------------------------------------------------------------------

    def decay(self) -> None:
        """Let the past weigh less, before a generated token's attention is added."""
        if self.schedule.decay != 1.0:
            self.importance_BN *= self.schedule.decay

    def check_importance(self) -> None:
        """Raise when attention was not finite somewhere."""
        if not bool(torch.isfinite(self.importance_BN.sum())):
            raise UserError(
                "attention probabilities must be finite; got NaN or infinity; check the model's weights and its "
                "inputs for NaN"
            )

    def _make_room_for_scores(self, length: int) -> None:
        missing = length - self.importance_BN.shape[1]
        if missing > 0:
            more = max(missing, POSITIONS_PER_GROWTH)
            self.importance_BN = torch.nn.functional.pad(self.importance_BN, (0, more))

    def take_sequences(self, index_B: Int[Tensor, " b"]) -> None:
        """Reorder, repeat or drop sequences: each takes everything of its own along."""
        self.lengths = [self.lengths[index] for index in index_B.tolist()]
        self.importance_BN = self.importance_BN.index_select(0, index_B)
        for stage in self.stages:
            stage.take_sequences(index_B)
        if self.whole is not None:
            self.whole.take_sequences(index_B)


def stage_mask(stage: Stage) -> Bool[Tensor, "B C"]:
    """Which slots are in use."""
    return torch.arange(stage.position_BC.shape[1], device=stage.count_B.device) < stage.count_B[:, None]
