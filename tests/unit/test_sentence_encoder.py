"""Sentence embeddings and the fates of words, on the real all-MiniLM-L6-v2."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from multum.attention import (
    PruningRun,
    SentenceEncoder,
    TokenSchedule,
    embedding_schedule,
    flat_schedule,
    mean_pool,
    prune,
    trace_words,
)
from multum.core import UserError
from multum.data import load_passages

TEXTS = [
    "A heron stood in the shallow water for an hour and did not move a feather.",
    "Bread.",
    "The bridge was built in 1907, painted green, and painted again every seventh summer since then.",
    "Nobody had told the children that the museum's whale was made of plaster and horsehair.",
    "Rust never sleeps!",
]
HALF = flat_schedule(6, 0.5)


@pytest.fixture(scope="module")
def encoder(minilm_folder: Path) -> SentenceEncoder:
    return SentenceEncoder.load(minilm_folder)


def plain_embeddings(encoder: SentenceEncoder, text: str) -> torch.Tensor:
    """Embed one text with nothing but transformers: average all rows, divide by the length."""
    with torch.inference_mode():
        hidden = encoder.model(**encoder.tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    average = hidden.double().mean(dim=0)
    return average / average.square().sum().sqrt()


def test_dense_embeddings_equal_a_plain_forward_with_mean_pooling(encoder: SentenceEncoder) -> None:
    rows, reduction = encoder.embed(TEXTS, batch_size=3)
    assert reduction == 1.0
    assert rows.dtype is torch.float32
    for row, text in zip(rows, TEXTS, strict=True):
        torch.testing.assert_close(row.double(), plain_embeddings(encoder, text), rtol=0, atol=2e-6)


@pytest.mark.parametrize("schedule", [None, HALF, embedding_schedule(6, 0.4)])
def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch(
    encoder: SentenceEncoder, schedule: TokenSchedule | None
) -> None:
    one_by_one, reduction = encoder.embed(TEXTS, schedule=schedule, batch_size=1)
    torch.testing.assert_close(one_by_one.norm(dim=1), torch.ones(len(TEXTS)))
    for batch_size in (2, 64):
        together, same_reduction = encoder.embed(TEXTS, schedule=schedule, batch_size=batch_size)
        torch.testing.assert_close(together, one_by_one, rtol=0, atol=5e-6)
        assert same_reduction == reduction
    backwards, _ = encoder.embed(TEXTS[::-1], schedule=schedule, batch_size=2)
    torch.testing.assert_close(backwards.flip(0), one_by_one, rtol=0, atol=5e-6)


def test_reduction_is_what_the_layers_really_worked_on(encoder: SentenceEncoder) -> None:
    lengths = [len(encoder.tokenizer(text)["input_ids"]) for text in TEXTS]
    kept = sum(HALF.num_tokens(layer, length) for layer in range(6) for length in lengths)
    _, reduction = encoder.embed(TEXTS, schedule=HALF, batch_size=2)
    assert reduction == pytest.approx(6 * sum(lengths) / kept)
    assert reduction > 1.5


def test_pruned_passage_is_still_nearest_to_itself(encoder: SentenceEncoder) -> None:
    passages = [passage.text for passage in load_passages()[:6]]
    dense, _ = encoder.embed(passages)
    pruned, reduction = encoder.embed(passages, schedule=embedding_schedule(6, 0.4))
    assert reduction == pytest.approx(2.0, rel=0.01)
    likeness = pruned @ dense.T
    assert likeness.argmax(dim=1).tolist() == list(range(6))
    assert (likeness.diagonal() < 0.9999).all()


def test_pruned_embedding_averages_the_surviving_rows_only(encoder: SentenceEncoder) -> None:
    inputs = encoder.tokenize(TEXTS)
    with torch.inference_mode(), prune(encoder.model, HALF) as run:
        hidden = encoder.model(**inputs).last_hidden_state
    expected = torch.stack([hidden[i][run.mask[i]].mean(dim=0) for i in range(len(TEXTS))])
    rows, _ = encoder.embed(TEXTS, schedule=HALF)
    torch.testing.assert_close(rows, nn.functional.normalize(expected, dim=1), rtol=0, atol=5e-6)


def test_embedding_leaves_the_model_as_it_was(encoder: SentenceEncoder) -> None:
    before, _ = encoder.embed(TEXTS)
    encoder.embed(TEXTS, schedule=HALF)
    after, _ = encoder.embed(TEXTS)
    assert torch.equal(after, before)
    assert encoder.model.config._attn_implementation != "multum_token_pruning"


def test_mean_pool_ignores_padding_whatever_it_holds() -> None:
    hidden, mask = (
        torch.randn(3, 5, 4),
        torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]]).bool(),
    )
    pooled = mean_pool(hidden, mask)
    for sentence in range(3):
        torch.testing.assert_close(pooled[sentence], hidden[sentence][mask[sentence]].mean(dim=0))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "texts must be at least one text"),
        ([""], "text 0 must be non-empty; got ''; leave empty texts out"),
        (["fine", " \n\t"], "text 1 must be non-empty"),
    ],
)
def test_missing_text_is_refused(encoder: SentenceEncoder, texts: Sequence[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        encoder.embed(texts)


def test_text_longer_than_the_model_is_refused_by_number_and_first_words(encoder: SentenceEncoder) -> None:
    words = encoder.max_tokens - 2  # [CLS] and [SEP] count too
    longest = "tree " * words
    assert encoder.tokenize([longest])["input_ids"].shape == (1, 512)
    message = (
        r"text 1 must be at most 512 tokens, the model's limit; got 513 tokens \('tree tree .*split it into"
    )
    with pytest.raises(UserError, match=message):
        encoder.embed(["short", longest + "tree"])


def test_longest_text_is_not_cut(encoder: SentenceEncoder) -> None:
    start = "tree " * (encoder.max_tokens - 3)
    first, second = encoder.embed([start + "house", start + "river"])[0]
    assert not torch.equal(first, second)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_of_no_texts_is_refused(encoder: SentenceEncoder, batch_size: int) -> None:
    with pytest.raises(UserError, match=f"batch_size must be at least 1; got {batch_size}"):
        encoder.embed(TEXTS, batch_size=batch_size)


def test_schedule_for_another_model_is_refused(encoder: SentenceEncoder) -> None:
    with pytest.raises(UserError, match="for the model's 6 layers; got 12"):
        encoder.embed(TEXTS, schedule=flat_schedule(12, 0.5))


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"with config\.json; got '.*nowhere'"):
        SentenceEncoder.load(tmp_path / "nowhere")


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("how", ["missing", "cut"])
def test_half_a_model_folder_is_refused(broken: str, how: str, minilm_folder: Path, tmp_path: Path) -> None:
    for source in minilm_folder.iterdir():
        if source.is_file() and source.name != broken:
            (tmp_path / source.name).symlink_to(source)
    if how == "cut":
        (tmp_path / broken).write_text("{")
    with pytest.raises(UserError, match="model folder must"):
        SentenceEncoder.load(tmp_path)


def test_positions_that_the_model_cannot_use_do_not_count(minilm_folder: Path, tmp_path: Path) -> None:
    from transformers import RobertaConfig, RobertaModel

    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = RobertaConfig(
        **sizes, intermediate_size=8, vocab_size=30522, max_position_embeddings=12, pad_token_id=1
    )
    RobertaModel(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(minilm_folder / name, tmp_path / name)
    encoder = SentenceEncoder.load(tmp_path)
    assert encoder.max_tokens == 10
    assert encoder.embed(["tree " * 8])[0].shape == (1, 8)
    with pytest.raises(UserError, match="at most 10 tokens"):
        encoder.embed(["tree " * 9])


PROSE = "Don't panic: the unbelievably  well-made café (in\nZürich) wasn't closed, was it?"


@pytest.mark.parametrize("schedule", [HALF, embedding_schedule(6, 0.3), flat_schedule(6, 1.0)])
def test_words_join_to_the_text_and_only_special_tokens_are_flagged(
    encoder: SentenceEncoder, schedule: TokenSchedule
) -> None:
    words = trace_words(encoder, PROSE, schedule).words
    assert [word.text for word in words if word.is_special] == ["[CLS]", "[SEP]"]
    assert words[0].is_special
    assert words[-1].is_special
    joined = "".join(" " + word.text for word in words[1:-1])
    assert joined.strip() == " ".join(PROSE.split())


@pytest.mark.parametrize("schedule", [HALF, embedding_schedule(6, 0.3), flat_schedule(6, 1.0)])
def test_fates_are_those_of_the_run(encoder: SentenceEncoder, schedule: TokenSchedule) -> None:
    fate, run = trace_words(encoder, PROSE, schedule), pruned_run(encoder, PROSE, schedule)
    assert fate.tokens_per_layer == run.tokens_per_layer
    place = encoder.tokenizer.tokenize(PROSE, add_special_tokens=True).index("the")  # a word of one piece
    layers = [i for i, layer in enumerate(run.layers) if place in layer.position_BL[0].tolist()]
    (word,) = [it for it in fate.words if it.text == "the"]
    assert word.last_layer == len(layers)
    assert word.importance == pytest.approx([of_token(run, layer, place) for layer in layers], rel=1e-5)
    alive = [sum(word.last_layer > layer for word in fate.words) for layer in range(6)]
    assert alive[0] == len(fate.words)
    assert alive == sorted(alive, reverse=True)
    assert all(words <= tokens for words, tokens in zip(alive, fate.tokens_per_layer, strict=True))


def pruned_run(encoder: SentenceEncoder, text: str, schedule: TokenSchedule) -> PruningRun:
    with torch.inference_mode(), prune(encoder.model, schedule, keep_scoring=True) as run:
        encoder.model(**encoder.tokenize([text]))
    return run


def of_token(run: PruningRun, layer: int, place: int) -> float:
    importance = run.layers[layer].importance_BL
    assert importance is not None
    return float(importance[0, run.layers[layer].position_BL[0].tolist().index(place)])


@pytest.mark.parametrize("schedule", [HALF, embedding_schedule(6, 0.3)])
def test_importance_of_a_word_never_falls(encoder: SentenceEncoder, schedule: TokenSchedule) -> None:
    for word in trace_words(encoder, " ".join(TEXTS), schedule).words:
        assert len(word.importance) == word.last_layer
        assert 1 <= word.last_layer <= 6
        assert word.importance[0] > 0
        assert list(word.importance) == sorted(word.importance)


def test_importance_in_the_first_layer_is_all_the_attention_there_is(encoder: SentenceEncoder) -> None:
    fate = trace_words(encoder, PROSE, HALF)
    total = sum(word.importance[0] for word in fate.words)
    assert total == pytest.approx(
        encoder.model.config.num_attention_heads * fate.tokens_per_layer[0], rel=1e-4
    )


def test_words_of_nothing_are_refused(encoder: SentenceEncoder) -> None:
    with pytest.raises(UserError, match="text 0 must be non-empty"):
        trace_words(encoder, "  ", HALF)
