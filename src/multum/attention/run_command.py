"""`multum attention run`, as a plain function: one text through a model, dense and pruned."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from multum.accelerator import Workload
from multum.attention.adapted import AdaptedDials, adapted_schedule
from multum.attention.architectures import longest_input
from multum.attention.delta import Delta, load_delta, merge
from multum.attention.model_heads import rule_for
from multum.attention.on_accelerator import OnAccelerator, on_accelerator
from multum.attention.pruning import prune
from multum.attention.sparse_schedule import save_schedule
from multum.core import UserError, invalid, require_module
from multum.cost import Cost, measure

FROM_STANDARD_INPUT = "-"
MOST_LABELS = 5
"""Labels of a classifier that are told, the likeliest first."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(AdaptedDials):
    """A model, a text, and what of it may stay."""

    model: Path
    """Folder of a transformers encoder, with or without a head."""

    text: str = "As a visual treat, the film is almost perfect."
    """The text; - reads it from standard input."""

    question: str | None = None
    """The question that a question answering model looks for in the text."""

    trace: Path | None = None
    """Write what every layer did to this CSV file, a workload of the accelerator."""

    save: Path | None = None
    """Write the schedule that was used to this JSON file, or into a folder beside its model."""

    latency: bool = False
    """Take times too."""

    accelerator: bool = False
    """Tell too what SpAtten would make of the run's attention, dense and pruned, layer by layer; takes times."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What both runs gave."""

    model: str
    """Its class."""
    num_tokens: int
    """Tokens of the text, the model's own included."""
    tokens_per_layer: tuple[int, ...]
    """Tokens that each layer worked on."""
    heads_per_layer: tuple[int, ...]
    """Heads that each layer computed."""
    values_per_layer: tuple[int, ...]
    """Value rows that a query multiplied in each layer."""
    dense_output: str
    """What the dense model says."""
    pruned_output: str
    """What the pruned model says."""
    agreement: float
    """How near both outputs are: the cosine of sentence vectors, the part of tokens or labels that agree."""
    before: Cost
    """What the dense model cost."""
    after: Cost
    """What the pruned model cost."""
    trace: str | None
    """Where the workload was written."""
    accelerator: OnAccelerator | None = None
    """What SpAtten would make of it, where that was asked for."""


class Loaded(NamedTuple):
    """A model with the head that its folder holds."""

    model: Any
    tokenizer: Any


def load_with_head(folder: Path) -> Loaded:
    """Load the class that a model folder names; safetensors only, nothing is downloaded.

    Raises:
        UserError: The folder is missing or holds no model.
    """
    if not (folder / "config.json").is_file():
        raise invalid("model", "a transformers model folder with config.json", str(folder))
    transformers: Any = require_module("transformers", "transformers")
    transformers.utils.logging.disable_progress_bar()
    settings = {"local_files_only": True}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **settings)
        names = config.architectures or []
        kind = getattr(transformers, names[0], transformers.AutoModel) if names else transformers.AutoModel
        model = kind.from_pretrained(folder, use_safetensors=True, **settings)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **settings)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"model folder must hold a model in safetensors and its tokenizer; got {str(folder)!r}; {error}"
        ) from error
    return Loaded(model.eval(), tokenizer)


