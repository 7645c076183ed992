"""The rules of model heads: which is chosen, what it protects, what it gives the head."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from encoder_dials import DIALS
from multum.attention import EncoderSchedule, ModelHeadRule, TokenSchedule, prune, rule_for
from multum.attention.reference import masked_dense
from multum.core import UserError
from small_encoders import NUM_LAYERS, draw_tokens, make_encoder, pad

TENTH = TokenSchedule(keep_ratios=(1.0, *[0.1] * (NUM_LAYERS - 1)))
FIRST, EVERY, SURVIVORS = (
    ModelHeadRule(reads=reads)
    for reads in ("first", "every_token", "survivors")  # type: ignore[arg-type]
)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("AutoModel", SURVIVORS),
        ("AutoModelForSequenceClassification", FIRST),
        ("AutoModelForMultipleChoice", FIRST),
        ("AutoModelForNextSentencePrediction", FIRST),
        ("AutoModelForTokenClassification", EVERY),
        ("AutoModelForQuestionAnswering", EVERY),
        ("AutoModelForMaskedLM", EVERY),
        ("AutoModelForPreTraining", EVERY),
    ],
)
def test_rule_follows_from_the_class(head: str, expected: ModelHeadRule) -> None:
    assert rule_for(make_encoder(head=head)) == expected


def test_rule_follows_from_the_class_that_it_derives_from() -> None:
    from transformers import BertForTokenClassification

    class Tagger(BertForTokenClassification):
        pass

    assert rule_for(Tagger(make_encoder().config)) == EVERY


def test_unknown_head_is_refused_until_told_what_it_reads() -> None:
    from transformers import BertModel, BertPreTrainedModel

    class MeanOfEverything(BertPreTrainedModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.bert = BertModel(config)

        def forward(self, **inputs: Any) -> torch.Tensor:
            return self.bert(**inputs).last_hidden_state

    model, (tokens,) = MeanOfEverything(make_encoder().config).eval(), draw_tokens(20)
    with pytest.raises(UserError, match="got MeanOfEverything; say what it reads"), prune(model, TENTH):
        pass
    for rule, num_rows in ((EVERY, 20), (SURVIVORS, 2)):
        with torch.no_grad(), prune(model, TENTH, rule=rule):
            assert model(input_ids=tokens[None]).shape[1] == num_rows


def test_summary_of_another_token_than_the_first_is_refused() -> None:
    model = make_encoder("electra", head="AutoModelForMultipleChoice", summary_type="last")
    with pytest.raises(UserError, match="summary_type must be 'first'"):
        rule_for(model)


@torch.no_grad()
def test_multiple_choice_and_next_sentence_run_and_keep_the_first_token() -> None:
    for head in ("AutoModelForMultipleChoice", "AutoModelForNextSentencePrediction"):
        model, tokens = make_encoder(head=head), torch.stack(draw_tokens(12, 12))
        with prune(model, replace(TENTH, protect_first=False)) as run:
            logits = model(tokens[None] if "Choice" in head else tokens).logits
        assert logits.shape[-1] == 2
        assert run.positions[:, 0].tolist() == [0, 0]


@torch.no_grad()
def test_classifier_finds_the_first_token_behind_padding_on_the_left() -> None:
    model = make_encoder(head="AutoModelForSequenceClassification").double()
    sentences, everything = draw_tokens(5, 9), TokenSchedule(keep_ratios=(1.0,) * NUM_LAYERS)
    with prune(model, everything) as run:
        batch = model(**pad(sentences, side="left")).logits
        assert run.positions[0].tolist() == [4, 5, 6, 7, 8, 0, 1, 2, 3]
        assert run.mask[0].tolist() == [True] * 5 + [False] * 4
    for index, sentence in enumerate(sentences):
        torch.testing.assert_close(batch[index], model(sentence[None]).logits[0], rtol=0, atol=1e-9)


@torch.no_grad()
def test_pruned_token_is_read_in_the_state_it_left_with() -> None:
    model, (tokens,) = make_encoder(head="AutoModelForTokenClassification"), draw_tokens(12)
    with prune(model, TokenSchedule(keep_ratios=(1.0, 0.5, 0.5, 0.25))) as run:
        hidden = model.bert(tokens[None], output_hidden_states=True)
        restored, states = hidden.last_hidden_state[0], hidden.hidden_states
    assert run.mask.shape == (1, 12)
    assert run.positions[0].tolist() == list(range(12))
    for j in range(12):
        layer = max(i for i, tokens_ in enumerate(run.layers) if j in tokens_.position_BL[0])
        if layer < NUM_LAYERS - 1:  # states[i] entered layer i; what leaves layer i is cut before it is noted
            assert not torch.equal(restored[j], states[0][0, j])
    first_out = [j for j in range(12) if j not in run.layers[1].position_BL[0]]
    with prune(model, TokenSchedule(keep_ratios=(1.0,) * NUM_LAYERS)):
        after_layer_0 = model.bert(tokens[None], output_hidden_states=True).hidden_states[1][0]
    torch.testing.assert_close(restored[first_out], after_layer_0[first_out], rtol=0, atol=1e-6)


@torch.no_grad()
def test_protected_ids_and_segments_are_never_pruned() -> None:
    model, (tokens,) = make_encoder(head="AutoModelForQuestionAnswering").double(), draw_tokens(20)
    tokens[[4, 11]] = 98
    segments = (torch.arange(20) >= 6).long()[None]
    schedule = TokenSchedule(keep_ratios=(1.0, 0.6, 0.5, 0.4))
    for rule, protected in (
        (ModelHeadRule(reads="every_token", protected_ids=(98,)), {0, 4, 11}),
        (ModelHeadRule(reads="every_token", protected_segment=0), set(range(6))),
    ):
        twin = masked_dense(model, tokens, schedule, rule=rule, token_type_ids=segments)
        with prune(model, schedule, rule=rule) as run:
            output = model(tokens[None], token_type_ids=segments)
        assert protected <= set(run.layers[-1].position_BL[0].tolist())
        torch.testing.assert_close(output.start_logits, twin.output.start_logits, rtol=0, atol=1e-9)


def test_more_protected_tokens_than_kept_ones_is_refused() -> None:
    model, rule = make_encoder(), ModelHeadRule(reads="survivors", protected_segment=0)
    inputs = {
        "input_ids": torch.stack(draw_tokens(20)),
        "token_type_ids": torch.zeros(1, 20, dtype=torch.long),
    }
    message = (
        "protected tokens of sentence 0 must be at most the 2 that enter layer 1; got 20; raise min_tokens"
    )
    with prune(model, TENTH, rule=rule), pytest.raises(UserError, match=message):
        model(**inputs)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            ModelHeadRule(reads="survivors", protected_ids=(3,)),
            "input_ids, which protected_ids are sought in",
        ),
        (ModelHeadRule(reads="survivors", protected_segment=0), "token_type_ids must be given"),
    ],
)
def test_protection_needs_what_it_looks_at(rule: ModelHeadRule, message: str) -> None:
    model = make_encoder()
    with prune(model, TENTH, rule=rule), pytest.raises(UserError, match=message):
        model(inputs_embeds=torch.randn(1, 9, 32))


@pytest.mark.parametrize("fields", [{"reads": "last"}, {"reads": "first", "protected_segment": -1}])
def test_rule_out_of_range_is_refused(fields: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import jaxtyping

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(UserError, match="must be"):
        ModelHeadRule(**fields)


@torch.no_grad()
def test_base_model_gives_its_survivors_under_every_dial() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(13)
    for schedule in DIALS.values():
        with prune(model, schedule) as run:
            rows = model(tokens[None]).last_hidden_state.shape[1]
        assert rows == run.positions.shape[1] == (13 if schedule.tokens is None else 4)


def test_empty_schedule_is_the_dense_model_with_a_record() -> None:
    model, (tokens,) = make_encoder(), draw_tokens(9)
    with torch.no_grad():
        dense = model(tokens[None]).last_hidden_state
        with prune(model, EncoderSchedule()) as run:
            torch.testing.assert_close(model(tokens[None]).last_hidden_state, dense, rtol=0, atol=1e-5)
    assert [record.num_queries for record in run.records] == [(9,)] * NUM_LAYERS
