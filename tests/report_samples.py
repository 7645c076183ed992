"""Made-up but plausible things to draw, for the tests of `multum.report`. No number here was ever measured."""

import math

from multum.attention import TokenFate, WordFate
from multum.cost.result import Cost, LayerCost, Moment
from multum.cost.timing import Latency
from multum.report import (
    AttentionResults,
    Continuation,
    DialResults,
    DialRow,
    FadingPicture,
    GenerationResults,
    ModelFacts,
    RetrievalRow,
    RowLife,
    SentenceRow,
    SentenceScores,
    TimingRow,
)
from multum.report.transfer_results import EpochRow, MemoryStory, StepReading, TransferStory
from multum.transfer import Judgement, Mistake, TransferResult

FILM = "As a visual treat, the film is almost perfect."
"""The sentence of the paper's Fig. 1."""

LIVES = {"film": 6, "perfect.": 6, "visual": 4, "treat,": 5, "almost": 3, "[CLS]": 6, "[SEP]": 6}
"""How long the words of the film live; the others leave at once."""

PASSAGE = (
    "The lamp at the end of the mole was lit by hand until the winter of the great storm. Every evening the keeper "
    "climbed one hundred and twelve steps with a can of oil on his back, trimmed four wicks, and wound the clockwork "
    "that turned the lens. The weight of that clock hung in the hollow middle of the stair, so that the keeper met "
    "it twice on his way, once rising and once on its slow way down. Ships from the north knew the light by its "
    "rhythm: two flashes, a breath of dark, and a third. When fog came in from the marshes nobody could see any "
    "of it, and he fired a small brass gun instead, once every ten minutes, all night if need be. His daughter "
    "kept the log. She wrote the hour, the wind and the oil burnt, and in the margin, where the inspectors seldom "
    "looked, the birds that had struck the glass: thrushes in October, and now and then a woodcock, which went "
    "into the pot. The lens is still there. A motor no larger than a fist turns it now, the oil store holds garden "
    "chairs, and the log lies open in a case beside the door, at the page where the ink ran out in the middle of a "
    "storm and a pencil, pressed hard, goes on."
)
"""A passage as long as those of the demo."""


def film_words() -> tuple[WordFate, ...]:
    """The film, losing its words over six layers."""
    return tuple(word_fate(word, LIVES.get(word, 1)) for word in ["[CLS]", *FILM.split(), "[SEP]"])


def passage_words(num_layers: int = 6) -> tuple[WordFate, ...]:
    """The lighthouse, losing its words in a pattern that looks like life: long words stay longer."""
    fates = []
    for index, word in enumerate(["[CLS]", *PASSAGE.split(), "[SEP]"]):
        weight = len(word) + 3 * math.sin(1.7 * index)
        life = num_layers if word.startswith("[") else max(1, min(num_layers, round(weight * num_layers / 9)))
        fates.append(word_fate(word, life))
    return tuple(fates)


def word_fate(text: str, life: int) -> WordFate:
    """A word of a given life, important in proportion."""
    is_special = text.startswith("[")
    step = (6.0 if is_special else 0.2 + 0.35 * life) * (1 + 0.01 * len(text))
    importance = tuple(round(step * layer * (1 + 0.04 * layer), 4) for layer in range(1, life + 1))
    return WordFate(text=text, last_layer=life, importance=importance, is_special=is_special)


def tokens_of(words: tuple[WordFate, ...]) -> tuple[TokenFate, ...]:
    """The words as tokens, as if each had one wordpiece; the first is protected."""
    return tuple(
        TokenFate(
            text=word.text,
            importance=word.importance,
            is_special=word.is_special,
            is_protected=index == 0,
        )
        for index, word in enumerate(words)
    )


