"""From a matplotlib figure to a drawing inside the page that follows light and dark and fits a phone.

matplotlib draws for paper: fixed colours, fixed size, ids that repeat from figure to figure. A page wants
none of that, so the drawing is made twice, wide and narrow, and the style sheet shows the one that fits:
text keeps its size instead of shrinking with the picture. Then the SVG is cleaned:

- colours become variables of the style sheet (`multum.report.palette`);
- text stays text, in the page's own font, to be searched, selected and read aloud;
- ids get a prefix made of the drawing's content, and those that nothing refers to go;
- whatever changes from run to run (date, versions, random salts) goes: a figure built anew gives the same bytes.

No window, no global figure and no `pyplot` is involved.
"""

import hashlib
import io
import re
import warnings
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from multum.core.errors import invalid, require_module, wrong_type
from multum.cost.units import Number
from multum.report.markup import Html, element
from multum.report.palette import CSS_VARIABLES, GRID, INK, MUTED

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

WIDE_PIXELS = 680
"""Width of the drawing that a desktop shows, in CSS pixels."""

NARROW_PIXELS = 328
"""Width of the drawing that a phone shows."""

PIXELS_PER_INCH = 72
"""SVG units per inch of a matplotlib figure: one unit of the drawing is one CSS pixel."""

LEGEND_ROW_PIXELS = 20
"""Height that a drawing grows by for each line of its legend."""

LEGEND_MARK = "multum-legend"
"""Tells our legends from those that came with a figure."""

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": MUTED,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 12,
    "axes.titleweight": "normal",
    "figure.dpi": PIXELS_PER_INCH,
    "figure.facecolor": "none",
    "font.size": 12,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 2.0,
    "lines.markersize": 6.0,
    "savefig.bbox": None,
    "svg.fonttype": "none",
    "svg.hashsalt": "multum",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 12,
    "xtick.major.size": 3,
    "ytick.color": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 12,
    "ytick.left": False,
}
"""How plots of this package look; handed to matplotlib for the time of drawing and taken back."""


def drawing_style() -> AbstractContextManager[None]:
    """Lend matplotlib the style of this package for the length of a `with` block.

    Raises:
        MissingExtraError: When matplotlib is not installed.
    """
    lent: AbstractContextManager[None] = require_module("matplotlib", "report").rc_context(STYLE)
    return lent


def new_figure(
    height_pixels: Number = 320.0,
) -> "tuple[matplotlib.figure.Figure, matplotlib.axes.Axes]":
    """Start a figure in the style of this package, with one pair of axes.

    Args:
        height_pixels: Height of the drawing in CSS pixels; the width is the page's affair.

    Returns:
        The figure and its axes.

    Raises:
        MissingExtraError: When matplotlib is not installed.
    """
    figures = require_module("matplotlib.figure", "report")
    with drawing_style():
        size = (WIDE_PIXELS / PIXELS_PER_INCH, height_pixels / PIXELS_PER_INCH)
        figure: matplotlib.figure.Figure = figures.Figure(figsize=size, dpi=PIXELS_PER_INCH, layout="none")
        figure.set_layout_engine("constrained", h_pad=4 / PIXELS_PER_INCH, w_pad=1 / PIXELS_PER_INCH)
        return figure, figure.subplots()


def add_legend(figure: "matplotlib.figure.Figure", axes: "matplotlib.axes.Axes") -> None:
    """Name the series above the plot, in as many columns as its width allows when it is drawn.

    Args:
        figure: The figure.
        axes: Axes of it whose artists carry labels.
    """
    _draw_legend(figure, *axes.get_legend_handles_labels(), num_columns=1)


def plot(figure: "matplotlib.figure.Figure", caption: str, description: str, name: str = "") -> Html:
    """Put a figure into the page.

    Args:
        figure: Any matplotlib figure, best one with a layout engine; its width is chosen here, its height
            kept.
        caption: What stands under it.
        description: What it shows, for somebody who cannot see it: one or two sentences with the numbers that
            matter.
        name: Prefix of its ids; only needed when the same plot stands on a page twice.

    Returns:
        The figure, as two drawings of which the style sheet shows one.

    Raises:
        UserError: When the description is empty.
        UserTypeError: When it is not a matplotlib figure.
    """
    figures = require_module("matplotlib.figure", "report")
    if not isinstance(figure, figures.Figure):
        raise wrong_type("figure", "a matplotlib.figure.Figure", figure)
    if not description.strip():
        raise invalid("description", "a sentence that tells what the plot shows", description)
    drawings = {"wide": draw_svg(figure, WIDE_PIXELS), "narrow": draw_svg(figure, NARROW_PIXELS)}
    content = "\n".join([*drawings.values(), caption, description])
    prefix = name or f"plot-{hashlib.sha256(content.encode()).hexdigest()[:10]}"
    boxes = [
        element("div", {"class": kind}, Html(clean_svg(svg, f"{prefix}-{kind}", description)))
        for kind, svg in drawings.items()
    ]
    legend = [element("figcaption", None, caption)] if caption else []
    return element("figure", {"class": "plot"}, *boxes, *legend)


