"""Problems for `importance_attention`, and their solution by plain loops in float64.

The solution shares nothing with the reference: one row at a time, it gathers the keys that may be seen and adds up.
Run as a script this file solves every small problem with the Triton kernel in Triton's interpreter, which has to be
chosen before Triton is imported, so in a process of its own.

Shape legend: B sentences, H heads, G heads of keys, Q query rows, K keys, D head width, L longer of Q and K.
"""

import json
import math
import sys
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from tolerances import tolerance

Masks = Literal["none", "keys", "rows", "both", "no key", "no row"]
MASKS: tuple[Masks, ...] = ("none", "keys", "rows", "both", "no key", "no row")
Layout = Literal["contiguous", "packed", "strided", "shared"]
LAYOUTS: tuple[Layout, ...] = ("contiguous", "packed", "strided", "shared")
LENGTHS = (1, 2, 5, 17, 63, 64, 65, 131)
WIDTHS = (1, 3, 8, 20, 32, 64, 80, 96, 128, 130)

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Inputs of one call."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    key_mask: torch.Tensor | None
    query_mask: torch.Tensor | None
    scale: float
    causal: bool = False
    importance_from: int = 0

    @property
    def num_terms(self) -> int:
        """Products in the longest of the three sums."""
        return max(self.query.shape[2], self.key.shape[2], self.key.shape[3])

    def to(self, target: torch.dtype | str) -> "Problem":
        """Change dtype or device; strides stay."""
        device = None if isinstance(target, torch.dtype) else target
        masks = [None if m is None else m.to(device) for m in (self.key_mask, self.query_mask)]
        query, key, value = (_moved(t, target) for t in (self.query, self.key, self.value))
        return replace(self, query=query, key=key, value=value, key_mask=masks[0], query_mask=masks[1])


def _moved(tensor: torch.Tensor, target: torch.dtype | str) -> torch.Tensor:
    """Move the whole memory under a view, so that the view keeps its strides."""
    num_elements = tensor.untyped_storage().nbytes() // tensor.element_size()
    memory = tensor.as_strided((num_elements,), (1,), 0).to(target)
    return memory.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def make_problem(
    rows: int,
    keys: int,
    width: int,
    *,
    masks: Masks = "none",
    layout: Layout = "contiguous",
    batch: int = 2,
    heads: int = 3,
    groups: int | None = None,
    score_size: float = 1.0,
    causal: bool = False,
    importance_from: int = 0,
) -> Problem:
    """Draw a problem; the same arguments give the same numbers.

    Args:
        rows: Query rows.
        keys: Keys.
        width: Head width.
        masks: Which masks it has; "no key" and "no row" leave the first sentence without any.
        layout: "contiguous", "packed" (projections of one matrix, heads innermost but one), "strided" (only every
            second number of the last axis belongs to the tensor) or "shared" (all heads read the same memory).
        batch: Sentences.
        heads: Heads.
        groups: Heads of keys and values; as many as heads when None.
        score_size: Factor on the scores, whose standard deviation is 1 otherwise.
        causal: Whether a row sees only what lies before it.
        importance_from: First row that adds importance.
    """
    generator = torch.Generator().manual_seed(1000 * rows + 10 * keys + width)
    length = max(rows, keys)
    query, key, value = _draw(batch, heads, length, width, layout, generator)
    keep = torch.rand(2, batch, length, generator=generator) > 0.4
    keep[0, :, 0] = masks != "no key"
    keep[0, 1:, 0] = True
    keep[0, 0] &= masks != "no key"
    keep[1, 0] &= masks != "no row"
    has_key_mask, has_row_mask = masks in {"keys", "both", "no key"}, masks in {"rows", "both", "no row"}
    return Problem(
        query=query[:, :, :rows],
        key=key[:, :groups, :keys],
        value=value[:, :groups, :keys],
        key_mask=keep[0, :, :keys] if has_key_mask else None,
        query_mask=keep[1, :, :rows] if has_row_mask else None,
        scale=score_size * width**-0.5,
        causal=causal,
        importance_from=importance_from,
    )


