"""The page of `multum transfer train`: how good the network is, how it got there, and what it gets wrong.

Every sentence that states a result is put together from the numbers of the run that it is about.
"""

from collections.abc import Mapping, Sequence

from multum.cost.units import format_ratio
from multum.report.blocks import Section, definitions, details, key_numbers, notes, paragraph, section
from multum.report.budget_section import budget_section
from multum.report.figure import plot
from multum.report.markup import Html, element
from multum.report.number_text import format_percent, plural, tell_bytes, tell_count
from multum.report.page import Page
from multum.report.picture_grid import Thumbnail, picture_grid
from multum.report.tables import bar_cell, table
from multum.report.transfer_plots import confusion_map
from multum.report.transfer_results import TransferStory
from multum.report.transfer_section import MEMORY_TITLE, curve_blocks, memory_blocks, tell_training
from multum.transfer import Judgement

MOST_ROWS_SHOWN = 24
"""Classes in the open table, those that are known worst; more stand under a fold."""

MOST_PAIRS_SHOWN = 12
"""Pairs of classes in the table of what is confused most."""


def transfer_page(
    story: TransferStory,
    thumbnails: Sequence[Thumbnail] = (),
    config: Mapping[str, object] | None = None,
    provenance: Mapping[str, object] | None = None,
) -> Page:
    """Draw a training.

    Args:
        story: The training.
        thumbnails: Pictures that it got wrong, to look at.
        config: What it was told.
        provenance: Where the numbers come from, from `multum.core.provenance.provenance()`.

    Returns:
        The page.
    """
    result = story.result
    title = (
        f"{plural(len(result.classes), 'class', 'classes')}, {format_percent(result.test_accuracy, 1)} known"
    )
    page = Page(
        title, f"{result.backbone} at {result.side} pixels, taught by transfer in the mode {result.mode}."
    )
    page.add(key_numbers(_key_numbers(story)))
    page.add(section("How it went", paragraph(tell_training(story), lead=True), *curve_blocks(story)))
    page.add(_confusion_section(result.test), _class_section(result.test))
    if result.test.mistakes:
        page.add(_mistake_section(result.test, thumbnails))
    if result.memory is not None:
        page.add(budget_section(result.memory))
    if story.memory is not None:
        page.add(section(MEMORY_TITLE, *memory_blocks(story.memory)))
    return page.add(_making_section(story, config, provenance))


def _key_numbers(story: TransferStory) -> list[tuple[str, str, str]]:
    result = story.result
    share = format_percent(result.num_trained / (result.num_trained + result.num_frozen))
    numbers = [
        (
            "Test pictures known",
            format_percent(result.test_accuracy, 1),
            f"of {result.test.num_pictures:,}, never learned from",
        ),
        ("Learned from", f"{result.num_train:,}", f"pictures, {plural(result.num_epochs, 'epoch')}"),
        ("Numbers trained", tell_count(result.num_trained), f"{share} of the network"),
    ]
    if story.memory is not None:
        ours, stock = story.memory.ours.predicted_bytes, story.memory.stock.predicted_bytes
        note = f"{format_ratio(stock / ours)} less than {story.memory.stock.name}"
        numbers.append(("Memory of a step", tell_bytes(ours), note))
    elif story.adapted_bytes is not None:
        numbers.append(("Kept on disk", tell_bytes(story.adapted_bytes), "beside the backbone"))
    return numbers


def _confusion_section(test: Judgement) -> Section:
    pairs = confused_pairs(test)
    num_wrong = sum(count for *_, count in pairs)
    lead = f"{num_wrong:,} of {plural(test.num_pictures, 'test picture')} were taken for another class."
    if pairs:
        is_class, taken_for, count = pairs[0]
        lead += f" Most often {is_class} was taken for {taken_for}: {plural(count, 'time')}."
    caption = (
        "Each row is a class, and its cells are what its pictures were taken for: on the diagonal what was known. "
        "Shades grow with the root of the part of the row, so that rare mistakes are seen."
    )
    drawn = plot(confusion_map(test.confusion, test.classes), caption, f"A map of shades. {lead}")
    blocks: list[Html] = [paragraph(lead, lead=True), element("div", {"class": "plain-text"}, drawn)]
    if len(pairs) > 1:
        rows = [
            [is_class, taken_for, f"{count:,}"] for is_class, taken_for, count in pairs[:MOST_PAIRS_SHOWN]
        ]
        blocks.append(table(["What it is", "Taken for", "Pictures"], rows, "What is confused most."))
    return section("What is taken for what", *blocks)


