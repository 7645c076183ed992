"""One page, one file: everything inline, nothing from any network, light and dark, paper and phone.

The page is made of a Jinja2 template, a style sheet and a small script that lie beside this module. It
carries a content security policy that forbids every request and every script but its own, so that a page
that shows foreign text stays harmless, and one that is opened in ten years still looks the same.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path

from multum.core.errors import invalid, require_module
from multum.core.files import write_text_atomic
from multum.report.blocks import Section, definitions
from multum.report.markup import Html, refuse_repeated_ids, text
from multum.version import __version__


class Page:
    """A report in the making: blocks are added in the order in which they are read.

    >>> from multum.report.blocks import paragraph, section
    >>> page = Page("Much in little", "A report").add(section("One", paragraph("1 < 2")))
    >>> "<p>1 &lt; 2</p>" in page.to_html()
    True
    """

    def __init__(
        self, title: str, subtitle: str = "", provenance: Mapping[str, object] | None = None
    ) -> None:
        """Start a page.

        Args:
            title: Its headline, and the name of the browser's tab.
            subtitle: A sentence under the headline.
            provenance: Where the numbers come from (`multum.core.provenance.provenance()`), shown at the end.

        Raises:
            UserError: When the title is empty.
        """
        if not title.strip():
            raise invalid("title", "some text", title)
        self.title = title
        self.subtitle = subtitle
        self.provenance = provenance
        self.blocks: list[Html] = []

    def add(self, *blocks: "Html | str") -> "Page":
        """Put blocks at the end of the page; text is escaped.

        Args:
            blocks: Sections, which the contents list, or any other blocks.

        Returns:
            The page itself, to go on adding.
        """
        self.blocks.extend(text(block) for block in blocks)
        return self

    def to_html(self) -> str:
        """Write the page out.

        Returns:
            The whole document; the same blocks give the same text.

        Raises:
            UserError: When the page is empty, or two of its parts share an id.
            MissingExtraError: When Jinja2 is not installed.
        """
        if not self.blocks:
            raise invalid("a page", "filled before it is written", self.blocks, "add blocks to it")
        jinja2 = require_module("jinja2", "report")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        needs = needed_files(self.blocks)
        scripts = [package_file(f"{name}.js") for name in ("page", *needs)]
        styles = [package_file(f"{name}.css") for name in ("style", *needs)]
        written = str(
            environment.from_string(package_file("page.html.j2")).render(
                title=self.title,
                subtitle=self.subtitle,
                sections=[block for block in self.blocks if isinstance(block, Section)],
                blocks=self.blocks,
                provenance=definitions(self.provenance) if self.provenance else None,
                style=Html("\n\n".join(styles)),
                scripts=[Html(script) for script in scripts],
                script_hashes=" ".join(f"'{script_hash(script)}'" for script in scripts),
                version=__version__,
            )
        )
        refuse_repeated_ids(written)
        return written + "\n"

    def write(self, path: Path) -> Path:
        """Write the page to a file, completely or not at all.

        Args:
            path: Where to; missing folders are created.

        Returns:
            The path.

        Raises:
            UserError: When the page is empty or the file cannot be written.
        """
        path = Path(path)
        write_text_atomic(path, self.to_html())
        return path


def needed_files(blocks: Iterable[Html]) -> list[str]:
    """Find what blocks bring along: `data-needs="name"` asks for `name.js` and `name.css` beside this module.

    Text is escaped wherever it enters a page, quotes too, so only our own blocks can ask.

    Args:
        blocks: The blocks of a page.

    Returns:
        Names, each once.

    >>> needed_files([Html('<figure data-needs="scan_view"></figure>')] * 2)
    ['scan_view']
    """
    return list(
        dict.fromkeys(name for it in blocks for name in re.findall(r' data-needs="(\w+)"', it.markup))
    )


def script_hash(script: str) -> str:
    """Tell a script as a content security policy names it.

    >>> script_hash("")[:12]
    'sha256-47DEQ'
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def package_file(name: str) -> str:
    r"""Read a file that lies beside this module.

    Args:
        name: The file's name.

    Returns:
        Its text, line ends as `\n`.
    """
    return resources.files("multum.report").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")
