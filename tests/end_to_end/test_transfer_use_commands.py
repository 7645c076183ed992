"""What a user does with a trained network, on the command line."""

import json
from pathlib import Path

import pytest
from PIL import Image

from multum.cli import main

SHORT = ["--no-pretrained", "--side", "16", "--num-epochs", "1", "--num-train", "2", "--mode", "bias"]
FEW = ["--validation", "0.01", "--test", "0.02"]


def write_classes(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (20, 20), (80 * number, 60 * index, 30)).save(folder / name / f"{index}.png")
    return folder


def words_of(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, wherever lines were broken."""
    return " ".join(capsys.readouterr().out.split())


def test_a_network_is_trained_used_and_added_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    run, more = str(tmp_path / "run"), str(tmp_path / "more")
    assert main(["transfer", "train", "digits", "--recipe", "digits", *SHORT, *FEW, "--out", run]) == 0
    new = write_classes(tmp_path / "new", "plus", "minus")
    assert main(["transfer", "add-classes", run, str(new), "--test", "0.3", "--out", more]) == 0
    told = words_of(capsys)
    assert "minus, plus added: 4 pictures to learn from, beside the means of 20; 12 classes now" in told
    assert "old classes, with the new ones added" in told
    words = ["transfer", "predict", more, str(new), str(new / "plus" / "0.png"), "--most", "2"]
    assert main(words) == 0
    told = words_of(capsys)
    assert "wrote" in told
    assert (tmp_path / "more" / "predictions.csv").read_text().count("\n") == 7
    assert main([*words, "--out", str(tmp_path / "all.json"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "all.json").read_text())
    assert main(["transfer", "delta", more, "--precision", "int8"]) == 0
    told = words_of(capsys)
    assert "mode: bias" in told
    assert "bytes in int8" in told
    assert main(["transfer", "merge", more, "--out", str(tmp_path / "plain.safetensors")]) == 0
    assert "49 norms folded into the convolutions before them" in words_of(capsys)
    assert (tmp_path / "plain.safetensors").exists()
    assert main(["transfer", "export", more, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (Path(done["path"]).name, done["checked_by"]) == ("model.pt2", "torch")
    assert main(["transfer", "evaluate", more, str(new), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"][-2:] == ["minus", "plus"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "nowhere", "here"], "run must be a folder with run.json in it"),
        (["export", "nowhere", "--format", "tflite"], "--format"),
        (["merge", "nowhere"], "run must be a folder with run.json in it"),
        (["delta", "nowhere"], "nowhere does not exist"),
        (["add-classes", "nowhere", "here"], "run must be a folder with run.json in it"),
    ],
)
def test_wishes_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["transfer", *words]) == 2
    assert message in capsys.readouterr().err
