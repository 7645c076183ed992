"""Plots: they follow the page's colours, fit a phone, and are the same every time."""

import re
import warnings

import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure

from multum.core.errors import UserError
from multum.report import alone, bar_plot, layer_bars, line_plot, memory_timeline, plot, scatter_plot
from multum.report.figure import new_figure
from multum.report.palette import CSS_VARIABLES
from report_samples import inference_cost, training_cost

FIGURES = {
    "line": lambda: line_plot({"a": ([1, 2], [3, 4]), "b": ([1, 2], [2, 5])}, x_label="x", y_label="y"),
    "bar": lambda: bar_plot({"dense": 2.0, "pruned": 1.0}, spreads=[0.1, 0.1], emphasis=["pruned"]),
    "scatter": lambda: scatter_plot(
        {"flat": [(1, 2, "p")]}, x_label="x", y_label="y", reference=(2.5, "dense")
    ),
    "timeline": lambda: memory_timeline(training_cost()),
    "layers": lambda: layer_bars(training_cost()),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_fixed_colour_is_left(name: str) -> None:
    markup = plot(FIGURES[name](), "caption", "description").markup
    assert re.findall(r"#[0-9a-f]{6}\b", " ".join(re.findall(r'style="([^"]*)"', markup))) == []
    assert "var(--" in markup
    assert set(re.findall(r"var\((--[\w-]+)\)", markup)) <= set(CSS_VARIABLES.values())


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_built_anew_gives_the_same_bytes(name: str) -> None:
    first, second = (plot(FIGURES[name](), "caption", "description") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_its_size_again_after_it_was_drawn(name: str) -> None:
    figure = FIGURES[name]()
    before = tuple(figure.get_size_inches())
    plot(figure, "caption", "description")
    assert tuple(figure.get_size_inches()) == before


@pytest.mark.parametrize("name", FIGURES)
def test_ids_are_distinct_and_every_reference_has_its_target(name: str) -> None:
    markup = plot(FIGURES[name](), "caption", "description").markup
    ids = re.findall(r'\sid="([^"]*)"', markup)
    used = {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', markup)}
    assert len(ids) == len(set(ids))
    assert used == set(ids)


def test_two_plots_share_no_ids() -> None:
    pages = [plot(FIGURES[name](), "caption", "description").markup for name in ("line", "scatter")]
    first, second = (set(re.findall(r'\sid="([^"]*)"', page)) for page in pages)
    assert first
    assert first.isdisjoint(second)


def test_a_plot_has_a_wide_and_a_narrow_drawing_whose_text_has_the_same_size() -> None:
    markup = plot(FIGURES["line"](), "caption", "description").markup
    wide, narrow = re.findall(r'viewBox="0 0 ([\d.]+) [\d.]+"', markup)
    assert float(wide) > 2 * float(narrow)
    assert float(narrow) <= 328
    assert set(re.findall(r"font-size: ([\d.]+)px", markup)) == {"12"}


def test_text_stays_text_and_is_escaped() -> None:
    figure = bar_plot({"<script> & $5 and $6": 1.0})
    markup = plot(figure, "<caption>", 'a "description"').markup
    assert "&lt;script&gt; &amp; $5 and $6" in markup
    assert "&lt;caption&gt;" in markup
    assert 'aria-label="a &quot;description&quot;"' in markup


def test_a_figure_from_elsewhere_follows_the_page_too() -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [1, 0])
    markup = plot(figure, "", "A falling line.").markup
    assert "var(--series-1)" in markup
    assert "#1f77b4" not in markup


def test_letters_that_matplotlib_lacks_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "漢字" in plot(bar_plot({"漢字": 1.0}), "", "One bar.").markup


def test_global_settings_of_matplotlib_are_left_alone() -> None:
    before = dict(rcParams)
    plot(FIGURES["line"](), "caption", "description")
    assert dict(rcParams) == before


def test_a_plot_needs_a_description_and_a_figure() -> None:
    with pytest.raises(UserError, match="description must be"):
        plot(new_figure()[0], "caption", " ")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: line_plot({}, x_label="x", y_label="y"),
        lambda: line_plot({"a": ([1, 2], [1])}, x_label="x", y_label="y"),
        lambda: bar_plot({}),
        lambda: bar_plot({"a": -1.0}),
        lambda: bar_plot({"a": float("nan")}),
        lambda: bar_plot({"a": 1.0}, written=["1", "2"]),
        lambda: scatter_plot({}, x_label="x", y_label="y"),
        lambda: scatter_plot({"a": []}, x_label="x", y_label="y"),
        lambda: memory_timeline(inference_cost("dense", 1.0)),
        lambda: layer_bars(inference_cost("dense", 1.0)),
    ],
)
def test_nothing_to_draw_is_a_clear_error(draw) -> None:
    with pytest.raises(UserError, match="must be"):
        draw()


def test_bars_of_nothing_are_drawn_without_a_warning() -> None:
    assert "none" in plot(bar_plot({"none": 0.0}), "", "An empty bar.").markup


def test_a_timeline_names_its_phases_and_its_peak() -> None:
    markup = plot(memory_timeline(training_cost()), "", "Memory.").markup
    for word in ("forward", "backward", "optimizer", "peak 227 MB", "activations"):
        assert word in markup


def test_a_figure_alone_brings_the_colours_that_it_names() -> None:
    figure = FIGURES["bar"]()
    shown = alone(figure, "Two bars.")._repr_html_()
    box, drawing = shown.split("<svg", 1)
    assert 'aria-label="Two bars."' in drawing
    named = set(re.findall(r"var\((--[a-z0-9-]+)\)", shown))
    assert {"--ink", "--muted", "--series-1"} & named
    assert named <= set(re.findall(r"(--[a-z0-9-]+):", box))
    assert "#0101" not in shown
    with pytest.raises(UserError, match="description must be a sentence"):
        alone(figure, " ")
