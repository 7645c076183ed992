"""Tables of README and docs, written from the committed results: `python -m benchmarks tables`.

A block in a Markdown file is filled between two comments:

    <!-- results:begin NAME -->
    <!-- results:end NAME -->

`NAME` is a suite (the table of its cases; `SUITE@cuda` for another device), `SUITE.TABLE` (a table that the
suite declares), or `figures` (all figures). Nobody writes a number into a text by hand, so no text can
claim what was not measured; `--check`, which the tests run, fails when a block is stale.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.figures import figures_markdown, figures_of, with_unit
from benchmarks.places import ROOT, load_suite, result_files, result_path, suite_names
from benchmarks.registry import Plot
from benchmarks.schema import CaseResult, NoNumberError, Results, read_results
from multum.core.config import to_json
from multum.core.errors import UserError, did_you_mean
from multum.core.files import read_text, write_bytes_atomic, write_text_atomic
from multum.cost import Latency

BEGIN = re.compile(r"^([ \t]*)<!-- results:begin (\S+) -->[ \t]*$", re.MULTILINE)
TIME_UNITS = ((1.0, "s"), (1e3, "ms"), (1e6, "µs"), (1e9, "ns"))
"""Units of time, longest first."""

END = "<!-- results:end {name} -->"


def texts() -> list[Path]:
    """List the files that may hold blocks."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def stale_texts(paths: Iterable[Path], render: Callable[[str], str]) -> dict[Path, str]:
    """Find the texts whose blocks differ from the results.

    Args:
        paths: Markdown files; a missing one is passed over.
        render: Makes the Markdown of a block from its name.

    Returns:
        What each stale file should hold.

    Raises:
        UserError: When a block has no end, or an unknown name.
    """
    fresh = {path: refilled(read_text(path), render, path) for path in paths if path.exists()}
    return {path: text for path, text in fresh.items() if text != read_text(path)}


def refilled(text: str, render: Callable[[str], str], path: Path) -> str:
    """Fill every block of a text anew; `path` is named in complaints."""
    done, position = [], 0
    for begin in BEGIN.finditer(text):
        if begin.start() < position:
            raise UserError(f"{path}: the block {begin[2]} begins inside another one")
        end = text.find(END.format(name=begin[2]), begin.end())
        if end < 0:
            raise UserError(f"{path}: the block {begin[2]} has no end; {END.format(name=begin[2])} closes it")
        done += [text[position : begin.end()], "\n\n", render(begin[2]).strip("\n"), "\n\n", begin[1]]
        position = end
    return "".join([*done, text[position:]])


def render_block(name: str) -> str:
    """Make the Markdown of a block.

    Args:
        name: As in the block's comments.

    Raises:
        UserError: When there is no such block, or its suite was not measured.
    """
    if name == "figures":
        return figures_markdown(figures_of(result_files()))
    suite_name, _, table_name = name.partition(".")
    suite_name, _, device = suite_name.partition("@")
    known = suite_names()
    if suite_name not in known:
        raise UserError(f"there is no block {name!r}; {did_you_mean(suite_name, ['figures', *known])}")
    suite = load_suite(suite_name)
    chosen = next((it for it in suite.devices if it == (device or suite.devices[0])), None)
    if chosen is None:
        raise UserError(f"{device!r} is not a device of {suite_name}; {did_you_mean(device, suite.devices)}")
    results = read_results(result_path(suite, chosen))
    if not table_name:
        return cases_markdown(results)
    tables = {table.name: table for table in suite.tables}
    if table_name not in tables:
        raise UserError(f"{table_name!r} is not a table of {suite_name}; {did_you_mean(table_name, tables)}")
    return tables[table_name].render(results)


def cases_markdown(results: Results) -> str:
    """Lay out a suite's cases: ours, and each peer with its ratio.

    Where some cases are compared with a peer, those that are not are left out: their readings fill tables of the
    suite's own.
    """
    compared = tuple(case for case in results.cases if case.peers)
    cases = compared or results.cases
    peers = list(dict.fromkeys(peer for case in cases for peer in case.peers))
    header = ["Case", "Ours", *(words(peer) for peer in peers)]
    papers = any(case.paper for case in cases)
    rows = [_row(case, peers, papers=papers) for case in cases]
    header += ["Paper"] if papers else []
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{footnote(results)}"


