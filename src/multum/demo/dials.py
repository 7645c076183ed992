"""Heads, values and bits of the encoder, one by one and together: what each costs in retrieval and what it saves."""

from collections.abc import Sequence

import torch

from multum.attention import (
    EncoderSchedule,
    LayerRecord,
    SentenceEncoder,
    StaticQuantization,
    embedding_schedule,
    prune,
)
from multum.attention.planned import planned_records
from multum.attention.priced import cost_of
from multum.attention.recovery_scores import rank_of_own, recall_at_1
from multum.attention.schedule_rules import flat_values, linear_heads
from multum.core import track
from multum.data import Passage
from multum.report import DialResults, DialRow

HEAD_RATIOS = (0.9, 0.7)
VALUE_RATIOS = (0.5, 0.2)
BIT_WIDTHS = (8, 4)
TOGETHER = (0.9, 0.5, 8)
"""Heads, values and bits that are turned together with tokens."""
FLOAT_BITS = 32
Setting = tuple[str, str, float, EncoderSchedule | None]
"""Name, dial, what is left of the dial's own work, and the schedule; None is the dense model."""


def dial_settings(num_layers: int, keep_ratio: float) -> list[Setting]:
    """The settings of the report: each dial alone at two strengths, then all four."""
    settings: list[Setting] = [("dense", "dense", 1.0, None)]
    for ratio in HEAD_RATIOS:
        heads = linear_heads(num_layers, ratio)
        left = sum(heads.keep_ratios) / num_layers
        settings.append((f"heads {ratio:g}", "heads", left, EncoderSchedule(heads=heads)))
    for ratio in VALUE_RATIOS:
        values = EncoderSchedule(values=flat_values(num_layers, ratio))
        settings.append((f"values {ratio:g}", "values", ratio, values))
    settings += [
        (f"{bits} bits", "bits", bits / FLOAT_BITS, EncoderSchedule(quantization=_bits(bits)))
        for bits in BIT_WIDTHS
    ]
    head_ratio, value_ratio, bits = TOGETHER
    everything = EncoderSchedule(
        tokens=embedding_schedule(num_layers, keep_ratio),
        heads=linear_heads(num_layers, head_ratio),
        values=flat_values(num_layers, value_ratio),
        quantization=_bits(bits),
    )
    name = f"tokens {keep_ratio:g}, heads {head_ratio:g}, values {value_ratio:g}, {bits} bits"
    return [*settings, (name, "all", 0.0, everything)]


def measure_dials(
    encoder: SentenceEncoder, passages: Sequence[Passage], keep_ratio: float, num_threads: int
) -> DialResults:
    """Embed the passages under every setting (queries stay dense) and look every query's passage up."""
    torch.set_num_threads(num_threads)
    query_QD, _ = encoder.embed([query for passage in passages for query in passage.queries])
    gold_Q = torch.tensor([i for i, passage in enumerate(passages) for _ in passage.queries])
    texts = [passage.text for passage in passages]
    config = encoder.model.config
    settings = dial_settings(config.num_hidden_layers, keep_ratio)
    longest = max(passages, key=lambda passage: len(passage.text))
    length = encoder.tokenize([longest.text])["input_ids"].shape[1]
    rows: list[DialRow] = []
    for name, dial, left, schedule in track(settings, "heads, values, bits"):
        passage_PD, _ = encoder.embed(texts, schedule=schedule)
        recall = recall_at_1(rank_of_own(query_QD, passage_PD, gold_Q))
        macs_left = _macs_left(encoder, schedule, length)
        rows.append(
            DialRow(
                name=name,
                dial=dial,  # type: ignore[arg-type]
                left=macs_left if dial == "all" else left,
                macs_left=macs_left,
                recall_at_1=recall,
                loss_points=100 * ((rows[0].recall_at_1 if rows else recall) - recall),
            )
        )
    everything = settings[-1][3]
    assert everything is not None
    records = _records(encoder, longest.text, everything)
    return DialResults(
        rows=tuple(rows),
        num_heads=config.num_attention_heads,
        heads_by_layer=tuple(record.heads[0] for record in records),
        keys_by_layer=tuple(record.num_keys[0] for record in records),
        values_by_layer=tuple(record.num_values[0] for record in records),
        note=f"Pictures and multiply-accumulates: the longest passage, {length} tokens; the pictures with all turned.",
    )


@torch.inference_mode()
def _records(encoder: SentenceEncoder, text: str, schedule: EncoderSchedule) -> tuple[LayerRecord, ...]:
    with prune(encoder.model, schedule) as run:
        encoder.model(**encoder.tokenize([text]))
    return run.records


def _macs_left(encoder: SentenceEncoder, schedule: EncoderSchedule | None, length: int) -> float:
    """Multiply-accumulates of one passage of so many tokens, as a part of the dense model's."""
    config = encoder.model.config
    sizes = {
        "num_heads": config.num_attention_heads,
        "head_width": config.hidden_size // config.num_attention_heads,
        "prompt_tokens": length,
        "num_layers": config.num_hidden_layers,
    }
    dense, left = (
        cost_of(encoder.model, planned_records(plan, **sizes)).macs
        for plan in (EncoderSchedule(), schedule or EncoderSchedule())
    )
    return left / dense


def _bits(bits: int) -> StaticQuantization:
    return StaticQuantization(query_bits=bits, key_bits=bits, value_bits=bits)
