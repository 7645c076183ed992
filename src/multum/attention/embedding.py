"""Sentence embeddings from a (pruned) encoder: tokenize, run, pool what survived.

Mean pooling averages the rows that are alive at the end; the schedule that suits this head is a flat one
(`docs/attention/token_pruning.md` says what was tried).

Shape legend: T texts, B texts of one batch, L tokens, D embedding width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from torch import Tensor, nn

from multum.attention.architectures import longest_input
from multum.attention.pruning import prune
from multum.attention.pruning_run import PruningRun
from multum.attention.schedule import TokenSchedule
from multum.attention.sparse_schedule import EncoderSchedule
from multum.core import UserError, invalid, require_module

Pooling = Literal["mean", "first"]
"""What the head reads: the mean of the survivors, or the first token ([CLS])."""


def mean_pool(hidden_BLD: Float[Tensor, "B L D"], mask_BL: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
    """Mean of the real rows of each sentence.

    >>> mean_pool(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([[True, True, False]])).item()
    2.0
    """
    weight_BL1 = mask_BL.to(hidden_BLD.dtype)[..., None]
    return (hidden_BLD * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class SentenceEncoder:
    """A transformers encoder with its tokenizer; embeddings are mean-pooled and of unit length."""

    model: Any
    """A supported transformers encoder without head."""
    tokenizer: Any
    """Its tokenizer."""
    max_tokens: int
    """The longest input the model has positions for."""

    @classmethod
    def load(cls, folder: Path) -> "SentenceEncoder":
        """Load model and tokenizer from a transformers model folder; safetensors only, nothing is downloaded.

        Raises:
            UserError: The folder is missing or holds no model.
        """
        if not (folder / "config.json").is_file():
            raise invalid("model folder", "a transformers model folder with config.json", str(folder))
        transformers: Any = require_module("transformers", "transformers")
        settings = {"local_files_only": True}
        transformers.utils.logging.disable_progress_bar()  # a second is not worth a bar
        try:
            model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True, **settings)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **settings)
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(
                f"model folder must hold a model in safetensors and its tokenizer; got {str(folder)!r}; {error}"
            ) from error
        return cls(model=model.eval(), tokenizer=tokenizer, max_tokens=longest_input(model))

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids and mask, padded to the longest text.

        Raises:
            UserError: No text, an empty text, or one longer than the model.
        """
        return self._pad(self._token_lists(texts))

    def _token_lists(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        """Tokens of each text, checked, not padded."""
        if not texts:
            raise invalid("texts", "at least one text", list(texts))
        for index, text in enumerate(texts):
            if not text.strip():
                raise invalid(f"text {index}", "non-empty", text, "leave empty texts out")
        tokens: dict[str, list[list[int]]] = dict(self.tokenizer(list(texts), verbose=False))
        lengths = [len(ids) for ids in tokens["input_ids"]]
        for index, length in enumerate(lengths):
            if length > self.max_tokens:
                start = texts[index][:40]
                raise UserError(
                    f"text {index} must be at most {self.max_tokens} tokens, the model's limit; "
                    f"got {length} tokens ({start!r} ...); split it into shorter passages"
                )
        return tokens

    def _pad(self, tokens: dict[str, list[list[int]]]) -> dict[str, Tensor]:
        """Lists of tokens as model inputs, padded to the longest."""
        padded = self.tokenizer.pad(tokens, return_tensors="pt")
        return {name: padded[name] for name in padded}

    def batches(self, texts: Sequence[str], batch_size: int) -> list[tuple[list[int], dict[str, Tensor]]]:
        """Texts as batches of like length: the indices of each and its model inputs."""
        if batch_size < 1:
            raise invalid("batch_size", "at least 1", batch_size)
        tokens = self._token_lists(texts)
        order = sorted(range(len(texts)), key=lambda i: len(tokens["input_ids"][i]))
        groups = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        return [
            (group, self._pad({name: [lists[i] for i in group] for name, lists in tokens.items()}))
            for group in groups
        ]

    @torch.inference_mode()
    def embed(
        self,
        texts: Sequence[str],
        *,
        schedule: TokenSchedule | EncoderSchedule | None = None,
        batch_size: int = 16,
    ) -> tuple[Float[Tensor, "T D"], float]:
        """Embed texts, densely or pruned.

        Args:
            texts: At least one non-empty text, none longer than the model.
            schedule: What is pruned; None for the dense model.
            batch_size: Texts a forward, grouped by length. Does not change what is kept.

        Returns:
            Unit-length embeddings in the order of the texts, and the token reduction really reached: tokens that the
            dense model's layers would work on over those that were worked on (1.0 when dense).
        """
        rows: dict[int, Tensor] = {}
        dense_tokens = kept_tokens = 0
        with pruning_or_not(self.model, schedule) as run:
            for indices, inputs in self.batches(texts, batch_size):
                hidden_BLD = self.model(**inputs).last_hidden_state
                mask_BL = inputs["attention_mask"].bool() if run is None else run.mask
                num_tokens = int(inputs["attention_mask"].sum())
                dense_tokens += num_tokens * self.model.config.num_hidden_layers
                kept_tokens += (
                    sum(run.tokens_per_layer) if run else num_tokens * self.model.config.num_hidden_layers
                )
                pooled_BD = nn.functional.normalize(mean_pool(hidden_BLD, mask_BL), dim=-1)
                rows.update(zip(indices, pooled_BD, strict=True))
        return torch.stack([rows[i] for i in range(len(texts))]), dense_tokens / kept_tokens


@contextmanager
def pruning_or_not(
    model: nn.Module, schedule: TokenSchedule | EncoderSchedule | None
) -> Iterator[PruningRun | None]:
    """`prune` when there is a schedule, nothing otherwise."""
    if schedule is None:
        yield None
        return
    with prune(model, schedule) as run:
        yield run
