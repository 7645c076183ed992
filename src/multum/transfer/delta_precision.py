"""A delta's tensors in fewer bytes: halves, or codes of a byte with a scale for each output channel.

What is rounded lies in the file under a name that says so, and so every tensor tells by itself how it is read again;
all of them are float32 afterwards. Tensors of other types, counters for instance, stay as they are.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from multum.core import invalid
from multum.ops.int8_linear import quantize_weight
from multum.transfer.int8_backbone import dequantized

Precision = Literal["float32", "float16", "int8"]
"""What float32 is kept as: itself; halves; bytes for tensors of two or more dimensions, halves for vectors."""
PRECISIONS: Final[tuple[str, ...]] = get_args(Precision)

HALF, CODES, SCALES = ":float16", ":int8", ":scale"
"""What is put behind a tensor's name; torch allows no colon and no such word at the end of one that it makes."""


def pack(tensors: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """Round tensors to what a file is to hold.

    Halves have 11 binary digits; what is too large for them stays float32. A matrix in bytes is off by at most half a
    step, and a step is the largest number of its output channel over 127.

    Args:
        tensors: By name, finite.
        precision: What float32 is kept as.

    Returns:
        By the names in the file.

    Raises:
        UserError: A precision that there is not, or a number that is not finite and should become a byte.

    >>> packed = pack({"weight": torch.tensor([[0.5, -1.0], [0.0, 2.0]]), "bias": torch.ones(2)}, "int8")
    >>> {name: it.dtype for name, it in packed.items()}
    {'weight:int8': torch.int8, 'weight:scale': torch.float32, 'bias:float16': torch.float16}
    """
    if precision not in PRECISIONS:
        raise invalid("precision", f"one of {', '.join(PRECISIONS)}", precision)
    return {key: it for name, tensor in tensors.items() for key, it in _packed(name, tensor, precision)}


def unpack(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `pack`, up to its rounding.

    Args:
        stored: By the names in the file.

    Raises:
        UserError: Codes without scales, or scales without codes.

    >>> unpack(pack({"weight": torch.tensor([[0.5, -1.0], [0.0, 2.0]])}, "int8"))["weight"].round(decimals=2).tolist()
    [[0.5, -1.0], [0.0, 2.0]]
    """
    tensors: dict[str, Tensor] = {}
    for key, tensor in stored.items():
        if key.endswith(HALF):
            tensors[key.removesuffix(HALF)] = tensor.float()
        elif key.endswith(CODES):
            name = key.removesuffix(CODES)
            tensors[name] = dequantized(tensor, _partner(stored, name, SCALES, len(tensor)))
        elif key.endswith(SCALES):
            _partner(stored, key.removesuffix(SCALES), CODES, len(tensor))
        else:
            tensors[key] = tensor
    return tensors


def _packed(name: str, tensor: Tensor, precision: Precision) -> Iterator[tuple[str, Tensor]]:
    """One tensor as what the file holds of it."""
    if precision == "float32" or tensor.dtype != torch.float32 or not tensor.numel():
        yield name, tensor
    elif precision == "int8" and tensor.dim() >= 2:
        codes, scale_O = quantize_weight(tensor.flatten(1))
        yield f"{name}{CODES}", codes.view(tensor.shape)
        yield f"{name}{SCALES}", scale_O
    elif float(tensor.abs().max()) > torch.finfo(torch.float16).max:
        yield name, tensor
    else:
        yield f"{name}{HALF}", tensor.half()


def _partner(stored: Mapping[str, Tensor], name: str, ending: str, length: int) -> Tensor:
    """Codes belong to scales, one for each row."""
    partner = stored.get(f"{name}{ending}")
    if partner is None or len(partner) != length:
        raise invalid(f"{name} in the file", "codes with a scale for each row", partner, "copy the file anew")
    return partner
