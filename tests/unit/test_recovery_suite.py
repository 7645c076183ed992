"""The suite of recovery, rehearsed on a small model and small files in the real formats."""

from pathlib import Path

import pytest
from benchmarks.measure import measure_case
from benchmarks.registry import Case, Setting
from benchmarks.suites import recovery

from small_sentence_encoder import save_sentence_encoder, write_sst2, write_stsb, write_wikitext2

LOSSES = {"sst2": "dense_longer_accuracy", "stsb": "dense_longer_spearman", "passages": "dense_r1"}


@pytest.fixture
def small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small data, a small model of six layers in place of MiniLM, trainings in a folder of their own."""
    write_sst2(tmp_path / "data" / "glue_sst2")
    write_stsb(tmp_path / "data" / "stsb_en")
    write_wikitext2(tmp_path / "data" / "wikitext2")
    model = save_sentence_encoder(tmp_path / "model", num_layers=6)
    monkeypatch.setenv("MULTUM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(recovery, "minilm_folder", lambda: model)
    monkeypatch.setattr("multum.attention.recovery_command.minilm_folder", lambda: model)
    monkeypatch.setattr(recovery, "TRAININGS", tmp_path / "trainings")
    monkeypatch.setattr(recovery, "LEAST_TOKENS", 5)
    recipe = recovery.passages_at_a_third
    monkeypatch.setattr(recovery, "passages_at_a_third", lambda: recovery.replace(recipe(), least_tokens=8))
    return tmp_path


@pytest.mark.parametrize("case", recovery.SUITE.cases, ids=lambda it: it.name)
def test_a_rehearsal_trains_once_and_tells_the_loss(small_world: Path, case: Case) -> None:
    setting = Setting(quick=True)
    result = measure_case(case, setting)
    assert result.check.passed, result.check.detail
    assert "loss_points" in result.readings
    assert result.readings["token_reduction"] > 1.05
    assert any(LOSSES[case.name] in name for name in result.readings)
    before = {path: path.stat().st_mtime_ns for path in small_world.rglob("multum_delta.safetensors")}
    assert before
    assert measure_case(case, setting).readings == result.readings
    assert before == {path: path.stat().st_mtime_ns for path in small_world.rglob("multum_delta.safetensors")}


def test_a_missing_data_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTUM_DATA", str(tmp_path))
    with pytest.raises(Exception, match="the data set glue_sst2 is not there; set MULTUM_DATA"):
        recovery.SUITE.cases[0].prepare(Setting(quick=True))
