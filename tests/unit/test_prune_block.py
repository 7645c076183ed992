"""The `prune` block: what it refuses, what it records, and that it leaves no trace."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from multum.attention import (
    LAYERS_BY_MODEL_TYPE,
    EncoderSchedule,
    TokenSchedule,
    find_encoder,
    flat_schedule,
    flat_values,
    prune,
)
from multum.attention.pruning import ATTENTION_NAME
from multum.core import UserError
from small_encoders import NUM_HEADS, NUM_LAYERS, WIDTH, draw_tokens, make_encoder, pad, shared_encoder

HALF = flat_schedule(NUM_LAYERS, 0.5)
HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
)


def traces(model: Any) -> dict[str, Any]:
    """Everything of a model that `prune` touches."""
    hooks = {
        f"{path}.{name}": dict(getattr(module, name))
        for path, module in model.named_modules()
        for name in HOOKS
    }
    return hooks | {"config": model.config.to_dict(), "attention": model.config._attn_implementation}


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_block_restores_hooks_configuration_and_results(implementation: str) -> None:
    model, inputs = make_encoder(), pad(draw_tokens(13, 9))
    model.set_attn_implementation(implementation)
    model.register_forward_hook(lambda _, args, output: output)  # somebody else's hook stays
    before = traces(model)
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
        with prune(model, HALF):
            assert model.config._attn_implementation == ATTENTION_NAME
            assert model(**inputs).last_hidden_state.shape[1] == 7
        assert traces(model) == before
        assert torch.equal(model(**inputs).last_hidden_state, expected)


@pytest.mark.parametrize("place", ["block", "forward"])
def test_error_inside_the_block_leaves_no_trace(place: str) -> None:
    model = make_encoder()
    before = traces(model)

    def fail() -> None:
        if place == "block":
            raise RuntimeError("out of luck")
        model(torch.full((1, 5), 10_000))

    with pytest.raises((RuntimeError, IndexError)), prune(model, HALF):
        fail()
    assert traces(model) == before


def test_failed_forward_does_not_disturb_the_next_one_nor_the_record() -> None:
    model, (tokens,) = shared_encoder(), draw_tokens(12)
    with torch.no_grad(), prune(model, HALF) as run:
        expected = model(tokens[None]).last_hidden_state
        positions = run.positions.tolist()
        with pytest.raises(UserError):
            model(tokens[None], attention_mask=torch.zeros(1, 12))
        assert run.positions.tolist() == positions
        assert torch.equal(model(tokens[None]).last_hidden_state, expected)


def test_nothing_leaks_from_one_forward_into_the_next() -> None:
    model, (first, second) = shared_encoder(), draw_tokens(15, 11)
    with torch.no_grad():
        with prune(model, HALF, keep_scoring=True) as run:
            expected = model(first[None]).last_hidden_state
            layers = run.layers
        with prune(model, HALF, keep_scoring=True) as again:
            model(second[None])
            model(**pad([second, first, second]))
            assert torch.equal(model(first[None]).last_hidden_state, expected)
    for layer, other in zip(layers, again.layers, strict=True):
        assert torch.equal(layer.position_BL, other.position_BL)
        assert layer.importance_BL is not None
        assert other.importance_BL is not None
        assert torch.equal(layer.importance_BL, other.importance_BL)


def test_record_outlives_the_block_and_tells_the_last_forward() -> None:
    model, (first, second) = shared_encoder(), draw_tokens(15, 10)
    with torch.no_grad(), prune(model, HALF) as run:
        model(first[None])
        assert run.tokens_per_layer == (15, 8, 8, 8)
        model(second[None])
    assert run.tokens_per_layer == (10, 5, 5, 5)
    assert run.mask.shape == run.positions.shape == (1, 5)
    assert run.layers[0].importance_BL is not None
    assert run.layers[-1].importance_BL is None  # nobody needed it any more


def test_scoring_to_the_end_is_for_those_who_ask_and_changes_nothing_else() -> None:
    model, (tokens,) = shared_encoder(), draw_tokens(15)
    with torch.no_grad():
        with prune(model, HALF) as run:
            expected = model(tokens[None]).last_hidden_state
        with prune(model, HALF, keep_scoring=True) as scored:
            hidden = model(tokens[None]).last_hidden_state
    assert run.positions.tolist() == scored.positions.tolist()
    torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-5)
    for layer in scored.layers:
        assert layer.importance_BL is not None
    assert float(scored.layers[-1].importance_BL.sum()) > NUM_HEADS * 8


def test_record_before_the_first_forward_says_what_is_missing() -> None:
    with (
        prune(shared_encoder(), HALF) as run,
        pytest.raises(UserError, match="must have run inside the block"),
    ):
        _ = run.mask


def test_two_models_can_be_pruned_at_once() -> None:
    first, second, (tokens,) = make_encoder(), make_encoder("roberta"), draw_tokens(12)
    with torch.no_grad(), prune(first, HALF) as run, prune(second, flat_schedule(NUM_LAYERS, 0.25)) as other:
        second(tokens[None])
        first(tokens[None])
    assert run.tokens_per_layer == (12, 6, 6, 6)
    assert other.tokens_per_layer == (12, 3, 3, 3)


def test_pruning_a_pruned_model_is_refused_and_the_outer_block_goes_on() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(12)
    before = traces(model)
    with torch.no_grad(), prune(model, HALF) as run:
        with pytest.raises(UserError, match="model must not be pruned twice"), prune(model, HALF):
            pass
        model(tokens[None])
    assert run.tokens_per_layer == (12, 6, 6, 6)
    assert traces(model) == before
    with prune(model, HALF), pytest.raises(UserError, match="pruned twice"), prune(model.base_model, HALF):
        pass


@pytest.mark.parametrize("num_layers", [NUM_LAYERS - 1, NUM_LAYERS + 2])
def test_schedule_for_another_depth_is_refused(num_layers: int) -> None:
    message = rf"schedule must be for the model's 4 layers; got {num_layers}; give one ratio a layer"
    with pytest.raises(UserError, match=message), prune(shared_encoder(), flat_schedule(num_layers, 0.5)):
        pass


def unsupported(name: str) -> Any:
    import transformers

    small: dict[str, Any] = {"vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 2}
    if name == "gpt2":
        return transformers.GPT2Model(transformers.GPT2Config(vocab_size=50, n_embd=8, n_layer=2, n_head=2))
    small |= {"hidden_size": 8, "intermediate_size": 16}
    if name == "longformer":
        return transformers.LongformerModel(transformers.LongformerConfig(**small, attention_window=4))
    if name == "squeezebert":
        return transformers.SqueezeBertModel(transformers.SqueezeBertConfig(**small, embedding_size=8))
    return transformers.MPNetModel(transformers.MPNetConfig(**small))


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("gpt2", "it generates; give a CacheSchedule or a GenerationSchedule"),
        ("longformer", "its attention slides a window over the sentence"),
        ("mpnet", "its attention adds relative positions to the scores"),
        ("squeezebert", "token pruning of other architectures is not built"),
    ],
)
def test_unsupported_architecture_is_named_with_the_list_of_supported_ones(
    model_type: str, reason: str
) -> None:
    model = unsupported(model_type)
    with pytest.raises(UserError) as refused, prune(model, flat_schedule(2, 0.5)):
        pass
    text = str(refused.value)
    assert reason in text
    assert f"got '{model_type}' ({type(model).__name__})" in text
    for supported in LAYERS_BY_MODEL_TYPE:
        assert supported in text


def test_decoder_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"model must be an encoder; got BertModel with is_decoder=True; load it with"
    ):
        find_encoder(make_encoder(is_decoder=True))


def test_another_sequence_to_look_at_is_refused() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(6)
    with (
        prune(model, HALF),
        pytest.raises(UserError, match="encoder_hidden_states must be None under prune"),
    ):
        model(tokens[None], encoder_hidden_states=torch.randn(1, 3, WIDTH))


@pytest.mark.parametrize(("model_type", "limit"), [("bert", 20), ("distilbert", 20), ("roberta", 18)])
def test_input_longer_than_the_model_is_refused(model_type: str, limit: int) -> None:
    model = make_encoder(model_type, max_position_embeddings=20)
    assert find_encoder(model).longest_input == limit
    with torch.no_grad(), prune(model, HALF):
        assert model(torch.stack(draw_tokens(limit))).last_hidden_state.shape[1] == limit // 2
        with pytest.raises(UserError, match=f"must be at most {limit} tokens long, the model's limit; got"):
            model(torch.stack(draw_tokens(limit + 1)))


@pytest.mark.parametrize("model", [nn.Linear(3, 4), nn.Sequential()])
def test_what_is_no_transformers_model_is_a_type_error(model: nn.Module) -> None:
    with pytest.raises(TypeError, match="model must be a transformers model; got"):
        find_encoder(model)


def test_asking_for_attentions_is_refused_wherever_it_is_asked() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(6)
    with prune(model, HALF), pytest.raises(UserError, match="output_attentions must be False"):
        model(tokens[None], output_attentions=True)
    model.set_attn_implementation("eager")
    model.config.output_attentions = True
    with prune(model, HALF):
        with pytest.raises(UserError, match="output_attentions must be False"):
            model(tokens[None])
        assert model(tokens[None], output_attentions=False).last_hidden_state.shape[1] == 3


@pytest.mark.filterwarnings("ignore:.*deprecated.*:FutureWarning")
def test_gradient_checkpointing_is_refused_where_it_would_prune_twice() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(6)
    model.gradient_checkpointing_enable()
    with prune(model, HALF):
        assert model(tokens[None]).last_hidden_state.shape[1] == 3  # it does nothing in evaluation mode
        model.train()
        with pytest.raises(UserError, match="gradient checkpointing must be off under prune"):
            model(tokens[None])


@pytest.mark.parametrize("layer", [0, 1])
def test_nan_in_the_weights_is_an_error_that_names_the_layer(layer: int) -> None:
    model, (tokens,) = make_encoder(), draw_tokens(9)
    with torch.no_grad():
        find_encoder(model).layers[layer].attention.self.query.weight[3, 3] = math.nan
    schedule = TokenSchedule(keep_ratios=(1.0, 0.8, 0.6, 0.4))
    message = rf"must be finite; got NaN or infinity in layer {layer}; check"
    with prune(model, schedule), pytest.raises(UserError, match=message):
        model(tokens[None])


def test_nan_in_the_embeddings_is_seen_in_the_first_layer_also_in_training() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(9)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[tokens[4]] = math.nan
    for mode in (True, False):
        model.train(mode)
        with prune(model, HALF), pytest.raises(UserError, match="got NaN or infinity in layer 0"):
            model(tokens[None])


@pytest.mark.usefixtures("as_shipped")
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            lambda ids: {"input_ids": ids, "attention_mask": torch.zeros(2, 6)},
            "at least one token of every sentence",
        ),
        (
            lambda ids: {"input_ids": ids, "attention_mask": torch.tensor([[1] * 6, [0] * 6])},
            "got a sentence of padding only; leave empty texts out",
        ),
        (
            lambda ids: {"input_ids": ids, "attention_mask": torch.ones(2, 5)},
            r"attention_mask must be of shape \(2, 6\); got \(2, 5\)",
        ),
        (
            lambda ids: {"input_ids": ids, "attention_mask": torch.ones(2, 1, 6, 6)},
            r"attention_mask must be of shape \(2, 6\); got \(2, 1, 6, 6\)",
        ),
        (lambda ids: {"attention_mask": torch.ones(2, 6)}, "the model's input must be input_ids of shape"),
        (
            lambda ids: {"input_ids": ids[0]},
            r"inputs_embeds \(B, N, D\); got Tensor \(shape \(6,\), torch.int64\)",
        ),
    ],
)
def test_wrong_input_is_refused(inputs: Callable[[torch.Tensor], dict[str, Any]], message: str) -> None:
    token_BN = torch.stack(draw_tokens(6, 6))
    with prune(shared_encoder(), HALF), pytest.raises(UserError, match=message):
        shared_encoder()(**inputs(token_BN))


def test_another_model_of_the_same_config_object_is_told_to_get_its_own() -> None:
    first = make_encoder()
    second = type(first)(first.config).eval()
    tokens = torch.tensor([[5, 6, 7]])
    with torch.no_grad(), prune(first, HALF):
        with pytest.raises(UserError, match="config object of its own beside a pruned one"):
            second(tokens)
        with pytest.raises(UserError, match="whose config object is shared by one"), prune(second, HALF):
            pass
    assert second(tokens).last_hidden_state.shape[1] == 3


def test_value_pruning_does_not_hide_what_is_no_number() -> None:
    model = make_encoder()
    with torch.no_grad():
        model.encoder.layer[1].attention.self.query.weight[0, 0] = torch.nan
        with prune(model, EncoderSchedule(values=flat_values(4, 0.5))):
            assert model(torch.tensor([[5, 6, 7, 8]])).last_hidden_state.isnan().any()


@pytest.mark.usefixtures("as_shipped")
@pytest.mark.parametrize("schedule", [None, 0.5, (1.0, 0.5), "flat:0.4"])
def test_what_is_no_schedule_is_refused(schedule: Any) -> None:
    with pytest.raises(
        UserError, match="schedule must be one of TokenSchedule, EncoderSchedule, CacheSchedule"
    ):
        prune(make_encoder(), schedule)
