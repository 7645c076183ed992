"""`multum transfer pretrain-lite` as a user calls it, and a training that starts from what it wrote."""

import json
from pathlib import Path

import pytest

from multum.cli import main

SHORT = ["--no-pretrained", "--side", "16", "--num-epochs", "1", "--num-train", "2"]
FEW = ["--validation", "0.01", "--test", "0.02"]


def test_lite_residuals_are_trained_once_and_started_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    run = tmp_path / "lite"
    words = ["transfer", "pretrain-lite", "digits", *SHORT, *FEW, "--out", str(run)]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "efficientnet-lite0 at 16 px: 15 lite residuals learned from 20 pictures of 10 classes" in told.out
    assert "start from it with multum transfer train --lite-weights" in told.out
    assert main([*words, "--resume", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (run / result["lite_file"]).stat().st_size >= result["num_bytes"]
    task = ["transfer", "train", "digits", *SHORT, *FEW, "--lite-weights", str(run / result["lite_file"])]
    assert main([*task, "--out", str(tmp_path / "task")]) == 0
    assert main([*task, "--mode", "bias", "--out", str(tmp_path / "other")]) == 2
    assert "lite_weights must be None in mode bias" in capsys.readouterr().err
    assert main([*task, "--seed", "1", "--out", str(tmp_path / "third")]) == 2  # other random weights
    assert "model must be the backbone that the lite residuals were trained beside" in capsys.readouterr().err
