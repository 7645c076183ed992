"""`multum attention run | evaluate | generate` as a user calls them, on small models of every kind."""

import json
from pathlib import Path

import pytest

from multum.accelerator import Workload
from multum.attention import GenerationSchedule, load_schedule, save_schedule
from multum.attention.schedule_rules import linear_cache
from multum.cli import main
from small_encoders import make_encoder
from small_language_models import write_language_model
from small_tokenizer import make_tokenizer

SENTENCE = "as a visual treat the film is almost perfect and the film is long"
HEADS = {
    "base": "AutoModel",
    "classifier": "AutoModelForSequenceClassification",
    "tagger": "AutoModelForTokenClassification",
    "answerer": "AutoModelForQuestionAnswering",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small models, each in a folder of its own."""
    root = tmp_path_factory.mktemp("models")
    for name, head in HEADS.items():
        make_encoder(head=head).save_pretrained(root / name)
        make_tokenizer().save_pretrained(root / name)
    write_language_model(root / "writer")
    return root


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["attention", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def last_error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["attention", *words]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("multum: error: ")
    return line


def test_run_tells_output_cost_and_workload(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(models / "base"), "--text", SENTENCE, "--trace", str(tmp_path / "w.csv")]
    found = told(capsys, *words, "--keep-ratio", "0.5", "--keep-heads", "0.75", "--keep-values", "0.5")
    assert found["num_tokens"] == 16
    assert found["tokens_per_layer"] == [16, 8, 8, 8]
    assert found["values_per_layer"] == [8, 4, 4, 4]
    assert found["heads_per_layer"][0] == 4
    assert found["heads_per_layer"][-1] < 4
    assert found["after"]["macs"] < found["before"]["macs"]
    workload = Workload.read_csv(tmp_path / "w.csv")
    assert len(workload) == sum(found["heads_per_layer"])
    assert main(["attention", *words, "--keep-ratio", "0.5"]) == 0
    page = capsys.readouterr().out
    assert "tokens by layer: 16 8 8 8" in page
    assert "times less" in page


def test_run_and_generate_are_told_on_the_accelerator(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = [
        "run",
        str(models / "base"),
        "--text",
        SENTENCE,
        "--keep-ratio",
        "0.5",
        "--bits",
        "8",
        "--accelerator",
    ]
    write = [
        "generate",
        SENTENCE,
        "--model",
        str(models / "writer"),
        "--plain",
        "--max-new-tokens",
        "3",
        "--accelerator",
    ]
    for words in (run, write):
        found = told(capsys, *words)["accelerator"]
        for name in ("dense", "pruned"):
            reading = found[name]
            assert sum(it["cycles"] for it in reading["layers"]) == reading["cycles"]
            assert sum(it["dram_bytes"] for it in reading["layers"]) == reading["dram_bytes"]
            assert sum(it["joules"] for it in reading["layers"]) == pytest.approx(reading["joules"])
        assert found["pruned"]["dram_bytes"] < found["dense"]["dram_bytes"]
        assert found["processor_seconds"] > 0
    assert main(["attention", *run]) == 0
    page = capsys.readouterr().out
    assert "attention on SpAtten, simulated" in page
    assert "for the whole pruned model" in page


def test_run_keeps_everything_when_told_so(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "run", str(models / "base"), "--text", SENTENCE, "--keep-ratio", "1")
    assert found["agreement"] == pytest.approx(1.0, abs=1e-5)
    assert found["tokens_per_layer"] == [16] * 4


@pytest.mark.parametrize("name", ["classifier", "tagger"])
def test_run_speaks_in_labels_of_the_models_head(
    models: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    found = told(capsys, "run", str(models / name), "--text", SENTENCE, "--bits", "12")
    assert "LABEL_" in found["dense_output"]
    assert found["agreement"] > 0.8, "12 bits change next to nothing"


def test_run_answers_a_question(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(models / "answerer"), "--text", SENTENCE]
    found = told(capsys, *words, "--question", "is the film long", "--keep-ratio", "1")
    assert found["dense_output"] == found["pruned_output"]
    assert "question must be given to a question answering model" in last_error(capsys, *words)


def test_saved_schedule_gives_the_same_run(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "schedule.json"
    words = ["run", str(models / "base"), "--text", SENTENCE]
    first = told(capsys, *words, "--keep-ratio", "0.4", "--keep-values", "0.5", "--save", str(file))
    again = told(capsys, *words, "--schedule", str(file))
    assert again == first
    assert "schedule must stand alone; got keep_ratio" in last_error(
        capsys, *words, "--schedule", str(file), "--keep-ratio", "0.3"
    )


def test_budget_is_kept(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "run", str(models / "base"), "--text", SENTENCE, "--budget", "0.6")
    assert found["after"]["macs"] <= 0.6 * found["before"]["macs"]


def test_generate_writes_and_tells_what_the_cache_cost(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = " ".join([SENTENCE] * 5)
    words = ["generate", prompt, "--model", str(models / "writer"), "--max-new-tokens", "8"]
    found = told(capsys, *words, "--keep-ratio", "0.4", "--trace", str(tmp_path / "w.csv"))
    assert found["num_prompt_tokens"] == 70
    assert 1 <= found["num_new_tokens"] <= 8
    assert found["rows"][0] > found["rows"][-1]
    assert found["bytes_read_per_token"] < found["dense_bytes_read_per_token"]
    assert found["bytes_held"] < found["dense_bytes_held"]
    assert len(found["lsb_rates"]) == 3
    assert len(Workload.read_csv(tmp_path / "w.csv")) > 0
    assert main(["attention", *words, "--keep-ratio", "0.4"]) == 0
    page = capsys.readouterr().out
    assert found["text"].strip() in page
    assert "rows that fetched LSBs" in page


def test_generate_draws_and_searches_alike_every_time(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", SENTENCE, "--model", str(models / "writer"), "--max-new-tokens", "6"]
    for more in (["--sample", "--seed", "3", "--temperature", "0.9"], ["--beams", "2", "--full-precision"]):
        first, second = told(capsys, *words, *more), told(capsys, *words, *more)
        assert first["text"] == second["text"]
    assert first["lsb_rates"] == []


def test_generate_takes_a_schedule_file(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = GenerationSchedule(tokens=linear_cache(3, 0.5))
    file = save_schedule(wanted, tmp_path / "s.json")
    words = ["generate", SENTENCE, "--model", str(models / "writer"), "--max-new-tokens", "4"]
    found = told(capsys, *words, "--schedule", str(file), "--save", str(tmp_path / "again.json"))
    assert found["lsb_rates"] == []
    assert load_schedule(tmp_path / "again.json") == wanted
    encoder = ["run", str(models / "base"), "--text", SENTENCE, "--schedule", str(file)]
    assert "schedule must be for a model that encodes" in last_error(capsys, *encoder)


def test_evaluate_measures_each_task(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test.csv").write_text(
        "the film is perfect,the film is almost perfect,4\na dull film,the long treat,1\nas a treat,a visual treat,3\n"
    )
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nthe film is perfect\t1\na dull and long film\t0\n")
    (tmp_path / "text.txt").write_text(f"The film is long. {SENTENCE}. It is dull.\n" * 12)
    half = ["--keep-ratio", "0.5"]
    pairs = told(capsys, "evaluate", str(tmp_path), "--model", str(models / "base"), *half)
    assert pairs["num_texts"] == 3
    assert -1 <= pairs["pruned"] <= 1
    assert pairs["saved"] > 1
    folder = ["--task", "labels", "--split", "dev", "--model", str(models / "classifier")]
    labels = told(capsys, "evaluate", str(tmp_path), *folder, "--keep-ratio", "1")
    assert labels["dense"] == labels["pruned"]
    passages = ["--task", "passages", "--least-tokens", "4", "--model", str(models / "base")]
    found = told(capsys, "evaluate", str(tmp_path / "text.txt"), *passages, *half)
    assert found["num_texts"] == 12
    window = [
        "--task",
        "perplexity",
        "--window",
        "64",
        "--num-windows",
        "2",
        "--model",
        str(models / "writer"),
    ]
    perplexity = told(capsys, "evaluate", str(tmp_path / "text.txt"), *window, *half)
    assert perplexity["num_texts"] == 2
    assert perplexity["dense"] > 1
    assert perplexity["saved"] > 2
    assert perplexity["saved_what"] == "cache bytes read"
    window[1], window[3] = "needle", "96"
    needle = told(capsys, "evaluate", str(tmp_path / "text.txt"), *window, *half)
    assert needle["num_texts"] == 4
    assert needle["dense"] == needle["pruned"] == 0  # a network of random weights has learned nothing
    assert needle["saved"] > 2
    assert needle["saved_what"] == "cache bytes held"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nowhere"], "a transformers model folder with config.json; got 'nowhere'"),
        (["run", "MODELS/writer"], "model must be an encoder; got"),
        (["run", "MODELS/base", "--text", " "], "text must be non-empty"),
        (["run", "MODELS/base", "--keep-ratio", "0"], "in (0, 1]; got 0.0"),
        (["run", "MODELS/base", "--bits", "99"], "bits must be in 2..16; got 99"),
        (["run", "MODELS/base", "--text", "the " * 600], "tokens long, the model's limit; got '602 tokens'"),
        (["generate", "hi", "--model", "MODELS/base"], "a supported architecture for generation"),
        (["generate", "hi", "--model", "nowhere"], "a model folder with config.json, or a .gguf file"),
        (["generate", " ", "--model", "MODELS/writer"], "prompt must be non-empty"),
        (["generate", "hi", "--beams", "2", "--sample"], "beam search does not draw"),
        (["generate", "hi", "--msb-bits", "5"], "invalid choice"),
        (["generate", "the " * 255, "--model", "MODELS/writer"], "at most 256 tokens together"),
        (["evaluate", "nowhere"], "STS-B folder must be an existing folder"),
        (["evaluate", "nowhere", "--task", "labels"], "SST-2 folder"),
        (["evaluate", "nowhere", "--window", "1"], "window must be at least 4; got 1"),
    ],
)
def test_bad_wish_is_one_line(
    models: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    words = [word.replace("MODELS", str(models)) for word in words]
    assert message in last_error(capsys, *words)
