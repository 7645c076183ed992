"""One run, two answers: the records of a run, priced by the ruler.

What a layer really worked on (rows, keys, values, heads) is in its `LayerRecord`; what a row costs is in the matrices
of the model. Together they give the `Cost` of exactly that run, counted as `multum.cost.measure` counts: a matrix of
(m, k) meets a row for m * k multiply-accumulates, causal attention is counted in full.

Differs from `measure`: only rows that are tokens count, not padding; a value row that no query multiplies does not
count, also where a kernel multiplies it by zero; memory is not followed, so live bytes stay 0; of what moves only the
least is known (`dram_floor_bytes`): weights once a forward, embeddings looked up, cache rows read, without inputs and
outputs.
"""

from collections import defaultdict
from collections.abc import Sequence

from torch import nn

from multum.attention.layer_record import LayerRecord
from multum.attention.model_facts import LayerFacts, ModelFacts, model_facts
from multum.core import invalid
from multum.cost import Cost, Latency, LayerCost

OUTSIDE = "(outside the layers)"
"""The row of what belongs to no layer: embeddings, pooler, head."""


def cost_of(
    facts: ModelFacts | nn.Module,
    records: Sequence[LayerRecord],
    *,
    head_rows: int | None = None,
    latency: Latency | None = None,
    name: str | None = None,
) -> Cost:
    """Price what a run did.

    Args:
        facts: The model, or its sizes.
        records: What every layer did in every forward of the run, the batch together.
        head_rows: Rows that the model's head worked on, in all forwards together; None: of an encoder as its kind of
            head reads, of a generating model the last row of every sentence in every forward, as `generate` does.
        latency: Time of the run, where it was taken.
        name: What to call the reading; the model's class by default.

    Returns:
        The reading of the whole run: the sum over forwards. One row for each layer, and one for all the rest.

    Raises:
        UserError: No record, one of a layer that the model does not have, or of another width.

    >>> from transformers import BertConfig, BertModel
    >>> from multum.attention import flat_schedule
    >>> from multum.attention.planned import planned_records
    >>> sizes = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    >>> model = BertModel(BertConfig(vocab_size=50, **sizes), add_pooling_layer=False)
    >>> records = planned_records(flat_schedule(2, 0.5), num_heads=2, head_width=4, prompt_tokens=10)
    >>> cost_of(model, records).macs == sum(n * (4 * 8 * 8 + 2 * 8 * 16) + 2 * n * n * 8 for n in (10, 5))
    True
    """
    known = facts if isinstance(facts, ModelFacts) else model_facts(facts)
    _check(known, records)
    macs, attention, calls, read_bytes = (defaultdict[int, int](int) for _ in range(4))
    for record in records:
        products = attention_macs(record)
        macs[record.layer] += _linear_macs(known, known.layers[record.layer], record) + products
        attention[record.layer] += products
        calls[record.layer] += 1
        read_bytes[record.layer] += record.cache_bytes_read
    layers = [
        _row(layer, macs[index], attention[index], calls[index], read_bytes[index])
        for index, layer in enumerate(known.layers)
    ]
    rows = (*layers, _outside(known, records, head_rows))
    return Cost(
        name=name or known.name,
        device=known.device,
        num_parameters=known.num_parameters,
        num_trainable_parameters=known.num_trainable_parameters,
        parameter_bytes=known.parameter_bytes,
        buffer_bytes=known.buffer_bytes,
        macs=sum(row.macs for row in rows),
        attention_macs=sum(row.attention_macs for row in rows),
        dram_floor_bytes=sum(row.dram_floor_bytes for row in rows),
        latency=latency,
        layers=rows,
    )


def attention_macs(record: LayerRecord) -> int:
    """Multiply-accumulates of scores and weighted values in one layer of one forward, the batch together.

    A row that asked for the second plane is scored once more, unless both planes are always read.
    """
    sentences = zip(record.heads, record.num_queries, record.num_keys, record.num_values, strict=True)
    rows = sum(len(heads) * queries * (keys + values) for heads, queries, keys, values in sentences)
    if record.flat_rows is not None and record.threshold is not None and record.threshold < 1.0:
        rows += sum(sum(flat) * keys for flat, keys in zip(record.flat_rows, record.num_keys, strict=True))
    return rows * record.head_width


def _linear_macs(facts: ModelFacts, layer: LayerFacts, record: LayerRecord) -> int:
    heads_per_group = facts.num_heads // facts.num_groups
    total = 0
    for heads, queries in zip(record.heads, record.num_queries, strict=True):
        groups = {head // heads_per_group for head in heads}
        in_heads = len(heads) * layer.macs_per_row_and_head + len(groups) * layer.macs_per_row_and_group
        total += queries * (in_heads + layer.macs_per_row)
    return total


def _outside(facts: ModelFacts, records: Sequence[LayerRecord], head_rows: int | None) -> LayerCost:
    """What embeddings, pooler and head cost in all forwards."""
    first = min(record.layer for record in records)
    starts = [record for record in records if record.layer == first]
    input_rows = sum(sum(record.num_queries) for record in starts)
    sentences = sum(len(record.num_queries) for record in starts)
    if head_rows is None:
        head_rows = sentences if facts.reads is None else input_rows
    weight_bytes = facts.parameter_bytes - sum(it.parameter_bytes for it in facts.layers) - facts.table_bytes
    return LayerCost(
        path=OUTSIDE,
        kind=facts.name,
        num_calls=len(starts),
        num_parameters=facts.num_parameters - sum(it.num_parameters for it in facts.layers),
        num_trainable_parameters=facts.num_trainable_parameters
        - sum(it.num_trainable_parameters for it in facts.layers),
        parameter_bytes=facts.parameter_bytes - sum(it.parameter_bytes for it in facts.layers),
        macs=sentences * facts.macs_per_sentence
        + input_rows * facts.macs_per_input_row
        + head_rows * facts.macs_per_output_row,
        dram_floor_bytes=len(starts) * weight_bytes + input_rows * facts.table_row_bytes,
    )


def _row(layer: LayerFacts, macs: int, attention: int, calls: int, cache_bytes: int) -> LayerCost:
    return LayerCost(
        path=layer.path,
        kind=layer.kind,
        num_calls=calls,
        num_parameters=layer.num_parameters,
        num_trainable_parameters=layer.num_trainable_parameters,
        parameter_bytes=layer.parameter_bytes,
        macs=macs,
        attention_macs=attention,
        dram_floor_bytes=calls * layer.parameter_bytes + cache_bytes,
    )


def _check(facts: ModelFacts, records: Sequence[LayerRecord]) -> None:
    if not records:
        raise invalid("records", "of at least one layer", "none", "run the model first")
    for record in records:
        if record.layer >= len(facts.layers):
            raise invalid("a record's layer", f"in 0..{len(facts.layers) - 1}, the model's", record.layer)
        if record.head_width != facts.head_width:
            raise invalid("a record's head_width", f"the model's {facts.head_width}", record.head_width)
