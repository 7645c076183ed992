"""The bundled passages: a small retrieval task that needs no download.

Each topic holds at least three passages on neighbouring subjects, so that finding the passage that answers
a query takes more than recognising the topic: telling tidal power from tidal flats, not tides from violins.
A passage fills 120 to 250 words, about what a sentence encoder sees in practice, and carries two queries
that it answers and its siblings do not.

One JSON file per topic lies in the folder `passages`; `README.md` beside it records where the text comes
from. The same reader takes a folder of your own, in the same form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from multum.core.errors import invalid
from multum.data.checks import check_keys, check_text, parse_object

PROVENANCE = "Written for the multum project, not taken from any other source; MIT licence, like the code."
"""Origin and licence of the bundled passages and sentence pairs."""

MIN_WORDS, MAX_WORDS = 120, 250
"""Bounds on the length of a passage, in words separated by white space."""

MIN_PASSAGES_PER_TOPIC = 3
"""Fewer passages on a topic would make the topic alone give the answer away."""

NUM_QUERIES = 2
"""Queries that come with every passage."""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One paragraph, with the queries that it answers."""

    identifier: str
    """Unique name, such as `tides-1`."""
    topic: str
    """The subject that it shares with its siblings."""
    title: str
    """A few words on what sets it apart from its siblings."""
    text: str
    """The paragraph, `MIN_WORDS` to `MAX_WORDS` words."""
    queries: tuple[str, str]
    """Two questions answered here and in no other passage."""


def load_passages(folder: Traversable | None = None) -> tuple[Passage, ...]:
    """Read passages, the bundled ones unless told otherwise.

    Args:
        folder: A folder of topic files (`*.json`) in the form that `README.md` shows. None reads the
        bundled ones.

    Returns:
        All passages, in the order of the file names and then of each file.

    Raises:
        UserError: The folder holds no topic file, or a file breaks the form: keys, lengths, number of
            queries, number of passages on a topic, or an identifier used twice.

    Example:
        >>> passages = load_passages()
        >>> len(passages) >= 36
        True
    """
    source = resources.files("multum.data").joinpath("passages") if folder is None else folder
    files = sorted(_topic_files(source), key=lambda file: file.name)
    if not files:
        remedy = "see the folder multum/data/passages for the form of a topic file"
        raise invalid("passage folder", "a folder with at least one topic file (*.json)", str(source), remedy)
    passages = tuple(passage for file in files for passage in _read_topic(file))
    _check_unique("passage identifier", [passage.identifier for passage in passages])
    return passages


def _topic_files(folder: Traversable) -> list[Traversable]:
    """The JSON files of a folder; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return [file for file in folder.iterdir() if file.is_file() and file.name.endswith(".json")]


def _read_topic(file: Traversable) -> list[Passage]:
    """Read and checks one topic file."""
    name = f"topic file {file.name}"
    data = parse_object(file.read_bytes(), name, ("topic", "passages"))
    topic = check_text(data["topic"], f"topic in {file.name}")
    entries = data["passages"]
    if not isinstance(entries, list) or len(entries) < MIN_PASSAGES_PER_TOPIC:
        found = len(entries) if isinstance(entries, list) else entries
        raise invalid(name, f"a list of at least {MIN_PASSAGES_PER_TOPIC} passages", found)
    return [
        _passage(entry, topic, f"passage {place} of {file.name}") for place, entry in enumerate(entries, 1)
    ]


def _passage(entry: object, topic: str, where: str) -> Passage:
    """Check one entry of a topic file."""
    fields = check_keys(entry, where, ("identifier", "title", "text", "queries"))
    text = check_text(fields["text"], f"text of {where}")
    num_words = len(text.split())
    if not MIN_WORDS <= num_words <= MAX_WORDS:
        raise invalid(f"text of {where}", f"{MIN_WORDS} to {MAX_WORDS} words long", num_words)
    return Passage(
        identifier=check_text(fields["identifier"], f"identifier of {where}"),
        topic=topic,
        title=check_text(fields["title"], f"title of {where}"),
        text=text,
        queries=_queries(fields["queries"], where),
    )


def _queries(value: object, where: str) -> tuple[str, str]:
    """Check the queries of one passage."""
    if not isinstance(value, list) or len(value) != NUM_QUERIES:
        raise invalid(f"queries of {where}", f"a list of {NUM_QUERIES} questions", value)
    first, second = (check_text(query, f"query of {where}") for query in value)
    _check_unique(f"query of {where}", [first, second])
    return first, second


def _check_unique(name: str, values: Sequence[str]) -> None:
    """Refuse a value that occurs twice."""
    repeated = sorted({value for value in values if values.count(value) > 1})
    if repeated:
        raise invalid(name, "used only once", repeated[0])
