"""A fact hidden in a text: where it lies, what is asked, and that the answer comes from the cache that was pruned."""

from pathlib import Path

import pytest
import torch

from multum.attention.cache_schedule import CacheSchedule
from multum.attention.language_model import LanguageModel
from multum.attention.needle import (
    NUM_ANSWER_TOKENS,
    ROWS_BEHIND,
    SENTENCE,
    Needle,
    ask,
    hide_needle,
    is_right,
)
from multum.core import UserError
from small_decoders import NUM_GROUPS, NUM_HEADS, NUM_LAYERS, VOCABULARY, WIDTH, shared_decoder
from small_language_models import write_language_model

FACT = ("Lisbon", "7314")
KEEP_ALL = CacheSchedule(keep_ratios=(1.0,) * NUM_LAYERS)
ROW_BYTES = 2 * NUM_GROUPS * (WIDTH // NUM_HEADS) * 4 * NUM_LAYERS


class Letters:
    """A tokenizer of letters that begins every text with a special token, as many do, unless told not to."""

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [0] * add_special_tokens + [ord(letter) for letter in text]}


def sentence() -> list[int]:
    return [ord(letter) for letter in SENTENCE.format(city=FACT[0], number=FACT[1])]


@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0])
def test_the_fact_stands_at_its_depth_in_a_text_as_long_as_before(depth: float) -> None:
    text = [1000 + place for place in range(300)]
    needle = hide_needle(Letters(), text, depth=depth, fact=FACT)
    assert len(needle.context) == len(text)
    start = round(depth * (300 - len(sentence()) - ROWS_BEHIND))
    end = start + len(sentence())
    assert needle.context[start:end] == sentence()
    assert needle.context[:start] + needle.context[end:] == text[: 300 - len(sentence())]
    assert len(needle.context) - end >= ROWS_BEHIND
    assert needle.answer == "7314"
    assert "7314" not in "".join(map(chr, needle.question))


def test_a_fact_needs_room_and_a_depth_that_is_there() -> None:
    with pytest.raises(UserError, match="text must be at least"):
        hide_needle(Letters(), [1] * (ROWS_BEHIND + len(sentence()) - 1), depth=0.5, fact=FACT)
    with pytest.raises(UserError, match=r"depth must be in \[0, 1\]"):
        hide_needle(Letters(), [1] * 300, depth=1.5, fact=FACT)


def drawn_needle() -> Needle:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(1, VOCABULARY, (50,), generator=generator).tolist()
    return Needle(context=tokens[:40], question=tokens[40:], answer="7314")


def test_with_everything_kept_the_answer_is_the_dense_models() -> None:
    model, needle = shared_decoder(), drawn_needle()
    prompt = torch.tensor([needle.context + needle.question])
    dense = model.generate(
        prompt, max_new_tokens=NUM_ANSWER_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    found = ask(model, needle, KEEP_ALL)
    assert found.tokens == dense[0, prompt.shape[1] :].tolist()
    assert found.bytes_held >= 40 * ROW_BYTES


def test_the_cache_is_pruned_before_the_question_comes() -> None:
    tenth = CacheSchedule(keep_ratios=(0.1,) * NUM_LAYERS, protect_first=1, grace_tokens=1)
    found = ask(shared_decoder(), drawn_needle(), tenth)
    assert found.bytes_held < ask(shared_decoder(), drawn_needle(), KEEP_ALL).bytes_held
    assert found.tokens != ask(shared_decoder(), drawn_needle(), KEEP_ALL).tokens


def test_an_answer_is_right_when_the_number_stands_in_it(tmp_path: Path) -> None:
    language = LanguageModel.load(write_language_model(tmp_path / "writer"))
    tokens = language.tokenizer("the film is perfect", add_special_tokens=False)["input_ids"]
    known = Needle(context=[], question=[], answer="perfect")
    assert is_right(language, known, tokens)
    assert not is_right(language, known, tokens[:-1])
