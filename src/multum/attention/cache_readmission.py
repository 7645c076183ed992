"""Cache pruning as the authors' public traces do it: the first layers restart every step from all tokens.

Nothing is given back, for what a layer leaves out in one step may return in the next. Within a step, counts only
shrink: before a stage of layers with a smaller count, the best of the tokens that the stage before it attended to are
chosen, by the scores up to that layer. The first step after the prompt is not pruned; it only adds scores. Good for
comparing with the traces; for anything else, `readmit=False` keeps less and is faster.

Shape legend: B sequences, N token positions, C slots of a layer's storage, K chosen slots.

Source: the two workload traces beside the authors' simulator.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multum.attention.cache_pruning import CachedTokens, Stage, select_rows, stage_mask


class ReadmittingTokens(CachedTokens):
    """Which tokens every layer attends to in the running step, all of them being held."""

    def reset(self) -> None:
        """Forget every sequence."""
        super().reset()
        self.num_steps = 0
        self.chosen: dict[int, tuple[Tensor, Tensor]] = {}
        """By the first layer of a stage, chosen slots (B, K) and how many of them count (B)."""
        self.chosen_whole: dict[int, Tensor] = {}
        """By the first layer of a stage, which of the chosen slots are read with both planes from the start."""

    def num_rows(self, stage: Stage, length: int) -> int:  # noqa: ARG002 - the rule is applied step by step
        """Rows that the storage of a stage holds: all."""
        return length

    def begin_step(self) -> None:
        """Add the new token to every stage; the scores decay before the first layer adds to them."""
        super().begin_step()
        self.decay()
        self.num_steps += 1
        self.chosen, self.chosen_whole = {}, {}

    def choose(self, layer: int) -> tuple[Int[Tensor, "B K"], Int[Tensor, " B"]] | None:
        """The slots that a layer of a step attends to, and how many of them count for each sequence."""
        stage = self.stage_of(layer)
        first = stage.layers[0]
        if first not in self.chosen:
            self.chosen[first] = self._choose(stage)
        return self.chosen[first]

    def _choose(self, stage: Stage) -> tuple[Tensor, Tensor]:
        before = self.chosen.get(self.stage_of(stage.layers[0] - 1).layers[0]) if stage.layers[0] else None
        alive_BC = stage_mask(stage)
        num_slots = alive_BC.shape[1]
        if before is not None:
            index_BK, count_B = before
            counts_BK = torch.arange(index_BK.shape[1], device=self.device) < count_B[:, None]
            among_BC = torch.zeros_like(alive_BC, dtype=torch.int8)
            alive_BC = alive_BC & (among_BC.scatter_add_(1, index_BK, counts_BK.to(torch.int8)) > 0)
        if self.num_steps > 1:
            wished = [self.schedule.num_rows(stage.layers[0], length) for length in self.lengths]
            protected_BN = self.protected(torch.tensor(self.lengths, device=self.device))
            # every token has the slot of its place: none ever left
            alive_BC = select_rows(
                self.importance_BN[:, :num_slots],
                alive_BC,
                protected_BN[:, :num_slots],
                torch.tensor(wished, device=self.device),
            )
        count_B = alive_BC.sum(dim=1)
        return (~alive_BC).to(torch.int8).argsort(dim=1, stable=True)[:, : int(count_B.max())], count_B

    def whole_of(self, layer: int) -> Bool[Tensor, "B K"] | None:
        """Which of the chosen slots are read with both planes from the start."""
        marked_BC = super().whole_of(layer)
        if marked_BC is None:
            return None
        first = self.stage_of(layer).layers[0]
        if first not in self.chosen_whole:
            index_BK, count_B = self.chosen[first]
            counts_BK = torch.arange(index_BK.shape[1], device=self.device) < count_B[:, None]
            self.chosen_whole[first] = marked_BC.gather(1, index_BK) & counts_BK
        return self.chosen_whole[first]

    def add_at_once(self, layer: int, received_BK: Float[Tensor, "B K"]) -> None:
        """Add what a layer's tokens received before the next layer chooses."""
        index_BK, _ = self.chosen[self.stage_of(layer).layers[0]]
        self.importance_BN.scatter_add_(1, index_BK, received_BK.to(self.importance_BN.dtype))

    def attended_SB(self) -> Int[Tensor, "S B"]:
        """Rows that each stage's layers attended to in the running step."""
        return torch.stack([self.chosen[stage.layers[0]][1] for stage in self.stages])
