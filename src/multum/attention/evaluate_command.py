"""`multum attention evaluate`, as a plain function over a frozen configuration: what pruning costs on your own data.

Five tasks: similarity of sentence pairs against people's scores, classes of labelled sentences, passages found by
their first sentence, the perplexity of a language model on a text that it is fed token by token, and whether it still
knows a fact that stood somewhere in a long text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from multum.attention.adapted import AdaptedDials, adapted_classifier, adapted_schedule, load_encoder
from multum.attention.architectures import longest_input
from multum.attention.cache_schedule import CacheSchedule
from multum.attention.decoders import find_decoder
from multum.attention.delta import load_delta
from multum.attention.dials import (
    CacheDials,
    encoder_schedule,
    generation_schedule,
    refuse_dials_of,
)
from multum.attention.embedding import SentenceEncoder, pruning_or_not
from multum.attention.language_model import LanguageModel
from multum.attention.model_heads import rule_for
from multum.attention.needle import FACTS, ask, hide_needle, is_right
from multum.attention.perplexity import TeacherForced, teacher_forced
from multum.attention.recovery import TokenizedTexts
from multum.attention.recovery_labels import pair_correlation
from multum.attention.recovery_scores import make_clozes, rank_of_own, reached_reduction, recall_at_1
from multum.attention.run_command import load_with_head
from multum.attention.sparse_schedule import EncoderSchedule, GenerationSchedule
from multum.core import check_fields, invalid, say, track
from multum.data import (
    LabelledSentence,
    minilm_folder,
    read_lines,
    read_sst2,
    read_stsb,
    read_wikitext2,
    smollm2_file,
)

EvaluationTask = Literal["pairs", "labels", "passages", "perplexity", "needle"]
"""STS-B, SST-2, passages of a text, a text's perplexity, and a fact hidden in it."""
Split = Literal["train", "dev", "test"]
SENTENCE_END = re.compile(r"(?<=\w)([.!?])\s")
"""Where a sentence of plain text ends; WikiText has a space there already, by which sentences are told apart."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(AdaptedDials, CacheDials):
    """Data, a task, a model, and what may stay.

    Raises:
        UserError: An unknown task, or a size below its minimum.
    """

    data: Path
    """Folder of STS-B (pairs) or SST-2 (labels); folder of WikiText-2, or a text file with a paragraph on each line
    (passages, perplexity, needle)."""

    task: EvaluationTask = "pairs"
    """What is measured: Spearman's correlation, accuracy, part of passages found first, perplexity, or part of hidden
    facts recalled."""

    split: Split = "test"
    """Which part of a folder of data."""

    model: Path | None = None
    """Model folder, with a classification head for labels, or for perplexity and needle a language model or GGUF file;
    all-MiniLM-L6-v2 or SmolLM2-135M-Instruct when left alone."""

    num_texts: int | None = None
    """Only the first so many pairs, sentences or paragraphs; all when left alone."""

    least_tokens: int = 120
    """Shorter paragraphs are left out of passages."""

    window: int = 1024
    """Tokens of a window of text: for perplexity its second half is scored, for needle a fact is hidden in it."""

    num_windows: int = 4
    """Windows of text, from the beginning on; for needle each with its fact deeper than the one before."""

    batch: int = 16
    """Texts at once."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name, least in (("window", 4), ("num_windows", 1), ("batch", 1), ("least_tokens", 1)):
            if getattr(self, name) < least:
                raise invalid(name, f"at least {least}", getattr(self, name))
        if self.num_texts is not None and self.num_texts < 1:
            raise invalid("num_texts", "at least 1", self.num_texts)
        generates = self.task in ("perplexity", "needle")
        refuse_dials_of(AdaptedDials if generates else CacheDials, self, f"the task {self.task}")


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One measure of the dense and of the pruned model, and what pruning saved."""

    measure: str
    """What was measured."""
    dense: float
    """The dense model's."""
    pruned: float
    """The pruned model's."""
    num_texts: int
    """Pairs, sentences, passages or windows."""
    saved: float
    """How many times less of `saved_what`."""
    saved_what: str
    """Tokens worked on, or bytes of the cache read or held."""
    lsb_rate: float | None = None
    """Part of a cache's query rows that fetched the second plane; None for an encoder."""


