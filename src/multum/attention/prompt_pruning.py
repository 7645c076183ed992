"""Cascade pruning inside a prompt: later layers read only the tokens that earlier ones left.

A cache can be pruned after its prompt was read, but then the reading itself costs as much as ever. Here a prompt goes
through the layers as an encoder's sentence does: between two layers with different dials the scores so far decide who
goes on, and whoever leaves is gone from the attention, the feed-forward and the cache of all that follow. The latest
tokens stay, so the next one is predicted as always.

Shape legend: B sequences, N token positions, Q rows of the forward, K rows that are still in it, S stages, D width of a
hidden state or of a turn.

Source: SpAtten (HPCA 2021), section III-A and Algorithm 2 (the summarization stage).
Differs from the paper: the latest tokens are kept whatever they scored (`grace_tokens`), and layers with one dial
choose once. Only a sequence's first forward is pruned so; rows that are read later join a cache that is there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from multum.attention.cache_pruning import CachedTokens, Stage, select_rows, stage_mask

PLACED = ("position_embeddings", "position_ids")
"""Keyword arguments of a layer that have an entry for every row."""


class PromptPruningTokens(CachedTokens):
    """Which tokens every layer keeps, when a prompt is pruned on its way through the layers."""

    def reset(self) -> None:
        """Forget every sequence."""
        super().reset()
        self.pruning = False
        """Whether the running forward is a prompt that is being pruned."""
        self.entered: dict[int, Tensor] = {}
        """By the first layer of a stage, which of the rows that entered it are tokens, (B, K)."""
        self.settled: list[tuple[Stage, Tensor, Tensor, Tensor]] = []
        """Stages behind the running one: rows to keep (B, K), places of all its rows, and how many are kept (B)."""
        self.full_BQD: Tensor | None = None

    def begin(self, mask_BQ: Bool[Tensor, "B Q"]) -> None:
        """Count the tokens of a forward in; the first of all is pruned."""
        self.pruning = self.seen == 0
        super().begin(mask_BQ)
        if self.pruning:
            self.mask_BK, self.place_BK = mask_BQ, self.new_place_BQ
            self.column_BK = torch.arange(mask_BQ.shape[1], device=self.device).expand_as(mask_BQ)
            self.entered, self.settled, self.full_BQD = {0: mask_BQ}, [], None

    # while the prompt goes through the layers -------------------------------------------------------------------------

    def enter(self, layer: int, hidden_BKD: Float[Tensor, "B K D"]) -> Float[Tensor, "B _k D"]:
        """Begin a layer without the rows that an earlier dial has given up.

        Those that stay keep their order and lie at the end, so that the last column is the last token of every
        sequence; what fills shorter ones up lies in front.
        """
        stage = self.stage_of(layer)
        if layer != stage.layers[0] or layer == 0:
            return hidden_BKD
        held_BK = self._settle(self.stage_of(layer - 1))
        stays_BK = self._best(stage, held_BK)
        width = int(stays_BK.sum(dim=1).max())
        self._remember(hidden_BKD)
        index_BK = stays_BK.to(torch.int8).argsort(dim=1, stable=True)[:, -width:]
        self.mask_BK, self.place_BK, self.column_BK = (
            it.gather(1, index_BK) for it in (stays_BK, self.place_BK, self.column_BK)
        )
        self.entered[layer] = self.mask_BK
        return hidden_BKD.take_along_dim(index_BK[..., None], dim=1)

    def placed(self, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """A layer's keyword arguments, those with an entry for every row narrowed to the rows that are left."""
        return {name: self._of_rows(it) if name in PLACED else it for name, it in keywords.items()}

    def _of_rows(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._of_rows, value))
        if value is None:
            return None
        index = self.column_BK if value.dim() == 2 else self.column_BK[..., None]
        return value.take_along_dim(index, dim=1)

    def leave(self, hidden_BKD: Float[Tensor, "B K D"]) -> Float[Tensor, "B Q D"]:
        """End the last layer: every row again, a pruned one in the state that it left in."""
        if self.full_BQD is None:
            return hidden_BKD
        self._remember(hidden_BKD)
        full_BQD, self.full_BQD = self.full_BQD, None
        return full_BQD

    def add_rows(self, received_BS: Float[Tensor, "B S"]) -> None:
        """Add what the prompt's tokens received before the next layer chooses."""
        if self.pruning:
            self.importance_BN.scatter_add_(1, self.place_BK, received_BS.to(self.importance_BN.dtype))

    def new_rows_of(self, layer: int) -> Bool[Tensor, "B K"]:
        """Which of the new rows that a layer works on are tokens."""
        return self.entered[self.stage_of(layer).layers[0]] if self.pruning else self.new_mask_BQ

    def finish(self, received: Sequence[Tensor]) -> list[tuple[Stage, Tensor]]:
        """End the forward; a prompt's choices have been made but for the last stage's."""
        if not self.pruning:
            return super().finish(received)
        self.check_importance()
        self._settle(self.stages[-1])
        self.seen += self.new_mask_BQ.shape[1]
        if self.whole is not None:
            length_B = torch.tensor(self.lengths, device=self.device)
            self.whole.choose(self.importance_BN, length_B, length_B)
        for stage, index_BK, place_BK, count_B in self.settled:
            stage.keep_slots(index_BK, place_BK, count_B)
            if self.whole is not None:
                self.whole.place(stage.layers[0], stage.position_BC, stage_mask(stage))
        return [(stage, index_BK) for stage, index_BK, _, _ in self.settled]

    def _settle(self, stage: Stage) -> Bool[Tensor, "B K"]:
        """Choose what a stage that is left behind keeps of the rows that entered it."""
        held_BK = self._best(stage, self.mask_BK)
        count_B = held_BK.sum(dim=1)
        index_BK = (~held_BK).to(torch.int8).argsort(dim=1, stable=True)[:, : int(count_B.max())]
        self.settled.append((stage, index_BK, self.place_BK, count_B))
        return held_BK

    def _best(self, stage: Stage, among_BK: Bool[Tensor, "B K"]) -> Bool[Tensor, "B K"]:
        """As many of some rows as a stage keeps, by the scores so far."""
        length_B = torch.tensor(self.lengths, device=self.device)
        alive_BN = torch.zeros_like(self.importance_BN, dtype=torch.int8)
        alive_BN.scatter_add_(1, self.place_BK, among_BK.to(torch.int8))
        wished = [self.num_rows(stage, length) for length in self.lengths]
        keep_BN = select_rows(
            self.importance_BN,
            alive_BN > 0,
            self.protected(length_B),
            torch.tensor(wished, device=self.device),
        )
        return among_BK & keep_BN.gather(1, self.place_BK)

    def _remember(self, hidden_BKD: Tensor) -> None:
        """Take the states of the rows that are left into those of all rows."""
        if self.full_BQD is None:
            self.full_BQD = hidden_BKD
            return
        index_BK1 = self.column_BK[..., None]
        kept_BKD = self.full_BQD.take_along_dim(index_BK1, dim=1)
        state_BKD = torch.where(self.mask_BK[..., None], hidden_BKD, kept_BKD)
        self.full_BQD = self.full_BQD.scatter(1, index_BK1.expand_as(state_BKD), state_BKD)
