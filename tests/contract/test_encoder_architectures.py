"""What `prune` promises for every supported encoder: one suite, one row per architecture.

A new row of `LAYERS_BY_MODEL_TYPE` is held to all of this without a line being added here.
"""

import functools
from typing import Any

import pytest
import torch

from multum.attention import LAYERS_BY_MODEL_TYPE, TokenSchedule, prune
from multum.attention.reference import masked_dense
from small_encoders import WIDTH, draw_tokens, make_encoder, pad

every_architecture = pytest.mark.parametrize("model_type", LAYERS_BY_MODEL_TYPE)
RATIOS = (1.0, 0.7, 0.7, 0.3)


@functools.cache
def encoder(model_type: str) -> Any:
    return make_encoder(model_type)


@every_architecture
@pytest.mark.parametrize("score", ["attention", "value"])
@pytest.mark.parametrize(("window", "protect_first"), [(None, True), (5, True), (4, False)])
def test_pruned_equals_the_masked_dense_twin(
    model_type: str, score: Any, window: int | None, protect_first: bool
) -> None:
    model, (tokens,) = encoder(model_type), draw_tokens(13)
    schedule = TokenSchedule(keep_ratios=RATIOS, score=score, window=window, protect_first=protect_first)
    with torch.no_grad():
        twin = masked_dense(model, tokens, schedule)
        with prune(model, schedule, keep_scoring=True) as run:
            hidden = model(tokens[None]).last_hidden_state[0]
    assert [tuple(layer.position_BL[0].tolist()) for layer in run.layers] == list(twin.kept)
    survivors = list(twin.kept[-1])
    torch.testing.assert_close(hidden, twin.hidden_ND[survivors], rtol=0, atol=1e-5)
    importance = run.layers[-1].importance_BL
    assert importance is not None
    assert importance[0].tolist() == pytest.approx([twin.importance[j] for j in survivors], rel=1e-5)


@every_architecture
def test_padded_batch_equals_its_sentences_one_by_one(model_type: str) -> None:
    model, sentences = encoder(model_type), draw_tokens(9, 17, 1)
    inputs = pad(sentences)
    schedule = TokenSchedule(keep_ratios=RATIOS)
    with torch.no_grad(), prune(model, schedule) as run:
        batch = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).last_hidden_state
        positions, mask = run.positions, run.mask
        for index, sentence in enumerate(sentences):
            alone = model(sentence[None]).last_hidden_state[0]
            assert positions[index][mask[index]].tolist() == run.positions[0].tolist()
            torch.testing.assert_close(batch[index][mask[index]], alone, rtol=0, atol=1e-5)


@every_architecture
def test_pruned_rows_really_leave_the_tensors(model_type: str) -> None:
    model, (tokens,) = encoder(model_type), draw_tokens(20)
    rows: list[int] = []
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    handles = [m.register_forward_hook(lambda _, args, out: rows.append(args[0].shape[1])) for m in linears]
    with torch.no_grad(), prune(model, TokenSchedule(keep_ratios=RATIOS)) as run:
        output = model(tokens[None], output_hidden_states=True)
    for handle in handles:
        handle.remove()
    assert run.tokens_per_layer == (20, 14, 14, 6)
    assert sorted({n for n in rows if n <= 20}, reverse=True) == [20, 14, 6]
    assert [hidden.shape[1] for hidden in output.hidden_states][-1] == 6


@every_architecture
def test_classifier_reads_the_first_token_of_what_is_left(model_type: str) -> None:
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    model, (tokens,) = make_encoder(model_type, head="AutoModelForSequenceClassification"), draw_tokens(13)
    schedule = TokenSchedule(keep_ratios=RATIOS)
    with torch.no_grad():
        dense = model(tokens[None]).logits
        twin = masked_dense(model, tokens, schedule).hidden_ND[None]
        with prune(model, schedule) as run:
            logits = model(tokens[None]).logits
        pooler = getattr(model.base_model, "pooler", None)
        output = BaseModelOutputWithPooling(
            last_hidden_state=twin, pooler_output=None if pooler is None else pooler(twin)
        )
        model.base_model.forward = lambda *args, **kwargs: output
        expected = model(tokens[None]).logits
    assert run.positions[0, 0] == 0
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    assert not torch.allclose(logits, dense, atol=1e-3)


