"""A training's diary: one JSON object a line, and never a torn one.

No times stand in it, so that the diary of a resumed training equals that of an undisturbed one, line by line.
"""

import json
import os
from pathlib import Path
from typing import Any

from multum.core import UserError, write_text_atomic
from multum.core.files import cannot_write, read_text, to_json_text


class MetricLog:
    """Appends records to a JSONL file.

    Each record is one write of one line. What a kill left behind the last checkpoint is taken back by `rewind`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: dict[str, object]) -> None:
        """Add a line.

        Args:
            record: Plain values; `step` tells after how many steps it was written.

        Raises:
            UserError: A value has no JSON form (NaN has none), or the file cannot be written.
        """
        line = json.dumps(json.loads(to_json_text(record, name="metrics")), ensure_ascii=False) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(descriptor, line.encode("utf-8"))
            finally:
                os.close(descriptor)
        except OSError as problem:
            raise cannot_write(self.path, problem) from problem

    def rewind(self, step: int) -> None:
        """Forget what was written after `step` steps: the training goes on from there."""
        if not self.path.exists():
            return
        kept = [record for record in read_metrics(self.path) if record["step"] <= step]
        write_text_atomic(self.path, "".join(json.dumps(it, ensure_ascii=False) + "\n" for it in kept))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the records of a log; a last line that a kill cut off is left out.

    Raises:
        UserError: The file is missing, or a line before the last is no JSON.
    """
    lines = read_text(path).split("\n")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as problem:
            if number == len(lines):  # no line end after it: torn by a kill
                break
            raise UserError(f"{path} must hold JSON on every line; line {number} breaks") from problem
    return records
