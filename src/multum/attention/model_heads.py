"""What a model's head reads decides which tokens may go: one rule per kind of head, chosen from the model's class.

A head that reads only the first token lets every other one go. A head that gives a number for every input token needs
a row for every one: a pruned token is then read in the state it had when it left. A base model has no head and gives
the rows that survived.

Shape legend: B sentences, N tokens of the input, L tokens present, D hidden width.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from multum.core import UserError, invalid

Reads = Literal["survivors", "first", "every_token"]
"""What the head reads of the last layer."""


@dataclass(frozen=True, kw_only=True)
class ModelHeadRule:
    """Which tokens a model's head needs, and in what form it gets the last layer's rows.

    Raises:
        UserError: An unknown kind, a negative segment.

    >>> ModelHeadRule(reads="every_token", protected_ids=(103,)).protects_first
    True
    """

    reads: Reads
    """`survivors`: the rows that survived, in their order. `first`: the same, each sentence's first token in row 0,
    also when padding stood on the left. `every_token`: a row for every input token, a pruned one's as it left."""
    protected_ids: tuple[int, ...] = ()
    """Tokens with these ids are never pruned: the mask token, say, or the separator."""
    protected_segment: int | None = None
    """Tokens of this `token_type_ids` are never pruned: 0 is the question of a question answering model."""

    def __post_init__(self) -> None:
        if self.reads not in get_args(Reads):
            raise invalid("reads", f"one of {get_args(Reads)}", self.reads)
        if self.protected_segment is not None and self.protected_segment < 0:
            raise invalid("protected_segment", "a token type, or None", self.protected_segment)

    @property
    def protects_first(self) -> bool:
        """Whether the first token stays whatever the schedule says: the head reads it."""
        return self.reads != "survivors"

    def protected_tokens(
        self, input_ids: Tensor | None, token_type_ids: Tensor | None
    ) -> Bool[Tensor, "B N"] | None:
        """The tokens that ids and segments protect; None when they protect none.

        Raises:
            UserError: The rule looks at ids or segments, and the model's input has none.
        """
        found: list[Tensor] = []
        if self.protected_ids:
            if input_ids is None:
                raise invalid("the model's input", "input_ids, which protected_ids are sought in", None)
            found.append(torch.isin(input_ids, torch.tensor(self.protected_ids, device=input_ids.device)))
        if self.protected_segment is not None:
            if token_type_ids is None:
                remedy = "protect by protected_ids, or leave protected_segment at None"
                raise invalid("token_type_ids", "given when a segment is protected", None, remedy)
            found.append(token_type_ids == self.protected_segment)
        return torch.stack(found).any(dim=0) if found else None


RULES: dict[str, ModelHeadRule] = {
    "ForSequenceClassification": ModelHeadRule(reads="first"),
    "ForMultipleChoice": ModelHeadRule(reads="first"),
    "ForNextSentencePrediction": ModelHeadRule(reads="first"),
    "ForTokenClassification": ModelHeadRule(reads="every_token"),
    "ForQuestionAnswering": ModelHeadRule(reads="every_token"),
    "ForMaskedLM": ModelHeadRule(reads="every_token"),
    "ForPreTraining": ModelHeadRule(reads="every_token"),
}
"""By the ending of a transformers class; a base model, which is not here, gives its survivors."""


def rule_for(model: nn.Module) -> ModelHeadRule:
    """The rule of a model's head, by its class or the transformers class that it derives from.

    Args:
        model: A transformers model.

    Raises:
        UserError: A head that no rule is known for, or one that reads another token than the first.

    >>> from transformers import BertConfig, BertForTokenClassification, BertModel
    >>> config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> rule_for(BertForTokenClassification(config)).reads, rule_for(BertModel(config)).reads
    ('every_token', 'survivors')
    """
    if getattr(model, "base_model", model) is model:
        return ModelHeadRule(reads="survivors")
    names = [kind.__name__ for kind in type(model).__mro__]
    endings = [ending for name in names for ending in RULES if name.endswith(ending)]
    if not endings:
        known = ", ".join(RULES)
        raise UserError(
            f"model must have a head with a known rule (classes that end in {known}, or no head); "
            f"got {type(model).__name__}; say what it reads: prune(..., rule=ModelHeadRule(reads=...))"
        )
    summary: Any = getattr(model, "sequence_summary", None)
    if summary is not None and summary.summary_type != "first":
        remedy = "say what it reads: prune(..., rule=ModelHeadRule(reads='every_token'))"
        raise invalid("summary_type", "'first', the token that is never pruned", summary.summary_type, remedy)
    return RULES[endings[0]]


def freeze_rows(
    frozen_BND: Float[Tensor, "B N D"] | None,
    hidden_BLD: Float[Tensor, "B L D"],
    position_BL: Int[Tensor, "B L"],
    mask_BL: Bool[Tensor, "B L"],
) -> Float[Tensor, "B N D"]:
    """Write the living rows to their places in the input; rows of tokens that left stay as they were.

    Args:
        frozen_BND: The states so far; None as long as every token of the input is present.
        hidden_BLD: Hidden states of the present rows.
        position_BL: Their input positions.
        mask_BL: Which of them live; the others fill up a shorter sentence and write nothing.
    """
    if frozen_BND is None:
        return hidden_BLD
    place_BLD = position_BL[..., None].expand_as(hidden_BLD)
    living_BLD = torch.where(mask_BL[..., None], hidden_BLD, frozen_BND.gather(1, place_BLD))
    return frozen_BND.scatter(1, place_BLD, living_BLD)


def first_rows_first(mask_BL: Bool[Tensor, "B L"]) -> Int[Tensor, "B L"] | None:
    """The order that puts every sentence's first real token into row 0; None when they all stand there."""
    if bool(mask_BL[:, 0].all()):
        return None
    return (~mask_BL).int().argsort(dim=1, stable=True)
