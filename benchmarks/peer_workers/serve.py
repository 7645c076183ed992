"""The worker's side of the conversation: one line of JSON in, one line of JSON out."""

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any


def serve(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer calls until the input ends. What libraries print goes to the error stream, never between the answers."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    known = {"versions": versions, **functions}
    for line in sys.stdin:
        wish = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"result": known[wish["call"]](**wish["arguments"])}
        except Exception as problem:  # whatever fails here is the caller's to report
            answer = {"error": f"{type(problem).__name__}: {problem}"[:2000]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def versions(names: list[str]) -> dict[str, str]:
    """Installed versions by the name of the distribution."""
    return {name: importlib.metadata.version(name) for name in names}