def run_model(config: RunConfig) -> Ran:
    """Run a text through a model densely and pruned.

    Raises:
        UserError: A bad model, text, schedule or option.
    """
    model, tokenizer = load_with_head(config.model)
    if config.adapted is not None:
        _become(model, load_delta(config.adapted))
    text = sys.stdin.read() if config.text == FROM_STANDARD_INPUT else config.text
    inputs = _tokenized(model, tokenizer, text, config.question)
    num_tokens = inputs["input_ids"].shape[1]
    schedule = adapted_schedule(model, config, length=num_tokens)
    limit = longest_input(model.base_model)
    if num_tokens > limit:
        remedy = "split it into shorter passages"
        raise invalid(
            "text", f"at most {limit} tokens long, the model's limit", f"{num_tokens} tokens", remedy
        )
    if config.save is not None:
        save_schedule(schedule, config.save)
    latency = config.latency or config.accelerator
    before = measure(model, inputs, latency=latency, name="dense")
    with torch.inference_mode():
        dense = model(**inputs)
        with prune(model, schedule) as run:
            pruned = model(**inputs)
            after = measure(model, inputs, latency=latency, name="pruned")
    workload = run.workload()
    if config.trace is not None:
        workload.write_csv(config.trace)
    told, agreement = _compare(model, tokenizer, inputs, (dense, pruned))
    return Ran(
        model=type(model).__name__,
        num_tokens=num_tokens,
        tokens_per_layer=run.tokens_per_layer,
        heads_per_layer=run.heads_per_layer,
        values_per_layer=tuple(record.num_values[0] for record in run.records),
        dense_output=told[0],
        pruned_output=told[1],
        agreement=agreement,
        before=replace(before, timeline=()),
        after=replace(after, timeline=()),
        trace=None if config.trace is None else str(config.trace),
        accelerator=_simulated(workload, after) if config.accelerator else None,
    )


def _simulated(workload: Workload, after: Cost) -> OnAccelerator:
    seconds = None if after.latency is None else after.latency.median_seconds
    return on_accelerator(workload, processor_seconds=seconds)


def _become(model: nn.Module, delta: Delta) -> None:
    if delta.added:
        remedy = "a classifier's is measured by multum attention evaluate --task labels"
        raise invalid("adapted", "a delta without a head of its own", sorted(delta.added), remedy)
    merge(model, delta)


def _tokenized(model: Any, tokenizer: Any, text: str, question: str | None) -> dict[str, Tensor]:
    answers = hasattr(model, "qa_outputs")
    if answers != (question is not None):
        raise invalid(
            "question", "given to a question answering model, and to no other", question, type(model).__name__
        )
    if not text.strip():
        raise invalid("text", "non-empty", text)
    texts = (text,) if question is None else (question, text)
    return dict(tokenizer(*texts, return_tensors="pt", verbose=False))


def _compare(
    model: nn.Module, tokenizer: Any, inputs: dict[str, Tensor], outputs: tuple[Any, Any]
) -> tuple[tuple[str, str], float]:
    """What both outputs say in words, and how near they are."""
    reads = rule_for(model).reads
    if reads == "survivors":
        dense_D, pruned_D = (output[0][0].mean(dim=0) for output in outputs)
        cosine = float(nn.functional.cosine_similarity(dense_D, pruned_D, dim=0))
        shapes = [f"{output[0].shape[1]} rows of width {output[0].shape[2]}" for output in outputs]
        return (shapes[0], shapes[1]), cosine
    if reads == "first":
        scores = [output.logits[0].softmax(dim=-1) for output in outputs]
        same = float(scores[0].argmax() == scores[1].argmax())
        labels = [_likeliest(model, it) for it in scores]
        return (labels[0], labels[1]), same
    if hasattr(outputs[0], "start_logits"):
        answers = [_answer(tokenizer, inputs["input_ids"][0], output) for output in outputs]
        return (answers[0], answers[1]), float(answers[0] == answers[1])
    best = [
        (output.logits if hasattr(output, "logits") else output[0])[0].argmax(dim=-1) for output in outputs
    ]
    agreement = float((best[0] == best[1]).double().mean())
    names: Any = getattr(model.config, "id2label", {}) if reads == "every_token" else {}
    shown = [" ".join(str(names.get(int(it), int(it))) for it in row) for row in best]
    return (shown[0], shown[1]), agreement


def _likeliest(model: Any, probability: Tensor) -> str:
    names = getattr(model.config, "id2label", {})
    order = probability.argsort(descending=True)[:MOST_LABELS].tolist()
    return ", ".join(f"{names.get(label, label)} {float(probability[label]):.3f}" for label in order)


def _answer(tokenizer: Any, ids: Tensor, output: Any) -> str:
    """The likeliest span of a question answering model."""
    start = int(output.start_logits[0].argmax())
    end = start + int(output.end_logits[0, start:].argmax())
    answer: str = tokenizer.decode(ids[start : end + 1], skip_special_tokens=True)
    return answer
