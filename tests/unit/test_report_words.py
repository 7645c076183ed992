"""Words that fade: every fate is told, gaps stay in place, and impossible lives are refused."""

import re

import pytest

from multum.attention import WordFate
from multum.core.errors import UserError
from multum.report import fading_words
from multum.report.words import largest_importance
from report_samples import FILM, film_words, passage_words, tokens_per_layer, word_fate


def test_every_word_tells_its_fate() -> None:
    markup = fading_words(film_words(), 6).markup
    assert markup.count("data-importance=") == len(film_words())
    assert markup.count("kept through all 6 layers") == 4  # film, perfect and the model's two tokens
    assert "gone after layer 4 of 6; cumulative importance" in markup


def test_the_last_line_spells_what_is_left_and_marks_the_gap() -> None:
    markup = fading_words(film_words(), 6).markup
    assert "Left at the end: 2 of 9 words</span>film … perfect.</p>" in markup


def test_nothing_left_is_said_plainly() -> None:
    words = [word_fate("[CLS]", 2), word_fate("film", 1)]
    assert "model&#x27;s own tokens" in fading_words(words, 2).markup


def test_the_strip_has_a_row_for_each_change_and_the_whole_text_in_each() -> None:
    markup = fading_words(film_words(), 6).markup
    strip = markup[markup.index("<ol") :]
    rows = re.findall(r"<li>(.*?)</li>", strip)
    layers = [int(number) for number in re.findall(r"Layer (\d)</b>", strip)]
    assert layers == [1, 2, 4, 5, 6]
    for row in rows:
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", row[row.index("<p>") :])).strip()
        assert text == f"[CLS] {FILM} [SEP]"


def test_the_strip_counts_tokens_when_it_is_told_them() -> None:
    words = film_words()
    counts = tokens_per_layer(words)
    markup = fading_words(words, 6, tokens_per_layer=counts).markup
    assert f"Layer 1</b>{counts[0]} tokens" in markup
    assert f"Layer 6</b>{counts[5]} tokens" in markup


def test_words_are_escaped() -> None:
    markup = fading_words([word_fate("<b>", 1), word_fate("&", 2)], 2, label='"x"').markup
    assert "<b>" not in re.sub(r"<b>(Layer|kept)", "", markup)
    assert "&lt;b&gt;" in markup
    assert "&amp;" in markup


def test_ink_grows_with_life() -> None:
    words = [word_fate("word", life) for life in range(1, 7)]
    markup = fading_words(words, 6, shows_legend=False).markup
    lives = [float(value) for value in re.findall(r"--life:([\d.]+)", markup)]
    assert lives == sorted(lives)
    assert (lives[0], lives[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("num_layers", [1, 2, 3, 12, 24])
def test_models_of_any_depth_are_drawn(num_layers: int) -> None:
    words = passage_words(num_layers)
    markup = fading_words(words, num_layers).markup
    assert markup.count("data-importance=") == len(words)
    named = re.findall(r'class="step"[^>]*> (\d+)<', markup)
    assert len(named) == len(set(named)) <= 6
    assert all(1 <= int(layer) < num_layers for layer in named)


def test_special_tokens_do_not_set_the_scale() -> None:
    words = [word_fate("[CLS]", 2), word_fate("film", 2)]
    assert largest_importance(words) == words[1].importance[-1]
    assert largest_importance(words[:1]) == words[0].importance[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": " "}, "text must be some text"),
        ({"importance": (1.0,)}, "one number for each of its 2 layers"),
        ({"importance": (2.0, 1.0)}, "never falling"),
        ({"importance": (float("nan"), 1.0)}, "finite"),
        ({"importance": (-1.0, 1.0)}, "not negative"),
    ],
)
def test_impossible_fates_are_refused(changes: dict[str, object], message: str) -> None:
    facts: dict[str, object] = {"text": "film", "last_layer": 2, "importance": (0.5, 1.0), **changes}
    with pytest.raises(UserError, match=message):
        WordFate(**facts)  # type: ignore[arg-type]


def test_a_passage_that_does_not_fit_the_model_is_refused() -> None:
    words = film_words()
    with pytest.raises(UserError, match="the passage is empty"):
        fading_words([], 6)
    with pytest.raises(UserError, match="at most num_layers = 5"):
        fading_words(words, 5)
    with pytest.raises(UserError, match="one count for each of 6 layers"):
        fading_words(words, 6, tokens_per_layer=[3, 2])
    with pytest.raises(UserError, match="pruned tokens never return"):
        fading_words(words, 6, tokens_per_layer=[3, 2, 1, 1, 1, 2])
