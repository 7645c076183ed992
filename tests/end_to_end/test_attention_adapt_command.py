"""`multum attention adapt` as a user calls it."""

import json
from pathlib import Path

import pytest

from multum.cli import main
from small_sentence_encoder import save_sentence_encoder, write_sst2, write_wikitext2

SHORT = ["--recovery.loop.num-epochs", "1", "--recovery.loop.batch-size", "8"]
SCHEDULE = ["--schedule.keep-ratios", "1.0", "0.6", "0.5", "0.5"]


def test_a_small_model_is_adapted_and_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = save_sentence_encoder(tmp_path / "model"), write_wikitext2(tmp_path / "data")
    words = ["attention", "adapt", str(data), "--model", str(model), "--out", str(tmp_path / "run")]
    assert main([*words, *SCHEDULE, *SHORT]) == 0
    told = capsys.readouterr()
    assert "cosine to the dense model, about the mean, held-out part" in told.out
    assert "self-distillation" in told.err
    assert {"run.json", "multum_delta.safetensors", "multum_schedule.json"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    assert main([*words, *SCHEDULE, *SHORT]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert main([*words, *SCHEDULE, *SHORT, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dense"] == 1.0


def test_a_recipe_gives_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["attention", "adapt", "here", "--recipe", "sst2_at_half", "--num-texts", "7", "--dry-run"]) == 0
    )
    config = json.loads(capsys.readouterr().out)
    assert (config["data"], config["task"], config["num_texts"]) == ("here", "classify", 7)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "schedule must be for the model's 4 layers"),
        (["--task", "similarity"], "STS-B file must be an existing file"),
        (["--recovery.anneal-part", "2"], "anneal_part must be in [0, 1]"),
    ],
)
def test_wishes_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    model, data = save_sentence_encoder(tmp_path / "model"), write_sst2(tmp_path / "data")
    options = ["--model", str(model), "--out", str(tmp_path / "run"), "--task", "classify", *SHORT]
    assert main(["attention", "adapt", str(data), *options, *words]) == 2
    assert message in capsys.readouterr().err
