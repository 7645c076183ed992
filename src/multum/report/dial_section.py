"""The part of a page that shows heads, values and bits: what each costs and saves, alone and with tokens."""

from multum.report.blocks import Section, notes, paragraph, section
from multum.report.dial_results import DialResults, DialRow
from multum.report.figure import plot
from multum.report.markup import Html
from multum.report.number_text import format_fixed, format_percent, format_signed, sentence_case
from multum.report.plots import scatter_plot
from multum.report.sparse_plots import head_map, layer_columns
from multum.report.tables import table

FAMILIES = {"heads": "heads", "values": "values", "bits": "bits", "all": "tokens, heads, values, bits"}
"""What each dial is called in the plot."""


def dial_section(results: DialResults) -> Section:
    """Draw the dials: loss against what is left, the heads that live, the value rows that are multiplied."""
    lead = tell_dials(results)
    dense = next(row for row in results.rows if row.dial == "dense")
    points = {
        family: [
            (100 * row.left, 100 * row.recall_at_1, row.name if dial == "bits" else "")
            for row in sorted([dense, *_of(results, dial)], key=lambda row: -row.left)
        ]
        for dial, family in FAMILIES.items()
        if dial != "all" and _of(results, dial)
    }
    blocks: list[Html] = [paragraph(lead, lead=True)]
    if points:
        figure = scatter_plot(
            points, x_label="left of the dial's own work, %", y_label="queries whose passage comes first, %"
        )
        caption = "Retrieval against what is left: heads computed, value rows multiplied, bits of 32."
        blocks.append(plot(figure, caption, f"Points of recall. {lead}"))
    blocks.append(_table(results))
    blocks.append(_heads(results))
    blocks.append(_values(results))
    if results.note:
        blocks.append(notes([results.note]))
    return section("Heads, values and bits", *blocks)


def tell_dials(results: DialResults) -> str:
    """Tell what each dial is, and what its strongest harmless setting and everything together leave."""
    told = [
        (
            "Tokens are one dial of four. A head that hands on little is pruned for all later layers, and its "
            "projections are not computed; of a query's probabilities the smallest do not fetch their value rows; "
            "queries, keys and values are rounded to few bits."
        )
    ]
    for dial in ("heads", "values", "bits"):
        mild = [row for row in _of(results, dial) if row.loss_points <= 1]
        if mild:
            best = min(mild, key=lambda row: row.left)
            told.append(f"{sentence_case(best.name)}: {_tell_loss(best)}.")
    for row in _of(results, "all"):
        share = format_percent(row.macs_left)
        told.append(f"All four together leave {share} of the multiply-accumulates; {_tell_loss(row)}.")
    return " ".join(told)


def _of(results: DialResults, dial: str) -> list[DialRow]:
    return [row for row in results.rows if row.dial == dial]


def _tell_loss(row: DialRow) -> str:
    size = format_fixed(abs(row.loss_points), 1)
    if size == "0.0":
        return "no points of recall lost or gained"
    return f"{size} points of recall {'lost' if row.loss_points > 0 else 'gained'}"


def _table(results: DialResults) -> Html:
    header = ["Setting", "Left of the dial", "Left of all MACs", "R@1", "Points of R@1"]
    rows = [
        [
            row.name,
            format_percent(row.left),
            format_percent(row.macs_left),
            format_fixed(row.recall_at_1),
            format_signed(-row.loss_points),
        ]
        for row in results.rows
    ]
    strong = [index for index, row in enumerate(results.rows) if row.dial == "all"]
    return table(header, rows, "Each dial alone, and all four together.", emphasis=strong)


def _heads(results: DialResults) -> Html:
    counts = [len(heads) for heads in results.heads_by_layer]
    told = f"Heads computed from the first layer to the last: {', '.join(map(str, counts))}."
    return plot(
        head_map(results.heads_by_layer, results.num_heads), "Which head lives until which layer.", told
    )


def _values(results: DialResults) -> Html:
    figure = layer_columns(
        results.values_by_layer,
        full=results.keys_by_layer,
        y_label="rows of a head",
        names=("value rows that a query multiplies", "keys present"),
    )
    told = f"Value rows by layer: {', '.join(map(str, results.values_by_layer))}."
    return plot(figure, "Value rows that are fetched, of the keys that are there.", told)
