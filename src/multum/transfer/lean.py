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

from multum.backbones import SamePadding
from multum.core import invalid
from multum.transfer.int8_backbone import int8_paths
from multum.transfer.lean_layers import LEAN, LeanConv2d
from multum.transfer.lean_norms import LeanGroupNorm, LeanLayerNorm
from multum.transfer.lean_sequence import LEAN_CONTAINERS
from multum.transfer.norm_functions import KEEPS, Keeps

KEEPS_NOTHING = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.Upsample,
    nn.Dropout,
    nn.AdaptiveAvgPool2d,
    SamePadding,
)
"""Stock layers that are lean as they are: they keep shapes, or, dropout, a byte of an element."""


@dataclass(frozen=True, kw_only=True)
class LeanReport:
    """What was done to a network."""

    lean_layers: tuple[str, ...]
    """Paths of the layers that became lean."""
    stock_layers: tuple[str, ...]
    """`path: kind` of the layers that stay as they are and keep what torch keeps."""


def make_lean(model: nn.Module, norms: Keeps = "exact", *, few_kernels: bool = False) -> LeanReport:
    """Replace layers in place, for good.

    Norms of batches become norms by their running statistics, which is another function while training: those of a
    network that was trained with their own batches have to be there.

    Args:
        model: Any module.
        norms: What group and layer norms keep of their input, those too that are lean already: all of it, a byte an
            element, or nothing, which leaves a bias in the gradients (`gradient_error`).

        few_kernels: Whether convolutions of single pixels are torch's own products. oneDNN's are faster where torch's
            library takes a slow path, and make code of about a megabyte for each shape.

    Returns:
        Which layers are lean now, and which kinds are not known and stay exact and stock.

    Raises:
        UserError: A batch norm without running statistics, or another word for `norms`.
    """
    if norms not in KEEPS:
        raise invalid("norms", f"one of {', '.join(KEEPS)}", norms)
    changed, stock = [], []
    for path, module in model.named_modules():
        twin = (LEAN | LEAN_CONTAINERS).get(type(module))
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
        if isinstance(module, (LeanGroupNorm, LeanLayerNorm)):
            module.keeps = norms
        if isinstance(module, LeanConv2d):
            module.few_kernels = few_kernels
    return LeanReport(lean_layers=tuple(changed), stock_layers=tuple(stock))


def make_stock(model: nn.Module) -> None:
    """Undo `make_lean`; a norm is one of batches again.

    Weight-standardized convolutions stay what they are, for they are another function.

    Raises:
        UserError: Weights in int8, which no stock layer holds; nothing is changed then.
    """
    rounded = int8_paths(model)
    if rounded:
        raise invalid(
            f"the weight of {rounded[0] or 'the layer'}",
            "in float",
            "int8 codes",
            "call to_float(model) first",
        )
    stock = {twin: kind for kind, twin in (LEAN | LEAN_CONTAINERS).items()}
    for module in model.modules():
        if type(module) in stock:
            module.__class__ = stock[type(module)]
            for name in ("keeps", "few_kernels"):
                vars(module).pop(name, None)


@contextmanager
def lean(model: nn.Module, norms: Keeps = "exact") -> Iterator[LeanReport]:
    """`make_lean` for the length of a block."""
    report = make_lean(model, norms)
    try:
        yield report
    finally:
        make_stock(model)


def _is_layer(module: nn.Module) -> bool:
    """Whether it does something itself: it has parameters of its own, or nothing in it."""
    return next(module.children(), None) is None