def draw_svg(figure: "matplotlib.figure.Figure", width_pixels: Number) -> str:
    """Draw a figure at a width, leaving it as it was.

    Args:
        figure: The figure.
        width_pixels: How wide, in CSS pixels; the height stays.

    Returns:
        What matplotlib writes, without a date.
    """
    width, height = (float(side) for side in figure.get_size_inches())
    stream = io.BytesIO()
    try:
        with drawing_style(), warnings.catch_warnings():
            # the browser draws the letters with its own fonts: what matplotlib's font lacks does not matter
            warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
            extra = fit_legends(figure, width_pixels) / PIXELS_PER_INCH
            figure.set_size_inches(width_pixels / PIXELS_PER_INCH, height + extra)
            figure.draw_without_rendering()  # the layout follows the ticks and the ticks the layout:
            figure.draw_without_rendering()  # drawing twice settles both
            figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    finally:
        figure.set_size_inches(width, height)
    return stream.getvalue().decode("utf-8")


def fit_legends(figure: "matplotlib.figure.Figure", width_pixels: Number) -> float:
    """Set the legends that `add_legend` made in as many columns as a width holds.

    Args:
        figure: The figure; other legends are left alone.
        width_pixels: The width.

    Returns:
        The height that the legends take.
    """
    height = 0.0
    for legend in [legend for legend in figure.legends if legend.get_gid() == LEGEND_MARK]:
        names = [text.get_text() for text in legend.get_texts()]
        widest = 56 + 6.4 * max(len(name) for name in names)  # handle, gaps, and letters of 12 px
        num_columns = max(1, min(len(names), int((width_pixels + 14) // widest)))  # no gap after the last
        handles = legend.legend_handles
        legend.remove()  # a legend settles its columns when it is made
        _draw_legend(figure, handles, names, num_columns)
        height += LEGEND_ROW_PIXELS * -(-len(names) // num_columns)
    return height


def clean_svg(svg: str, prefix: str, description: str) -> str:
    """Make a drawing of matplotlib a part of the page.

    Args:
        svg: What matplotlib wrote.
        prefix: What its ids begin with.
        description: What it shows, for a screen reader.

    Returns:
        One `<svg>` element without fixed colours, fonts, size, or anything about the file it once was.
    """
    body = svg[svg.index("<svg") :].strip()
    view_box = re.search(r'viewBox="([\d.\s-]+)"', body)
    assert view_box is not None, "matplotlib always writes a viewBox"
    body = re.sub(r"^<svg[^>]*>", "", body).removesuffix("</svg>")
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r' transform="rotate\(-?0 [^"]*"', "", body)
    body = re.sub(r'(?<= )(?:d|x|y|transform)="[^"]*"', lambda found: _rounded(found[0]), body)
    body = re.sub(r'style="([^"]*)"', lambda found: f'style="{_follow_page(found[1])}"', body)
    body = re.sub(r"\s*\n\s*", " ", _own_ids(body, prefix)).replace("> <", "><").strip()
    width, height = view_box[1].split()[2:]
    box = {"viewBox": view_box[1], "width": width, "height": height, "role": "img", "aria-label": description}
    return element("svg", box, Html(body)).markup


def _draw_legend(
    figure: "matplotlib.figure.Figure", handles: Any, names: list[str], num_columns: int
) -> None:
    legend = figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=num_columns,
        handlelength=2.6,
        columnspacing=1.2,
        borderaxespad=0,
        borderpad=0,
    )
    legend.set_gid(LEGEND_MARK)


def _follow_page(declarations: str) -> str:
    """Put variables in the place of colours, and leave the font family to the style sheet."""
    kept = [part for part in declarations.split(";") if not part.strip().startswith("font-family")]
    return re.sub(
        r"#[0-9a-f]{6}",
        lambda found: f"var({CSS_VARIABLES[found[0]]})" if found[0] in CSS_VARIABLES else found[0],
        ";".join(kept).strip(),
    )


def _rounded(attribute: str) -> str:
    """Keep two places after the point: a hundredth of a pixel."""
    return re.sub(
        r"-?\d+\.\d{3,}", lambda found: f"{round(float(found[0]), 2):.2f}".rstrip("0").rstrip("."), attribute
    )


def _own_ids(body: str, prefix: str) -> str:
    """Drop ids that nothing refers to, and number the others under the prefix."""
    used = list(dict.fromkeys(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', body)))
    names = {first or second: f"{prefix}-{number}" for number, (first, second) in enumerate(used, 1)}
    body = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{names[found[1]]}"' if found[1] in names else "", body
    )
    body = re.sub(r'href="#([^"]+)"', lambda found: f'href="#{names[found[1]]}"', body)
    return re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{names[found[1]]})", body)
