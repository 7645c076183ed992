"""The page of `multum demo`: what cascade token pruning does to passages, and what it costs and saves.

Every sentence that states a result is put together from the numbers of the run that it is about
(`multum.report.attention_sentences`); none is written in advance, so none is wrong when a run goes otherwise.
"""

from collections.abc import Mapping

from multum.cost.units import DASH, format_ratio
from multum.report.accelerator_section import accelerator_section
from multum.report.attention_results import AttentionResults, FadingPicture, SentenceScores
from multum.report.attention_sentences import (
    dense_row,
    fastest_pruned_row,
    mildest_strong_row,
    tell_cost,
    tell_retrieval,
    tell_sentences,
    tell_times,
    tell_words,
)
from multum.report.blocks import (
    definitions,
    details,
    key_numbers,
    notes,
    paragraph,
    section,
    small_print,
    subsection,
)
from multum.report.dial_section import dial_section
from multum.report.fading import fading_words
from multum.report.figure import plot
from multum.report.generation_results import GenerationResults
from multum.report.generation_section import generation_section
from multum.report.markup import Html
from multum.report.number_text import (
    format_fixed,
    format_percent,
    format_signed,
    plural,
    sentence_case,
    tell_count,
    tell_seconds,
)
from multum.report.page import Page
from multum.report.plots import bar_plot, scatter_plot
from multum.report.tables import comparison_table, table
from multum.report.token_map import token_map
from multum.report.transfer_section import missing_training_section, training_section


def attention_page(results: AttentionResults, provenance: Mapping[str, object] | None = None) -> Page:
    """Draw the results of a run.

    Args:
        results: The numbers.
        provenance: Where they come from, from `multum.core.provenance.provenance()`.

    Returns:
        The page.
    """
    model = results.model
    page = Page(
        "The words that stay",
        f"Cascade token pruning of {model.name}: {model.num_layers} layers of {model.num_heads} heads, "
        f"width {model.width}, {tell_count(model.num_parameters)} parameters.",
    )
    dials = [dial_section(results.dials)] if results.dials else []
    generation = _generation_sections(results.generation) if results.generation else []
    return page.add(
        key_numbers(headline(results)),
        words_section(results),
        retrieval_section(results),
        *dials,
        cost_section(results),
        time_section(results),
        sentence_section(results),
        *generation,
        *_training_sections(results),
        method_section(results, provenance),
    )


def _generation_sections(generation: GenerationResults) -> list[Html]:
    """The text that was written, and what the accelerator would make of it."""
    sections: list[Html] = [generation_section(generation)]
    if generation.accelerator is not None:
        what = f"reading that prompt and writing {plural(generation.accelerator.iterations, 'token')}"
        sections.append(accelerator_section(generation.accelerator, what))
    return sections


def _training_sections(results: AttentionResults) -> list[Html]:
    """What a network learned in little memory, or why it did not."""
    if results.transfer is not None:
        return [training_section(results.transfer)]
    return [missing_training_section(results.transfer_note)] if results.transfer_note else []


def headline(results: AttentionResults) -> list[tuple[str, str, str]]:
    """Choose the numbers at the top of the page: label, value, note."""
    dense = dense_row(results.retrieval)
    asked = plural(results.num_queries, "query", "queries")
    numbers = [("Found first, dense", format_percent(dense.recall_at_1, 1), f"of {asked}")]
    shown = next((row for row in results.retrieval if row.schedule == results.shown_schedule), None)
    shown = shown or mildest_strong_row(results.retrieval)
    if shown is not None:
        note = f"{format_signed(-shown.loss_points)} points found first"
        numbers.append(("Fewer tokens", format_ratio(shown.token_reduction), note))
    ratio = (results.cost_before / results.cost_after).ratio("macs")
    if ratio is not None:
        numbers.append(("Fewer multiply-accumulates", format_ratio(ratio), results.cost_after.name))
    fastest = fastest_pruned_row(results.timing)
    if fastest is not None:
        numbers.append(("As fast as dense", format_ratio(fastest.speedup), fastest.name))
    return numbers


def words_section(results: AttentionResults) -> Html:
    """Show the passages losing their words."""
    pictures = [
        _picture(picture, results.model.num_layers, is_first=index == 0)
        for index, picture in enumerate(results.pictures)
    ]
    return section("Words fading", paragraph(tell_words(results), lead=True), *pictures)


def retrieval_section(results: AttentionResults) -> Html:
    """Show how well queries find their passages, dense and pruned."""
    lead = tell_retrieval(results)
    rows = sorted(results.retrieval, key=lambda row: row.token_reduction)
    points = {
        family: [
            (row.token_reduction, 100 * row.recall_at_1, format_fixed(row.keep_ratio, 2))
            for row in rows
            if row.family == family
        ]
        for family in dict.fromkeys(row.family for row in rows)
    }
    figure = scatter_plot(
        points, x_label="token reduction (dense = 1)", y_label="queries whose passage comes first, %"
    )
    header = ["Schedule", "Keep ratio", "Token reduction", "R@1", "R@5", "MRR", "Points of R@1"]
    cells = [
        [
            row.schedule,
            format_fixed(row.keep_ratio, 2),
            format_ratio(row.token_reduction),
            format_fixed(row.recall_at_1),
            format_fixed(row.recall_at_5),
            format_fixed(row.mean_reciprocal_rank),
            format_signed(-row.loss_points),
        ]
        for row in rows
    ]
    caption = (
        "Retrieval against how many times fewer tokens the layers work on. Beside each point its keep ratio."
    )
    table_caption = "R@1 and R@5: part of the queries whose passage comes first, or among the first five."
    return section(
        "Retrieval",
        paragraph(lead, lead=True),
        plot(figure, caption, f"Points of recall against token reduction. {lead}"),
        table(header, cells, table_caption),
    )