def tokens_per_layer(words: tuple[WordFate, ...], num_layers: int = 6) -> tuple[int, ...]:
    """Count tokens, as if every eighth word had two wordpieces."""
    return tuple(
        sum(1 + (index % 8 == 0) for index, word in enumerate(words) if word.last_layer >= layer)
        for layer in range(1, num_layers + 1)
    )


def training_cost() -> Cost:
    """A small encoder in training, with a layer table and a timeline."""
    rows, moments = [], []
    for block in range(6):
        for name, kind, macs in (
            ("attention.query", "Linear", 37_748_736),
            ("attention.key", "Linear", 37_748_736),
            ("attention.value", "Linear", 37_748_736),
            ("attention", "BertSelfAttention", 50_331_648),
            ("output.dense", "Linear", 150_994_944),
            ("LayerNorm", "LayerNorm", 0),
        ):
            rows.append(
                LayerCost(
                    path=f"encoder.layer.{block}.{name}",
                    kind=kind,
                    num_calls=1,
                    num_parameters=macs // 256,
                    num_trainable_parameters=macs // 256,
                    parameter_bytes=macs // 64,
                    macs=macs,
                    dram_read_bytes=macs // 32,
                    dram_written_bytes=macs // 96,
                    kept_bytes=786_432 + 60_000 * block,
                    output_bytes=393_216,
                    peak_live_bytes=90_000_000 + 4_000_000 * block,
                )
            )
    for step in range(240):
        phase = "forward" if step < 90 else "loss" if step < 94 else "backward" if step < 210 else "optimizer"
        activation = 1_000_000 + 500_000 * min(step, 90) - 360_000 * max(0, min(step, 210) - 94)
        gradient = 380_000 * max(0, min(step, 210) - 94)
        optimizer = 2_900_000 * max(0, step - 209)
        live = 92_000_000 + activation + gradient + optimizer
        moments.append(
            Moment(
                step=step,
                phase=phase,
                layer="encoder.layer.0.attention",
                operation="aten.addmm",
                live_bytes=live,
                activation_bytes=activation,
                gradient_bytes=gradient,
                optimizer_bytes=optimizer,
            )
        )
    return Cost(
        name="sample-encoder <6 layers>",
        mode="training",
        num_parameters=22_713_216,
        num_trainable_parameters=22_713_216,
        parameter_bytes=90_852_864,
        buffer_bytes=4_096,
        input_bytes=32_768,
        output_bytes=3_072,
        macs=sum(row.macs for row in rows),
        attention_macs=6 * 50_331_648,
        peak_live_bytes=max(moment.live_bytes for moment in moments),
        kept_bytes=sum(row.kept_bytes for row in rows),
        gradient_bytes=90_852_864,
        optimizer_bytes=181_705_728,
        dram_bytes=910_000_000,
        dram_floor_bytes=273_000_000,
        latency=Latency(
            median_seconds=0.412, spread_seconds=0.011, num_runs=9, num_warmup=2, num_threads=1, device="cpu"
        ),
        layers=tuple(rows),
        timeline=tuple(moments),
    )


def inference_cost(name: str, share: float) -> Cost:
    """A forward pass of which a share of the work is left."""
    return Cost(
        name=name,
        num_parameters=22_713_216,
        parameter_bytes=90_852_864,
        macs=round(24_000_000_000 * share),
        attention_macs=round(2_400_000_000 * share * share),
        peak_live_bytes=round(91_000_000 + 48_000_000 * share**0.5),
        dram_bytes=round(90_000_000 + 2_100_000_000 * share),
        dram_floor_bytes=91_000_000,
        latency=Latency(
            median_seconds=0.61 * share + 0.02,
            spread_seconds=0.009,
            num_runs=11,
            num_warmup=2,
            num_threads=1,
            device="cpu",
        ),
    )


