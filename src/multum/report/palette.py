"""Colours of plots, by what they mean and not by what they are.

A plot inside a page has to follow the page from light to dark, so it cannot know its colours when it is
drawn. It is drawn in marks instead: each mark is a nearly black colour that nobody would choose, and stands
for one variable of the page's style sheet. `multum.report.figure` puts `var(--name)` in the place of every
mark. matplotlib's own default colours are taken for marks too, so that a figure from anywhere fits in.
"""

INK = "#010102"
"""What one reads: text, axes."""

MUTED = "#010103"
"""What one reads second: ticks, notes."""

GRID = "#010104"
"""Lines that guide the eye."""

PAPER = "#010105"
"""The background."""

SERIES = ("#010201", "#010202", "#010203", "#010204", "#010205", "#010206")
"""Six series that stay apart for colour-blind readers, in light and in dark; then they repeat."""

MARKERS = ("o", "s", "^", "D", "v", "P")
"""The marker of each series: colour is never the only difference."""

LINE_STYLES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 2)), (0, (3, 1)))
"""The dashes of each series."""

_MATPLOTLIB_SERIES = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")

CSS_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--rule",
    PAPER: "--paper",
    "#000000": "--ink",
    "#ffffff": "--paper",
    "#b0b0b0": "--rule",
    "#cccccc": "--rule",
    "#7f7f7f": "--muted",
    **{mark: f"--series-{number}" for number, mark in enumerate(SERIES, 1)},
    **{colour: f"--series-{number}" for number, colour in enumerate(_MATPLOTLIB_SERIES, 1)},
}
"""The style sheet's variable behind each mark."""


def series_colour(index: int) -> str:
    """Give the mark of a series, counted from 0.

    >>> series_colour(0) == series_colour(len(SERIES))
    True
    """
    return SERIES[index % len(SERIES)]