def evaluate(config: EvaluateConfig) -> Evaluated:
    """Measure what pruning costs.

    Raises:
        UserError: Bad data, a model that does not fit the task, a bad schedule.
    """
    tasks = {
        "pairs": _pairs,
        "labels": _labels,
        "passages": _passages,
        "perplexity": _perplexity,
        "needle": _needle,
    }
    return tasks[config.task](config)


def _pairs(config: EvaluateConfig) -> Evaluated:
    pairs = read_stsb(config.data, config.split)[: config.num_texts]
    encoder = load_encoder(config.model or minilm_folder(), config)
    schedule = adapted_schedule(encoder.model, config, length=encoder.max_tokens)
    say(f"embedding {len(pairs)} pairs, densely and pruned")
    dense, _ = pair_correlation(encoder, pairs, None, batch_size=config.batch)
    pruned, reduction = pair_correlation(encoder, pairs, schedule, batch_size=config.batch)
    return _of_tokens("Spearman's correlation", dense, pruned, len(pairs), reduction)


def _passages(config: EvaluateConfig) -> Evaluated:
    encoder = load_encoder(config.model or minilm_folder(), config)
    texts = [SENTENCE_END.sub(r" \1 ", text) for text in _paragraphs(config)]
    lengths = [len(ids) for ids in encoder.tokenizer(list(texts), verbose=False)["input_ids"]]
    most = min(256, encoder.max_tokens)
    clozes = make_clozes(texts, lengths, least_tokens=config.least_tokens, most_tokens=most)
    schedule = adapted_schedule(encoder.model, config, length=most)
    say(f"embedding {len(clozes)} passages, densely and pruned")
    query_QD, _ = encoder.embed([it.query for it in clozes], batch_size=config.batch)
    own_Q, recalls, reduction = torch.arange(len(clozes)), [], 1.0
    for plan in (None, schedule):
        passage_PD, reduction = encoder.embed(
            [it.rest for it in clozes], schedule=plan, batch_size=config.batch
        )
        recalls.append(recall_at_1(rank_of_own(query_QD, passage_PD, own_Q)))
    return _of_tokens("passages found first", recalls[0], recalls[1], len(clozes), reduction)


def _labels(config: EvaluateConfig) -> Evaluated:
    sentences = read_sst2(config.data, config.split)[: config.num_texts]
    if config.adapted is not None:
        return _adapted_labels(config, config.adapted, sentences)
    if config.model is None:
        remedy = "MiniLM has no head; name another, or with adapted the folder of one that was adapted"
        raise invalid("model", "the folder of a classifier", None, remedy)
    model, tokenizer = load_with_head(config.model)
    if rule_for(model).reads != "first" or not hasattr(model.config, "id2label"):
        raise invalid("model", "a sentence classifier", type(model).__name__)
    encoder = SentenceEncoder(model=model, tokenizer=tokenizer, max_tokens=longest_input(model.base_model))
    schedule = encoder_schedule(model, config, length=64)
    texts, labels = [it.text for it in sentences], [it.label for it in sentences]
    say(f"classifying {len(texts)} sentences, densely and pruned")
    dense, _ = _accuracy(encoder, texts, labels, None, config.batch)
    pruned, reduction = _accuracy(encoder, texts, labels, schedule, config.batch)
    return _of_tokens("accuracy", dense, pruned, len(texts), reduction)


def _adapted_labels(config: EvaluateConfig, folder: Path, sentences: Sequence[LabelledSentence]) -> Evaluated:
    """The same for a classifier that `adapt` trained, whose head lies in its delta."""
    classifier = adapted_classifier(config.model or minilm_folder(), load_delta(folder))
    lengths = TokenizedTexts.of(classifier.encoder, [it.text for it in sentences]).lengths
    schedule = adapted_schedule(classifier.encoder.model, config, length=max(lengths))
    say(f"classifying {len(sentences)} sentences, densely and pruned")
    dense, pruned = (classifier.accuracy(sentences, plan) for plan in (None, schedule))
    return _of_tokens("accuracy", dense, pruned, len(sentences), reached_reduction(schedule.tokens, lengths))


@torch.inference_mode()
def _accuracy(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    labels: Sequence[int],
    schedule: EncoderSchedule | None,
    batch: int,
) -> tuple[float, float]:
    """Part of the labels that are right, and the token reduction."""
    right = dense_tokens = kept_tokens = 0
    num_layers = int(encoder.model.config.num_hidden_layers)
    with pruning_or_not(encoder.model, schedule) as run:
        for indices, inputs in track(
            encoder.batches(texts, batch), "dense" if schedule is None else "pruned"
        ):
            best = encoder.model(**inputs).logits.argmax(dim=-1).tolist()
            right += sum(label == labels[index] for index, label in zip(indices, best, strict=True))
            tokens = num_layers * int(inputs["attention_mask"].sum())
            dense_tokens += tokens
            kept_tokens += sum(run.tokens_per_layer) if run else tokens
    return right / len(texts), dense_tokens / kept_tokens


