"""Projections of living heads: taken in for one layer, given back whole whatever happens."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
import torch
from torch import nn

from multum.attention import EncoderSchedule, HeadSchedule, find_encoder, prune, prune_
from multum.attention.head_projection import install
from multum.attention.head_pruning import SentenceHeads, every_head
from multum.core import UserError
from multum.ops import fast_linears
from multum.ops.fast_linear import linear as fast_linear_module
from small_encoders import NUM_HEADS, draw_tokens, make_encoder, pad

SCHEDULE = EncoderSchedule(heads=HeadSchedule(keep_ratios=(1.0, 0.75, 0.5, 0.25)))


def replaced(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


@torch.no_grad()
def test_pruned_heads_are_not_multiplied() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(10)
    widths: dict[str, list[int]] = {"query": [], "key": [], "value": [], "output": []}
    with ExitStack() as undo, prune(model, SCHEDULE) as run:
        for parts in find_encoder(model).projections:
            for name, linear in vars(parts).items():

                def look(_: Any, args: Any, output: Any, name: str = name) -> None:
                    widths[name].append((args[0] if name == "output" else output).shape[-1])

                undo.callback(linear.register_forward_hook(look).remove)
        model(tokens[None])
    assert run.heads_per_layer == (4, 3, 2, 1)
    assert all(found == [32, 24, 16, 8] for found in widths.values())


@torch.no_grad()
def test_order_of_fast_linears_and_prune_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    multiplied: list[int] = []

    def watch(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        multiplied.append(len(weight))
        return nn.functional.linear(inputs, weight, bias)

    monkeypatch.setattr(fast_linear_module, "fast_linears_available", lambda: True)
    monkeypatch.setattr(fast_linear_module, "_onednn_linear", watch)
    model, inputs = make_encoder(), pad(draw_tokens(12, 7))
    with prune(model, SCHEDULE):
        expected = model(**inputs).last_hidden_state
    assert not multiplied
    blocks: dict[str, list[Callable[[], AbstractContextManager[Any]]]] = {
        "fast inside": [lambda: prune(model, SCHEDULE), lambda: fast_linears(model)],
        "fast outside": [lambda: fast_linears(model), lambda: prune(model, SCHEDULE)],
    }
    for enter in blocks.values():
        multiplied.clear()
        with ExitStack() as stack:
            for block in enter:
                stack.enter_context(block())
            found = model(**inputs).last_hidden_state
        assert {24, 16, 8} <= set(multiplied)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert not replaced(model)


@torch.no_grad()
def test_fast_linears_may_end_while_pruning_goes_on() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(9)
    with fast_linears(model):
        pruned = prune_(model, SCHEDULE)
        expected = model(tokens[None]).last_hidden_state
    torch.testing.assert_close(model(tokens[None]).last_hidden_state, expected, rtol=0, atol=1e-5)
    pruned.remove()
    assert not replaced(model)


@pytest.mark.parametrize("place", ["attention.self", "intermediate", "output"])
def test_error_inside_a_layer_gives_the_projections_back(place: str) -> None:
    model, (tokens,) = make_encoder(), draw_tokens(9)
    broken = model.encoder.layer[2].get_submodule(place)

    def fail(*_: Any) -> None:
        raise RuntimeError("out of luck")

    with prune(model, SCHEDULE):
        handle = broken.register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="out of luck"):
            model(tokens[None])
        assert not replaced(model)
        handle.remove()
        model(tokens[None])
    assert not replaced(model)


def test_interrupted_forward_does_not_disturb_the_next_one() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(9)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with torch.no_grad(), prune(model, SCHEDULE) as run:
        expected = model(tokens[None]).last_hidden_state
        handle = model.encoder.layer[1].intermediate.register_forward_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            model(tokens[None])
        handle.remove()
        assert torch.equal(model(tokens[None]).last_hidden_state, expected)
    assert run.heads_per_layer == (4, 3, 2, 1)
    assert not replaced(model)


def test_second_thread_in_the_same_layer_is_refused() -> None:
    model = make_encoder()
    parts = find_encoder(model).projections[0]
    heads = SentenceHeads(schedule=SCHEDULE.heads, head_BK=every_head(1, NUM_HEADS, torch.device("cpu")))
    other = threading.Thread(target=install, args=(parts, heads, 8))
    other.start()
    other.join()
    with pytest.raises(UserError, match="must run in one thread at a time"):
        install(parts, heads, 8)


def test_projection_that_is_no_plain_linear_layer_is_named() -> None:
    class Adapter(nn.Linear):
        pass

    model = make_encoder()
    model.encoder.layer[1].attention.self.key = Adapter(32, 32)
    message = "the key projection of layer 1 must be an nn.Linear; got 'Adapter'; merge adapters"
    with pytest.raises(UserError, match=message), prune(model, SCHEDULE):
        pass


@torch.no_grad()
def test_forward_that_somebody_else_replaced_is_not_passed_over() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(9)
    query = find_encoder(model).projections[1].query
    vars(query)["forward"] = lambda inputs: inputs
    with (
        prune(model, SCHEDULE),
        pytest.raises(UserError, match="got a replaced forward of the query projection"),
    ):
        model(tokens[None])
    assert len(replaced(model)) == 1


@torch.no_grad()
def test_layers_without_bias_can_lose_heads() -> None:
    model, inputs = make_encoder(), pad(draw_tokens(9, 5))
    for parts in find_encoder(model).projections:
        for linear in vars(parts).values():
            linear.bias = None
    with prune(model, SCHEDULE) as run:
        assert torch.isfinite(model(**inputs).last_hidden_state[run.mask]).all()
    assert run.heads_per_layer == (4, 3, 2, 1)


def test_nan_in_what_a_head_hands_on_is_an_error_that_names_the_layer() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(9)
    with torch.no_grad():
        model.encoder.layer[1].attention.self.value.weight[3, 3] = torch.nan
    with prune(model, SCHEDULE), pytest.raises(UserError, match="NaN or infinity in layer 1"):
        model(tokens[None])
