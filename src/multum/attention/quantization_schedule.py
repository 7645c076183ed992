"""How many bits keys, values and queries are stored and read in."""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from multum.core import check_fields, invalid

MsbBits = Literal[4, 6, 8, 10, 12]
"""Widths of the plane of most significant bits (SpAtten, section III-D)."""
LSB_BITS = 4
"""Width of the plane of least significant bits, in all five settings of the paper."""


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LayerBits:
    """What `ProgressiveQuantization` says of one layer."""

    msb_bits: MsbBits
    """Bits of a key that every query reads."""
    threshold: float
    """Largest probability below which a row reads the LSBs too."""
    value_bits: MsbBits
    """Bits of a value."""

    @property
    def key_bits(self) -> int:
        """Bits of a key with both planes."""
        return self.msb_bits + LSB_BITS


@dataclass(frozen=True, kw_only=True)
class ProgressiveQuantization:
    """Two bit planes for the keys, the second read only where the first leaves a flat row (SpAtten, section III-D).

    Bits and threshold are one for all layers or a tuple of one per layer.

    Differs from the paper: which has one setting for a task; layers differ more than tasks do.

    Raises:
        UserError: A width that the paper does not have, a threshold outside [0, 1], fewer than no whole rows, tuples
            for different numbers of layers.

    >>> ProgressiveQuantization(msb_bits=(8, 6)).of_layer(1).key_bits
    10
    """

    msb_bits: MsbBits | tuple[MsbBits, ...] = 8
    """Bits of a key that every query reads."""
    threshold: float | tuple[float, ...] = 0.1
    """A row whose largest probability is below this reads the LSBs too and is computed once more; 0 never, 1 always
    (the paper 0.1, its public traces 0.05)."""
    value_bits: MsbBits | tuple[MsbBits, ...] = 8
    """Bits of a value; values have one plane."""
    rotate: bool = False
    """Whether queries, keys and values are turned by an orthonormal Hadamard matrix before they are rounded, which
    spreads outliers over the channels and leaves every product as it was. Not in the paper."""
    centre: bool = False
    """Whether the prompt's mean key and mean value are stored once and taken from every row before it is rounded: the
    same bits round finer, and value rows that are left out count as the mean value, not as zero. Not in the paper."""
    whole_heavy: int = 0
    """So many tokens of the prompt, of the largest cumulative importance at its end, whose keys are read with both
    planes from the start. Chosen once for a sequence (of a prompt in chunks after the first), alike for all layers; one
    that is pruned is not replaced. Not in the paper."""
    whole_recent: int = 0
    """So many of the latest tokens whose keys are read with both planes from the start. Not in the paper."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value in self._dials().items():
            if value == ():
                raise invalid(name, "one number, or one per layer", value, "give at least one")
        for where, threshold in _named("threshold", self.threshold):
            if not 0.0 <= threshold <= 1.0:
                raise invalid(where, "in [0, 1]", threshold, "it is compared with a probability")
        for name in ("whole_heavy", "whole_recent"):
            if getattr(self, name) < 0:
                raise invalid(name, "at least 0", getattr(self, name), "it is a number of tokens")
        depths = {name: len(value) for name, value in self._dials().items() if isinstance(value, tuple)}
        if len(set(depths.values())) > 1:
            raise invalid("quantization", "of tuples for one number of layers", depths)

    @property
    def num_layers(self) -> int | None:
        """Layers its tuples are for; None when it says the same of every layer."""
        return next((len(value) for value in self._dials().values() if isinstance(value, tuple)), None)

    def of_layer(self, layer: int) -> LayerBits:
        """Bits and threshold of one layer."""
        return LayerBits(**{name: _at(value, layer) for name, value in self._dials().items()})

    def _dials(self) -> dict[str, Any]:
        return {"msb_bits": self.msb_bits, "threshold": self.threshold, "value_bits": self.value_bits}


def _at(value: T | tuple[T, ...], layer: int) -> T:
    return value[layer] if isinstance(value, tuple) else value


def _named(name: str, value: T | tuple[T, ...]) -> list[tuple[str, T]]:
    """Each value with what an error calls it."""
    if not isinstance(value, tuple):
        return [(name, value)]
    return [(f"{name}[{layer}]", it) for layer, it in enumerate(value)]


@dataclass(frozen=True, kw_only=True)
class StaticQuantization:
    """Queries, keys and values rounded to so many bits, for encoders (SpAtten, section III-D: BERT).

    Raises:
        UserError: Bits outside 2..16.
    """

    query_bits: int = 12
    """Bits of a query."""
    key_bits: int = 12
    """Bits of a key."""
    value_bits: int = 12
    """Bits of a value."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("query_bits", "key_bits", "value_bits"):
            if not 2 <= getattr(self, name) <= 16:
                raise invalid(name, "in 2..16", getattr(self, name))