def _perplexity(config: EvaluateConfig) -> Evaluated:
    language, windows_BN, schedule = _windows(config)
    count = len(windows_BN)
    say(f"feeding {count} windows of {config.window} tokens, densely and pruned")
    dense = _scored(language.model, windows_BN, None)
    pruned = _scored(language.model, windows_BN, schedule)
    return Evaluated(
        measure="perplexity",
        dense=_mean_perplexity(dense),
        pruned=_mean_perplexity(pruned),
        num_texts=count,
        saved=sum(it.dense_bytes_per_token for it in pruned) / sum(it.bytes_read_per_token for it in pruned),
        saved_what="cache bytes read",
        lsb_rate=sum(it.lsb_rate for it in pruned) / count,
    )


def _windows(config: EvaluateConfig) -> tuple[LanguageModel, torch.Tensor, GenerationSchedule]:
    """A language model, windows of the text as its tokens, and what its cache may keep of them."""
    language = LanguageModel.load(config.model or smollm2_file())
    if config.window > language.max_tokens:
        raise invalid("window", f"at most {language.max_tokens}, the model's limit", config.window)
    ids_N = language.tokenizer("\n".join(_paragraphs(config)), return_tensors="pt", verbose=False)[
        "input_ids"
    ][0]
    count = min(config.num_windows, len(ids_N) // config.window)
    if count == 0:
        remedy = "give a longer text or a smaller window"
        raise invalid("the text", f"at least {config.window} tokens long", len(ids_N), remedy)
    schedule = generation_schedule(language.model, config, context=config.window)
    return language, ids_N[: count * config.window].view(count, config.window), schedule


def _needle(config: EvaluateConfig) -> Evaluated:
    language, windows_BN, schedule = _windows(config)
    count = len(windows_BN)
    needles = [
        hide_needle(language.tokenizer, window_N.tolist(), depth=number / max(1, count - 1), fact=fact)
        for number, window_N in enumerate(windows_BN)
        for fact in FACTS
    ]
    say(f"asking for {len(needles)} facts hidden in {config.window} tokens, densely and pruned")
    everything = GenerationSchedule(
        tokens=CacheSchedule(keep_ratios=(1.0,) * find_decoder(language.model).num_layers)
    )
    recall, held = [], []
    for name, plan in (("dense", everything), ("pruned", schedule)):
        found = [ask(language.model, needle, plan) for needle in track(needles, name)]
        right = [is_right(language, needle, it.tokens) for needle, it in zip(needles, found, strict=True)]
        recall.append(sum(right) / len(right))
        held.append(sum(it.bytes_held for it in found))
    return Evaluated(
        measure="hidden facts recalled",
        dense=recall[0],
        pruned=recall[1],
        num_texts=len(needles),
        saved=held[0] / held[1],
        saved_what="cache bytes held",
    )


def _scored(model: nn.Module, windows_BN: torch.Tensor, schedule: object) -> list[TeacherForced]:
    name = "dense" if schedule is None else "pruned"
    half = windows_BN.shape[1] // 2
    return [
        teacher_forced(model, window_1N, num_prompt=half, schedule=schedule)  # type: ignore[arg-type]
        for window_1N in track(windows_BN.split(1), name, len(windows_BN))
    ]


def _mean_perplexity(windows: Sequence[TeacherForced]) -> float:
    return float(torch.cat([it.loss_BS.flatten() for it in windows]).double().mean().exp())


def _paragraphs(config: EvaluateConfig) -> tuple[str, ...]:
    read = (
        read_wikitext2(config.data, "valid" if config.split == "dev" else config.split)
        if config.data.is_dir()
        else read_lines(config.data)
    )
    return tuple(read)[: config.num_texts]


def _of_tokens(measure: str, dense: float, pruned: float, num_texts: int, reduction: float) -> Evaluated:
    return Evaluated(
        measure=measure, dense=dense, pruned=pruned, num_texts=num_texts, saved=reduction, saved_what="tokens"
    )
