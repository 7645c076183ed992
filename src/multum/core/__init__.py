"""What every other part stands on: errors, files, configuration, runs, provenance, papers, progress."""

from multum.core.config import check_fields, from_dict, load_json, save_json, to_dict, to_json
from multum.core.errors import (
    MissingExtraError,
    UserError,
    UserTypeError,
    did_you_mean,
    invalid,
    require_module,
    wrong_type,
)
from multum.core.files import (
    read_json,
    read_text,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
    written_atomically,
)
from multum.core.once import forget_warnings, warn_once
from multum.core.papers import Paper, Published, load_paper, paper_names, published
from multum.core.progress import say, track
from multum.core.provenance import provenance
from multum.core.run import Run

__all__ = [
    "MissingExtraError",
    "Paper",
    "Published",
    "Run",
    "UserError",
    "UserTypeError",
    "check_fields",
    "did_you_mean",
    "forget_warnings",
    "from_dict",
    "invalid",
    "load_json",
    "load_paper",
    "paper_names",
    "provenance",
    "published",
    "read_json",
    "read_text",
    "require_module",
    "save_json",
    "say",
    "to_dict",
    "to_json",
    "track",
    "warn_once",
    "write_bytes_atomic",
    "write_json_atomic",
    "write_text_atomic",
    "written_atomically",
    "wrong_type",
]
