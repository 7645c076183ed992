"""What the records of a generation come to: bytes read and held, rows kept, rows that fetched the second plane."""

from collections import defaultdict
from collections.abc import Sequence

from multum.attention.layer_record import LayerRecord
from multum.core import invalid

FLOAT_BYTES = 4
"""Bytes of a number in the dense cache that a pruned one is compared with."""


def bytes_read_by_step(records: Sequence[LayerRecord]) -> tuple[int, ...]:
    """Cache bytes that each step read, all layers together; the first is the prompt's forward, which reads none.

    >>> sizes = dict(layer=0, head_width=4, heads=((0,),), num_queries=(1,), num_values=(3,), tokens_kept=(None,))
    >>> row = lambda t, n: LayerRecord(iteration=t, num_keys=(3,), heads_kept=(None,), cache_bytes_read=n, **sizes)
    >>> bytes_read_by_step([row(0, 0), row(1, 96), row(2, 128)])
    (0, 96, 128)
    """
    read = [0] * _num_steps(records)
    for record in records:
        read[record.iteration] += record.cache_bytes_read
    return tuple(read)


def bytes_held_by_step(records: Sequence[LayerRecord]) -> tuple[int, ...]:
    """Cache bytes held after each step, all layers together."""
    held = [0] * _num_steps(records)
    for record in records:
        held[record.iteration] += record.cache_bytes_held
    return tuple(held)


def rows_by_layer(records: Sequence[LayerRecord], sentence: int = 0) -> tuple[tuple[int, ...], ...]:
    """For each layer the rows that each step of one sentence attended to, the prompt's forward first."""
    layers: defaultdict[int, list[int]] = defaultdict(list)
    for record in records:
        layers[record.layer].append(record.num_keys[sentence])
    return tuple(tuple(layers[layer]) for layer in sorted(layers))


def flat_rates(records: Sequence[LayerRecord]) -> tuple[float, ...]:
    """For each layer the part of the generated tokens' query rows, head by head, that fetched the second plane.

    Empty when there is no second plane or no token was generated.
    """
    flat: defaultdict[int, int] = defaultdict(int)
    rows: defaultdict[int, int] = defaultdict(int)
    for record in records:
        if record.iteration == 0 or record.flat_rows is None:
            continue
        for heads, queries, of_sentence in zip(
            record.heads, record.num_queries, record.flat_rows, strict=True
        ):
            flat[record.layer] += sum(of_sentence)
            rows[record.layer] += len(heads) * queries
    return tuple(flat[layer] / rows[layer] for layer in sorted(rows))


def dense_cache_bytes(num_tokens: int, *, num_layers: int, num_groups: int, head_width: int) -> int:
    """Bytes of a dense float32 cache of so many tokens: what every generated token of a dense model reads.

    >>> dense_cache_bytes(1024, num_layers=30, num_groups=3, head_width=64)
    47185920
    """
    return 2 * num_layers * num_groups * head_width * num_tokens * FLOAT_BYTES


def _num_steps(records: Sequence[LayerRecord]) -> int:
    if not records:
        raise invalid("records", "of at least one layer", "none", "run the model first")
    return 1 + max(record.iteration for record in records)
