"""What one layer did in one forward: the facts from which cost, workload and pictures are made.

Both attachments, to encoders and to generating models, write these; `Workload` and `Cost` are read off them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LayerRecord:
    """One layer of one forward, in whole numbers, sentence by sentence (B) of the batch."""

    iteration: int
    """0 for an encoder's forward or a prompt, t for the t-th generated token after it."""
    layer: int
    """Index of the layer."""
    head_width: int
    """D, channels of a head."""
    heads: tuple[tuple[int, ...], ...]
    """For each sentence the heads that were computed, by their number in the model."""
    num_queries: tuple[int, ...]
    """For each sentence its query rows (real tokens)."""
    num_keys: tuple[int, ...]
    """For each sentence the keys present (real tokens; in generation the rows of this layer's cache)."""
    num_values: tuple[int, ...]
    """For each sentence the value rows that a query of a head multiplies; as many as keys without value pruning."""
    tokens_kept: tuple[int | None, ...]
    """For each sentence what a top-k after this layer left; None where there was none."""
    heads_kept: tuple[int | None, ...]
    """For each sentence what a top-k of heads after this layer left; None where there was none."""
    query_bits: int | None = None
    """Bits of a query; None: not quantized."""
    key_bits: int | None = None
    """Bits of a key that every query reads (the MSBs where there are two planes); None: not quantized."""
    lsb_bits: int | None = None
    """Bits of the second plane; None: there is none."""
    value_bits: int | None = None
    """Bits of a value; None: not quantized."""
    threshold: float | None = None
    """Below which a row's largest probability asks for the LSBs; None: there is no second plane."""
    flat_rows: tuple[tuple[int, ...], ...] | None = None
    """For each sentence and computed head, query rows that read the LSBs; None: there is no second plane."""
    rescaled: bool = False
    """Whether earlier importance was multiplied by a factor (the decay) before this layer's was added."""
    cache_bytes_read: int = 0
    """Bytes of the cache that were read, scales included, the batch together; 0 for an encoder."""
    cache_bytes_held: int = 0
    """Bytes that the layer's cache holds after the forward, scales included, the batch together."""
