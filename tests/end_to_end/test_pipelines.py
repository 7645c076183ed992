"""A model pruned for good, inside transformers' own pipelines."""

from typing import Any

import pytest
import torch

from encoder_dials import DIALS
from multum.attention import prune_
from small_encoders import make_encoder
from small_tokenizer import make_tokenizer

TEXTS = ["as a visual treat the film is almost perfect", "the film is dull and long", "dull"]
SCHEDULE = DIALS["everything"]


def make_pipeline(task: str, head: str) -> Any:
    from transformers import pipeline

    return pipeline(task, model=make_encoder(head=head), tokenizer=make_tokenizer(), device="cpu")


@pytest.mark.parametrize(
    ("task", "head"),
    [
        ("text-classification", "AutoModelForSequenceClassification"),
        ("token-classification", "AutoModelForTokenClassification"),
        ("fill-mask", "AutoModelForMaskedLM"),
    ],
)
def test_pipeline_runs_on_a_pruned_model_and_batches_change_nothing(task: str, head: str) -> None:
    pipe = make_pipeline(task, head)
    texts = [f"{text} [MASK]" for text in TEXTS] if task == "fill-mask" else TEXTS
    dense = pipe(texts)
    pruned = prune_(pipe.model, SCHEDULE)
    single, batched = [pipe(text) for text in texts], pipe(texts, batch_size=3)
    assert pruned.run.heads_per_layer == (4, 3, 3, 2)
    pruned.remove()
    assert flat(batched) == pytest.approx(flat(single), abs=1e-4)
    assert flat(pipe(texts)) == flat(dense)
    assert flat(single) != pytest.approx(flat(dense), abs=1e-4)
    if task == "token-classification":
        assert [len(words) for words in single] == [len(words) for words in dense]  # a label for every word


def test_feature_extraction_gives_the_rows_that_survived() -> None:
    pipe = make_pipeline("feature-extraction", "AutoModel")
    pruned = prune_(pipe.model, SCHEDULE)
    (rows,) = pipe(TEXTS[0])
    assert len(rows) == pruned.run.positions.shape[1] == 4
    assert rows == pipe.model(**pipe.tokenizer(TEXTS[0], return_tensors="pt")).last_hidden_state[0].tolist()


def test_question_answering_scores_every_token() -> None:
    model, tokenizer = make_encoder(head="AutoModelForQuestionAnswering"), make_tokenizer()
    inputs = tokenizer("is the film dull", TEXTS[0], return_tensors="pt")
    pruned = prune_(model, SCHEDULE)
    with torch.no_grad():
        output = model(**inputs)
    assert output.start_logits.shape == output.end_logits.shape == inputs["input_ids"].shape
    assert pruned.run.tokens_per_layer[-1] < inputs["input_ids"].shape[1]


def flat(answers: Any) -> list[float]:
    """Every score of a pipeline's answers in order, whatever lists they lie in."""
    if isinstance(answers, dict):
        return [float(answers["score"])]
    return [number for answer in answers for number in flat(answer)]