def attention_results() -> AttentionResults:
    """A whole demo run."""
    film, passage = film_words(), passage_words()
    return AttentionResults(
        model=ModelFacts(
            name="sample-MiniLM", num_layers=6, num_heads=12, width=384, num_parameters=22_713_216
        ),
        num_passages=72,
        num_queries=144,
        pictures=(
            FadingPicture(
                topic="the paper's Fig. 1",
                title="A film",
                keep_ratio=0.6,
                words=film,
                tokens_per_layer=tokens_per_layer(film),
                tokens=tokens_of(film),
            ),
            FadingPicture(
                topic="lighthouses",
                title="The lamp at the end of the mole",
                keep_ratio=0.5,
                words=passage,
                tokens_per_layer=tokens_per_layer(passage),
                tokens=tokens_of(passage),
            ),
        ),
        retrieval=(
            retrieval_row("dense", 1.0, 1.0, 0.7917),
            retrieval_row("flat 0.5", 0.5, 1.71, 0.7986),
            retrieval_row("flat 0.4", 0.4, 2.0, 0.7847),
            retrieval_row("flat 0.3", 0.3, 2.4, 0.7708),
            retrieval_row("linear 0.4", 0.4, 2.05, 0.4514),
        ),
        cost_before=inference_cost("dense", 1.0),
        cost_after=inference_cost("keep 0.4", 0.48),
        cost_note="One batch of 8 passages, 256 tokens at most.",
        timing=(
            TimingRow(name="dense, SDPA as shipped", median_seconds=5.9, spread_seconds=0.21, speedup=1.0),
            TimingRow(
                name="dense, SDPA with the same fast linears",
                median_seconds=3.4,
                spread_seconds=0.15,
                speedup=1.735,
                speedup_same_linears=1.0,
                floor_seconds=2.5,
                times_floor=1.36,
            ),
            TimingRow(
                name="pruned, keep 0.4",
                median_seconds=1.95,
                spread_seconds=0.1,
                speedup=3.03,
                speedup_same_linears=1.744,
                floor_seconds=1.2,
                times_floor=1.625,
                is_pruned=True,
            ),
        ),
        timing_note="All 72 passages, one thread.",
        sentences=(
            SentenceScores(
                source="Bundled pairs",
                num_pairs=60,
                rows=sentence_rows((1.0, 0.86), (1.17, 0.81), (1.7, 0.70)),
            ),
            SentenceScores(
                source="STS-B test",
                num_pairs=1379,
                rows=sentence_rows((1.0, 0.8203), (1.17, 0.77), (1.7, 0.66)),
            ),
        ),
        dials=dial_results(),
        generation=generation_results(),
        transfer=transfer_story(memory=memory_story()),
        notes=("Rounds go in turns, so that noise of the machine hits all alike.", "Nothing was tuned."),
    )


