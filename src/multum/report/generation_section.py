"""The part of a page that shows a model writing while its cache is pruned."""

from typing import TYPE_CHECKING

from multum.cost.units import DASH, format_ratio
from multum.report.blocks import Section, notes, paragraph, section, small_print, subsection
from multum.report.figure import plot
from multum.report.generation_results import Continuation, GenerationResults
from multum.report.markup import Html, element
from multum.report.number_text import format_fixed, format_percent, plural, sentence_case, tell_bytes
from multum.report.sparse_plots import cache_rows, head_map, layer_columns, life_map
from multum.report.tables import table

if TYPE_CHECKING:
    import matplotlib.figure

MOST_LAYERS_DRAWN = 5
"""Lines of the plot of rows: more than that cannot be told apart."""
BYTES_PER_MEGABYTE = 1_000_000


def generation_section(results: GenerationResults) -> Section:
    """Draw a generation with its cache shrinking: texts, bytes, rows, lives of one layer's rows, bits, heads."""
    lead = tell_generation(results)
    blocks: list[Html] = [
        paragraph(lead, lead=True),
        _texts(results),
        _numbers(results),
        plot(
            _rows_figure(results),
            "Rows that a generated token attends to, layer by layer.",
            f"Lines of rows. {lead}",
        ),
        plot(
            _bytes_figure(results),
            "Bytes of the cache that each generated token read.",
            f"Lines of bytes. {lead}",
        ),
        _lives(results),
        *_bits(results),
        *_heads(results),
    ]
    if results.note:
        blocks.append(notes([results.note]))
    return section("A cache that shrinks while the model writes", *blocks)


def tell_generation(results: GenerationResults) -> str:
    """Tell what was continued under which schedule, and how much less was read and held."""
    dense, pruned = results.dense, results.pruned
    told = [
        (
            f"{results.model} continues a prompt of {plural(results.num_prompt_tokens, 'token')}, once with a dense "
            f"cache and once with a pruned one. {results.schedule}"
        ),
        (
            f"A token written densely reads {tell_bytes(dense.bytes_read_per_token)} of cache, one written with the "
            f"pruned cache {tell_bytes(pruned.bytes_read_per_token)}: {_ratio(dense, pruned)} less."
        ),
        f"At the end the caches hold {tell_bytes(dense.bytes_held[-1])} and {tell_bytes(pruned.bytes_held[-1])}.",
    ]
    if results.lsb_rate is not None:
        told.append(
            f"{format_percent(results.lsb_rate, 1)} of the query rows were flat and fetched the second plane."
        )
    same = _num_shared(dense.text, pruned.text)
    told.append(
        "Both write the same text."
        if dense.text == pruned.text
        else f"The texts agree for {plural(same, 'word')}."
    )
    return " ".join(told)


def drawn_layers(rows_by_layer: tuple[tuple[int, ...], ...]) -> list[int]:
    """Choose the layers, counted from 1, whose rows are worth a line: those that end with different numbers of rows.

    >>> drawn_layers(((9, 9), (9, 9), (9, 4), (9, 4), (9, 2)))
    [1, 3, 5]
    """
    first = [
        layer
        for layer, rows in enumerate(rows_by_layer, 1)
        if layer == 1 or rows[-1] != rows_by_layer[layer - 2][-1]
    ]
    if len(first) <= MOST_LAYERS_DRAWN:
        return first
    last = len(first) - 1
    return [first[round(place * last / (MOST_LAYERS_DRAWN - 1))] for place in range(MOST_LAYERS_DRAWN)]


def _texts(results: GenerationResults) -> Html:
    """The prompt, and both continuations beside each other."""
    columns = [
        element("div", None, element("h4", None, sentence_case(it.name)), element("p", None, it.text))
        for it in (results.dense, results.pruned)
    ]
    prompt = element("p", {"class": "prompt"}, results.prompt)
    fold = element(
        "details", None, element("summary", None, "The prompt"), element("div", {"class": "fold"}, prompt)
    )
    return element(
        "div", {"class": "continuations"}, fold, element("div", {"class": "side-by-side"}, *columns)
    )


def _numbers(results: GenerationResults) -> Html:
    header = ["Cache", "Bytes read a token", "Held at the end", "Tokens a second", "Spread"]
    rows = [
        [
            it.name,
            tell_bytes(it.bytes_read_per_token),
            tell_bytes(it.bytes_held[-1]),
            format_fixed(it.tokens_per_second, 1),
            format_fixed(it.spread, 1) if it.spread else DASH,
        ]
        for it in results.continuations
    ]
    strong = [index for index, it in enumerate(results.continuations) if it.is_pruned]
    return table(header, rows, "The same prompt, the same machine, one after the other.", emphasis=strong)


def _rows_figure(results: GenerationResults) -> "matplotlib.figure.Figure":
    steps = len(results.rows_by_layer[0])
    dense = [results.num_prompt_tokens + step for step in range(steps)]
    lines = {
        f"layer {layer}": results.rows_by_layer[layer - 1] for layer in drawn_layers(results.rows_by_layer)
    }
    return cache_rows(lines, dense=dense, y_label="rows attended to")


def _bytes_figure(results: GenerationResults) -> "matplotlib.figure.Figure":
    steps = min(len(it.bytes_read) for it in (results.dense, results.pruned)) - 1
    dense, pruned = (
        [size / BYTES_PER_MEGABYTE for size in it.bytes_read[1 : 1 + steps]]
        for it in (results.dense, results.pruned)
    )
    return cache_rows({"pruned": pruned}, dense=dense, y_label="cache read for a token, MB", first_step=1)


def _lives(results: GenerationResults) -> Html:
    steps = len(results.rows_by_layer[0]) - 1
    alive = sum(life.last_step == steps for life in results.lives)
    told = (
        f"Of {plural(len(results.lives), 'position')} seen, {alive:,} are still in the cache of layer "
        f"{results.shown_layer} at the end. The text runs down, time to the right; a row that ends was given "
        "up, and its memory with it."
    )
    drawn = life_map(results.lives, steps, results.num_prompt_tokens)
    return subsection(
        f"The rows of layer {results.shown_layer}",
        small_print(told),
        plot(drawn, "", f"A map of rows. {told}"),
    )


def _bits(results: GenerationResults) -> list[Html]:
    if not results.lsb_rates:
        return []
    drawn = layer_columns([100 * rate for rate in results.lsb_rates], y_label="rows that fetched the LSBs, %")
    told = (
        "A key is stored in two planes. Every token reads the upper bits; where its largest probability stays below "
        "the threshold, its row is flat, and the lower bits are fetched too."
    )
    return [subsection("Bits", small_print(told), plot(drawn, "", f"Columns by layer. {told}"))]


def _heads(results: GenerationResults) -> list[Html]:
    if not results.heads_by_layer:
        return []
    drawn = head_map(results.heads_by_layer, results.num_heads)
    told = "Heads that the last token computed; a pruned head is computed in no later layer."
    return [subsection("Heads", small_print(told), plot(drawn, "", f"A map of heads. {told}"))]


def _ratio(dense: Continuation, pruned: Continuation) -> str:
    read = pruned.bytes_read_per_token
    return format_ratio(dense.bytes_read_per_token / read) if read else DASH


def _num_shared(first: str, second: str) -> int:
    """How many words two texts begin with alike."""
    count = 0
    for one, other in zip(first.split(), second.split(), strict=False):
        if one != other:
            break
        count += 1
    return count
