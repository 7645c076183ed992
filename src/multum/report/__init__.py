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
from multum.report.birds_eye import birds_eye_plot, mistakes_plot
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
from multum.report.class_palette import class_colours
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
from multum.report.picture_grid import Thumbnail, picture_data, picture_grid
from multum.report.plots import bar_plot, line_plot, scatter_plot
from multum.report.rerun_file import write_rerun
from multum.report.scan_page import ViewResult, scan_page, write_view
from multum.report.scan_view import scan_view
from multum.report.sparse_plots import RowLife, cache_rows, head_map, layer_columns, life_map
from multum.report.tables import bar_cell, comparison_table, table
from multum.report.token_map import token_map
from multum.report.transfer_page import transfer_page
from multum.report.transfer_plots import confusion_map, training_curves
from multum.report.transfer_results import EpochRow, MemoryStory, StepReading, TransferStory
from multum.report.transfer_run import TransferReportConfig, write_transfer_report
from multum.report.transfer_section import training_section

__all__ = [
    "AttentionResults",
    "Continuation",
    "DialResults",
    "DialRow",
    "EpochRow",
    "FadingPicture",
    "GenerationResults",
    "Html",
    "MemoryStory",
    "ModelFacts",
    "Page",
    "RetrievalRow",
    "RowLife",
    "Section",
    "SentenceRow",
    "SentenceScores",
    "StepReading",
    "Thumbnail",
    "TimingRow",
    "TransferReportConfig",
    "TransferStory",
    "ViewResult",
    "alone",
    "attention_page",
    "bar_cell",
    "bar_plot",
    "birds_eye_plot",
    "cache_rows",
    "class_colours",
    "comparison_table",
    "confusion_map",
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
    "mistakes_plot",
    "new_figure",
    "notes",
    "paragraph",
    "picture_data",
    "picture_grid",
    "plot",
    "scan_page",
    "scan_view",
    "scatter_plot",
    "section",
    "small_print",
    "subsection",
    "table",
    "token_map",
    "training_curves",
    "training_section",
    "transfer_page",
    "write_rerun",
    "write_transfer_report",
    "write_view",
]
