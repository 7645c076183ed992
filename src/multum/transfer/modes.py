"""Which parameters train: six modes, each one call on a network of convolutions.

    last | norm+last | bias | lite | lite+bias | full

Little has to be kept where only shifts train, and little can be learned; the lite residuals learn features beside the
frozen network, and keep little as well. `adapt` freezes, adds what the mode needs, and makes every layer lean.

Source: TinyTL (NeurIPS 2020), sections 3 and 4.1.
Differs from the paper: norms keep their statistics unless groups are asked for, which is exact for any batch; the paper
turns all into GroupNorm. In `lite` no shift of the network trains.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multum.core import invalid
from multum.transfer.group_norm import to_group_norm
from multum.transfer.lean import LeanReport, make_lean
from multum.transfer.lite_residual import LitePlace, LiteResidual, attach_lite, find_places
from multum.transfer.lite_start import LiteStart, start_lite
from multum.transfer.norm_functions import Keeps
from multum.transfer.trained_depth import freeze_below, last_blocks

Mode = Literal["last", "norm+last", "bias", "lite", "lite+bias", "full"]
"""What trains."""
MODES: Final[tuple[str, ...]] = get_args(Mode)
Norms = Literal["fixed", "group"]
"""What becomes of batch norms."""

BEST_START: Final[dict[Norms, LiteStart]] = {"fixed": "mix", "group": "scale"}
"""How lite residuals start where nothing is said. A convolution that is 0 cannot be standardized, as those that feed a
group norm are."""

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)
"""Layers whose weight is a scale and whose bias is a shift."""


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """What became of a network."""

    mode: Mode
    """What trains."""
    classifier: str
    """Path of the last layer."""
    trained: tuple[str, ...]
    """Names of the parameters that train."""
    num_trained: int
    """How many numbers they are."""
    num_frozen: int
    """How many numbers do not train."""
    lite_places: tuple[LitePlace, ...]
    """Blocks that have a lite residual now."""
    lean: LeanReport
    """Which layers are lean, and which stay stock and are charged."""


def adapt(
    model: nn.Module,
    mode: Mode = "lite+bias",
    *,
    example: Float[Tensor, "B 3 H W"] | None = None,
    num_classes: int | None = None,
    classifier: str | None = None,
    blocks: Sequence[str] | None = None,
    norms: Norms = "fixed",
    keeps: Keeps = "exact",
    lite_start: LiteStart | None = None,
    num_blocks: int | None = None,
    few_kernels: bool = False,
) -> Adapted:
    """Make a network ready to be trained on another task, in place.

    Args:
        model: Any network of convolutions with a linear layer at its end.
        mode: What trains.
        example: Pictures of the size that will be trained on; needed for lite residuals, whose kernels depend on it,
            and which are measured by it where `lite_start` says so.
        num_classes: Classes of the new task: a new last layer is put in, drawn by torch's generator; None: it stays.
        classifier: Path of the last layer; None: the last `nn.Linear` of the network.
        blocks: Paths of the blocks that get a lite residual; None: those that `find_places` finds.
        norms: `fixed`: batch norms keep their statistics. `group`: they become group norms of 8 channels, and weights
            are standardized, as in the paper; another function, so the network has to be trained for it.
        keeps: What group and layer norms keep for backward, see `make_lean`.
        lite_start: How lite residuals start, see `start_lite`; None: the best one known for the norms.
        few_kernels: See `make_lean`.
        num_blocks: So many of the last blocks train, and what follows them; None: all do.

    Raises:
        UserError: A mode that there is not, no linear layer, no example where one is needed, no blocks, a norm
            without statistics, or a start that does not go with group norms.
    """
    start = _check_words(mode, norms, lite_start)
    path = classifier or _last_linear(model)
    if num_classes is not None:
        replace_classifier(model, path, num_classes)
    places: tuple[LitePlace, ...] = ()
    if mode in ("lite", "lite+bias"):
        places = _lite_places(model, example, blocks, num_blocks)
        attach_lite(model, places)
        start_lite(model, start, example)
    if norms == "group":
        to_group_norm(model)
    report = make_lean(model, keeps, few_kernels=few_kernels)
    set_trained(model, mode, path)
    if num_blocks is not None:
        freeze_below(model, num_blocks)
    trained, num_trained, num_frozen = count_trained(model)
    return Adapted(
        mode=mode,
        classifier=path,
        trained=trained,
        num_trained=num_trained,
        num_frozen=num_frozen,
        lite_places=places,
        lean=report,
    )


def count_trained(model: nn.Module) -> tuple[tuple[str, ...], int, int]:
    """Names of the parameters that train, how many numbers they are, and how many do not train.

    >>> count_trained(nn.Linear(2, 3))
    (('weight', 'bias'), 9, 0)
    """
    parameters = dict(model.named_parameters())
    trained = tuple(name for name, it in parameters.items() if it.requires_grad)
    num_trained = sum(parameters[name].numel() for name in trained)
    return trained, num_trained, sum(it.numel() for it in parameters.values()) - num_trained


def _check_words(mode: Mode, norms: Norms, lite_start: LiteStart | None) -> LiteStart:
    """Refuse words that there are not, and settle how lite residuals start."""
    if mode not in MODES:
        raise invalid("mode", f"one of {', '.join(MODES)}", mode)
    if norms not in get_args(Norms):
        raise invalid("norms", f"one of {', '.join(get_args(Norms))}", norms)
    start = lite_start or BEST_START[norms]
    if norms == "group" and start != BEST_START["group"]:
        raise invalid("lite_start", f"{BEST_START['group']} where norms are of groups", start)
    return start


def set_trained(model: nn.Module, mode: Mode, classifier: str) -> None:
    """Freeze everything but what a mode trains.

    The shift of a lite residual's last norm stays frozen where shifts of the block train, which say the same.

    Args:
        model: With its lite residuals, where the mode has them.
        mode: What trains.
        classifier: Path of the last layer.
    """
    model.requires_grad_(mode == "full")
    model.get_submodule(classifier).requires_grad_(True)
    for module in model.modules():
        if isinstance(module, NORMS) and mode in ("norm+last", "bias", "lite+bias"):
            _set(module, "bias")
            if mode == "norm+last":
                _set(module, "weight")
    if mode in ("lite", "lite+bias"):
        for module in model.modules():
            if isinstance(module, LiteResidual):
                module.requires_grad_(True)
                _set(module.last_norm, "bias", trained=False)


def replace_classifier(model: nn.Module, path: str, num_classes: int) -> nn.Linear:
    """Put a new last layer in, with shifts of 0 and small random weights.

    Args:
        model: The network.
        path: Of its last layer.
        num_classes: Numbers that come out of the new one.

    Raises:
        UserError: No linear layer at the path, or fewer than two classes.
    """
    old = model.get_submodule(path) if path in dict(model.named_modules()) else None
    if not isinstance(old, nn.Linear):
        raise invalid("classifier", "the path of an nn.Linear", path)
    if num_classes < 2:
        raise invalid("num_classes", "at least 2", num_classes)
    new = nn.Linear(old.in_features, num_classes, device=old.weight.device, dtype=old.weight.dtype)
    with torch.no_grad():
        new.weight.normal_(std=0.01)
        new.bias.zero_()
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, new)
    return new


def _lite_places(
    model: nn.Module, example: Tensor | None, blocks: Sequence[str] | None, num_blocks: int | None
) -> tuple[LitePlace, ...]:
    """Blocks that get a lite residual: those of the last ones that train."""
    if example is None:
        raise invalid("example", "a batch of pictures, for the size of the lite residuals", None)
    deep = None if num_blocks is None else last_blocks(model, num_blocks)
    return tuple(it for it in find_places(model, example, blocks) if deep is None or it.path in deep)


def _last_linear(model: nn.Module) -> str:
    paths: list[str] = [path for path, it in model.named_modules() if isinstance(it, nn.Linear)]
    if not paths:
        raise invalid(
            "model", "one with an nn.Linear at its end", type(model).__name__, "name it: classifier='head.fc'"
        )
    return paths[-1]


def _set(module: nn.Module, name: str, *, trained: bool = True) -> None:
    parameter = getattr(module, name, None)
    if isinstance(parameter, nn.Parameter):
        parameter.requires_grad_(trained)
