"""Cascade token pruning: a sentence sheds the words that nobody looks at, and they never come back.

The surprise: attention already says which words matter. The probability that a token receives, summed over all heads
and all query rows and added up from layer to layer, ranks it; after a layer the lowest ranks leave the tensors, so that
attention AND feed-forward of every later layer shrink. Nothing is trained and nothing is merely masked.

Shape legend: B sentences, L tokens present in a layer (padded to the longest), K tokens kept, D hidden width.

Source: SpAtten (HPCA 2021), section III-A and Algorithm 2.
Differs from the paper: padding neither gains nor gives importance; the first token may be protected for heads that
read it; equal scores are decided for the earlier token (the paper's hardware takes whichever its FIFO meets first).
Three dials that the paper lacks, all off by default, which mean-pooled embeddings profit from (LOG.md has the
comparison): scoring by value (`score="value"`), competition among neighbours (`window`), and tokens that leave
before the first layer because sentences can spare them (`spare_tokens`, see `word_worth.py` and `token_absence.py`).
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from multum.attention.schedule import TokenSchedule
from multum.core import UserError, invalid


def kept_counts(schedule: TokenSchedule, layer: int, length_B: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """How many tokens of each sentence enter `layer`; each sentence by its own length, so batching changes nothing.

    >>> from multum.attention import flat_schedule
    >>> kept_counts(flat_schedule(2, 0.5), 1, torch.tensor([10, 3])).tolist()
    [5, 2]
    """
    counts = [schedule.num_tokens(layer, length) for length in length_B.tolist()]
    return torch.tensor(counts, device=length_B.device)


def select_tokens(
    importance_BL: Float[Tensor, "B L"],
    mask_BL: Bool[Tensor, "B L"],
    count_B: Int[Tensor, " B"],
    *,
    protect_first: bool = True,
    protected_BL: Bool[Tensor, "B L"] | None = None,
    window_BL: Int[Tensor, "B L"] | None = None,
) -> tuple[Int[Tensor, "B K"], Bool[Tensor, "B K"]]:
    """Top-k by cumulative importance, in the original order (Alg. 2, lines 8-12).

    Args:
        importance_BL: Cumulative importance, finite where the mask is True.
        mask_BL: True for tokens, False for padding; padding is never kept.
        count_B: How many tokens each sentence keeps.
        protect_first: Whether each sentence's first token is kept whatever its rank.
        protected_BL: Further tokens that are kept whatever their rank; no more than are kept in all.
        window_BL: Window of each token, ascending; None when all compete with all (the paper).

    Returns:
        Ascending indices into L (B, K) with K the largest count, and which of them are real (B, K).

    >>> importance = torch.tensor([[0.1, 3.0, 2.0, 1.0]])
    >>> index, _ = select_tokens(importance, torch.ones(1, 4, dtype=torch.bool), torch.tensor([2]))
    >>> index.tolist()
    [[0, 1]]
    """
    rank_BL = importance_BL if window_BL is None else standing_in_window(importance_BL, mask_BL, window_BL)
    rank_BL = rank_BL.masked_fill(~mask_BL, -torch.inf)
    if protect_first:
        first_B1 = mask_BL.int().argmax(dim=1, keepdim=True)  # left padding too
        rank_BL = rank_BL.scatter(1, first_B1, torch.inf)
    if protected_BL is not None:
        rank_BL = rank_BL.masked_fill(protected_BL & mask_BL, torch.inf)
    order_BL = rank_BL.argsort(dim=1, descending=True, stable=True)
    place_BL = torch.empty_like(order_BL).scatter_(1, order_BL, _row_of_indices(order_BL))
    keep_BL = (place_BL < count_B[:, None]) & mask_BL
    widest = int(keep_BL.sum(dim=1).max())
    index_BK = (~keep_BL).int().argsort(dim=1, stable=True)[:, :widest]
    return index_BK, keep_BL.gather(1, index_BK)


def standing_in_window(
    importance_BL: Float[Tensor, "B L"], mask_BL: Bool[Tensor, "B L"], window_BL: Int[Tensor, "B L"]
) -> Float[Tensor, "B L"]:
    """Each token's standing among the tokens of its window: 1 for the best, towards 0 for the last.

    Ranking by standing takes the same share from every window. Equal importance: the earlier token stands higher.

    >>> importance, window = torch.tensor([[9.0, 8.0, 1.0, 2.0]]), torch.tensor([[0, 0, 1, 1]])
    >>> standing_in_window(importance, torch.ones(1, 4, dtype=torch.bool), window).tolist()
    [[0.75, 0.25, 0.25, 0.75]]
    """
    num_windows = int(window_BL.max()) + 1
    window_BL = window_BL.masked_fill(
        ~mask_BL, num_windows
    )  # padding: a window of its own, behind the others
    by_score_BL = importance_BL.masked_fill(~mask_BL, -torch.inf).argsort(dim=1, descending=True, stable=True)
    order_BL = by_score_BL.gather(1, window_BL.gather(1, by_score_BL).argsort(dim=1, stable=True))
    place_BL = torch.empty_like(order_BL).scatter_(1, order_BL, _row_of_indices(order_BL))
    size_BW = torch.zeros(len(window_BL), num_windows + 1, dtype=torch.long, device=window_BL.device)
    size_BW = size_BW.scatter_add(1, window_BL, torch.ones_like(window_BL))
    first_BW = size_BW.cumsum(dim=1) - size_BW
    place_in_window_BL = place_BL - first_BW.gather(1, window_BL)
    return 1.0 - (place_in_window_BL + 0.5) / size_BW.gather(1, window_BL)


def _row_of_indices(like_BL: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
    return torch.arange(like_BL.shape[1], device=like_BL.device).expand_as(like_BL)


@dataclass(frozen=True, kw_only=True)
class LayerTokens:
    """What one layer worked on, in positions of the input."""

    position_BL: Int[Tensor, "B L"]
    """Input position of each token that was present."""
    mask_BL: Bool[Tensor, "B L"]
    """True for tokens, False for padding."""
    importance_BL: Float[Tensor, "B L"] | None
    """Cumulative importance after the layer, or None where nobody needed it any more."""


@dataclass(kw_only=True)
class SentenceTokens:
    """The tokens still alive while one batch goes through the layers: made per forward, so nothing leaks."""

    schedule: TokenSchedule
    """How many tokens each layer keeps."""
    mask_BL: Bool[Tensor, "B L"]
    """Which of the present tokens are real."""
    keep_scoring: bool = False
    """Whether importance is wanted after the last pruning too (for pictures)."""
    protect_first: bool = False
    """Whether the first token stays even if the schedule would let it go: the model's head reads it."""
    protected_BL: Bool[Tensor, "B L"] | None = None
    """Tokens that stay because of what they are, or None."""
    worth_BL: Float[Tensor, "B L"] | None = None
    """What each token is worth before the first layer has run; None: nobody knows, and all enter."""
    layer: int = 0
    """The layer that runs now."""
    history: list[LayerTokens] = field(default_factory=list)
    """What the layers so far worked on."""

    def __post_init__(self) -> None:
        self.protect_first = self.protect_first or self.schedule.protect_first
        self.length_B = self.mask_BL.sum(dim=1)
        if not bool((self.length_B > 0).all()):
            raise UserError(
                "attention_mask must keep at least one token of every sentence; got a sentence of padding only; "
                "leave empty texts out"
            )
        self.all_real = bool(self.mask_BL.all())
        self.position_BL = _row_of_indices(self.mask_BL.int()).contiguous()
        self.importance_BL: Tensor | None = None
        window = self.schedule.window
        place_BL = (
            self.mask_BL.cumsum(dim=1) - 1
        )  # counted in real tokens, so padding on the left changes nothing
        self.window_BL = None if window is None else place_BL.clamp_min(0) // window

    @property
    def needs_importance(self) -> bool:
        """Whether the running layer must be scored: a later layer prunes, or somebody looks."""
        return self.keep_scoring or self.layer < self.schedule.last_pruned_layer

    @property
    def key_mask_BL(self) -> Bool[Tensor, "B L"] | None:
        """The mask, or None when no sentence is padded (the faster path of every attention)."""
        return None if self.all_real else self.mask_BL

    def add_importance(
        self, received_BHL: Float[Tensor, "B H L"], value_BHLD: Float[Tensor, "B H L D"]
    ) -> None:
        """Accumulate, never reset inside a sentence: `s_t[j] += sum over heads and rows of prob` (Alg. 2, line 5).

        Args:
            received_BHL: Attention that each token received from all rows, by head.
            value_BHLD: The tokens' value vectors, whose length weighs the attention when the schedule scores by value.
        """
        if self.schedule.score == "value":
            received_BHL = received_BHL * value_BHLD.norm(dim=-1)
        received_BL = received_BHL.sum(dim=1)
        if not bool(torch.isfinite(received_BL).all()):
            raise UserError(
                f"attention probabilities must be finite; got NaN or infinity in layer {self.layer}; "
                "check the model's weights and its inputs for NaN"
            )
        received_BL = received_BL.detach()
        self.importance_BL = received_BL if self.importance_BL is None else self.importance_BL + received_BL

    def enter(self, hidden_BLD: Float[Tensor, "B L D"]) -> Float[Tensor, "B K D"]:
        """Begin the first layer without the tokens that are worth least."""
        if self.worth_BL is None:
            return hidden_BLD
        return self._keep_best(self.worth_BL, hidden_BLD)

    def leave_layer(self, hidden_BLD: Float[Tensor, "B L D"]) -> Float[Tensor, "B K D"]:
        """End the running layer: record it, choose who enters the next one, take the others out of the tensors."""
        scored = self.importance_BL if self.needs_importance else None
        self.history.append(
            LayerTokens(position_BL=self.position_BL, mask_BL=self.mask_BL, importance_BL=scored)
        )
        self.layer += 1
        if self.layer >= self.schedule.num_layers:
            return hidden_BLD
        return self._keep_best(self.importance_BL, hidden_BLD)

    def _keep_best(self, score_BL: Tensor | None, hidden_BLD: Tensor) -> Float[Tensor, "B K D"]:
        """Take the tokens that do not enter the running layer out of the tensors."""
        count_B = kept_counts(self.schedule, self.layer, self.length_B)
        if bool((count_B == self.mask_BL.sum(dim=1)).all()):
            return hidden_BLD
        assert score_BL is not None, "a layer before a pruning was not scored"
        self._refuse_more_protected_than_kept(count_B)
        index_BK, self.mask_BL = select_tokens(
            score_BL,
            self.mask_BL,
            count_B,
            protect_first=self.protect_first,
            protected_BL=self.protected_BL,
            window_BL=self.window_BL,
        )
        self.all_real = bool(self.mask_BL.all())
        self.position_BL = self.position_BL.gather(1, index_BK)
        self.importance_BL = None if self.importance_BL is None else self.importance_BL.gather(1, index_BK)
        self.window_BL = None if self.window_BL is None else self.window_BL.gather(1, index_BK)
        self.protected_BL = None if self.protected_BL is None else self.protected_BL.gather(1, index_BK)
        index_BKD = index_BK[..., None].expand(-1, -1, hidden_BLD.shape[-1])
        return hidden_BLD.gather(1, index_BKD)

    def _refuse_more_protected_than_kept(self, count_B: Int[Tensor, " B"]) -> None:
        if self.protected_BL is None:
            return
        protected_BL = self.protected_BL & self.mask_BL
        if self.protect_first:
            protected_BL = protected_BL.scatter(1, self.mask_BL.int().argmax(dim=1, keepdim=True), True)
        num_protected_B = protected_BL.sum(dim=1)
        for index, (protected, kept) in enumerate(
            zip(num_protected_B.tolist(), count_B.tolist(), strict=True)
        ):
            if protected > kept:
                raise invalid(
                    f"protected tokens of sentence {index}",
                    f"at most the {kept} that enter layer {self.layer}",
                    protected,
                    "raise min_tokens or the layer's ratio, or protect fewer",
                )
