"""What became of each word: wordpieces merged into words, with the layer that each died in and what it had earned.

Shape legend: L tokens of a sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from multum.attention.embedding import SentenceEncoder
from multum.attention.pruning import prune
from multum.attention.schedule import TokenSchedule
from multum.attention.sparse_schedule import EncoderSchedule
from multum.attention.token_fate import TokenFate, check_life, token_lives
from multum.core import invalid


@dataclass(frozen=True, kw_only=True)
class WordFate:
    """One word of a passage, and what became of it.

    Raises:
        UserError: When the word is empty, or its importance does not fit its life.

    >>> WordFate(text="film", last_layer=2, importance=(0.8, 2.1)).importance[-1]
    2.1
    """

    text: str
    """The word as it is read, all its wordpieces together."""

    last_layer: int
    """How many layers it lived through: 1 means that it was pruned after the first layer, 0 before it."""

    importance: tuple[float, ...]
    """Cumulative importance after each layer it lived through: attention received so far, never falling."""

    is_special: bool = False
    """Whether it is a token of the model's own, such as [CLS]."""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise invalid("a word's text", "some text", self.text)
        if len(self.importance) != self.last_layer:
            raise invalid(
                f"importance of {self.text!r}",
                f"one number for each of its {self.last_layer} layers",
                self.importance,
            )
        check_life(self.text, self.importance)

    @property
    def earned(self) -> float:
        """Cumulative importance at its end; 0 for one that left before the first layer."""
        return self.importance[-1] if self.importance else 0.0


@dataclass(frozen=True, kw_only=True)
class TextFate:
    """One text's way through the layers."""

    words: tuple[WordFate, ...]
    """Every word in order, special tokens included."""
    tokens: tuple[TokenFate, ...]
    """Every token in order, special tokens included."""
    tokens_per_layer: tuple[int, ...]
    """Tokens that each layer worked on."""


@torch.inference_mode()
def trace_words(encoder: SentenceEncoder, text: str, schedule: TokenSchedule | EncoderSchedule) -> TextFate:
    """Run one text through the pruned encoder and tell each word's fate (SpAtten, Fig. 1).

    Args:
        encoder: Model and tokenizer (a fast one, which knows where each token stands in the text).
        text: The text; not empty, not longer than the model.
        schedule: How many tokens each layer keeps, or all dials.

    Raises:
        UserError: As `SentenceEncoder.tokenize` and `prune`.
    """
    inputs = encoder.tokenize([text])
    with prune(encoder.model, schedule, keep_scoring=True) as run:
        encoder.model(**inputs)
    dial = schedule.tokens if isinstance(schedule, EncoderSchedule) else schedule
    lives = token_lives(run.layers, inputs["input_ids"].shape[1])
    encoding = encoder.tokenizer(text, return_offsets_mapping=True, verbose=False)
    spans, word_ids = encoding["offset_mapping"], encoding.word_ids()
    names = encoder.tokenizer.convert_ids_to_tokens(encoding["input_ids"])
    tokens = tuple(
        TokenFate(
            text=name if word is None else text[slice(*span)] or name,
            importance=tuple(life),
            is_special=word is None,
            is_protected=dial is not None and dial.protect_first and index == 0,
        )
        for index, (name, word, span, life) in enumerate(zip(names, word_ids, spans, lives, strict=True))
    )
    words = tuple(
        _word([tokens[p] for p in pieces], text[spans[pieces[0]][0] : spans[pieces[-1]][1]])
        for pieces in _group(word_ids, spans)
    )
    return TextFate(words=words, tokens=tokens, tokens_per_layer=run.tokens_per_layer)


def _word(pieces: Sequence[TokenFate], written: str) -> WordFate:
    """The fate of a word: it lives as long as any of its pieces, and has earned what they have together."""
    last = max(piece.last_layer for piece in pieces)
    earned = tuple(
        sum(it.importance[min(layer, it.last_layer - 1)] for it in pieces if it.last_layer)
        for layer in range(last)
    )
    is_special = pieces[0].is_special
    text = pieces[0].text if is_special else written
    return WordFate(text=text, last_layer=last, importance=earned, is_special=is_special)


def _group(word_ids: Sequence[int | None], spans: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Token indices by what a reader calls a word: pieces that touch in the text (so `don't,` is one)."""
    groups: list[list[int]] = []
    for index, word in enumerate(word_ids):
        touches = index > 0 and word is not None and word_ids[index - 1] is not None
        if touches and spans[index][0] == spans[index - 1][1]:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
