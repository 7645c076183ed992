"""Cascade head pruning: a head that hands on next to nothing is not computed any more.

The surprise: how much a head matters can be read off what it just wrote. The sum of the absolute values of its output,
over all rows and channels and added up from layer to layer, ranks it; after a layer the lowest ranks go, for all later
layers of the sentence. Their queries, keys and values are never projected, their attention is never computed, and the
output projection reads only the columns of those that live. Each sentence of a batch chooses its own.

Head m of one layer and head m of the next share nothing but their number; that the ranks carry over is the paper's
finding, not a law.

Shape legend: B sentences, L tokens, H heads of the model, K living heads, D channels of a head.

Source: SpAtten (HPCA 2021), section III-B.
Differs from the paper: rows of padding give nothing; equal scores are decided for the lower head.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multum.attention.head_schedule import HeadSchedule
from multum.core import UserError


def head_magnitude(
    context_BKLD: Float[Tensor, "B K L D"], mask_BL: Bool[Tensor, "B L"] | None
) -> Float[Tensor, "B K"]:
    """What each head handed on in one layer: `sum over rows i and channels d of |E[m, i, d]|` over real rows.

    >>> head_magnitude(torch.tensor([[[[1.0, -2.0], [5.0, 5.0]]]]), torch.tensor([[True, False]])).item()
    3.0
    """
    wide = torch.promote_types(context_BKLD.dtype, torch.float32)
    length_BKL: Tensor = torch.linalg.vector_norm(context_BKLD.detach(), ord=1, dim=-1, dtype=wide)
    if mask_BL is not None:
        length_BKL = length_BKL.masked_fill(~mask_BL[:, None, :], 0.0)
    return length_BKL.sum(dim=-1)


def select_heads(importance_BK: Float[Tensor, "B K"], count: int) -> Int[Tensor, "B k"]:
    """Top-k by cumulative importance, in ascending order of the heads.

    >>> select_heads(torch.tensor([[3.0, 1.0, 2.0]]), 2).tolist()
    [[0, 2]]
    """
    best_Bk = importance_BK.argsort(dim=1, descending=True, stable=True)[:, :count]
    return best_Bk.sort(dim=1).values


@dataclass(frozen=True, kw_only=True)
class LayerHeads:
    """The heads that one layer computed."""

    head_BK: Int[Tensor, "B K"]
    """Their numbers in the model, ascending, for each sentence."""
    importance_BK: Float[Tensor, "B K"] | None
    """Cumulative importance after the layer, or None where nobody needed it."""


@dataclass(kw_only=True)
class SentenceHeads:
    """The heads still alive while one batch goes through the layers: made per forward, so nothing leaks."""

    schedule: HeadSchedule | None
    """How many heads each layer computes; None: all."""
    head_BK: Int[Tensor, "B K"]
    """The living heads; all of the model's to begin with."""
    keep_scoring: bool = False
    """Whether importance is wanted after the last pruning too."""
    layer: int = 0
    """The layer that runs now."""
    history: list[LayerHeads] = field(default_factory=list)
    """What the layers so far computed."""

    def __post_init__(self) -> None:
        self.num_heads = self.head_BK.shape[1]
        self.importance_BK: Tensor | None = None
        self._groups: list[tuple[list[int], list[int]]] | None = None

    @property
    def needs_importance(self) -> bool:
        """Whether the running layer must be scored: a later layer prunes, or somebody looks."""
        return self.keep_scoring or self.layer < self._last_pruned_layer

    @property
    def all_alive(self) -> bool:
        """Whether the running layer computes every head."""
        return self.head_BK.shape[1] == self.num_heads

    @property
    def _last_pruned_layer(self) -> int:
        if self.schedule is None:
            return 0
        counts = [self.schedule.num_heads(i, self.num_heads) for i in range(self.schedule.num_layers)]
        return max((i for i in range(1, len(counts)) if counts[i] < counts[i - 1]), default=0)

    def groups(self) -> list[tuple[list[int], list[int]]]:
        """Sentences with the same living heads: the heads and the sentences, in order of the first sentence."""
        if self._groups is None:
            found: dict[tuple[int, ...], list[int]] = {}
            for sentence, heads in enumerate(self.head_BK.tolist()):
                found.setdefault(tuple(heads), []).append(sentence)
            self._groups = [(list(heads), sentences) for heads, sentences in found.items()]
        return self._groups

    def add_importance(
        self, context_BKLD: Float[Tensor, "B K L D"], mask_BL: Bool[Tensor, "B L"] | None
    ) -> None:
        """Accumulate, never reset inside a sentence: `s_h[m] += sum |E[m]|` of the running layer."""
        magnitude_BK = head_magnitude(context_BKLD, mask_BL)
        if not bool(torch.isfinite(magnitude_BK).all()):
            raise UserError(
                f"what the heads hand on must be finite; got NaN or infinity in layer {self.layer}; "
                "check the model's weights and its inputs for NaN"
            )
        self.importance_BK = magnitude_BK if self.importance_BK is None else self.importance_BK + magnitude_BK

    def leave_layer(self) -> None:
        """End the running layer: record it, and choose who is computed in the next one."""
        scored = self.importance_BK if self.needs_importance else None
        self.history.append(LayerHeads(head_BK=self.head_BK, importance_BK=scored))
        self.layer += 1
        if self.schedule is None or self.layer >= self.schedule.num_layers:
            return
        count = self.schedule.num_heads(self.layer, self.num_heads)
        if count == self.head_BK.shape[1]:
            return
        assert self.importance_BK is not None, "a layer before a pruning was not scored"
        index_Bk = select_heads(self.importance_BK, count)
        self.head_BK = self.head_BK.gather(1, index_Bk)
        self.importance_BK = self.importance_BK.gather(1, index_Bk)
        self._groups = None


def every_head(num_sentences: int, num_heads: int, device: torch.device) -> Int[Tensor, "B H"]:
    """All heads of a model for each sentence.

    >>> every_head(2, 3, torch.device("cpu")).tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    return torch.arange(num_heads, device=device).expand(num_sentences, num_heads)


def in_sentence_order(
    parts: Iterator[Tensor], groups: list[tuple[list[int], list[int]]]
) -> Float[Tensor, "B ..."]:
    """Put the results of groups of sentences back into the order of the batch."""
    joined = torch.cat(list(parts))
    order = [sentence for _, sentences in groups for sentence in sentences]
    if order == sorted(order):
        return joined
    place = torch.tensor(order, device=joined.device).argsort()
    return joined.index_select(0, place)
