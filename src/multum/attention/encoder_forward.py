"""Everything that is alive while one batch goes through an encoder: tokens, heads, and the dials of each layer.

Made when a forward starts, thrown away when it ends, handed from layer to layer as a keyword argument: nothing can leak
from one sentence into the next.

Shape legend: B sentences, N tokens of the input, L tokens present in a layer, H living heads, D width (of a head in
attention).
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from multum.attention.head_pruning import SentenceHeads
from multum.attention.model_heads import ModelHeadRule, first_rows_first, freeze_rows
from multum.attention.sparse_schedule import EncoderSchedule
from multum.attention.static_quantization import quantize_static
from multum.attention.token_pruning import SentenceTokens
from multum.attention.value_pruning import keep_largest, value_counts
from multum.ops import importance_attention
from multum.ops.importance_attention.reference import attention_prob


@dataclass(kw_only=True)
class EncoderForward:
    """One batch on its way through the layers."""

    schedule: EncoderSchedule
    """All dials."""
    tokens: SentenceTokens
    """The tokens still alive."""
    heads: SentenceHeads
    """The heads still alive."""
    rule: ModelHeadRule
    """What the model's head reads."""

    def __post_init__(self) -> None:
        self.num_layers = self.tokens.schedule.num_layers
        self.output_mask_BL: Bool[Tensor, "B L"] = self.tokens.mask_BL
        """Which rows of the last layer's output are real."""
        self.output_position_BL: Int[Tensor, "B L"] = self.tokens.position_BL
        """The input position of each of them."""
        self._frozen_BND: Tensor | None = None

    def attend(
        self,
        query: Float[Tensor, "B H L D"],
        key: Float[Tensor, "B H L D"],
        value: Float[Tensor, "B H L D"],
        dropout: float,
        scaling: float | None,
    ) -> Float[Tensor, "B H L D"]:
        """Attention of the running layer under all its dials; what tokens and heads earn is added to their scores."""
        bits = self.schedule.quantization
        if bits is not None:
            query = quantize_static(query, bits.query_bits)
            key = quantize_static(key, bits.key_bits)
            value = quantize_static(value, bits.value_bits)
        count_B = self._value_counts()
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        if count_B is not None or (dropout > 0.0 and self._is_scored):
            return self._attend_by_prob(query, key, value, dropout, scale, count_B)
        context = self._attend_fused(query, key, value, dropout, scale)
        self._score_heads(context)
        return context

    @property
    def _is_scored(self) -> bool:
        return self.tokens.needs_importance or self.heads.needs_importance

    def _value_counts(self) -> Int[Tensor, " B"] | None:
        """Value rows that a query of each sentence multiplies; None when all of them."""
        if self.schedule.values is None:
            return None
        num_keys_B = self.tokens.mask_BL.sum(dim=1)
        count_B = value_counts(self.schedule.values, self.tokens.layer, num_keys_B)
        return None if bool((count_B == num_keys_B).all()) else count_B

    def _attend_fused(
        self, query: Tensor, key: Tensor, value: Tensor, dropout: float, scale: float
    ) -> Tensor:
        """No probability is ever stored."""
        mask_BL = self.tokens.key_mask_BL
        if not self.tokens.needs_importance:
            mask_B11L = None if mask_BL is None else mask_BL[:, None, None, :]
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask_B11L, dropout_p=dropout, scale=scale
            )
        context, importance_BHL = importance_attention(
            query, key, value, key_mask_BK=mask_BL, query_mask_BQ=mask_BL, scale=scale
        )
        self.tokens.add_importance(importance_BHL, value)
        return context

    def _attend_by_prob(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        dropout: float,
        scale: float,
        count_B: Tensor | None,
    ) -> Tensor:
        """With every probability in memory: value pruning needs them sorted, dropout needs them to drop from."""
        mask_BL = self.tokens.key_mask_BL
        prob_BHLL = attention_prob(query, key, mask_BL, mask_BL, scale)
        if self.tokens.needs_importance:
            self.tokens.add_importance(prob_BHLL.sum(dim=2), value)
        if count_B is not None:
            prob_BHLL = keep_largest(prob_BHLL, count_B)
        context = functional.dropout(prob_BHLL, dropout) @ value
        if self.heads.needs_importance:  # what a head hands on must not depend on what was dropped
            self._score_heads(prob_BHLL.detach() @ value.detach() if dropout > 0.0 else context)
        return context

    def _score_heads(self, context: Tensor) -> None:
        if self.heads.needs_importance:
            self.heads.add_importance(context, self.tokens.key_mask_BL)

    def enter(self, hidden_BLD: Float[Tensor, "B L D"]) -> Float[Tensor, "B K D"]:
        """Begin the first layer; what it returns enters it."""
        entering_BKD = self.tokens.enter(hidden_BLD)
        if entering_BKD is not hidden_BLD and self.rule.reads == "every_token":
            self._frozen_BND = hidden_BLD
        return entering_BKD

    def leave_layer(self, hidden_BLD: Float[Tensor, "B L D"]) -> Float[Tensor, "B K D"]:
        """End the running layer; what it returns enters the next one, or the model's head after the last."""
        position_BL, mask_BL = self.tokens.position_BL, self.tokens.mask_BL
        left_BKD = self.tokens.leave_layer(hidden_BLD)
        self.heads.leave_layer()
        is_last = self.tokens.layer == self.num_layers
        if self.rule.reads == "every_token":
            if is_last or left_BKD is not hidden_BLD:
                self._frozen_BND = freeze_rows(self._frozen_BND, hidden_BLD, position_BL, mask_BL)
            if is_last:
                every_row_BND, self._frozen_BND = self._frozen_BND, None  # a run outlives the forward
                assert every_row_BND is not None
                return every_row_BND
        elif is_last:
            return self._survivors(left_BKD)
        return left_BKD

    def _survivors(self, hidden_BLD: Tensor) -> Tensor:
        """The rows that are left, each sentence's first in row 0 where the head reads that."""
        self.output_mask_BL, self.output_position_BL = self.tokens.mask_BL, self.tokens.position_BL
        order_BL = first_rows_first(self.tokens.mask_BL) if self.rule.reads == "first" else None
        if order_BL is None:
            return hidden_BLD
        self.output_mask_BL = self.output_mask_BL.gather(1, order_BL)
        self.output_position_BL = self.output_position_BL.gather(1, order_BL)
        return hidden_BLD.gather(1, order_BL[..., None].expand_as(hidden_BLD))
