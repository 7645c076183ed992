"""The demo's page: its sentences follow from its numbers, and its numbers survive JSON."""

import dataclasses
import json

import pytest

from multum.core.config import from_dict, to_dict
from multum.core.errors import UserError
from multum.report import AttentionResults, SentenceScores, TimingRow, attention_page, cost_page
from multum.report.attention_sentences import tell_retrieval, tell_sentences, tell_times, tell_words
from report_samples import (
    attention_results,
    inference_cost,
    provenance,
    retrieval_row,
    sentence_rows,
    training_cost,
)


def test_results_go_through_json_unchanged() -> None:
    results = attention_results()
    again = from_dict(AttentionResults, json.loads(json.dumps(to_dict(results))))
    assert again == results
    assert attention_page(again).to_html() == attention_page(results).to_html()


def test_the_page_has_its_sections_in_order() -> None:
    html = attention_page(attention_results(), provenance()).to_html()
    titles = [
        "Words fading",
        "Retrieval",
        "Heads, values and bits",
        "Cost before and after",
        "Time on this machine",
        "Short sentences: what pruning costs",
        "A cache that shrinks while the model writes",
        "Training in little memory",
        "How this was measured",
    ]
    places = [html.index(f">{title}</h2>") for title in titles]
    assert places == sorted(places)
    assert "a processor with &lt;many&gt; units" in html


def test_what_was_not_measured_has_no_section() -> None:
    bare = dataclasses.replace(attention_results(), dials=None, generation=None, transfer=None)
    html = attention_page(bare).to_html()
    assert "Heads, values and bits" not in html
    assert "A cache that shrinks" not in html
    assert "Training in little memory" not in html
    wished = dataclasses.replace(bare, transfer_note="Nothing was trained: pip install the weights.")
    assert "pip install the weights" in attention_page(wished).to_html()


def test_the_words_that_are_left_are_counted() -> None:
    told = tell_words(attention_results())
    assert "236 words in the 2 passages" in told
    assert "13 (6\u202f%) live through all 6 layers" in told


def test_the_strongest_harmless_schedule_is_named() -> None:
    told = tell_retrieval(attention_results())
    assert "144 queries look for their passage among 72" in told
    assert "loses at most 2 points is flat 0.4: 2.00\u00d7 fewer tokens, 0.7 points lost" in told
    assert "strongest one tried is flat 0.3" in told


def test_no_schedule_is_called_harmless_when_all_lose() -> None:
    rows = (retrieval_row("dense", 1.0, 1.0, 0.7917), retrieval_row("linear", 0.3, 2.4, 0.3))
    told = tell_retrieval(dataclasses.replace(attention_results(), retrieval=rows))
    assert "loses at most" not in told
    assert "49.2 points lost" in told


def test_a_gain_is_told_as_a_gain() -> None:
    rows = (retrieval_row("dense", 1.0, 1.0, 0.7917), retrieval_row("flat", 0.5, 1.7, 0.8))
    assert "0.8 points gained" in tell_retrieval(dataclasses.replace(attention_results(), retrieval=rows))


def test_times_are_told_with_both_peers_and_the_floor() -> None:
    told = tell_times(attention_results().timing)
    assert told.startswith("Dense, SDPA as shipped takes 5.90\u202fs.")
    assert "3.03\u00d7 as fast, and 1.74\u00d7 as fast as the dense model with the same fast linears" in told
    assert "1.20\u202fs at the peak rate" in told


def test_times_without_a_pruned_row_claim_nothing() -> None:
    told = tell_times(attention_results().timing[:1])
    assert told == "Dense, SDPA as shipped takes 5.90\u202fs."


def test_what_pruning_costs_is_said_plainly() -> None:
    told = tell_sentences(attention_results().sentences[1])
    assert told.endswith(
        "0.820; with 1.17\u00d7 fewer tokens it is 0.770; with 1.70\u00d7 fewer tokens it is 0.660."
    )
    only_dense = SentenceScores(source="pairs", num_pairs=60, rows=sentence_rows((1.0, 0.8)))
    assert tell_sentences(only_dense).endswith("correlation 0.800.")


@pytest.mark.parametrize("empty", ["pictures", "retrieval", "timing", "sentences"])
def test_results_without_a_part_are_refused(empty: str) -> None:
    with pytest.raises(UserError, match=f"{empty} must be filled"):
        dataclasses.replace(attention_results(), **{empty: ()})


def test_rows_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="keep_ratio must be in"):
        retrieval_row("flat", 0.0, 2.0, 0.5)
    with pytest.raises(UserError, match="token_reduction must be at least 1"):
        retrieval_row("flat", 0.5, 0.5, 0.5)
    with pytest.raises(UserError, match=r"recall_at_1 must be in \[0, 1\]"):
        retrieval_row("flat", 0.5, 2.0, 79.0)
    with pytest.raises(UserError, match="median_seconds"):
        TimingRow(name="dense", median_seconds=0.0, spread_seconds=0.0, speedup=1.0)
    with pytest.raises(UserError, match="dense"):
        SentenceScores(source="pairs", num_pairs=2, rows=sentence_rows((1.5, 0.8)))


def test_the_cost_page_shows_training_parts_only_in_training() -> None:
    training = cost_page(training_cost()).to_html()
    inference = cost_page(inference_cost("dense", 1.0)).to_html()
    assert "Kept for backward" in training
    assert "optimizer state" in training
    assert "Kept for backward" not in inference
    assert "sample-encoder &lt;6 layers&gt;" in training


def test_layers_that_share_the_first_place_are_told_together() -> None:
    cost = training_cost()
    assert "6 of them compute most, 8.0\u202f% of the work each" in cost_page(cost).to_html()
    largest = max(cost.layers, key=lambda layer: layer.macs)
    alone = dataclasses.replace(cost, layers=(largest,))
    assert f"The one that computes most is {largest.path}" in cost_page(alone).to_html()


def test_the_cost_page_lists_every_layer_and_warns_of_uncounted_operations() -> None:
    cost = dataclasses.replace(training_cost(), uncounted_ops=("my::op",))
    html = cost_page(cost).to_html().replace("\u200b", "")
    for layer in cost.layers:
        assert layer.path in html
    assert "no formula is known for my::op" in html
