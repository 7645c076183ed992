"""A fact hidden in a long text: is it still in the cache when the question comes?

Perplexity hardly notices when one sentence of thousands is lost; whoever asks for that sentence does. So a sentence
that could stand nowhere else is put into a text, at a known depth; the text is read and its cache pruned before the
question is known; then the question is asked, and the answer written from what the cache still holds.

After the "needle in a haystack" test (Kamradt, 2023), with the fact as a number, so that an answer is right or wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.generation import prune_generation
from multum.attention.language_model import LanguageModel
from multum.attention.sparse_schedule import GenerationSchedule
from multum.core import invalid

FACTS = (("Lisbon", "7314"), ("Oslo", "5926"))
"""Cities, and the secret number of each."""
SENTENCE, QUESTION = " The secret number of {city} is {number} . ", " The secret number of {city} is"
ROWS_BEHIND = 64
"""Tokens of text that always follow the fact: those whose attention decides must not contain it."""
NUM_ANSWER_TOKENS = 8


@dataclass(frozen=True, kw_only=True)
class Needle:
    """One text with a fact in it, and the question."""

    context: list[int]
    """Tokens of the text."""
    question: list[int]
    """Tokens that the answer should follow."""
    answer: str
    """What must stand in it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a model said, and what its cache held when it was asked."""

    tokens: list[int]
    """The greedy answer."""
    bytes_held: int
    """Of the cache, before the question."""


def hide_needle(tokenizer: Any, text: Sequence[int], *, depth: float, fact: tuple[str, str]) -> Needle:
    """Put a fact into a text, whose last tokens make room for it.

    Args:
        tokenizer: Of the model that will be asked; called with a text, it gives `input_ids`.
        text: Tokens of the text; the needle's context is as long.
        depth: 0 puts the fact at the beginning, 1 at the end, before the last `ROWS_BEHIND` tokens.
        fact: City and number.

    Raises:
        UserError: A depth outside [0, 1], or a text that is too short for a fact.
    """
    if not 0 <= depth <= 1:
        raise invalid("depth", "in [0, 1]", depth)
    city, number = fact
    sentence, question = (
        tokenizer(words.format(city=city, number=number), add_special_tokens=False)["input_ids"]
        for words in (SENTENCE, QUESTION)
    )
    least = len(sentence) + ROWS_BEHIND
    if len(text) < least:
        raise invalid("text", f"at least {least} tokens long, for a fact and what follows it", len(text))
    rest = list(text[: len(text) - len(sentence)])
    place = round(depth * (len(rest) - ROWS_BEHIND))
    return Needle(
        context=rest[:place] + sentence + rest[place:],
        question=question,
        answer=number,
    )


def ask(model: Any, needle: Needle, schedule: GenerationSchedule | CacheSchedule) -> Found:
    """Let a model read the text under a schedule, then ask.

    Args:
        model: A transformers network that generates (see `decoders.py`), in evaluation mode.
        needle: The text and the question.
        schedule: What the cache keeps.

    Raises:
        UserError: Whatever `prune` refuses.
    """
    answer: list[int] = []
    with torch.inference_mode(), prune_generation(model, schedule) as run:
        cache = run.new_cache()
        model(torch.tensor([needle.context]), past_key_values=cache, logits_to_keep=1)
        bytes_held = cache.num_bytes_held
        tokens = torch.tensor([needle.question])
        for _ in range(NUM_ANSWER_TOKENS):
            tokens = model(tokens, past_key_values=cache, logits_to_keep=1).logits[:, -1:].argmax(-1)
            answer.append(int(tokens))
    return Found(tokens=answer, bytes_held=bytes_held)


def is_right(language: LanguageModel, needle: Needle, answer: Sequence[int]) -> bool:
    """Whether an answer has the fact."""
    text: str = language.tokenizer.decode(list(answer))
    return needle.answer in text