def confused_pairs(test: Judgement) -> list[tuple[str, str, int]]:
    """List which class was taken for which other, and how often, the most frequent first.

    Args:
        test: The judgement.
    """
    found = [
        (is_class, taken_for, count)
        for is_class, row in zip(test.classes, test.confusion, strict=True)
        for taken_for, count in zip(test.classes, row, strict=True)
        if count and taken_for != is_class
    ]
    return sorted(found, key=lambda it: -it[2])


def _class_section(test: Judgement) -> Section:
    counts = {name: sum(row) for name, row in zip(test.classes, test.confusion, strict=True)}
    ranked = sorted(test.class_accuracy, key=lambda name: test.class_accuracy[name])
    worst, best = ranked[0], ranked[-1]
    lead = (
        f"From {format_percent(test.class_accuracy[worst], 1)} ({worst}) to "
        f"{format_percent(test.class_accuracy[best], 1)} ({best})."
    )
    if test.class_accuracy[worst] == test.class_accuracy[best]:
        lead = f"All alike: {format_percent(test.class_accuracy[best], 1)}."
    rows: list[list[Html | str]] = [
        [
            name,
            f"{counts[name]:,}",
            bar_cell(format_percent(test.class_accuracy[name], 1), test.class_accuracy[name]),
        ]
        for name in ranked
    ]
    header = ["Class", "Test pictures", "Known"]
    blocks: list[Html] = [paragraph(lead, lead=True)]
    if len(rows) <= MOST_ROWS_SHOWN:
        blocks.append(table(header, rows, "All classes, from the worst known."))
    else:
        blocks.append(
            table(header, rows[:MOST_ROWS_SHOWN], f"The {MOST_ROWS_SHOWN} classes that are known worst.")
        )
        everything = table(header, rows, "All classes, from the worst known.")
        blocks.append(details(f"All {len(rows)} classes", everything))
    return section("Class by class", *blocks)


def _mistake_section(test: Judgement, thumbnails: Sequence[Thumbnail]) -> Section:
    shown = len(thumbnails)
    lead = f"{plural(len(test.mistakes), 'picture')} of {test.num_pictures:,} got a wrong answer."
    if 0 < shown < len(test.mistakes):
        lead += f" Here are the {shown} about which the network was surest."
    elif shown > 1:
        lead += " The network was surest of the first."
    blocks: list[Html] = [paragraph(lead, lead=True)]
    if thumbnails:
        blocks.append(picture_grid(thumbnails))
    if thumbnails and all(it.data is None for it in thumbnails):
        blocks.append(notes(["The pictures are no longer where they were, so only their names are shown."]))
    return section("What it gets wrong", *blocks)


def _making_section(
    story: TransferStory, config: Mapping[str, object] | None, provenance: Mapping[str, object] | None
) -> Section:
    result = story.result
    chosen = "No validation part was kept: the last epoch was taken."
    if result.num_validation:
        chosen = f"The epoch was chosen by {plural(result.num_validation, 'validation picture')}."
    told = [f"{chosen} The test part was looked at once, at the end."]
    if result.stock_layers:
        told.append(f"Layers that keep what torch keeps: {', '.join(result.stock_layers)}.")
    if result.skipped:
        told.append(
            f"{plural(len(result.skipped), 'file')} of the folder were left out; run.json names them."
        )
    blocks: list[Html] = [notes(told)]
    if config:
        blocks.append(definitions(config, "What it was told."))
    if provenance:
        blocks.append(definitions(provenance, "Where it ran."))
    return section("How it was made", *blocks)
