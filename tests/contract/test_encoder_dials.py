"""What every dial promises for every supported encoder and every head: tokens, heads, values and bits.

The yardstick is the masked dense twin, one sentence at a time, and each sentence by itself.
"""

from typing import Any

import pytest
import torch

from encoder_dials import DIALS, EVERYTHING, LABELS, exact_encoder
from multum.attention import (
    LAYERS_BY_MODEL_TYPE,
    EncoderSchedule,
    HeadSchedule,
    PruningRun,
    TokenSchedule,
    prune,
)
from multum.attention.reference import masked_dense
from small_encoders import NUM_LAYERS, draw_tokens, make_encoder, pad

every_architecture = pytest.mark.parametrize("model_type", LAYERS_BY_MODEL_TYPE)
every_head = pytest.mark.parametrize("head", LABELS)
CLOSE = {"rtol": 0, "atol": 1e-9}


def kept(run: PruningRun, sentence: int = 0) -> list[tuple[int, ...]]:
    return [tuple(layer.position_BL[sentence][layer.mask_BL[sentence]].tolist()) for layer in run.layers]


def heads(run: PruningRun, sentence: int = 0) -> list[tuple[int, ...]]:
    return [tuple(layer.head_BK[sentence].tolist()) for layer in run.heads]


@every_architecture
@pytest.mark.parametrize("head", ["AutoModel", "AutoModelForTokenClassification"])
@torch.no_grad()
def test_twin_that_keeps_everything_is_the_stock_model(model_type: str, head: str) -> None:
    model, (tokens,) = exact_encoder(model_type, head), draw_tokens(9)
    everything = TokenSchedule(keep_ratios=(1.0,) * NUM_LAYERS)
    twin = masked_dense(model, tokens, everything)
    torch.testing.assert_close(twin.output[0], model(tokens[None])[0], **CLOSE)


@every_architecture
@pytest.mark.parametrize("dials", DIALS)
@torch.no_grad()
def test_pruned_equals_the_masked_dense_twin(model_type: str, dials: str) -> None:
    model, (tokens,), schedule = exact_encoder(model_type), draw_tokens(13), DIALS[dials]
    twin = masked_dense(model, tokens, schedule)
    with prune(model, schedule, keep_scoring=True) as run:
        hidden = model(tokens[None]).last_hidden_state[0]
    assert kept(run) == list(twin.kept)
    assert heads(run) == list(twin.heads)
    torch.testing.assert_close(hidden, twin.hidden_ND[list(twin.kept[-1])], **CLOSE)
    if schedule.heads is not None:
        earned = run.heads[-1].importance_BK
        assert earned is not None
        assert earned[0].tolist() == pytest.approx([twin.head_importance[m] for m in twin.heads[-1]])
    if schedule.tokens is not None:
        importance = run.layers[-1].importance_BL
        assert importance is not None
        assert importance[0].tolist() == pytest.approx([twin.importance[j] for j in twin.kept[-1]])


@every_architecture
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padded_batch_equals_its_sentences_one_by_one(model_type: str, side: str) -> None:
    model, sentences = exact_encoder(model_type), draw_tokens(9, 17, 1, 17)
    with prune(model, EVERYTHING) as run:
        batch = model(**pad(sentences, side=side, extra=2)).last_hidden_state
        together, positions, mask = [heads(run, i) for i in range(4)], run.positions, run.mask
        records = run.records
        for index, sentence in enumerate(sentences):
            alone = model(**pad([sentence])).last_hidden_state[0]
            shift = 0 if side == "right" else 19 - len(sentence)
            assert together[index] == heads(run)
            assert positions[index][mask[index]].tolist() == [j + shift for j in run.positions[0].tolist()]
            torch.testing.assert_close(batch[index][mask[index]], alone, **CLOSE)
            for batched, single in zip(records, run.records, strict=True):
                for name in ("heads", "num_queries", "num_keys", "num_values", "tokens_kept", "heads_kept"):
                    assert getattr(batched, name)[index] == getattr(single, name)[0], name
    assert len({tuple(chosen) for chosen in together}) > 1, "the test needs sentences with different heads"


@every_architecture
@every_head
@pytest.mark.parametrize("dials", ["everything", "common tokens"])
@torch.no_grad()
def test_model_with_a_head_equals_the_twin_in_logits_and_loss(model_type: str, head: str, dials: str) -> None:
    model, (tokens,) = exact_encoder(model_type, head), draw_tokens(13)
    twin = masked_dense(model, tokens, DIALS[dials], **LABELS[head])
    dense = model(tokens[None], **LABELS[head])
    with prune(model, DIALS[dials]):
        found = model(tokens[None], **LABELS[head])
    for name, expected in twin.output.items():
        assert found[name].shape == dense[name].shape
        torch.testing.assert_close(found[name], expected, **CLOSE)
    assert not torch.allclose(found.loss, dense.loss, atol=1e-3)


