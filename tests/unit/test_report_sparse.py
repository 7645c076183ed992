"""Pictures of tokens, heads, values, bits and a shrinking cache: nothing is left out, nothing impossible is drawn."""

import dataclasses
import re

import pytest

from multum.accelerator import Workload
from multum.attention import OnAccelerator, TokenFate, on_accelerator
from multum.core.errors import UserError
from multum.cost.units import format_less
from multum.report import (
    RowLife,
    attention_page,
    cache_rows,
    dial_section,
    generation_section,
    head_map,
    layer_columns,
    life_map,
    plot,
    token_map,
)
from multum.report.accelerator_section import tell_accelerator
from multum.report.dial_section import tell_dials
from multum.report.generation_section import drawn_layers, tell_generation
from multum.report.sparse_plots import _life_boxes, _possible_boxes
from report_samples import (
    attention_results,
    dial_results,
    film_words,
    generation_results,
    passage_words,
    row_lives,
    tokens_of,
)

FILM, PASSAGE = tokens_of(film_words()), tokens_of(passage_words())


def test_short_text_is_a_table_with_a_number_in_every_living_cell() -> None:
    markup = token_map(FILM, 6).markup
    assert markup.count("<tr>") == 1 + len(FILM)
    assert markup.count("--tint:") == sum(token.last_layer for token in FILM)
    assert markup.count('aria-label="gone"') == sum(6 - token.last_layer for token in FILM)
    assert "<small>protected</small>" in markup


def test_long_text_stays_a_text_with_a_bar_for_every_layer_lived() -> None:
    markup = token_map(PASSAGE, 6).markup
    assert "<table" not in markup
    assert markup.count("data-importance=") == len(PASSAGE)
    assert markup.count("<i ") == sum(token.last_layer for token in PASSAGE)
    assert "gone after layer 1 of 6; cumulative importance" in markup
    assert "; protected" in markup


def test_shade_compares_tokens_of_one_layer() -> None:
    tokens = [TokenFate(text="a", importance=(1.0, 10.0)), TokenFate(text="b", importance=(0.5, 5.0))]
    assert re.findall(r"--tint:([\d.]+)", token_map(tokens, 2).markup) == ["1.00", "1.00", "0.50", "0.50"]


def test_tokens_are_escaped() -> None:
    assert "<b>" not in token_map([TokenFate(text="<b>", importance=(1.0,))], 2).markup.replace("<b>kept", "")


def test_impossible_tokens_are_refused() -> None:
    with pytest.raises(UserError, match="the text is empty"):
        token_map([], 6)
    with pytest.raises(UserError, match="at most num_layers = 5"):
        token_map(FILM, 5)
    with pytest.raises(UserError, match="never falling"):
        TokenFate(text="a", importance=(2.0, 1.0))
    with pytest.raises(UserError, match="finite"):
        TokenFate(text="a", importance=(float("nan"),))


def test_boxes_of_lives_cover_every_step_of_every_row_once() -> None:
    lives = row_lives(30, 12)
    expected = {
        (step, life.position) for life in lives for step in range(life.first_step, life.last_step + 1)
    }
    covered = [
        (step, position)
        for left, bottom, right, top in _life_boxes(lives)
        for step in range(int(left), int(right))
        for position in range(int(bottom), int(top))
    ]
    assert len(covered) == len(set(covered))
    assert set(covered) == expected
    possible = {
        (step, position)
        for left, bottom, right, top in _possible_boxes(42, 12, 30)
        for step in range(int(left), int(right))
        for position in range(int(bottom), int(top))
    }
    assert expected <= possible