@every_architecture
def test_gradients_flow_in_training_with_dropout(model_type: str) -> None:
    model, inputs = make_encoder(model_type).train(), pad(draw_tokens(13, 8))
    schedule = TokenSchedule(keep_ratios=RATIOS)
    with prune(model, schedule) as run:
        output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        output.last_hidden_state[run.mask].square().sum().backward()
    assert run.tokens_per_layer == (21, 16, 16, 7)
    for name, parameter in model.named_parameters():
        if "pooler" in name or "token_type" in name:
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if not name.endswith(("key.bias", "k_lin.bias")):  # a key's bias moves every score of a row alike
            assert parameter.grad.any(), name


@every_architecture
def test_embeddings_can_be_given_in_place_of_tokens(model_type: str) -> None:
    model = encoder(model_type)
    with torch.no_grad(), prune(model, TokenSchedule(keep_ratios=RATIOS)) as run:
        output = model(inputs_embeds=torch.randn(2, 10, model.get_input_embeddings().embedding_dim))
    assert output.last_hidden_state.shape == (2, 3, WIDTH)
    assert run.tokens_per_layer == (20, 14, 14, 6)


@every_architecture
def test_half_precision_model_can_be_pruned(model_type: str) -> None:
    model, inputs = make_encoder(model_type).bfloat16(), pad(draw_tokens(13, 8))
    with torch.no_grad(), prune(model, TokenSchedule(keep_ratios=RATIOS, score="value")) as run:
        output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    assert output.last_hidden_state.dtype is torch.bfloat16
    assert torch.isfinite(output.last_hidden_state).all()
    assert run.tokens_per_layer == (21, 16, 16, 7)


@every_architecture
@pytest.mark.parametrize("given", ["positional", "boolean", "float", "missing"])
def test_mask_may_come_in_any_form(model_type: str, given: str) -> None:
    model, inputs = encoder(model_type), pad(draw_tokens(12, 12 if given == "missing" else 7))
    tokens, mask = inputs["input_ids"], inputs["attention_mask"]
    arguments: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "positional": ((tokens, mask), {}),
        "boolean": ((tokens,), {"attention_mask": mask.bool()}),
        "float": ((), {"input_ids": tokens, "attention_mask": mask.float()}),
        "missing": ((tokens,), {"return_dict": False}),
    }
    args, kwargs = arguments[given]
    with torch.no_grad(), prune(model, TokenSchedule(keep_ratios=RATIOS)) as run:
        model(input_ids=tokens, attention_mask=mask)
        expected = run.positions[run.mask].tolist()
        model(*args, **kwargs)
    assert run.positions[run.mask].tolist() == expected


def test_gradients_equal_autograd_through_the_masked_twin() -> None:
    model, (tokens,) = make_encoder("bert").double(), draw_tokens(11)
    schedule = TokenSchedule(keep_ratios=RATIOS)
    with prune(model, schedule) as run:
        hidden = model(tokens[None]).last_hidden_state[0]
    weight = torch.randn_like(hidden)
    wanted = [p for n, p in model.named_parameters() if "pooler" not in n]
    found = torch.autograd.grad((weight * hidden).sum(), wanted)
    twin = masked_dense(model, tokens, schedule)
    rows = twin.hidden_ND[run.positions[0]]
    for got, true in zip(found, torch.autograd.grad((weight * rows).sum(), wanted), strict=True):
        torch.testing.assert_close(got, true, rtol=1e-9, atol=1e-9)


def test_dropout_does_not_change_who_is_kept() -> None:
    model, (tokens,) = make_encoder("bert", hidden_dropout_prob=0.0), draw_tokens(13)
    schedule = TokenSchedule(
        keep_ratios=(1.0, 0.5, 0.5, 0.5)
    )  # chosen after the one layer that nothing precedes
    with torch.no_grad(), prune(model, schedule) as run:
        model(tokens[None])
        expected = run.positions.tolist()
        model.train()
        for _ in range(3):
            model(tokens[None])
            assert run.positions.tolist() == expected
