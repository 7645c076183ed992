"""`multum attention ...` and `multum kernels` as a user calls them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.columns import Columns
from rich.console import Console

from multum.attention import TokenFate
from multum.cli import main
from multum.cli.kernels import fast_paths
from multum.cli.token_picture import token_picture

SENTENCE = "The quick brown fox jumps over the lazy dog because it was chased by a hungry wolf."


def test_shown_text_loses_words_and_never_regains_them(
    minilm_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attention", "show", SENTENCE, "--keep-ratio", "0.5"]) == 0
    first, *later, last = capsys.readouterr().out.splitlines()
    assert first == f"layer 1, 20 tokens: {SENTENCE}"
    assert len(later) == 1
    assert later[0].startswith("layer 2, 10 tokens: ")
    assert "·" in later[0]
    assert last == "token reduction 1.71x"


def test_shown_text_as_json_tells_each_words_life(
    minilm_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(SENTENCE))
    assert main(["attention", "show", "-", "--keep-ratio", "0.5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tokens_per_layer"] == [20, 10, 10, 10, 10, 10]
    assert " ".join(word["text"] for word in told["words"]) == SENTENCE
    for word in told["words"]:
        assert len(word["importance"]) == word["last_layer"]


def test_every_token_is_shown_with_its_score_and_on_a_page(
    minilm_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["attention", "show", SENTENCE, "--keep-ratio", "0.5", "--html", str(tmp_path / "page.html")]
    assert main([*words, "--tokens"]) == 0
    page = capsys.readouterr().out
    assert "[CLS] (protected)" in page
    assert "·" * 5 in page
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "token-map" in html
    assert html.count('aria-label="gone"') == 50


def test_long_text_is_shown_in_columns_of_tokens() -> None:
    tokens = [
        TokenFate(text=f"t{index}", importance=tuple(map(float, range(1, 2 + index % 3))))
        for index in range(40)
    ]
    picture = token_picture(tokens, 3)
    assert isinstance(picture, Columns)
    console = Console(width=60, no_color=True)
    with console.capture() as captured:
        console.print(picture)
    told = captured.get()
    assert "t2 ███" in told
    assert "t3 █··" in told
    assert len(told.splitlines()) < 15


def test_embeddings_are_written_whole_with_unit_length(
    minilm_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts.txt").write_text(f"A short line.\n\n{SENTENCE}\n")
    words = ["attention", "embed", str(tmp_path / "texts.txt"), "--out", str(tmp_path / "e.npy"), "--json"]
    assert main(words) == 0
    dense = np.load(tmp_path / "e.npy")
    assert dense.shape == (2, 384)
    assert dense.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), 1, atol=1e-5)
    assert json.loads(capsys.readouterr().out)["token_reduction"] == 1.0
    assert main([*words, "--keep-ratio", "0.5"]) == 0
    assert json.loads(capsys.readouterr().out)["token_reduction"] > 1.5
    assert not np.array_equal(np.load(tmp_path / "e.npy"), dense)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", " "], "text 0 must be non-empty"),
        (["show", "hi", "--keep-ratio", "2"], "must be in (0, 1]; got 2.0"),
        (["show", "hi", "--keep-ratio", "nan"], "must be in (0, 1]; got nan"),
        (["show", "word " * 600], "must be at most 512 tokens"),
        (["show", "hi", "--model", "nowhere"], "a transformers model folder with config.json; got 'nowhere'"),
        (["embed", "nowhere.txt"], "text file must be an existing file; got 'nowhere.txt'"),
        (["embed", "nowhere.txt", "--out", "e.txt"], "out must end in .npy; got 'e.txt'"),
    ],
)
def test_bad_input_is_one_line(
    minilm_folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["attention", *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("multum: error: ")
    assert message in last


def test_kernels_are_listed_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels", "--json", "--peak"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {path["operation"] for path in told["paths"]} >= {"importance_attention", "fma_peak"}
    assert told["peak"]["flops_per_second"] > 1e8
    assert main(["kernels"]) == 0
    page = capsys.readouterr().out
    for it in fast_paths():
        assert it.operation in page


def test_missing_fast_path_says_why() -> None:
    for it in fast_paths():
        assert it.detail, it.operation
