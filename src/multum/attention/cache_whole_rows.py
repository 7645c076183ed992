"""Which keys a step reads with both planes from the start: the prompt's heaviest tokens and the latest ones.

What rounding costs sits in the peaked rows: a few tokens that nearly every query looks at, and the neighbours. To read
only their keys in full costs a few bytes. The heaviest tokens are chosen once, when a sequence's first rows are in; the
latest ones change with every step. Both are one comparison: each slot has a rank, the place of its token, or for a
heavy token a number that no place reaches, and -1 while the slot is not in use.

Shape legend: B sequences, N token positions, C slots of a layer's storage, K heavy tokens.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from multum.attention.quantization_schedule import ProgressiveQuantization

HEAVY = torch.iinfo(torch.int64).max
"""The rank of a heavy token's slot."""


class WholeRows:
    """The marked slots of every stage of a cache; a stage goes by the number of its first layer."""

    def __init__(self, num_heavy: int, num_recent: int) -> None:
        self.num_heavy, self.num_recent = num_heavy, num_recent
        self.reset()

    def reset(self) -> None:
        """Forget every sequence."""
        self.heavy_BK: Tensor | None = None
        """The heavy tokens of each sequence; -1 where there are fewer."""
        self.rank: dict[int, Tensor] = {}
        self.mask: dict[int, Tensor] = {}

    def choose(
        self,
        importance_BN: Float[Tensor, "B N"],
        length_B: Int[Tensor, " B"],
        num_new_B: Int[Tensor, " B"],
    ) -> None:
        """Take the heaviest tokens of sequences whose tokens are all new; of equal ones the earlier."""
        past_BN = torch.arange(importance_BN.shape[1], device=length_B.device) >= length_B[:, None]
        weight_BN = importance_BN.masked_fill(past_BN, -torch.inf)
        best_BK = weight_BN.argsort(dim=1, descending=True, stable=True)[:, : self.num_heavy]
        best_BK = functional.pad(best_BK, (0, self.num_heavy - best_BK.shape[1]), value=HEAVY)
        best_BK = best_BK.where(best_BK < length_B[:, None], -1)
        if self.heavy_BK is not None:
            best_BK = best_BK.where((num_new_B == length_B)[:, None], self.heavy_BK)
        self.heavy_BK = best_BK

    def place(self, stage: int, position_BC: Int[Tensor, "B C"], used_BC: Bool[Tensor, "B C"]) -> None:
        """Rank the slots of a stage anew, after several rows."""
        assert self.heavy_BK is not None
        heavy_BC = (position_BC[:, :, None] == self.heavy_BK[:, None]).any(dim=2)
        self.rank[stage] = position_BC.masked_fill(heavy_BC, HEAVY).masked_fill(~used_BC, -1)

    def first_recent(self, length_B: Int[Tensor, " B"]) -> Int[Tensor, "B 1"]:
        """The earliest place that counts as recent once the running step's token stands at `length_B`."""
        return (length_B[:, None] + (1 - self.num_recent)).clamp_min_(0)

    def step(
        self,
        stage: int,
        num_slots: int,
        slot_B: Int[Tensor, " B"],
        length_B: Int[Tensor, " B"],
        first_recent_B1: Int[Tensor, "B 1"],
    ) -> None:
        """Mark the slots of a stage for a step whose rows go to `slot_B`."""
        rank_BC = self.rank[stage]
        if rank_BC.shape[1] < num_slots:
            rank_BC = functional.pad(rank_BC, (0, num_slots - rank_BC.shape[1]), value=-1)
            self.rank[stage] = rank_BC
        rank_BC.scatter_(1, slot_B[:, None], length_B[:, None])
        self.mask[stage] = rank_BC >= first_recent_B1

    def take_sequences(self, index_B: Int[Tensor, " b"]) -> None:
        """Reorder, repeat or drop sequences: each takes its heavy tokens along."""
        if self.heavy_BK is not None:
            self.heavy_BK = self.heavy_BK.index_select(0, index_B)
        for table in (self.rank, self.mask):
            table.update({stage: tensor.index_select(0, index_B) for stage, tensor in table.items()})


def whole_rows_of(quantization: ProgressiveQuantization | None) -> WholeRows | None:
    """The state that these dials need; None where no row is whole.

    >>> whole_rows_of(ProgressiveQuantization()) is None
    True
    """
    if quantization is None or quantization.whole_heavy == quantization.whole_recent == 0:
        return None
    return WholeRows(quantization.whole_heavy, quantization.whole_recent)