@every_architecture
@pytest.mark.parametrize("head", ["AutoModelForSequenceClassification", "AutoModelForQuestionAnswering"])
@torch.no_grad()
def test_head_reads_the_same_in_a_padded_batch(model_type: str, head: str) -> None:
    model, sentences = exact_encoder(model_type, head), draw_tokens(9, 17)
    for side in ("left", "right"):
        with prune(model, EVERYTHING):
            batch = model(**pad(sentences, side=side))
            for index, sentence in enumerate(sentences):
                for name, alone in model(**pad([sentence])).items():
                    rows = batch[name][index]
                    if "Sequence" not in head:
                        rows = rows[: len(sentence)] if side == "right" else rows[-len(sentence) :]
                    torch.testing.assert_close(rows, alone[0], **CLOSE)


@pytest.mark.parametrize("dials", DIALS)
@torch.no_grad()
def test_half_precision_runs_under_every_dial(dials: str) -> None:
    model, inputs = make_encoder().bfloat16(), pad(draw_tokens(13, 8))
    with prune(model, DIALS[dials]) as run:
        hidden = model(**inputs).last_hidden_state
    assert hidden.dtype is torch.bfloat16
    assert torch.isfinite(hidden[run.mask]).all()


@torch.no_grad()
def test_scoring_to_the_end_without_anything_to_choose() -> None:
    model, (tokens,) = exact_encoder("bert"), draw_tokens(13)
    twin = masked_dense(model, tokens, EncoderSchedule())
    with prune(model, EncoderSchedule(), keep_scoring=True) as run:
        model(tokens[None])
    importance, earned = run.layers[-1].importance_BL, run.heads[-1].importance_BK
    assert importance is not None
    assert earned is not None
    assert importance[0].tolist() == pytest.approx(twin.importance)
    assert earned[0].tolist() == pytest.approx(twin.head_importance)


@torch.no_grad()
def test_minilm_shape_equals_the_twin() -> None:
    sizes: dict[str, Any] = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
    model = make_encoder("bert", num_layers=6, **sizes).double()
    schedule = EncoderSchedule(
        tokens=TokenSchedule(keep_ratios=(1.0, *[0.4] * 5), window=4, score="value"),
        heads=HeadSchedule(keep_ratios=(1.0, 1.0, *[0.75] * 4)),
    )
    (tokens,) = draw_tokens(21)
    twin = masked_dense(model, tokens, schedule)
    with prune(model, schedule) as run:
        hidden = model(tokens[None]).last_hidden_state[0]
    assert kept(run) == list(twin.kept)
    assert heads(run) == list(twin.heads)
    torch.testing.assert_close(hidden, twin.hidden_ND[list(twin.kept[-1])], rtol=0, atol=1e-8)


@every_architecture
def test_gradients_equal_autograd_through_the_masked_twin(model_type: str) -> None:
    model, (tokens,) = exact_encoder(model_type, "AutoModelForTokenClassification"), draw_tokens(13)
    schedule = EncoderSchedule(tokens=EVERYTHING.tokens, heads=EVERYTHING.heads, values=EVERYTHING.values)
    labels = LABELS["AutoModelForTokenClassification"]
    twin = masked_dense(model, tokens, schedule, **labels)
    with prune(model, schedule):
        loss = model(tokens[None], **labels).loss
    wanted = [parameter for name, parameter in model.named_parameters() if "pooler" not in name]
    pairs = zip(
        torch.autograd.grad(loss, wanted, allow_unused=True),
        torch.autograd.grad(twin.output.loss, wanted, allow_unused=True),
        strict=True,
    )
    for got, true in pairs:
        assert (got is None) == (true is None)
        if got is not None:
            torch.testing.assert_close(got, true, rtol=1e-9, atol=1e-9)


@every_architecture
def test_every_dial_can_be_trained_through_with_dropout(model_type: str) -> None:
    model = make_encoder(model_type, head="AutoModelForSequenceClassification").train()
    inputs = pad(draw_tokens(13, 8))
    with prune(model, EVERYTHING) as run:
        model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    assert run.heads_per_layer == (4, 3, 3, 2)
    assert run.tokens_per_layer == (21, 16, 16, 7)
    for name, parameter in model.named_parameters():
        if "token_type" in name:
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@torch.no_grad()
def test_dropout_does_not_change_which_heads_are_computed() -> None:
    model, (tokens,) = make_encoder("bert", hidden_dropout_prob=0.0), draw_tokens(13)
    flat = EncoderSchedule(heads=HeadSchedule(keep_ratios=(1.0, 0.5, 0.5, 0.5)))
    with prune(model, flat) as run:
        model(tokens[None])
        expected = heads(run)
        model.train()
        for _ in range(3):
            model(tokens[None])
            assert heads(run) == expected
