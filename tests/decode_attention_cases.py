"""Problems for `decode_attention`, and their solution by plain loops in float64.

The solution shares nothing with the reference: it reads the packed bytes bit by bit, one head and one row at a time.
Run as a script this file solves small problems with the Triton kernel in Triton's interpreter, which has to be chosen
before Triton is imported, so in a process of its own.

Shape legend: B sequences, H query heads, G groups of heads, C slots of the cache, D head width.
"""

import json
import math
import sys
from dataclasses import dataclass

import numpy as np
import torch

from multum.ops import DecodeResult, FloatRows, PlaneRows
from tolerances import tolerance

DIGITS = {4: (4,), 6: (4, 2), 8: (8,), 10: (8, 2), 12: (8, 4)}
FLOAT = 0
"""Instead of bits: rows are not quantized."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Inputs of one call."""

    query: torch.Tensor
    key: PlaneRows | FloatRows
    value: PlaneRows | FloatRows
    count: torch.Tensor
    group: torch.Tensor | None = None
    threshold: float | None = None
    num_values: torch.Tensor | None = None
    whole: torch.Tensor | None = None

    @property
    def num_terms(self) -> int:
        """Products in the longest sum."""
        return max(self.key.width, int(self.count.max()))

    @property
    def options(self) -> dict[str, object]:
        """Optional arguments of the call."""
        return {
            "group_BH": self.group,
            "threshold": self.threshold,
            "num_values_B": self.num_values,
            "whole_BC": self.whole,
        }