def cost_section(results: AttentionResults) -> Html:
    """Show the ruler's reading before and after."""
    comparison = results.cost_before / results.cost_after
    blocks: list[Html] = [paragraph(tell_cost(results), lead=True)]
    fields = {
        "Multiply-accumulates": "macs",
        "Multiply-accumulates in attention": "attention_macs",
        "Peak memory": "peak_live_bytes",
        "DRAM traffic": "dram_bytes",
    }
    ratios = {label: comparison.ratio(field) for label, field in fields.items()}
    shares = {label: 100 / ratio for label, ratio in ratios.items() if ratio is not None}
    if shares:
        written = [format_percent(share / 100) for share in shares.values()]
        told = ", ".join(f"{label} {text}" for label, text in zip(shares, written, strict=True))
        figure = bar_plot(shares, written=written, full_width=max(100.0, *shares.values()))
        caption = "What is left of the dense model's cost, where the full width is all of it."
        blocks.append(plot(figure, caption, f"Bars of the cost that is left: {told}."))
    blocks.append(comparison_table(comparison, "The ruler's readings."))
    return section("Cost before and after", *blocks)


def time_section(results: AttentionResults) -> Html:
    """Show the wall-clock times, all taken in one run."""
    timing = results.timing
    lead = tell_times(timing, results.timing_note)
    ours = [row.name for row in timing if row.is_pruned]
    figure = bar_plot(
        {row.name: row.median_seconds for row in timing},
        written=[tell_seconds(row.median_seconds) for row in timing],
        spreads=[row.spread_seconds / 2 for row in timing],
        emphasis=ours,
    )
    header = ["Run", "Median", "Spread", "As fast as dense", "As fast, same linears", "Floor", "Times floor"]
    cells = [
        [
            row.name,
            tell_seconds(row.median_seconds),
            tell_seconds(row.spread_seconds),
            format_ratio(row.speedup),
            format_ratio(row.speedup_same_linears),
            DASH if row.floor_seconds is None else tell_seconds(row.floor_seconds),
            format_ratio(row.times_floor),
        ]
        for row in timing
    ]
    caption = (
        "Spread: interquartile range. As fast: the time of the dense model under SDPA over this time, as shipped and "
        "with the same fast linears. Floor: the multiply-accumulates alone at this machine's measured peak rate."
    )
    strong = [index for index, row in enumerate(timing) if row.is_pruned]
    return section(
        "Time on this machine",
        paragraph(lead, lead=True),
        plot(figure, "Median time of one round; the whisker is the spread.", f"Bars of time. {lead}"),
        table(header, cells, caption, emphasis=strong),
    )


def sentence_section(results: AttentionResults) -> Html:
    """Show what pruning costs where there is little to spare."""
    lead = " ".join(tell_sentences(scores) for scores in results.sentences)
    points = {
        f"{scores.source}, {family}" if family else scores.source: [
            (row.token_reduction, row.spearman, format_fixed(row.spearman, 2))
            for row in sorted(scores.rows, key=lambda row: row.token_reduction)
            if row.family == family
        ]
        for scores in results.sentences
        for family in dict.fromkeys(row.family for row in scores.rows)
    }
    figure = scatter_plot(points, x_label="token reduction (dense = 1)", y_label="Spearman's correlation")
    caption = "Agreement with human scores against token reduction."
    return section(
        "Short sentences: what pruning costs",
        paragraph(lead, lead=True),
        plot(figure, caption, f"Points of correlation. {lead}"),
        *[_sentence_table(scores) for scores in results.sentences],
    )


def method_section(results: AttentionResults, provenance: Mapping[str, object] | None) -> Html:
    """Tell how and where it was measured."""
    blocks = [notes(results.notes)] if results.notes else []
    if provenance:
        blocks.append(definitions(provenance))
    return section("How this was measured", *(blocks or [paragraph("Nothing was recorded about this run.")]))


def _picture(picture: FadingPicture, num_layers: int, *, is_first: bool) -> Html:
    drawn = fading_words(
        picture.words,
        num_layers,
        tokens_per_layer=picture.tokens_per_layer,
        label=picture.title,
        shows_strip=is_first,
        shows_legend=is_first,
    )
    told = small_print(f"{sentence_case(picture.topic)}. Keep ratio {format_fixed(picture.keep_ratio, 2)}.")
    if not picture.tokens:
        return subsection(picture.title, told, drawn)
    every = token_map(picture.tokens, num_layers, label=f"{picture.title}, every token")
    fold = details("Every token and what it had gathered after each layer", every, is_open=is_first)
    return subsection(picture.title, told, drawn, fold)


def _sentence_table(scores: SentenceScores) -> Html:
    dense = min(scores.rows, key=lambda row: row.token_reduction)
    rows = [
        [
            row.schedule,
            format_ratio(row.token_reduction),
            format_fixed(row.spearman),
            format_signed(row.spearman - dense.spearman, 3),
        ]
        for row in scores.rows
    ]
    header = ["Schedule", "Token reduction", "Spearman", "Against dense"]
    return table(header, rows, f"{scores.source}: {plural(scores.num_pairs, 'sentence pair')}.")
