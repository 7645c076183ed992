"""Common tokens: how they are counted, what they are worth, and that they leave before the first layer."""

import pytest
import torch

from multum.attention import EncoderSchedule, HeadSchedule, TokenSchedule, count_common_tokens, prune
from multum.attention.sparse_schedule import schedule_from_dict, schedule_to_dict
from multum.attention.word_worth import token_worth
from multum.core import UserError
from small_encoders import draw_tokens, make_encoder, pad, shared_encoder

RARE, COMMON, COMMONER = 50, 60, 70
SCHEDULE = TokenSchedule(keep_ratios=(0.5, 0.5, 0.5, 0.25), spare_tokens=(COMMONER, COMMON))


def test_tokens_are_counted_once_a_text_and_listed_by_count() -> None:
    texts = [[1, 1, 1, 2], [2, 3], [2, 3, 4], [9]]
    assert count_common_tokens(texts) == (2, 3)
    assert count_common_tokens(texts, most=1) == (2,)
    assert count_common_tokens([[8, 7], [7, 8]]) == (7, 8), "equal counts: the lower id first"
    assert count_common_tokens([]) == ()


def test_worth_is_the_place_in_the_list() -> None:
    tokens = torch.tensor([[3, 8, 5], [8, 8, 1]])
    assert token_worth(tokens, (8, 3)).tolist() == [[1, 0, 2], [0, 0, 2]]
    assert token_worth(tokens, ()).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_commonest_tokens_leave_before_the_first_layer() -> None:
    tokens = torch.tensor([[RARE, COMMONER, RARE, COMMON, RARE, COMMONER, RARE, COMMON]])
    rows: list[int] = []
    model = shared_encoder()
    handle = model.encoder.layer[0].register_forward_hook(lambda _, args, out: rows.append(args[0].shape[1]))
    with torch.no_grad(), prune(model, SCHEDULE) as run:
        hidden = model(tokens).last_hidden_state
    handle.remove()
    assert rows == [4]
    assert run.layers[0].position_BL.tolist() == [[0, 2, 4, 6]]
    assert run.tokens_per_layer == (4, 4, 4, 2)
    assert hidden.shape[1] == 2
    assert [record.num_queries for record in run.records] == [(4,), (4,), (4,), (2,)]


def test_first_token_stays_though_it_is_common() -> None:
    tokens = torch.tensor([[COMMONER, RARE, RARE, COMMONER]])
    for protect, expected in ((True, [0, 1]), (False, [1, 2])):
        schedule = TokenSchedule(keep_ratios=(0.5,) * 4, spare_tokens=(COMMONER,), protect_first=protect)
        with torch.no_grad(), prune(shared_encoder(), schedule) as run:
            shared_encoder()(tokens)
        assert run.layers[0].position_BL[0].tolist() == expected


@pytest.mark.parametrize("side", ["left", "right"])
def test_sentences_enter_alike_alone_and_in_a_padded_batch(side: str) -> None:
    model, sentences = make_encoder().double(), draw_tokens(9, 17, 1)
    schedule = TokenSchedule(
        keep_ratios=(0.6, 0.5, 0.5, 0.3), spare_tokens=tuple(range(90, 20, -1)), window=4
    )
    with torch.no_grad(), prune(model, EncoderSchedule(tokens=schedule)) as run:
        batch = model(**pad(sentences, side=side)).last_hidden_state
        mask = run.mask
        for index, sentence in enumerate(sentences):
            alone = model(**pad([sentence])).last_hidden_state[0]
            torch.testing.assert_close(batch[index][mask[index]], alone, rtol=0, atol=1e-9)


def test_gradients_reach_the_embeddings_of_tokens_that_entered_only() -> None:
    model = make_encoder().train()
    tokens = torch.tensor([[RARE, COMMONER, RARE + 1, COMMON]])
    with prune(model, SCHEDULE) as run:
        model(tokens).last_hidden_state[run.mask].square().sum().backward()
    moved = model.get_input_embeddings().weight.grad.abs().sum(dim=1)
    assert moved[RARE] > 0
    assert moved[RARE + 1] > 0
    assert moved[COMMON] == moved[COMMONER] == 0


def test_heads_are_pruned_beside_common_tokens() -> None:
    heads = HeadSchedule(keep_ratios=(1.0, 0.5, 0.5, 0.5))
    with torch.no_grad(), prune(shared_encoder(), EncoderSchedule(tokens=SCHEDULE, heads=heads)) as run:
        shared_encoder()(torch.tensor([[RARE, COMMON, RARE, COMMON]]))
    assert run.heads_per_layer == (4, 2, 2, 2)
    assert run.tokens_per_layer == (2, 2, 2, 1)


def test_schedule_with_common_tokens_comes_back_from_json() -> None:
    assert schedule_from_dict(schedule_to_dict(SCHEDULE)) == SCHEDULE


def test_bad_lists_and_inputs_are_named() -> None:
    with pytest.raises(UserError, match=r"keep_ratios\[0\] must be 1 without spare_tokens; got 0.5"):
        TokenSchedule(keep_ratios=(0.5, 0.5))
    with pytest.raises(UserError, match="spare_tokens must be different ids"):
        TokenSchedule(keep_ratios=(0.5, 0.5), spare_tokens=(3, 3))
    with prune(shared_encoder(), SCHEDULE), pytest.raises(UserError, match="must be input_ids"):
        shared_encoder()(inputs_embeds=torch.randn(1, 4, 32))
