"""`multum cost` as a user calls it."""

import json
from pathlib import Path

import pytest

from multum.cli import main
from multum.cost import Cost

PERCEPTRON = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "perceptrons.py").write_text(PERCEPTRON)
    monkeypatch.syspath_prepend(tmp_path)
    return "perceptrons:build"


def test_cost_of_a_function_is_json_that_reads_back(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", target, "--shape", "2", "8", "--no-latency", "--json"]) == 0
    cost = Cost.from_dict(json.loads(capsys.readouterr().out))
    assert cost.macs == 2 * (8 * 16 + 16 * 4)
    assert cost.num_parameters == 8 * 16 + 16 + 16 * 4 + 4


def test_cost_is_drawn_for_a_reader(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", target, "--shape", "2", "8", "--no-latency", "--mode", "training"]) == 0
    told = capsys.readouterr()
    assert "Parameters" in told.out
    assert "212" in told.out
    assert "measuring perceptrons:build" in told.err


def test_cost_writes_a_page_without_places_of_this_machine(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the page needs the report extra")
    pytest.importorskip("jinja2", reason="the page needs the report extra")
    page = tmp_path / "page.html"
    assert main(["cost", target, "--shape", "2", "8", "--no-latency", "--html", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert str(tmp_path) not in text
    assert f"wrote {page}" in capsys.readouterr().err


def test_unknown_target_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "no-such-folder", "--no-latency"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("multum: error: ")
    assert "no-such-folder" in last


def test_cost_of_a_real_model_folder_knows_its_size(
    minilm_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(minilm_folder), "--length", "16", "--no-latency", "--random-weights", "--json"]
    assert main(["cost", *words]) == 0
    assert json.loads(capsys.readouterr().out)["num_parameters"] == 22_713_216