def dial_results() -> DialResults:
    """Heads, values and bits of six layers of twelve heads, turned one by one and together."""
    heads = tuple(tuple(head for head in range(12) if head % 6 >= layer // 2) for layer in range(6))
    return DialResults(
        rows=(
            dial_row("dense", "dense", 1.0, 1.0, 0.7917),
            dial_row("10 heads of 12", "heads", 0.86, 0.95, 0.7917),
            dial_row("8 heads of 12", "heads", 0.72, 0.91, 0.7639),
            dial_row("half the values", "values", 0.5, 0.98, 0.7917),
            dial_row("a fifth of the values", "values", 0.2, 0.97, 0.7847),
            dial_row("12 bits", "bits", 0.375, 1.0, 0.7917),
            dial_row("4 bits", "bits", 0.125, 1.0, 0.4028),
            dial_row("everything", "all", 0.3, 0.44, 0.7708),
        ),
        num_heads=12,
        heads_by_layer=heads,
        keys_by_layer=(200, 80, 80, 80, 80, 80),
        values_by_layer=(100, 40, 40, 40, 40, 40),
        note="One passage of 200 tokens.",
    )


def dial_row(name: str, dial: str, left: float, macs_left: float, recall: float) -> DialRow:
    """A row of one dial."""
    return DialRow(
        name=name,
        dial=dial,  # type: ignore[arg-type]
        left=left,
        macs_left=macs_left,
        recall_at_1=recall,
        loss_points=100 * (0.7917 - recall),
    )


def generation_results(num_prompt_tokens: int = 100, num_tokens: int = 60) -> GenerationResults:
    """Four layers that keep all, 0.6, 0.3 and 0.2 of a hundred tokens and of sixty written after them."""
    steps, shares = range(num_tokens + 1), (1.0, 0.6, 0.3, 0.2)
    rows = tuple(
        tuple(round((num_prompt_tokens + step) * (share if step else 1.0)) for step in steps)
        for share in shares
    )
    dense = tuple(4096 * (num_prompt_tokens + step) if step else 0 for step in steps)
    pruned = tuple(round(0.16 * size) for size in dense)
    return GenerationResults(
        model="sample-LM",
        num_layers=4,
        num_heads=9,
        prompt=PASSAGE[:400],
        num_prompt_tokens=num_prompt_tokens,
        schedule="Layers keep all, 60 %, 30 % and 20 % of the context; keys in 8 and 4 bits.",
        continuations=(
            continuation("dense", PASSAGE[400:700], dense, is_pruned=False),
            continuation(
                "pruned", PASSAGE[400:560] + " and nothing else was heard that night.", pruned, is_pruned=True
            ),
        ),
        rows_by_layer=rows,
        shown_layer=3,
        lives=row_lives(num_prompt_tokens, num_tokens),
        heads_by_layer=(tuple(range(9)), tuple(range(9)), (0, 1, 2, 3, 4, 5), (0, 1, 2)),
        lsb_rates=(0.02, 0.06, 0.09, 0.05),
        note="Greedy, one thread.",
    )


def continuation(name: str, text: str, read: tuple[int, ...], *, is_pruned: bool) -> Continuation:
    """What one cache led to."""
    return Continuation(
        name=name,
        text=text,
        num_tokens=len(read) - 1,
        bytes_read=read,
        bytes_held=tuple(max(size, 4096) for size in read),
        tokens_per_second=30.1 if is_pruned else 24.7,
        spread=0.4,
        is_pruned=is_pruned,
    )


def row_lives(num_prompt_tokens: int, num_tokens: int) -> tuple[RowLife, ...]:
    """Lives in a pattern: every seventh row stays, the others leave sooner or later."""
    lives = []
    for position in range(num_prompt_tokens + num_tokens):
        first = max(0, position - num_prompt_tokens + 1)
        last = (
            num_tokens if position < 4 or position % 7 == 0 else min(num_tokens, first + position * 13 % 40)
        )
        lives.append(RowLife(position=position, first_step=first, last_step=last))
    return tuple(lives)


def transfer_story(
    num_classes: int = 6,
    *,
    num_epochs: int = 5,
    memory: MemoryStory | None = None,
    has_validation: bool = True,
) -> TransferStory:
    """A training that gets better, and takes every class for its neighbour now and then."""
    classes = tuple(f"kind of bird <{number}>" for number in range(1, num_classes + 1))
    confusion = tuple(
        tuple(
            20 - row % 3 if row == column else 1 + row % 3 if column == (row + 1) % num_classes else 0
            for column in range(num_classes)
        )
        for row in range(num_classes)
    )
    num_known, num_pictures = sum(confusion[row][row] for row in range(num_classes)), sum(map(sum, confusion))
    mistakes = tuple(
        Mistake(
            picture=f"{classes[row]}/{number}.jpg",
            is_class=classes[row],
            taken_for=classes[(row + 1) % num_classes],
            confidence=0.95 - 0.02 * row,
        )
        for row in range(min(num_classes, 30))
        for number in range(1 + row % 3)
    )
    test = Judgement(
        accuracy=num_known / num_pictures,
        loss=0.4,
        classes=classes,
        class_accuracy={
            name: row[place] / sum(row)
            for place, (name, row) in enumerate(zip(classes, confusion, strict=True))
        },
        confusion=confusion,
        mistakes=mistakes,
    )
    epochs = tuple(
        EpochRow(
            epoch=epoch,
            loss=2.0 / epoch,
            validation_accuracy=1 - 0.6 / epoch if has_validation else None,
            validation_loss=1.8 / epoch if has_validation else None,
        )
        for epoch in range(1, num_epochs + 1)
    )
    result = TransferResult(
        backbone="sample-net",
        mode="lite+bias",
        side=96,
        classes=classes,
        num_train=10 * num_classes,
        num_validation=4 * num_classes if has_validation else 0,
        num_trained=670_000,
        num_frozen=3_350_000,
        num_epochs=num_epochs,
        best_epoch=num_epochs,
        stopped_early=False,
        validation_accuracy=epochs[-1].validation_accuracy,
        test=test,
        stock_layers=("stem.pad: SamePadding",),
        fingerprint="0123",
        skipped=("notes.txt: no picture, by its name",),
    )
    return TransferStory(result=result, epochs=epochs, memory=memory, adapted_bytes=2_700_000, seconds=31.4)


def memory_story(*, is_measured: bool = True) -> MemoryStory:
    """A step in a quarter of the memory."""
    return MemoryStory(
        step="8 pictures of 96 x 96 pixels, Adam",
        ours=step_reading("lite+bias", 3_500_000, 5_400_000, 20_000_000 if is_measured else None),
        stock=step_reading(
            "full fine-tuning of stock layers", 118_000_000, 27_000_000, 125_000_000 if is_measured else None
        ),
    )


def step_reading(name: str, kept: int, optimizer: int, grown: int | None) -> StepReading:
    """A step whose activations rise to what is kept, and fall."""
    resident = 16_000_000 + optimizer
    heights = [kept * step // 50 for step in (*range(50), *range(50, -1, -1))]
    return StepReading(
        name=name,
        weight_bytes=16_000_000,
        kept_bytes=kept,
        gradient_bytes=optimizer // 2,
        optimizer_bytes=optimizer,
        workspace_bytes=7_000,
        predicted_bytes=resident + kept,
        resident_bytes=resident,
        measured_growth_bytes=grown,
        timeline=tuple(
            Moment(
                step=step,
                phase="forward" if step < 50 else "backward",
                layer="blocks.0",
                operation="aten.convolution",
                live_bytes=resident + height,
                activation_bytes=height,
                optimizer_bytes=optimizer,
            )
            for step, height in enumerate(heights)
        ),
    )


def retrieval_row(schedule: str, keep_ratio: float, reduction: float, recall: float) -> RetrievalRow:
    """A row whose other scores follow from its recall."""
    return RetrievalRow(
        family="linear" if "linear" in schedule else "flat",
        schedule=schedule,
        keep_ratio=keep_ratio,
        token_reduction=reduction,
        recall_at_1=recall,
        recall_at_5=min(1.0, recall + 0.16),
        mean_reciprocal_rank=min(1.0, recall + 0.08),
        loss_points=100 * (0.7917 - recall),
    )


def sentence_rows(*numbers: tuple[float, float]) -> tuple[SentenceRow, ...]:
    """Rows of token reduction and correlation, the first one dense."""
    return tuple(
        SentenceRow(
            schedule="dense" if reduction == 1 else f"reduction {reduction:g}",
            token_reduction=reduction,
            spearman=score,
        )
        for reduction, score in numbers
    )


def provenance() -> dict[str, object]:
    """What `multum.core.provenance` would tell."""
    return {
        "multum": "0.0.0",
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.2.0"},
        "cpu": "a processor with <many> units",
        "num_threads": 1,
        "time": "2026-01-01T00:00:00+00:00",
        "command": "multum demo",
        "seed": None,
    }