def make_problem(
    slots: int,
    width: int = 64,
    *,
    key_bits: int = 8,
    value_bits: int = 8,
    heads: int = 4,
    groups: int = 2,
    batch: int = 2,
    threshold: float | None = None,
    num_values: int | None = None,
    regroup: bool = False,
    score_size: float = 1.0,
    whole: float | None = None,
) -> Problem:
    """Draw a problem; the same arguments give the same numbers.

    Args:
        slots: Slots of the cache; the first sequence uses all of them, the next ones half of the one before.
        width: Head width.
        key_bits: Bits of a key's first plane (4 more in the second), or `FLOAT`.
        value_bits: Bits of a value, or `FLOAT`.
        heads: Query heads.
        groups: Groups of heads.
        batch: Sequences.
        threshold: Below which a head reads the LSBs.
        num_values: Value rows that a head multiplies.
        regroup: Whether the heads choose their groups freely.
        score_size: Factor on the scores, whose standard deviation is about 1 otherwise.
        whole: Part of the slots whose keys are read with both planes from the start.
    """
    generator = torch.Generator().manual_seed(1000 * slots + 10 * width + key_bits + heads)
    rows = torch.randn(2, batch, groups, slots, width, generator=generator)
    key = FloatRows(rows=rows[0]) if key_bits == FLOAT else PlaneRows.quantize(rows[0], key_bits)
    one_plane = {"two_planes": False}
    value = (
        FloatRows(rows=rows[1])
        if value_bits == FLOAT
        else PlaneRows.quantize(rows[1], value_bits, **one_plane)
    )
    counts = torch.tensor([slots // 2**index for index in range(batch)])
    free = torch.randint(groups, (batch, heads), generator=generator)
    query = score_size * torch.randn(batch, heads, width, generator=generator)
    return Problem(
        query=query,
        key=key,
        value=value,
        count=counts,
        group=free if regroup else None,
        threshold=threshold,
        num_values=None if num_values is None else torch.full((batch,), num_values),
        whole=None if whole is None else torch.rand(batch, slots, generator=generator) < whole,
    )


def solve(problem: Problem) -> DecodeResult:
    """Solve head by head in float64."""
    batch, heads, width = problem.query.shape
    keys, middles = _numbers(problem.key, use_lsb=True), _numbers(problem.key, use_lsb=False)
    values, query = _numbers(problem.value, use_lsb=True), problem.query.double().numpy()
    groups, slots = keys.shape[1:3]
    context, importance = np.zeros((batch, heads, width)), np.zeros((batch, slots))
    flat, read = np.zeros((batch, heads), dtype=bool), [[set() for _ in range(groups)] for _ in range(batch)]
    for b in range(batch):
        count = int(problem.count[b])
        for h in range(heads if count else 0):
            g = int(problem.group[b, h]) if problem.group is not None else h // (heads // groups)
            first = middles[b, g, :count].copy()
            if problem.whole is not None:
                marked = problem.whole[b, :count].numpy()
                first[marked] = keys[b, g, :count][marked]
            share = _share(first @ query[b, h] / math.sqrt(width))
            threshold = problem.threshold or 0.0
            flat[b, h] = threshold > 0 and (share.max() < threshold or threshold == 1)
            if flat[b, h]:
                share = _share(keys[b, g, :count] @ query[b, h] / math.sqrt(width))
            importance[b, :count] += share
            wanted = count if problem.num_values is None else int(problem.num_values[b])
            chosen = sorted(range(count), key=lambda c: (-share[c], c))[:wanted]
            read[b][g] |= set(chosen)
            context[b, h] = sum((share[c] * values[b, g, c] for c in chosen), np.zeros(width))
    return DecodeResult(
        context_BHD=torch.from_numpy(context),
        importance_BC=torch.from_numpy(importance),
        flat_BH=torch.from_numpy(flat),
        value_rows_BG=torch.tensor([[len(rows) for rows in groups_read] for groups_read in read]),
    )


def _share(score: np.ndarray) -> np.ndarray:
    share = np.exp(score - score.max())
    return share / share.sum()


def _numbers(rows: PlaneRows | FloatRows, *, use_lsb: bool) -> np.ndarray:
    """Rows in float64, read from their bytes bit by bit."""
    if isinstance(rows, FloatRows):
        return rows.rows.double().numpy()
    integer = _integers(rows.msb.numpy(), rows.msb_bits, rows.width)
    integer = np.where(integer >= 2 ** (rows.msb_bits - 1), integer - 2**rows.msb_bits, integer)
    if rows.lsb is not None:
        integer = 16 * integer + (_integers(rows.lsb.numpy(), 4, rows.width) if use_lsb else 8)
    return integer * rows.scale.double().numpy()[..., None]


def _integers(packed: np.ndarray, bits: int, width: int) -> np.ndarray:
    """Unsigned integers: bit k of byte i of a plane belongs to channel i + (k // digit) * bytes of the plane."""
    value, first = np.zeros((*packed.shape[:-1], width), dtype=np.int64), 0
    for digit_bits in DIGITS[bits]:
        num_bytes = width * digit_bits // 8
        digits = np.zeros_like(value)
        for byte in range(num_bytes):
            for bit in range(8):
                channel = byte + (bit // digit_bits) * num_bytes
                digits[..., channel] += ((packed[..., first + byte] >> bit) & 1).astype(np.int64) << (
                    bit % digit_bits
                )
        value = value * 2**digit_bits + digits
        first += num_bytes
    return value


INTERPRETED: tuple[dict[str, object], ...] = (
    {"slots": 37, "width": 64, "key_bits": 4, "value_bits": 4, "threshold": 0.2, "heads": 2},
    {"slots": 70, "width": 20, "key_bits": 6, "value_bits": 6, "threshold": 1.0, "batch": 1},
    {
        "slots": 33,
        "width": 80,
        "key_bits": 10,
        "value_bits": 10,
        "num_values": 7,
        "regroup": True,
        "heads": 3,
    },
    {
        "slots": 20,
        "width": 32,
        "key_bits": 12,
        "value_bits": 12,
        "threshold": 0.3,
        "num_values": 3,
        "heads": 2,
    },
    {"slots": 1, "width": 16, "key_bits": 8, "value_bits": 8, "heads": 2},
    {"slots": 66, "width": 64, "key_bits": FLOAT, "value_bits": FLOAT, "num_values": 9, "batch": 1},
    {"slots": 70, "width": 20, "key_bits": 4, "value_bits": 6, "threshold": 0.2, "whole": 0.4, "heads": 2},
    {"slots": 9, "width": 64, "key_bits": 10, "value_bits": 4, "whole": 0.5, "heads": 3, "regroup": True},
)
"""Problems for the interpreter, where every number takes its time."""


def interpret() -> dict[str, float]:
    """Largest error of the Triton kernel on each problem, in units of what the table of tolerances allows."""
    from multum.ops.decode_attention.triton import decode_attention_triton

    worst = {}
    for case in INTERPRETED:
        problem = make_problem(**case)  # type: ignore[arg-type]
        found = decode_attention_triton(
            problem.query, problem.key, problem.value, problem.count, problem.group,
            problem.threshold or 0.0, problem.num_values, problem.query.shape[2] ** -0.5, problem.whole,
        )  # fmt: skip
        true = solve(problem)
        units = [
            _units(found[0], true.context_BHD, problem.num_terms),
            _units(found[1], true.importance_BC, problem.num_terms),
        ]
        same = torch.equal(found[2], true.flat_BH) and torch.equal(found[3], true.value_rows_BG)
        worst[str(case)] = max(units, key=lambda it: math.inf if math.isnan(it) else it) if same else math.inf
    return worst


def _units(found: torch.Tensor, true: torch.Tensor, num_terms: int) -> float:
    allowed = tolerance(found.dtype, num_terms=num_terms)
    error = (found.double() - true).abs() / (allowed.absolute + allowed.relative * true.abs())
    return error.max().item()


if __name__ == "__main__":
    json.dump(interpret(), sys.stdout)
