"""`multum transfer train` and `multum transfer evaluate` as a user calls them."""

import json
from pathlib import Path

import pytest

from multum.cli import main

SHORT = ["--no-pretrained", "--side", "16", "--num-epochs", "2", "--num-train", "2", "--mode", "bias"]

FEW = ["--validation", "0.01", "--test", "0.02"]


def test_digits_are_trained_shown_again_and_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    run = str(tmp_path / "run")
    words = ["transfer", "train", "digits", "--recipe", "digits", *SHORT, *FEW, "--out", run]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "efficientnet-lite0 at 16 px, bias:" in told.out
    assert "pictures known" in told.out
    assert "training: 6 of 6" in told.err
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"run.json", "metrics.jsonl", "adapted.safetensors", "report.html"}
    page = tmp_path / "run" / "report.html"
    drawn = page.read_bytes()
    assert str(tmp_path) not in drawn.decode().split("Where it ran.")[0], (
        "a page names no folder of this machine"
    )
    page.unlink()
    assert main(["transfer", "report", run]) == 0
    assert page.read_bytes() == drawn
    capsys.readouterr()
    assert main(words) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert main([*words, "--resume", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["num_train"], result["num_epochs"], result["memory"]) == (20, 2, None)
    assert main(["transfer", "evaluate", run, "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == result["test"]


def test_a_recipe_gives_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transfer", "train", "here", "--recipe", "flowers", "--batch-size", "4", "--dry-run"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert (config["data"], config["batch_size"], config["label_smoothing"]) == ("here", 4, 0.7)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "nowhere"], "picture folder must be an existing folder"),
        (["train", "digits", "--backbone", "vgg"], "backbone must be one of efficientnet-lite0"),
        (["train", "digits", "--micro-batch", "9"], "micro_batch must be at most batch_size, 8; got 9"),
        (["report", "nowhere"], "run must be a folder with run.json in it"),
        (["evaluate", "nowhere", "digits"], "run must be a folder with run.json in it"),
    ],
)
def test_wishes_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    out = ["--out", str(tmp_path / "run"), "--no-pretrained"] if words[0] == "train" else []
    assert main(["transfer", *words, *out]) == 2
    assert message in capsys.readouterr().err
