"""The sentences of the attention page: each is put together from the numbers that it states."""

from collections.abc import Sequence

from multum.cost.units import format_ratio
from multum.report.attention_results import AttentionResults, RetrievalRow, SentenceScores, TimingRow
from multum.report.number_text import format_fixed, format_percent, plural, sentence_case, tell_seconds

TOLERATED_LOSS_POINTS = 2.0
"""Points of recall at 1 up to which a schedule is named as losing little."""


def tell_words(results: AttentionResults) -> str:
    """Tell what the pictures show, and how many words are left in them."""
    words = [word for picture in results.pictures for word in picture.words if not word.is_special]
    num_left = sum(word.last_layer == results.model.num_layers for word in words)
    share = format_percent(num_left / max(1, len(words)))
    return (
        "In each layer every token receives attention, and the sum of what it has received so far is its "
        "cumulative importance (a schedule by value counts it times the length of the token's value vector). "
        "The tokens with the least of it leave; later layers neither attend to them nor compute them. "
        f"Of the {plural(len(words), 'word')} in the {plural(len(results.pictures), 'passage')} "
        f"below, {num_left:,} ({share}) live through all {results.model.num_layers} layers."
    )


def tell_retrieval(results: AttentionResults) -> str:
    """Tell how often the dense model finds the passage, and what the strongest schedules lose."""
    rows = results.retrieval
    dense = dense_row(rows)
    told = [
        f"{plural(results.num_queries, 'query', 'queries')} look for their passage among {results.num_passages:,}.",
        f"With the dense model it comes first for {format_percent(dense.recall_at_1, 1)} of them.",
    ]
    mild = mildest_strong_row(rows)
    if mild is not None:
        told.append(
            f"The strongest schedule that loses at most {TOLERATED_LOSS_POINTS:g} points is {mild.schedule}: "
            f"{format_ratio(mild.token_reduction)} fewer tokens, {_tell_loss(mild)}."
        )
    strongest = max(rows, key=lambda row: row.token_reduction)
    if strongest is not mild and strongest is not dense:
        told.append(
            f"The strongest one tried is {strongest.schedule}: {format_ratio(strongest.token_reduction)} fewer "
            f"tokens, {_tell_loss(strongest)}."
        )
    return " ".join(told)


def tell_cost(results: AttentionResults) -> str:
    """Tell how many times less is computed, and how many times less memory is alive."""
    comparison = results.cost_before / results.cost_after
    quantities = {
        "macs": "multiply-accumulates",
        "attention_macs": "attention",
        "peak_live_bytes": "peak memory",
    }
    told = [
        f"{label} {format_ratio(ratio)}"
        for field, label in quantities.items()
        if (ratio := comparison.ratio(field)) is not None
    ]
    lead = f"Dense over pruned: {', '.join(told)}." if told else "Neither reading counted any work."
    return f"{results.cost_note} {lead}".strip()


def tell_times(timing: Sequence[TimingRow], note: str = "") -> str:
    """Tell what the first row takes, what the fastest pruned one takes, and how far it is from its floor."""
    dense = timing[0]
    told = [note] if note else []
    told.append(f"{sentence_case(dense.name)} takes {tell_seconds(dense.median_seconds)}.")
    fastest = fastest_pruned_row(timing)
    if fastest is not None:
        sentence = (
            f"{sentence_case(fastest.name)} takes {tell_seconds(fastest.median_seconds)}, "
            f"{format_ratio(fastest.speedup)} as fast"
        )
        if fastest.speedup_same_linears is not None:
            sentence += (
                f", and {format_ratio(fastest.speedup_same_linears)} as fast as the dense model with the same "
                "fast linears"
            )
        told.append(f"{sentence}.")
        if fastest.floor_seconds is not None and fastest.times_floor is not None:
            told.append(
                f"Its multiply-accumulates alone would take {tell_seconds(fastest.floor_seconds)} at the peak "
                f"rate of this machine: it takes {format_ratio(fastest.times_floor)} that."
            )
    return " ".join(told)


def tell_sentences(scores: SentenceScores) -> str:
    """Tell the dense correlation, and what the mildest and the strongest schedule leave of it."""
    rows = sorted(scores.rows, key=lambda row: row.token_reduction)
    dense, pruned = rows[0], rows[1:]
    told = (
        f"{sentence_case(scores.source)}, {plural(scores.num_pairs, 'pair')}: the dense model's similarities follow "
        f"the scores with Spearman's correlation {format_fixed(dense.spearman)}"
    )
    for row in dict.fromkeys(pruned[:1] + pruned[-1:]):
        told += f"; with {format_ratio(row.token_reduction)} fewer tokens it is {format_fixed(row.spearman)}"
    return f"{told}."


def dense_row(rows: Sequence[RetrievalRow]) -> RetrievalRow:
    """Find the row of the dense model, which results always have."""
    return min(rows, key=lambda row: row.token_reduction)


def mildest_strong_row(rows: Sequence[RetrievalRow]) -> RetrievalRow | None:
    """Find the schedule with the largest token reduction among those that lose little; None where all lose much."""
    pruned = [row for row in rows if row.token_reduction > 1 and row.loss_points <= TOLERATED_LOSS_POINTS]
    return max(pruned, key=lambda row: row.token_reduction, default=None)


def fastest_pruned_row(timing: Sequence[TimingRow]) -> TimingRow | None:
    """Find the fastest of the pruned rows; None where there is none."""
    return min((row for row in timing if row.is_pruned), key=lambda row: row.median_seconds, default=None)


def _tell_loss(row: RetrievalRow) -> str:
    size = f"{format_fixed(abs(row.loss_points), 1)} points"
    if size == "0.0 points":
        return "no points lost or gained"
    return f"{size} {'lost' if row.loss_points > 0 else 'gained'}"
