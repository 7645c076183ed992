"""Reports: one self-contained HTML file, with tables and plots, light and dark, on paper and on a phone."""

from multum.report.alone import alone
from multum.report.attention_page import attention_page
from multum.report.attention_results import (
    AttentionResults,
    FadingPicture,
    ModelFacts,
    RetrievalRow,
    SentenceRow,
    SentenceScores,
    TimingRow,
)
from multum.report.blocks import (
    Section,
    definitions,
    details,
    key_numbers,
    notes,
    paragraph,
    section,
    small_print,
    subsection,
)
from multum.report.cost_page import cost_page
from multum.report.cost_plots import layer_bars, memory_timeline
from multum.report.dial_results import DialResults, DialRow
from multum.report.dial_section import dial_section
from multum.report.fading import fading_words
from multum.report.figure import new_figure, plot
from multum.report.generation_results import Continuation, GenerationResults
from multum.report.generation_section import generation_section
from multum.report.markup import Html
from multum.report.page import Page
from multum.report.plots import bar_plot, line_plot, scatter_plot
from multum.report.sparse_plots import RowLife, cache_rows, head_map, layer_columns, life_map
from multum.report.tables import bar_cell, comparison_table, table
from multum.report.token_map import token_map

__all__ = [
    "AttentionResults",
    "Continuation",
    "DialResults",
    "DialRow",
    "FadingPicture",
    "GenerationResults",
    "Html",
    "ModelFacts",
    "Page",
    "RetrievalRow",
    "RowLife",
    "Section",
    "SentenceRow",
    "SentenceScores",
    "TimingRow",
    "alone",
    "attention_page",
    "bar_cell",
    "bar_plot",
    "cache_rows",
    "comparison_table",
    "cost_page",
    "definitions",
    "details",
    "dial_section",
    "fading_words",
    "generation_section",
    "head_map",
    "key_numbers",
    "layer_bars",
    "layer_columns",
    "life_map",
    "line_plot",
    "memory_timeline",
    "new_figure",
    "notes",
    "paragraph",
    "plot",
    "scatter_plot",
    "section",
    "small_print",
    "subsection",
    "table",
    "token_map",
]
