"""The page of a training: its sentences follow from its numbers, and it fits many classes and few pictures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from multum.core import UserError, from_dict, to_dict
from multum.cost import Cost
from multum.report.picture_grid import Thumbnail, picture_data, picture_grid
from multum.report.transfer_page import confused_pairs, transfer_page
from multum.report.transfer_plots import confusion_map, shade_of, training_curves
from multum.report.transfer_results import StepReading, TransferStory
from multum.report.transfer_run import MOST_THUMBNAILS, mistake_thumbnails
from multum.report.transfer_section import (
    missing_training_section,
    tell_memory,
    tell_training,
    training_section,
)
from multum.transfer import Mistake, TransferConfig
from report_samples import inference_cost, memory_story, provenance, training_cost, transfer_story

MISTAKE = Mistake(picture="cat/1.png", is_class="cat", taken_for="dog", confidence=0.9)


def titles(html: str) -> list[str]:
    return [part.partition("</h2>")[0].partition(">")[2] for part in html.split("<h2")[1:]]


def test_a_story_goes_through_json_unchanged() -> None:
    story = transfer_story(memory=memory_story())
    again = from_dict(TransferStory, json.loads(json.dumps(to_dict(story))))
    assert again == story
    assert transfer_page(again).to_html() == transfer_page(story).to_html()


def test_the_page_has_its_sections_in_order() -> None:
    page = transfer_page(transfer_story(memory=memory_story()), (), {"data": "birds"}, provenance())
    html = page.to_html()
    assert titles(html) == [
        "How it went",
        "What is taken for what",
        "Class by class",
        "What it gets wrong",
        "Memory of a step",
        "How it was made",
    ]
    assert "kind of bird &lt;1&gt;" in html
    assert "<dd>birds</dd>" in html
    assert "1 file of the folder were left out" in html


def test_what_is_not_known_has_no_part() -> None:
    story = transfer_story(has_validation=False)
    test = replace(story.result.test, mistakes=())
    html = transfer_page(replace(story, epochs=(), result=replace(story.result, test=test))).to_html()
    assert titles(html) == ["How it went", "What is taken for what", "Class by class", "How it was made"]
    assert "No validation part was kept" in html


@pytest.mark.parametrize("num_classes", [2, 12, 13, 100])
def test_any_number_of_classes_fits(num_classes: int) -> None:
    story = transfer_story(num_classes)
    html = transfer_page(story).to_html()
    assert len(html) < 600_000
    assert ("All 100 classes" in html) == (num_classes == 100)
    figure = confusion_map(story.result.test.confusion, story.result.classes)
    counts = [text.get_text() for text in figure.axes[0].texts]
    assert bool(counts) == (num_classes <= 12)
    if counts:
        assert sum(map(int, counts)) == story.result.test.num_pictures


def test_shades_tell_rare_from_never_and_grow() -> None:
    shades = [shade_of(count, 1000) for count in range(1001)]
    assert (shades[0], shades[1], shades[1000]) == (0, 1, 10)
    assert shades == sorted(shades)


def test_a_map_that_is_not_square_is_refused() -> None:
    with pytest.raises(UserError, match="confusion must be 2 rows of 2 counts"):
        confusion_map(((1, 2),), ("a", "b"))


def test_pairs_are_ranked_and_counted() -> None:
    test = replace(transfer_story(3).result.test, confusion=((5, 1, 0), (0, 5, 4), (0, 0, 5)))
    first, second, third = test.classes
    assert confused_pairs(test) == [(second, third, 4), (first, second, 1)]


@pytest.mark.parametrize("num_epochs", [1, 2, 60])
def test_the_kept_epoch_is_marked_in_both_panels(num_epochs: int) -> None:
    story = transfer_story(num_epochs=num_epochs)
    upper, lower = training_curves(story.epochs, num_epochs).axes
    for axes in (upper, lower):
        assert [line for line in axes.lines if list(line.get_xdata()) == [num_epochs, num_epochs]]
    assert [text.get_text() for text in lower.texts] == [f"epoch {num_epochs}, kept"]


def test_curves_without_a_validation_part_have_one_panel() -> None:
    story = transfer_story(has_validation=False)
    (axes,) = training_curves(story.epochs, 5).axes
    assert len(axes.lines) == 2
    with pytest.raises(UserError, match="epochs must be at least one"):
        training_curves((), 1)


def test_a_training_is_told_from_its_numbers() -> None:
    told = tell_training(transfer_story(memory=memory_story()))
    assert told.startswith(
        "sample-net at 96 pixels learned 6 classes from 60 pictures in 5 epochs, in the mode"
    )
    assert "670\u202fk of its numbers train, 17\u202f%." in told
    assert "knows 90.5\u202f% of 126 pictures that it was not shown. It took 31.4\u202fs." in told


def test_memory_is_told_beside_stock_and_only_as_far_as_it_was_measured() -> None:
    told = tell_memory(memory_story())
    assert (
        "takes 24.9\u202fMB at its fullest moment; full fine-tuning of stock layers takes 161\u202fMB" in told
    )
    assert "adds 20.0\u202fMB to what is there before it, beside 125\u202fMB: 6.25\u00d7 less." in told
    only_predicted = memory_story(is_measured=False)
    assert "Measured" not in tell_memory(only_predicted)
    html = str(training_section(transfer_story(memory=only_predicted)))
    assert "measured</th>" not in html
    assert "only Linux tells" in html


def test_a_reading_is_taken_from_the_ruler() -> None:
    cost = training_cost()
    reading = StepReading.of(cost, name="it", measured_growth_bytes=5)
    assert reading.weight_bytes == cost.parameter_bytes + cost.buffer_bytes + cost.input_bytes
    assert (reading.predicted_bytes, reading.measured_bytes) == (
        cost.peak_live_bytes,
        cost.resident_bytes + 5,
    )
    with pytest.raises(UserError, match="mode must be training; got 'inference'"):
        StepReading.of(inference_cost("dense", 1.0), name="it")
    with pytest.raises(UserError, match="resident_bytes of 'it'"):
        StepReading.of(Cost(name="it", mode="training", resident_bytes=2, peak_live_bytes=1), name="it")


def test_what_could_not_be_trained_says_why() -> None:
    assert "pip install them" in str(missing_training_section("Nothing was trained; pip install them."))


def test_mistakes_are_shown_as_long_as_their_pictures_are_there(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (900, 600), "red").save(tmp_path / "cat" / "1.png")
    config = TransferConfig(data=tmp_path)
    there, gone = mistake_thumbnails(config, [MISTAKE, replace(MISTAKE, picture="cat/<2>.png")])
    assert (there.label, there.note) == ("cat, taken for dog", "90\u202f% sure")
    assert there.data is not None
    assert there.data.startswith("data:image/jpeg;base64,")
    assert len(there.data) < 20_000, "a small copy"
    assert gone.data is None
    html = str(picture_grid([there, gone]))
    assert html.count("<img ") == 1
    assert "cat/&lt;2&gt;.png" in html
    page = transfer_page(transfer_story(), [gone]).to_html()
    assert "no longer where they were" in page


def test_digits_are_shown_by_their_number() -> None:
    pytest.importorskip("sklearn")
    names = ("digit 3", "digit 1796", "digit 1797", "other")
    found = mistake_thumbnails(TransferConfig(data="digits"), [replace(MISTAKE, picture=it) for it in names])
    assert [it.data is not None for it in found] == [True, True, False, False]


def test_the_surest_mistakes_are_counted() -> None:
    story = transfer_story(30)
    few = [Thumbnail(label="a", note="b", name="c", data=None)] * MOST_THUMBNAILS
    html = transfer_page(story, few).to_html()
    assert (
        "60 pictures of 630 got a wrong answer. Here are the 24 about which the network was surest." in html
    )


def test_an_empty_grid_is_refused_and_a_picture_keeps_its_colour() -> None:
    with pytest.raises(UserError, match="thumbnails must be at least one"):
        picture_grid([])
    assert picture_data(torch.zeros(3, 9, 9, dtype=torch.uint8)) != picture_data(
        torch.full((3, 9, 9), 255, dtype=torch.uint8)
    )


@pytest.mark.parametrize("grown", [None, 60_000_000, 70_000_000])
def test_a_budget_is_shown_with_what_was_taken_of_it(grown: int | None) -> None:
    used = {"budget_bytes": 64_000_000, "predicted_bytes": 61_000_000, "grown_bytes": grown}
    parts = {"parts": {"weights": 16_000_000}, "plan": "micro-batches of 2"}
    story = transfer_story()
    html = transfer_page(replace(story, result=replace(story.result, memory={**used, **parts}))).to_html()
    assert "The memory budget" in titles(html)
    assert "may take 64.0\u202fMB, and was predicted to take 61.0\u202fMB" in html
    assert ("The process grew by" in html) == (grown is not None)
    assert ("the full width is what was taken" in html) == (grown == 70_000_000)
    assert "The plan: micro-batches of 2" in html
