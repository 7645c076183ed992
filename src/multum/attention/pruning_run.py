"""What a pruned forward did: survivors and scores for pictures, records for cost and workload."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxtyping import Bool, Int
from torch import Tensor, nn

from multum.attention.encoder_forward import EncoderForward
from multum.attention.head_pruning import LayerHeads
from multum.attention.layer_record import LayerRecord
from multum.attention.model_heads import ModelHeadRule
from multum.attention.sparse_schedule import EncoderSchedule
from multum.attention.token_pruning import LayerTokens
from multum.core import UserError

if TYPE_CHECKING:
    from multum.accelerator import Workload
    from multum.cost import Cost


class PruningRun:
    """What the last forward inside the block did."""

    def __init__(
        self, model: nn.Module, schedule: EncoderSchedule, rule: ModelHeadRule, head_width: int
    ) -> None:
        self.schedule, self.rule = schedule, rule
        self._model, self._head_width = model, head_width
        self._forward: EncoderForward | None = None

    @property
    def layers(self) -> tuple[LayerTokens, ...]:
        """Per layer: positions, mask and importance of the tokens it worked on.

        Raises:
            UserError: The model has not run inside the block yet (so do all the others here).
        """
        return tuple(self._last.tokens.history)

    @property
    def heads(self) -> tuple[LayerHeads, ...]:
        """Per layer: the heads it computed and their importance."""
        return tuple(self._last.heads.history)

    @property
    def mask(self) -> Bool[Tensor, "B L"]:
        """True for the real tokens of `last_hidden_state`; pool with this mask, not with the input's."""
        return self._last.output_mask_BL

    @property
    def positions(self) -> Int[Tensor, "B L"]:
        """Input position of every row of `last_hidden_state`."""
        return self._last.output_position_BL

    @property
    def tokens_per_layer(self) -> tuple[int, ...]:
        """Real tokens that each layer worked on, summed over the batch."""
        return tuple(int(layer.mask_BL.sum()) for layer in self.layers)

    @property
    def heads_per_layer(self) -> tuple[int, ...]:
        """Heads that each layer computed for a sentence; every sentence of a batch has as many."""
        return tuple(layer.head_BK.shape[1] for layer in self.heads)

    @property
    def records(self) -> tuple[LayerRecord, ...]:
        """What each layer did, in whole numbers, sentence by sentence."""
        length_LB = [layer.mask_BL.sum(dim=1).tolist() for layer in self.layers]
        head_LBK = [layer.head_BK.tolist() for layer in self.heads]
        return tuple(self._record(layer, length_LB, head_LBK) for layer in range(len(length_LB)))

    def workload(self, sentence: int = 0) -> "Workload":
        """The accelerator's view of one sentence of the last forward."""
        from multum.attention.workload import workload_of

        return workload_of(self.records, sentence)

    def cost(self) -> "Cost":
        """What the last forward cost, all sentences of the batch together."""
        from multum.attention.priced import cost_of

        return cost_of(self._model, self.records)

    def record(self, forward: EncoderForward) -> None:
        """Take over what a finished forward did."""
        self._forward = forward

    @property
    def _last(self) -> EncoderForward:
        if self._forward is None:
            raise UserError(
                "the model must have run inside the block; got no forward yet; call model(...) first"
            )
        return self._forward

    def _record(
        self, layer: int, length_LB: Sequence[list[int]], head_LBK: Sequence[list[list[int]]]
    ) -> LayerRecord:
        lengths, heads = length_LB[layer], head_LBK[layer]
        later = min(layer + 1, len(length_LB) - 1)
        values, bits = self.schedule.values, self.schedule.quantization
        return LayerRecord(
            iteration=0,
            layer=layer,
            head_width=self._head_width,
            heads=tuple(map(tuple, heads)),
            num_queries=tuple(lengths),
            num_keys=tuple(lengths),
            num_values=tuple(n if values is None else values.num_values(layer, n) for n in lengths),
            tokens_kept=_fewer(lengths, length_LB[later]),
            heads_kept=_fewer([len(h) for h in heads], [len(h) for h in head_LBK[later]]),
            query_bits=None if bits is None else bits.query_bits,
            key_bits=None if bits is None else bits.key_bits,
            value_bits=None if bits is None else bits.value_bits,
        )


def _fewer(now: Sequence[int], later: Sequence[int]) -> tuple[int | None, ...]:
    """What a top-k left, None where nothing was chosen."""
    return tuple(after if after < before else None for before, after in zip(now, later, strict=True))
