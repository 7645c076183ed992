"""A run folder survives whatever interrupts it, and nothing in it is lost or deleted by accident."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from multum.core.errors import UserError
from multum.core.run import LOCK_FILE, RUN_FILE, SCHEMA, Run


@dataclass(frozen=True, kw_only=True)
class Dials:
    keep_ratio: float = 0.5
    folder: Path = Path("x")
    sizes: tuple[int, ...] = (1, 2)


CUNNING = """{"schema": "multum.run/1", "status": "running", "config": {}, "provenance": {}, "resumed": [],
"stages": ["../../elsewhere"], "result": null}"""
"""A record that would make `overwrite` delete a file outside the folder."""


def record_of(folder: Path) -> dict:
    return json.loads((folder / RUN_FILE).read_text())


def names_in(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def half_written(folder: Path) -> Path:
    """Leave a run behind whose second stage was interrupted."""
    with Run.open(folder, Dials()) as run:
        run.stage("first", lambda: {"score": 0.1})
        with pytest.raises(KeyboardInterrupt):
            run.stage("second", interrupt)
    return folder


def interrupt() -> int:
    raise KeyboardInterrupt


def test_finished_run_tells_config_provenance_stages_and_result(tmp_path: Path) -> None:
    with Run.open(tmp_path / "run", Dials(), seed=3) as run:
        run.stage("first", lambda: 1)
        run.finish({"score": 0.5})
    record = record_of(tmp_path / "run")
    assert record["schema"] == SCHEMA
    assert record["status"] == "finished"
    assert record["config"] == {"keep_ratio": 0.5, "folder": "x", "sizes": [1, 2]}
    assert record["provenance"]["seed"] == 3
    assert record["stages"] == ["first"]
    assert record["result"] == {"score": 0.5}
    assert names_in(tmp_path / "run") == [RUN_FILE, "stage-first.json"]


def test_resume_reuses_complete_stages_and_computes_the_rest(tmp_path: Path) -> None:
    half_written(tmp_path)
    assert record_of(tmp_path)["status"] == "running"
    with Run.open(tmp_path, Dials(), resume=True) as run:
        assert run.stage("first", interrupt) == {"score": 0.1}
        assert run.stage("second", lambda: 2) == 2
        run.finish({})
    assert record_of(tmp_path)["stages"] == ["first", "second"]
    assert len(record_of(tmp_path)["resumed"]) == 1


def test_stage_returns_the_same_when_computed_and_when_resumed(tmp_path: Path) -> None:
    with Run.open(tmp_path, Dials()) as run:
        computed = run.stage("numbers", lambda: {"pair": (1, 2.0), "third": 1 / 3})
    with Run.open(tmp_path, Dials(), resume=True) as run:
        resumed = run.stage("numbers", interrupt)
    assert repr(computed) == repr(resumed) == "{'pair': [1, 2.0], 'third': 0.3333333333333333}"


def test_resume_of_nothing_starts(tmp_path: Path) -> None:
    with Run.open(tmp_path / "new", Dials(), resume=True) as run:
        assert run.stages == ()
        assert not run.finished


def test_resume_of_a_finished_run_shows_its_result_and_changes_nothing(tmp_path: Path) -> None:
    Run.open(tmp_path, Dials()).finish({"score": 1})
    before = (tmp_path / RUN_FILE).read_bytes()
    with Run.open(tmp_path, Dials(), resume=True) as run:
        assert run.finished
        assert run.result == {"score": 1}
    assert (tmp_path / RUN_FILE).read_bytes() == before


def test_finished_run_is_replaced_only_on_request(tmp_path: Path) -> None:
    Run.open(tmp_path, Dials()).finish({"score": 1})
    with pytest.raises(UserError, match="holds a finished run; --overwrite replaces it"):
        Run.open(tmp_path, Dials())
    with Run.open(tmp_path, Dials(keep_ratio=0.3), overwrite=True) as run:
        assert run.result is None
    assert record_of(tmp_path)["config"]["keep_ratio"] == 0.3


def test_half_written_run_is_neither_continued_nor_replaced_unasked(tmp_path: Path) -> None:
    half_written(tmp_path)
    with pytest.raises(UserError, match="not finished; --resume continues it, --overwrite starts anew"):
        Run.open(tmp_path, Dials())


def test_overwrite_forgets_old_stages_and_spares_foreign_files(tmp_path: Path) -> None:
    half_written(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "stage-foreign.json").write_text("mine too")
    with Run.open(tmp_path, Dials(), overwrite=True) as run:
        assert run.stage("first", lambda: "new") == "new"
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "stage-foreign.json").read_text() == "mine too"


def test_resume_with_another_configuration_names_the_difference(tmp_path: Path) -> None:
    half_written(tmp_path)
    with pytest.raises(UserError, match="different in keep_ratio, sizes;"):
        Run.open(tmp_path, Dials(keep_ratio=0.4, sizes=(1,)), resume=True)


def test_options_that_are_newer_than_a_run_count_as_their_defaults(tmp_path: Path) -> None:
    half_written(tmp_path)
    record = record_of(tmp_path)
    del record["config"]["keep_ratio"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="different in keep_ratio;"):
        Run.open(tmp_path, Dials(keep_ratio=0.4), resume=True)
    with Run.open(tmp_path, Dials(), resume=True) as run:
        assert run.stages


def test_folder_of_foreign_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    for wish in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(UserError, match=r"holds files but no run\.json \(for instance thesis\.tex\)"):
            Run.open(tmp_path, Dials(), **wish)
    assert names_in(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "schema .* must be"),
        ('{"schema": "multum.run/99"}', r"must be 'multum\.run/1'; got 'multum\.run/99'"),
        ('{"schema": "multum.run/1"}', "is incomplete: status is missing"),
        (CUNNING, "must be a list of names"),
    ],
)
@pytest.mark.parametrize("wish", [{"resume": True}, {"overwrite": True}, {}])
def test_broken_or_unknown_record_is_refused_whatever_is_wished(
    tmp_path: Path, text: str, message: str, wish: dict[str, bool]
) -> None:
    (tmp_path / RUN_FILE).write_text(text)
    with pytest.raises(UserError, match=message):
        Run.open(tmp_path, Dials(), **wish)
    assert (tmp_path / RUN_FILE).read_text() == text


def test_lost_stage_file_is_told(tmp_path: Path) -> None:
    half_written(tmp_path)
    (tmp_path / "stage-first.json").unlink()
    with Run.open(tmp_path, Dials(), resume=True) as run, pytest.raises(UserError, match="does not exist"):
        run.stage("first", lambda: 1)


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    with Run.open(tmp_path, Dials()):
        for wish in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(UserError, match=f"in use by process {os.getpid()}"):
                Run.open(tmp_path, Dials(), **wish)
    Run.open(tmp_path, Dials(), resume=True).close()


def test_lock_of_a_killed_process_is_healed(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib; from multum.core.run import Run;"
        "run = Run.open(pathlib.Path(sys.argv[1]), {'keep_ratio': 0.5}); print('open', flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(UserError, match=f"in use by process {other.pid}"):
            Run.open(tmp_path, {"keep_ratio": 0.5}, resume=True)
        other.kill()
    assert (tmp_path / LOCK_FILE).exists()
    with Run.open(tmp_path, {"keep_ratio": 0.5}, resume=True) as run:
        assert not run.finished
    assert not (tmp_path / LOCK_FILE).exists()


def test_refused_opening_leaves_no_lock(tmp_path: Path) -> None:
    half_written(tmp_path)
    with pytest.raises(UserError):
        Run.open(tmp_path, Dials())
    assert not (tmp_path / LOCK_FILE).exists()


def test_contradicting_wishes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot both"):
        Run.open(tmp_path, Dials(), resume=True, overwrite=True)


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="must be a folder; it is a file"):
        Run.open(tmp_path / "file", Dials())


@pytest.mark.parametrize("name", ["", "a/b", "../up", "a b"])
def test_stage_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with Run.open(tmp_path, Dials()) as run, pytest.raises(UserError, match="the name of a stage must be"):
        run.stage(name, lambda: 1)


def test_stage_without_a_json_form_is_refused_and_not_recorded(tmp_path: Path) -> None:
    with Run.open(tmp_path, Dials()) as run:
        with pytest.raises(UserError, match=r"stage bad\.loss must be"):
            run.stage("bad", lambda: {"loss": float("nan")})
        assert run.stages == ()


def test_a_run_that_left_nothing_may_start_with_other_options(tmp_path: Path) -> None:
    Run.open(tmp_path, Dials()).close()
    with Run.open(tmp_path, Dials(keep_ratio=0.3)) as run:
        assert run.stages == ()
    assert record_of(tmp_path)["config"]["keep_ratio"] == 0.3
    (tmp_path / "dense").mkdir()  # a training that had begun
    with pytest.raises(UserError, match="not finished; --resume continues it"):
        Run.open(tmp_path, Dials())
