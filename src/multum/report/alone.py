"""A figure by itself, in a notebook say: the colours that a page would have given it come along."""

import hashlib
import re
from typing import TYPE_CHECKING

from multum.core.errors import invalid
from multum.report.figure import WIDE_PIXELS, clean_svg, draw_svg
from multum.report.markup import Html, element
from multum.report.page import package_file
from multum.report.palette import CSS_VARIABLES

if TYPE_CHECKING:
    import matplotlib.figure

BOX = (
    "background:var(--paper);padding:0.75rem;border-radius:0.4rem;font-family:var(--sans);"
    "max-width:max-content;overflow-x:auto"
)


def alone(figure: "matplotlib.figure.Figure", description: str) -> Html:
    """Draw a figure outside of a report: a notebook shows what comes back as a picture.

    Figures of this package are drawn in marks that a page turns into its colours (`palette.py`); anywhere else they
    would be black. Here they get the colours of the light page, on its paper.

    Args:
        figure: The figure; it is left as it was.
        description: What it shows, for somebody who cannot see it.

    Returns:
        Markup that needs no style sheet.

    Raises:
        UserError: When the description is empty.
    """
    if not description.strip():
        raise invalid("description", "a sentence that tells what the plot shows", description)
    svg = draw_svg(figure, WIDE_PIXELS)
    prefix = f"plot-{hashlib.sha256(svg.encode()).hexdigest()[:10]}"
    style = ";".join([*_page_variables(), BOX])
    return element("div", {"style": style}, Html(clean_svg(svg, prefix, description)))


def _page_variables() -> list[str]:
    """The light page's variables that a figure may name, as its style sheet sets them."""
    sheet = package_file("style.css")
    light = sheet[: sheet.index("}")]
    wanted = {*CSS_VARIABLES.values(), "--sans"}
    found = re.findall(r"(--[a-z0-9-]+):\s*([^;]+);", light)
    return [f"{name}:{' '.join(value.split())}" for name, value in found if name in wanted]
