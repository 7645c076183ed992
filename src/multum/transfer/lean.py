"""Make a network lean: every layer that can is replaced by its twin that keeps only what backward needs.

Parameters, names and outputs stay; `lean` undoes it at the end of a block, `make_lean` is for good.

>>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Hardswish()).requires_grad_(False)
>>> make_lean(net).stock_layers
('3: Hardswish',)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from multum.core import invalid
from multum.transfer.lean_layers import LEAN
from multum.transfer.lean_sequence import LeanSequential

KEEPS_NOTHING = (nn.Identity, nn.Flatten, nn.Unflatten, nn.Upsample, nn.Dropout, nn.AdaptiveAvgPool2d)
"""Stock layers that are lean as they are: they keep shapes, or, dropout, a byte of an element."""


@dataclass(frozen=True, kw_only=True)
class LeanReport:
    """What was done to a network."""

    lean_layers: tuple[str, ...]
    """Paths of the layers that became lean."""
    stock_layers: tuple[str, ...]
    """`path: kind` of the layers that stay as they are and keep what torch keeps."""


def make_lean(model: nn.Module) -> LeanReport:
    """Replace layers in place, for good.

    Norms of batches become norms by their running statistics, which is another function while training: those of a
    network that was trained with their own batches have to be there.

    Args:
        model: Any module.

    Returns:
        Which layers are lean now, and which kinds are not known and stay exact and stock.

    Raises:
        UserError: A batch norm without running statistics.
    """
    changed, stock = [], []
    for path, module in model.named_modules():
        twin: type[nn.Module] | None = LEAN.get(type(module))
        if type(module) is nn.Sequential:
            twin = LeanSequential
        if twin is not None:
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is None:
                raise invalid(
                    f"the norm {path}",
                    "one with running statistics, to be fixed",
                    "track_running_stats=False",
                    "convert it to a GroupNorm",
                )
            module.__class__ = twin
            changed.append(path)
        elif _is_layer(module) and not isinstance(module, (*KEEPS_NOTHING, *LEAN.values())):
            stock.append(f"{path or '(model)'}: {type(module).__name__}")
    return LeanReport(lean_layers=tuple(changed), stock_layers=tuple(stock))


def make_stock(model: nn.Module) -> None:
    """Undo `make_lean`; a norm is one of batches again."""
    stock: dict[type[nn.Module], type[nn.Module]] = {twin: kind for kind, twin in LEAN.items()}
    stock[LeanSequential] = nn.Sequential
    for module in model.modules():
        if type(module) in stock:
            module.__class__ = stock[type(module)]


@contextmanager
def lean(model: nn.Module) -> Iterator[LeanReport]:
    """`make_lean` for the length of a block."""
    report = make_lean(model)
    try:
        yield report
    finally:
        make_stock(model)


def _is_layer(module: nn.Module) -> bool:
    """Whether it does something itself: it has parameters of its own, or nothing in it."""
    return next(module.children(), None) is None