def footnote(results: Results) -> str:
    """Say in one line where the numbers of a table come from."""
    source = results.provenance
    commit = str((source.get("git") or {}).get("commit") or "an unknown commit")[:10]
    threads = f"{results.num_threads} thread{'s' * (results.num_threads != 1)}"
    where = f"{source.get('device_name')}, {threads}, torch {(source.get('versions') or {}).get('torch')}"
    return f"<sub>{where}; commit {commit}; `{results.command}`</sub>"


def words(name: str) -> str:
    """Turn the name of a reading into words.

    >>> words("peer_same_linears")
    'Peer same linears'
    """
    return name.replace("_", " ").capitalize()


def tell_reading(reading: Latency | float | None) -> str:
    """Tell a reading: a time with its spread, or a number.

    >>> tell_reading(0.25), tell_reading(None)
    ('0.25', '')
    """
    if reading is None:
        return ""
    if isinstance(reading, Latency):
        scale, unit = next(it for it in TIME_UNITS if reading.median_seconds * it[0] >= 1 or it[1] == "ns")
        return f"{reading.median_seconds * scale:.3g} ± {reading.spread_seconds * scale / 2:.2g} {unit}"
    return with_unit(reading, "")


def write_plots(*, check: bool) -> list[Path]:
    """Draw the plots of all suites, where their results have changed.

    Args:
        check: Only find them.

    Returns:
        The pictures that were stale.
    """
    stale = []
    for name in suite_names():
        suite = load_suite(name)
        path = result_path(suite, suite.devices[0])
        if suite.plots and path.exists():
            results = read_results(path)
            stale += [plot.path for plot in suite.plots if _draw(plot, results, check=check)]
    return stale


def _draw(plot: Plot, results: Results, *, check: bool) -> bool:
    """Draw one plot, unless its file was drawn from these very results; tell whether it was stale."""
    mark = f"<!-- results {hashlib.sha256(to_json(results).encode()).hexdigest()[:16]} -->"
    place = ROOT / plot.path
    if place.exists() and mark in read_text(place):
        return False
    try:
        drawn = _svg(plot, results, mark)
    except NoNumberError:
        return False  # what it shows was not measured yet
    if not check:
        write_bytes_atomic(place, drawn)
    return True


def _svg(plot: Plot, results: Results, mark: str) -> bytes:
    import io

    import matplotlib as mpl

    drawing, stream = plot.draw(results), io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "multum", "svg.fonttype": "none"}):
        drawing.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return f"{stream.getvalue().rstrip()}\n{mark}\n".encode()


def _row(case: CaseResult, peers: list[str], *, papers: bool) -> list[str]:
    if not case.check.passed:
        return [case.about, "check failed", *[""] * (len(peers) + papers)]
    ours = tell_reading(case.readings.get(case.ours)) if case.ours else _all_readings(case)
    cells = [case.about, ours, *(_peer_cell(case, peer) for peer in peers)]
    if papers:
        cells.append(with_unit(case.paper.value, case.paper.unit) if case.paper else "")
    return [cell.replace("|", "\\|") for cell in cells]


def _all_readings(case: CaseResult) -> str:
    return ", ".join(
        f"{words(name).lower()} {tell_reading(reading)}" for name, reading in case.readings.items()
    )


def _peer_cell(case: CaseResult, peer: str) -> str:
    if peer not in case.ratios:
        return ""
    return f"{tell_reading(case.readings[peer])} ({case.ratios[peer]:.2f}x)"


def update(*, check: bool, render: Callable[[str], str] = render_block) -> list[Path]:
    """Bring every block and plot up to date.

    Args:
        check: Only find what is stale.
        render: Makes the Markdown of a block from its name.

    Returns:
        What was stale.
    """
    stale = stale_texts(texts(), render)
    if not check:
        for path, text in stale.items():
            write_text_atomic(path, text)
    return [*stale, *write_plots(check=check)]
