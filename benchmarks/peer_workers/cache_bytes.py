"""Bytes of a cache that generating a token reads, for other people's caches; counted in their favour where in doubt.

A quantized row counts its packed bits, whatever the library really stores them in, and 16 bits for every scale and
every zero point; rows of a residual window count as they are stored.
"""

from typing import Any

HALF_BYTES = 2
"""Bytes that a scale or a zero point is counted with."""


def bytes_read_per_row(store: Any, wish: dict[str, Any], model: Any, *, num_new: int) -> float:
    """Bytes read while so many tokens are generated one after the other, from the cache as it is before the first.

    Args:
        store: The cache.
        wish: What it was made from.
        model: The model, for the number and width of its key/value heads.
        num_new: Tokens that are about to be written.

    Returns:
        Bytes for one sequence, all layers together.
    """
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    plain = 2 * config.num_key_value_heads * width * 4
    packed = 2 * config.num_key_value_heads * packed_row_bytes(wish, width)
    total = 0.0
    for layer in store.layers:
        held, residual = _rows(layer)
        for written in range(1, num_new + 1):
            full = _full_rows(wish, held + written, residual + written)
            total += full * plain + (held + written - full) * packed
    return total


def packed_row_bytes(wish: dict[str, Any], width: int) -> float:
    """Bytes of one quantized row of one head."""
    kind = wish["kind"]
    if kind in ("quanto", "hqq"):
        groups = width / wish.get("q_group_size", 64)
        return float(wish["nbits"] * width / 8 + groups * 2 * HALF_BYTES)
    if kind == "turboquant":
        return float(wish["bits"] * width / 8 + HALF_BYTES)
    return float(width)  # fp8, one scale for all


def _rows(layer: Any) -> tuple[int, int]:
    """Rows that a layer holds, and how many of them are not quantized."""
    held = int(layer.get_seq_length())
    keys = getattr(layer, "keys", None)
    residual = int(keys.shape[-2]) if keys is not None and keys.dim() == 4 else 0
    return held, residual


def _full_rows(wish: dict[str, Any], held: int, residual: int) -> int:
    """Of the rows held, those that are read as the model computed them."""
    kind = wish["kind"]
    if kind in ("quanto", "hqq"):
        return residual
    if kind == "turboquant":
        return min(held, int(wish["residual_len"]))
    return 0 if kind == "fp8" else held
