"""From what layers did to what the accelerator is asked to do: `LayerRecord`s become a `Workload`.

The same run that gives the model's output gives the records, so the workload holds the counts that really occurred;
`workload_of_schedule` gives the counts that a schedule asks for, without running anything.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from multum.accelerator import Workload
from multum.accelerator.workload_columns import FORMS, KINDS, UNSET
from multum.attention.layer_record import LayerRecord
from multum.attention.planned import planned_records
from multum.attention.sparse_schedule import PrunableSchedule
from multum.core import UserError, invalid

Row = dict[str, Any]


def workload_of(
    records: Sequence[LayerRecord], sentence: int = 0, *, generated_only: bool = False
) -> Workload:
    """Tell what one sentence of a run asks of the accelerator.

    Args:
        records: What every layer did in every forward, in the order in which they ran.
        sentence: Which sentence of the batch.
        generated_only: Whether to leave the prompt out and count iterations from the first generated token on, as the
            public traces do.

    Returns:
        One row for each computed head. Heads carry their numbers in the model.

    Raises:
        UserError: No record, no such sentence, a layer that ran twice in one iteration, nothing generated where only
            that is wanted.

    Differs from the public traces: they number the heads that are left from 0.
    """
    if not records:
        raise invalid("records", "of at least one layer", "none", "run the model first")
    batch = len(records[0].num_keys)
    if not 0 <= sentence < batch:
        raise invalid("sentence", f"in 0..{batch - 1}, the batch's size less one", sentence)
    places = [(record.iteration, record.layer) for record in records]
    if any(later <= earlier for earlier, later in pairwise(places)):
        raise UserError(
            "records must come iteration by iteration and layer by layer, each once; got one out of order; "
            "take those of a single run"
        )
    events = [place for place, it in enumerate(records) if it.tokens_kept[sentence] is not None]
    last_event = max(events, default=-1)
    lengths = _lengths(records, sentence)
    rows = [
        row
        for place, record in enumerate(records)
        for row in _rows_of(record, sentence, lengths[record.iteration], accumulates=place <= last_event)
    ]
    if generated_only:
        rows = [row | {"iteration_id": row["iteration_id"] - 1} for row in rows if row["iteration_id"]]
    columns: dict[str, Any] = {
        name: np.array([row[name] for row in rows], FORMS[kind].dtype) for name, kind in KINDS.items()
    }
    return Workload(**columns)


def workload_of_schedule(
    schedule: PrunableSchedule,
    num_heads: int,
    head_width: int,
    prompt_tokens: int,
    generated_tokens: int = 0,
    *,
    num_layers: int | None = None,
    query_bits: int | None = None,
    generated_only: bool = False,
) -> Workload:
    """Tell what a schedule asks of the accelerator, without running a model.

    Args:
        schedule: For an encoder or for generation.
        num_heads: Heads of every layer of the model.
        head_width: Channels of a head.
        prompt_tokens: Tokens of the sentence, or of the prompt.
        generated_tokens: Tokens that are read back in after the prompt, each in an iteration of its own; an encoder has
            none.
        num_layers: Layers of the model, where the schedule does not tell.
        query_bits: Bits of a query, where the schedule does not tell.
        generated_only: See `workload_of`.

    Raises:
        UserError: Sizes below 1, no number of layers, an encoder's schedule with tokens to generate.

    >>> from multum.attention import flat_schedule
    >>> work = workload_of_schedule(flat_schedule(4, 0.5), num_heads=2, head_width=64, prompt_tokens=10)
    >>> work.key_fetch_num.tolist()
    [10, 10, 5, 5, 5, 5, 5, 5]
    """
    records = planned_records(
        schedule,
        num_layers=num_layers,
        num_heads=num_heads,
        head_width=head_width,
        prompt_tokens=prompt_tokens,
        generated_tokens=generated_tokens,
        query_bits=query_bits,
    )
    return workload_of(records, generated_only=generated_only)


def _lengths(records: Sequence[LayerRecord], sentence: int) -> Mapping[int, int]:
    """Tokens of the sequence in every iteration: those that have been queries so far, and never fewer than keys."""
    first_layer = min(record.layer for record in records)
    lengths: dict[int, int] = {}
    length = 0
    for record in records:
        if record.layer == first_layer:
            length += record.num_queries[sentence]
        length = max(length, record.num_keys[sentence])
        lengths[record.iteration] = length
    return lengths


def _rows_of(record: LayerRecord, sentence: int, length: int, *, accumulates: bool) -> list[Row]:
    always = record.threshold is not None and record.threshold >= 1.0
    key_bits, lsb_bits, threshold = record.key_bits, record.lsb_bits, record.threshold
    if (
        always and key_bits is not None and lsb_bits is not None
    ):  # planes that are always read together are one
        key_bits, lsb_bits, threshold = key_bits + lsb_bits, None, None
    heads, kept = record.heads[sentence], record.tokens_kept[sentence]
    flat = (
        record.flat_rows[sentence]
        if record.flat_rows is not None and lsb_bits is not None
        else (0,) * len(heads)
    )
    same = {
        "iteration_id": record.iteration,
        "layer_id": record.layer,
        "embedding_length_D": record.head_width,
        "sentence_length_L": length,
        "key_fetch_num": record.num_keys[sentence],
        "quant_key_bit": _or_unset(key_bits),
        "quant_query_bit": _or_unset(record.query_bits),
        "auto_requant_thres": _or_unset(threshold),
        "auto_requant_incre": _or_unset(lsb_bits),
        "value_fetch_num": record.num_values[sentence],
        "quant_value_bit": _or_unset(record.value_bits),
        "if_accumulate_importance": accumulates,
        "if_rescale_previous_importance": record.rescaled,
        "num_queries": record.num_queries[sentence],
    }
    rows = []
    for place, (head, rows_flat) in enumerate(zip(heads, flat, strict=True)):
        topk = kept if place == len(heads) - 1 else None
        own = {
            "head_id": head,
            "if_requant": rows_flat > 0,
            "if_topk": topk is not None,
            "topk": _or_unset(topk),
        }
        rows.append(same | own)
    return rows


def _or_unset(value: Any) -> Any:
    return UNSET if value is None else value
