"""Loading a language model: from a folder, from a GGUF file, and what is refused."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from multum.attention import LanguageModel
from multum.core import UserError
from multum.data import smollm2_file
from small_language_models import write_gguf, write_language_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.Q8.gguf")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_folder_gives_model_and_tokenizer(folder: Path) -> None:
    loaded = LanguageModel.load(folder)
    assert (loaded.name, loaded.num_layers, loaded.max_tokens) == ("small", 3, 256)
    assert not loaded.model.training
    ids = loaded.tokenize("the film is perfect")
    assert ids.shape == (1, 4)
    assert loaded.model(ids).logits.isfinite().all()
    assert loaded.chat("the film") == "the film", "no template, no change"


def test_gguf_is_converted_once_and_exactly(
    gguf: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = LanguageModel.load(gguf)
    assert "kept for the next time" in capsys.readouterr().err
    second = LanguageModel.load(gguf)
    assert "kept for the next time" not in capsys.readouterr().err
    (kept,) = [path for path in (cache / "models").iterdir() if path.is_dir()]
    assert kept.name.startswith("tiny.Q8-")
    direct = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    for name, weight in direct.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name]), name
        assert torch.equal(weight, first.model.state_dict()[name]), name
    assert second.tokenizer.decode(second.tokenize("the cat")[0]) == "the cat"


def test_another_file_is_another_conversion(gguf: Path, cache: Path, tmp_path: Path) -> None:
    changed = tmp_path / gguf.name
    data = bytearray(gguf.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    LanguageModel.load(gguf)
    LanguageModel.load(changed)
    assert len([path for path in (cache / "models").iterdir() if path.is_dir()]) == 2


def test_interrupted_conversion_leaves_nothing_that_looks_finished(
    gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            LanguageModel.load(gguf)
    assert [path for path in (cache / "models").iterdir() if path.is_dir()] == []
    assert LanguageModel.load(gguf).num_layers == 1


def test_what_is_no_model_is_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UserError, match=r"model must be a model folder with config.json, or a .gguf file"):
        LanguageModel.load(tmp_path)
    with pytest.raises(UserError, match="model file must be an existing GGUF file"):
        LanguageModel.load(tmp_path / "none.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUX" + bytes(64))
    with pytest.raises(UserError, match="model file must be GGUF that transformers reads"):
        LanguageModel.load(tmp_path / "bad.gguf")


def test_text_that_does_not_fit_is_refused(folder: Path) -> None:
    loaded = LanguageModel.load(folder)
    with pytest.raises(UserError, match="text must be non-empty"):
        loaded.tokenize("  ")
    with pytest.raises(UserError, match="at most 256 tokens together; got 257"):
        loaded.tokenize("the " * 250, room_for=7)


def test_smollm2_answers(smollm2: Path) -> None:
    loaded = LanguageModel.load(smollm2_file())
    assert (loaded.num_layers, loaded.max_tokens) == (30, 8192)
    ids = loaded.tokenize("The capital of France is")
    with torch.inference_mode():
        next_id = int(loaded.model(ids).logits[0, -1].argmax())
    assert loaded.tokenizer.decode([next_id]) == " Paris"
    assert "<|im_start|>user\nhello<|im_end|>" in loaded.chat("hello")
