"""The README's Python runs as it stands there, block after block, in one session as a reader would."""

import re
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks_of(text: str) -> list[str]:
    return BLOCK.findall(text)


def run_blocks(path: Path) -> dict[str, object]:
    """Run the Python blocks of a Markdown file in one namespace."""
    namespace: dict[str, object] = {"__name__": "readme"}
    text = path.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        first_line = text[: match.start()].count("\n") + 1
        code = compile(
            "\n" * first_line + match[1], str(path), "exec"
        )  # a traceback then names README's own line
        exec(code, namespace)
    return namespace


@pytest.mark.timeout(300)
def test_readme_examples_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minilm_folder: Path
) -> None:
    readme = repository / "README.md"
    assert blocks_of(readme.read_text(encoding="utf-8")), "the README shows no Python"
    monkeypatch.chdir(tmp_path)
    assert run_blocks(readme)


def test_blocks_share_a_session_and_failures_name_their_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\n```python\na = 1\n```\n\ntext\n\n```bash\nfalse\n```\n\n```python\nb = a + 1\n```\n"
    )
    assert run_blocks(page)["b"] == 2
    page.write_text("one\ntwo\n```python\nraise ValueError\n```\n")
    with pytest.raises(ValueError) as caught:
        run_blocks(page)
    assert caught.traceback[-1].lineno == 3  # counted from zero: the fourth line