def _draw(
    batch: int, heads: int, length: int, width: int, layout: Layout, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    if layout == "packed":
        packed = torch.randn(batch, length, 3, heads, width, generator=generator)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
    elif layout == "strided":
        query, key, value = torch.randn(3, batch, heads, length, width, 2, generator=generator)[..., 0]
    elif layout == "shared":
        query, key, value = torch.randn(3, batch, 1, length, width, generator=generator).expand(
            -1, -1, heads, -1, -1
        )
    else:
        query, key, value = torch.randn(3, batch, heads, length, width, generator=generator)
    return query, key, value


def solve(problem: Problem) -> Pair:
    """Context and importance in float64, row by row."""
    query, key, value = (t.double().numpy() for t in (problem.query, problem.key, problem.value))
    (batch, heads, rows, _), (groups, keys) = query.shape, key.shape[1:3]
    context, importance = np.zeros(query.shape), np.zeros((batch, heads, keys))
    for b in range(batch):
        for h in range(heads):
            g = h * groups // heads
            for i in _kept(problem.query_mask, b, rows):
                seen = _kept(problem.key_mask, b, keys)
                if problem.causal:
                    seen = seen[seen + rows <= keys + i]
                if len(seen) == 0:
                    continue
                score = problem.scale * key[b, g, seen] @ query[b, h, i]
                share = np.exp(score - score.max())
                share /= share.sum()
                context[b, h, i] = share @ value[b, g, seen]
                if i >= problem.importance_from:
                    importance[b, h, seen] += share
    return torch.from_numpy(context), torch.from_numpy(importance)


def _kept(mask: torch.Tensor | None, sentence: int, length: int) -> np.ndarray:
    return np.arange(length) if mask is None else np.flatnonzero(mask[sentence].numpy())


INTERPRETED: tuple[tuple[int, int, int, Masks, Layout, str], ...] = (
    (1, 1, 1, "none", "contiguous", "float32"),
    (2, 5, 3, "both", "packed", "float32"),
    (5, 2, 8, "no key", "contiguous", "float32"),
    (17, 1, 20, "none", "shared", "float32"),
    (63, 65, 32, "keys", "packed", "float32"),
    (65, 63, 16, "no row", "strided", "float32"),
    (64, 64, 64, "rows", "packed", "float32"),
    (131, 17, 20, "both", "contiguous", "float32"),
    (17, 131, 8, "no key", "packed", "float32"),
    (65, 63, 32, "both", "packed", "float16"),  # of bfloat16 the interpreter makes nonsense
)
"""Rows, keys, width, masks, layout and dtype for the interpreter, where every number takes its time."""
INTERPRETED_CAUSAL: tuple[tuple[int, int, int, Masks, int, int], ...] = (
    (1, 1, 8, "none", 2, 0),
    (65, 65, 16, "none", 2, 0),
    (17, 131, 8, "both", 1, 9),
    (131, 17, 8, "keys", 1, 70),
    (70, 70, 8, "no key", 2, 65),
    (5, 70, 8, "none", 1, 5),
)
"""Rows, keys, width, masks, heads of keys and first row that adds importance, all causal."""


def interpret() -> dict[str, float]:
    """Largest error of the Triton kernel on each problem, in units of what the table of tolerances allows."""
    worst = {}
    for case in INTERPRETED:
        dtype = getattr(torch, case[5])
        problem = make_problem(*case[:3], masks=case[3], layout=case[4], heads=2).to(dtype)
        worst[str(case)] = _worst(problem, dtype)
    for rows, keys, width, masks, groups, first in INTERPRETED_CAUSAL:
        problem = make_problem(
            rows, keys, width, masks=masks, heads=2, groups=groups, causal=True, importance_from=first
        )
        worst[str((rows, keys, width, masks, groups, first))] = _worst(problem, torch.float32)
    poisoned = make_problem(5, 17, 8, heads=2)
    poisoned.query[0, 1, 2, 0] = math.nan
    context, importance = _triton(poisoned)
    honest = bool(context[0, 1, 2].isnan().all() and importance[0, 1].isnan().all())
    confined = not bool(context[0, 0].isnan().any() or context[1].isnan().any())
    worst["NaN"] = 0.0 if honest and confined else math.inf
    return worst


def _worst(problem: Problem, dtype: torch.dtype) -> float:
    units = [
        _units(found.to(dtype), true, problem.num_terms)
        for found, true in zip(_triton(problem), solve(problem), strict=True)
    ]
    return max(units, key=lambda unit: math.inf if math.isnan(unit) else unit)


def _triton(problem: Problem) -> Pair:
    from multum.ops.importance_attention.triton import importance_attention_triton

    return importance_attention_triton(
        problem.query,
        problem.key,
        problem.value,
        problem.key_mask,
        problem.query_mask,
        problem.scale,
        causal=problem.causal,
        importance_from=problem.importance_from,
    )


def _units(found: torch.Tensor, true: torch.Tensor, num_terms: int) -> float:
    allowed = tolerance(found.dtype, num_terms=num_terms)
    error = (found.double() - true).abs() / (allowed.absolute + allowed.relative * true.abs())
    return error.max().item()


if __name__ == "__main__":
    json.dump(interpret(), sys.stdout)