def test_plots_are_the_same_bytes_each_time_and_follow_the_page() -> None:
    def drawn() -> list[str]:
        figures = (
            head_map([(0, 1, 2), (0, 2)], 3),
            layer_columns([2.0, 1.0], full=[3.0, 3.0], y_label="rows", names=("used", "there")),
            cache_rows({"layer 1": [4, 5], "layer 2": [4, 2]}, dense=[4, 5], y_label="rows"),
            life_map(row_lives(10, 5), 5, 10),
        )
        return [plot(figure, "A caption.", "A description.").markup for figure in figures]

    first = drawn()
    assert first == drawn()
    for markup in first:
        assert "var(--series-1)" in markup
        assert not re.search(r"#[0-9a-f]{6}", markup)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: head_map([], 2), "one list for each layer"),
        (lambda: head_map([(0, 2)], 2), r"among 0..1; got \[0, 2\]"),
        (lambda: layer_columns([], y_label="y"), "at least 0 for each layer"),
        (lambda: layer_columns([-1.0], y_label="y"), "at least 0 for each layer"),
        (lambda: layer_columns([1.0], full=[1, 2], y_label="y"), "one for each of the 1 layers"),
        (lambda: cache_rows({}, dense=[1], y_label="y"), "at least one series"),
        (lambda: cache_rows({"a": [1, 2]}, dense=[1], y_label="y"), "1 steps long, like the dense one"),
        (lambda: life_map([], 3, 1), "at least one row"),
        (
            lambda: life_map([RowLife(position=0, first_step=2, last_step=1)], 3, 1),
            r"within steps 0..3; got \(2, 1\)",
        ),
    ],
)
def test_impossible_plots_are_refused(draw, message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw()


def test_few_layers_are_drawn_of_many() -> None:
    rows = tuple((100, 100 - layer) for layer in range(30))
    layers = drawn_layers(rows)
    assert len(layers) == 5
    assert (layers[0], layers[-1]) == (1, 30)


def test_generation_is_told_by_its_numbers() -> None:
    results = generation_results()
    told = tell_generation(results)
    assert "continues a prompt of 100 tokens" in told
    assert "6.25\u00d7 less" in told
    assert "5.5\u202f% of the query rows were flat" in told
    assert "The texts agree for " in told
    same = dataclasses.replace(
        results,
        lsb_rates=(),
        continuations=tuple(dataclasses.replace(it, text="the same") for it in results.continuations),
    )
    assert "Both write the same text." in tell_generation(same)
    assert "flat" not in tell_generation(same)


def test_generation_without_bits_and_heads_has_no_picture_of_them() -> None:
    results = dataclasses.replace(generation_results(), lsb_rates=(), heads_by_layer=())
    assert generation_section(generation_results()).markup.count('<figure class="plot">') == 5
    assert generation_section(results).markup.count('<figure class="plot">') == 3


def test_generation_needs_both_continuations() -> None:
    results = generation_results()
    with pytest.raises(UserError, match="a dense and a pruned one"):
        dataclasses.replace(results, continuations=results.continuations[:1])
    with pytest.raises(UserError, match=r"shown_layer must be in 1..4; got 5"):
        dataclasses.replace(results, shown_layer=5)


def test_dials_are_told_by_their_strongest_harmless_setting() -> None:
    told = tell_dials(dial_results())
    assert "10 heads of 12: no points of recall lost or gained." in told
    assert "A fifth of the values: 0.7 points of recall lost." in told
    assert "4 bits:" not in told
    assert "leave 44\u202f% of the multiply-accumulates; 2.1 points of recall lost" in told
    markup = dial_section(dial_results()).markup
    assert markup.count('<figure class="plot">') == 3
    assert markup.count("<tr") == 9


def test_dials_without_a_dense_model_are_refused() -> None:
    results = dial_results()
    with pytest.raises(UserError, match="must hold the dense model"):
        dataclasses.replace(results, rows=results.rows[1:])


def on_sample_accelerator() -> OnAccelerator:
    step = Workload.from_counts(keys=[[64, 32]], heads=4, lengths=[64], key_bits=8, value_bits=8)
    return on_accelerator(step, processor_seconds=0.25)


def test_accelerator_is_told_by_its_numbers() -> None:
    found = on_sample_accelerator()
    told = tell_accelerator(found, "writing")
    assert f"{format_less(found.speedup)} time" in told
    assert "This machine took 250" in told
    alone = tell_accelerator(dataclasses.replace(found, processor_seconds=None), "writing")
    assert alone == told.partition(" This machine")[0]


def test_page_shows_the_accelerator_where_it_was_simulated() -> None:
    plain = generation_results()
    simulated = dataclasses.replace(plain, accelerator=on_sample_accelerator())
    pages = [
        attention_page(dataclasses.replace(attention_results(), generation=it)).to_html()
        for it in (plain, simulated)
    ]
    assert ["The same on SpAtten" in page for page in pages] == [False, True]
