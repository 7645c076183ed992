"""The page of a sweep: the points with the Pareto front marked, and every number in a table."""

from collections.abc import Callable, Mapping, Sequence

from multum.accelerator.exploration import OBJECTIVES, Point
from multum.accelerator.sweep_command import Swept
from multum.cost.units import DASH, format_count, format_joules, format_seconds
from multum.report import Html, Page, notes, paragraph, plot, scatter_plot, section, table

NAMES = {"cycles": "cycles", "seconds": "time", "joules": "energy", "watts": "power", "area_mm2": "area"}
"""What a reader calls the objectives."""

ROOM = 0.08, 0.07
"""Part of the picture's width and height that a point's name takes."""

Spot = tuple[float, float, str]
"""Where a point lies in the picture, and its name."""

PREFIXES = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

POINT_HEADER = ("cycles", "time", "energy", "power", "area", "operations/s", "")
"""Columns of a table of points behind the fields that were varied."""


def sweep_page(swept: Swept, trace: str, provenance: Mapping[str, object] | None = None) -> Page:
    """Tell a sweep.

    Args:
        swept: What `run_sweep` found.
        trace: What the page calls the workload.
        provenance: Where the numbers come from.
    """
    page = Page("Design space", f"What {trace} takes on {len(swept.points)} accelerators.", provenance)
    possible = [point for point in swept.points if point.error is None]
    if possible:
        page.add(section("Pareto front", *_picture(swept, possible)))
    rows = point_rows(swept)
    best = [number for number, is_best in enumerate(swept.on_front) if is_best]
    caption = f"All points; strong: nothing beats them in {objectives(swept)}."
    blocks: list[Html] = [table([*swept.varied, *POINT_HEADER], rows, caption, emphasis=best)]
    if problems := refused(swept):
        blocks.append(notes(problems))
    return page.add(section("Every point", *blocks))


def point_rows(swept: Swept) -> list[list[str]]:
    """The points as text, one row each: the varied values, then `POINT_HEADER`."""
    return [
        [*map(str, point.values.values()), *_numbers(point), _mark(point, is_best)]
        for point, is_best in zip(swept.points, swept.on_front, strict=True)
    ]


def objectives(swept: Swept) -> str:
    """What the front is of, in words."""
    return " and ".join(NAMES[it] for it in swept.front)


def refused(swept: Swept) -> list[str]:
    """Why points cannot be, one sentence each."""
    return [
        f"{', '.join(f'{name} = {value}' for name, value in point.values.items())}: {point.error}"
        for point in swept.points
        if point.error is not None
    ]


def _numbers(point: Point) -> list[str]:
    forms: tuple[tuple[float | None, Callable[[float], str]], ...] = (
        (point.cycles, lambda it: f"{it:,}"),
        (point.seconds, format_seconds),
        (point.joules, format_joules),
        (point.watts, lambda it: f"{it:.2f} W"),
        (point.area_mm2, lambda it: f"{it:.2f} mm2"),
        (point.flops, format_count),
    )
    return [DASH if value is None else form(value) for value, form in forms]


def _mark(point: Point, is_best: bool) -> str:
    return "cannot be" if point.error is not None else "front" if is_best else ""


def _picture(swept: Swept, possible: Sequence[Point]) -> list[Html]:
    across = swept.front[0]
    up = next(it for it in (*swept.front[1:], *OBJECTIVES[1:]) if it != across)
    (x_scale, x_label), (y_scale, y_label) = (_axis(it, possible) for it in (across, up))
    on_front = [point for point, is_best in zip(swept.points, swept.on_front, strict=True) if is_best]
    series: dict[str, list[Spot]] = {"on the front": [], "beaten": []}
    for point in possible:
        is_best = point in on_front
        name = ", ".join(map(str, point.values.values())) if is_best else ""
        spot = getattr(point, across) / x_scale, getattr(point, up) / y_scale, name
        series["on the front" if is_best else "beaten"].append(spot)
    series["on the front"] = _thinned(series["on the front"], [*series["on the front"], *series["beaten"]])
    shown = {name: points for name, points in series.items() if points}
    figure = scatter_plot(shown, x_label=x_label, y_label=y_label, is_joined=False)
    lead = f"Of {len(possible)} accelerators {len(on_front)} are beaten by none in {objectives(swept)}."
    caption = (
        f"Each point is one accelerator; names on the front: {', '.join(swept.varied)}, where there is room."
    )
    return [paragraph(lead, lead=True), plot(figure, caption, f"{y_label} over {x_label}. {lead}")]


def _thinned(spots: Sequence[Spot], everything: Sequence[Spot]) -> list[Spot]:
    """Take the names from points that lie too near to one that has its own."""
    wide = max(x for x, _, _ in everything) - min(x for x, _, _ in everything)
    high = max(y for _, y, _ in everything) - min(y for _, y, _ in everything)
    kept: list[Spot] = []
    for x, y, name in sorted(spots):
        near = any(
            other and abs(x - left) <= ROOM[0] * wide and abs(y - bottom) <= ROOM[1] * high
            for left, bottom, other in kept
        )
        kept.append((x, y, "" if near else name))
    return kept


def _axis(name: str, points: Sequence[Point]) -> tuple[float, str]:
    """What to divide by, and what stands at the axis."""
    if name in ("seconds", "joules"):
        format_number = format_seconds if name == "seconds" else format_joules
        unit = format_number(max(getattr(point, name) for point in points)).split()[1]
        return PREFIXES[unit[:-1]], f"{'time' if name == 'seconds' else 'energy'}, {unit}"
    return {
        "watts": (1.0, "mean power, W"),
        "area_mm2": (1.0, "area, mm2"),
        "cycles": (1e3, "cycles, thousands"),
    }[name]
