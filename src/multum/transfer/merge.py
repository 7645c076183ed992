"""A trained network as a plain one for inference: norms with fixed statistics go into the convolutions before them.

    norm(W x + b) = (s W) x + (s (b - mean) + shift)      s = scale / sqrt(variance + eps), a factor for each channel

So a trained shift costs nothing. A lite residual bends its input and cannot be folded into its block; its norms can.
Which norm follows which convolution is read off each module's `forward` by running it on symbols, one module at a time,
so that a forward which cannot be run so hides nothing but its own layers.
"""

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from multum.transfer.group_norm import WeightStandardizedConv2d, standardized
from multum.transfer.int8_backbone import to_float
from multum.transfer.lean import make_stock
from multum.transfer.lean_layers import LeanConv2d
from multum.transfer.modes import NORMS

CONVOLUTIONS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}
"""What is folded, by exact type, and the norm that is folded into it."""


def merge(model: nn.Module) -> nn.Module:
    """Make a plain copy of a network that computes the same in evaluation, with fewer layers.

    Args:
        model: Any network; it stays as it is.

    Returns:
        Its copy in evaluation: stock layers, nothing trains, folded norms are `nn.Identity`, and so names stay.
            `remaining_norms` tells which norms could not be folded.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    >>> merge(net)[1]
    Identity()
    >>> remaining_norms(merge(net))
    ()
    """
    network = plain_copy(model)
    for conv, norm in list(_pairs(network)):
        _fold(conv, norm)
        for module in network.modules():
            for name, child in module.named_children():
                if child is norm:
                    setattr(module, name, nn.Identity())
    return network.eval()


def plain_copy(model: nn.Module) -> nn.Module:
    """Copy a network in evaluation, of torch's own layers only.

    Weights in int8 become the floats that they stand for, and standardized ones are kept as they are used.
    """
    network = copy.deepcopy(model)
    to_float(network)
    for module in network.modules():
        if isinstance(module, WeightStandardizedConv2d):
            module.weight = nn.Parameter(standardized(module.weight.detach()))
            _make_plain(module)
    make_stock(network)
    return network.eval().requires_grad_(False)


def remaining_norms(network: nn.Module) -> tuple[str, ...]:
    """`path: kind` of the norms that a network computes as layers of their own.

    After `merge` these are norms of the sample's own statistics, norms that do not follow a convolution, and those
    whose place cannot be read off the network's `forward`.
    """
    return tuple(
        f"{path or '(model)'}: {type(module).__name__}"
        for path, module in network.named_modules()
        if isinstance(module, NORMS)
    )


def _make_plain(module: nn.Module) -> None:
    module.__class__ = LeanConv2d


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Convolutions and the norms behind them, where each is used in this one way only."""
    followed: list[tuple[nn.Module, nn.Module]] = []
    uses: Counter[int] = Counter()
    for container in network.modules():
        graph = _graph_of(container)
        for node in graph.nodes if graph is not None else ():
            for used in _modules_of(node, container):
                uses[id(used)] += 1
            pair = _followed_by(node, container)
            if pair is not None:
                followed.append(pair)
    places = Counter(id(it) for _, it in network.named_modules(remove_duplicate=False))
    for conv, norm in followed:
        alone = all(uses[id(it)] == places[id(it)] == 1 and not _is_watched(it) for it in (conv, norm))
        if alone and _fits(conv, norm):
            yield conv, norm


def _followed_by(node: fx.Node, container: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    """The convolution and the norm, if the node is a norm of nothing but a convolution's output."""
    before = node.args[0] if len(node.args) == 1 and not node.kwargs else None
    if node.op != "call_module" or not isinstance(before, fx.Node) or before.op != "call_module":
        return None
    if len(before.users) > 1:
        return None
    return container.get_submodule(str(before.target)), container.get_submodule(str(node.target))


def _modules_of(node: fx.Node, container: nn.Module) -> Iterator[nn.Module]:
    """What a node calls, or whose tensor it reads."""
    path = str(node.target)
    if node.op == "get_attr":
        path = path.rpartition(".")[0]
    if node.op in ("call_module", "get_attr"):
        yield container.get_submodule(path)


class _OneLevel(fx.Tracer):
    """Runs one module on symbols, and its children not at all."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Every module is one."""
        del m, module_qualified_name
        return True


def _graph_of(container: nn.Module) -> fx.Graph | None:
    """What a module does with its children; None where that cannot be told, or there are none."""
    if next(container.children(), None) is None:
        return None
    try:
        return _OneLevel().trace(container)
    except Exception:  # whatever a forward raises that is given symbols: only the result counts
        return None


def _is_watched(module: nn.Module) -> bool:
    """Whether hooks see or change what goes through."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _fits(conv: nn.Module, norm: nn.Module) -> bool:
    kind = CONVOLUTIONS.get(type(conv))
    return kind is not None and type(norm) is kind and getattr(norm, "running_mean", None) is not None


def _fold(conv: Any, norm: Any) -> None:
    """Put a norm into the convolution before it, computed in float64."""
    scale: Tensor = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = (
        -norm.running_mean.double() if conv.bias is None else conv.bias.double() - norm.running_mean.double()
    )
    shift = shift * scale if norm.bias is None else shift * scale + norm.bias.double()
    weight = conv.weight.double() * scale.view(-1, *[1] * (conv.weight.dim() - 1))
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(shift.to(conv.weight.dtype), requires_grad=False)
