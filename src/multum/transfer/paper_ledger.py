"""The paper's accounting of training memory, to the byte, so that its tables can be held against it.

    total = batch x peak activations + 4 bytes a trained parameter + 1 byte a frozen one

One picture goes through the network; at each layer what is kept so far, what the layer needs while it runs, and the
input of the block that it is in, where an identity goes around that, are added up, and the largest sum is the peak.

It leaves out what has to be paid as well: gradients, the optimizer's state, workspaces, and the inputs of group norms,
of which the exact gradient needs a normalized copy. `multum.cost.measure` is the ruler that charges them.

Source: TinyTL (NeurIPS 2020), section 4 and its public memory accounting. A megabyte is 1e6 bytes.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from multum.backbones import InvertedResidual, proxyless_mobile
from multum.core import invalid
from multum.transfer.lean import make_stock
from multum.transfer.lite_residual import WithLite, attach_lite, find_places
from multum.transfer.modes import Mode, set_trained

BENT = (nn.ReLU, nn.ReLU6, nn.LeakyReLU)
"""Activations of which a bit is kept."""
CURVED = (nn.Sigmoid, nn.Tanh, nn.Hardswish, nn.Hardsigmoid, nn.SiLU)
"""Activations of which the input is kept."""
NORMS = (nn.BatchNorm2d, nn.GroupNorm)
FLOAT_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class LayerCharge:
    """What one layer is charged, in bytes for one picture."""

    path: str
    """Where it hangs in the network."""
    kind: str
    """Its class."""
    saved: float
    """What it keeps for backward."""
    while_running: int
    """What it needs while it runs: its input, and a convolution or linear layer its output."""
    residual: int
    """The input of the block that it is in, where an identity goes around that."""
    level: float
    """All of it together with what was saved before."""


@dataclass(frozen=True, kw_only=True)
class PaperLedger:
    """The paper's reading of a network."""

    layers: tuple[LayerCharge, ...]
    """Charges, in the order of the forward pass."""
    num_trained: int
    """Parameters that train."""
    num_frozen: int
    """Parameters that do not."""
    picture_size: int
    """Pixels of a side."""

    @property
    def peak_activation_bytes(self) -> float:
        """The largest level, for one picture."""
        return max(it.level for it in self.layers)

    @property
    def parameter_bytes(self) -> int:
        """Four bytes where a parameter trains, one where it does not."""
        return FLOAT_BYTES * self.num_trained + self.num_frozen

    def total_mb(self, batch: int = 8) -> float:
        """What training takes, in MB of 1e6 bytes.

        Args:
            batch: Pictures at the same time.
        """
        if batch < 1:
            raise invalid("batch", "at least 1", batch)
        return (batch * self.peak_activation_bytes + self.parameter_bytes) / 1e6


def paper_ledger(model: nn.Module, picture_size: int = 224) -> PaperLedger:
    """Charge a network as the paper does, by which of its parameters train.

    For the paper's numbers the network has its lite residuals in every mode; see `paper_network`.

    Args:
        model: Any network of pictures; it is left alone.
        picture_size: Pixels of a side.

    Raises:
        UserError: A size below 32.
    """
    if picture_size < 32:
        raise invalid("picture_size", "at least 32", picture_size)
    shadow = copy.deepcopy(model).to("meta")
    make_stock(shadow)
    shadow.eval()
    trained = [it for it in shadow.parameters() if it.requires_grad]
    num_trained = sum(it.numel() for it in trained)
    last = [it for it in shadow.modules() if isinstance(it, nn.Linear)][-1:]
    only_last = {id(it) for layer in last for it in layer.parameters()}
    keeps_bits = any(id(it) not in only_last for it in trained)
    charges: list[LayerCharge] = []
    with _watching(shadow, charges, keeps_bits=keeps_bits), torch.no_grad():
        shadow(torch.empty(1, 3, picture_size, picture_size, device="meta"))
    return PaperLedger(
        layers=tuple(charges),
        num_trained=num_trained,
        num_frozen=sum(it.numel() for it in shadow.parameters()) - num_trained,
        picture_size=picture_size,
    )


def paper_network(mode: Mode, num_classes: int = 102) -> nn.Module:
    """ProxylessNAS-Mobile as the paper charges it: with lite residuals in every mode, their kernels those of 224 px.

    It has shapes and no numbers: its tensors are on torch's `meta` device.

    Args:
        mode: What trains.
        num_classes: Of the classifier; 102 are those of the flowers.

    >>> paper = paper_ledger(paper_network("lite+bias"))
    >>> paper.num_trained, paper.num_frozen, round(paper.total_mb(), 2)
    (1962310, 2784280, 37.13)
    """
    with torch.device("meta"):
        model = proxyless_mobile(num_classes)
        attach_lite(model, find_places(model, torch.empty(1, 3, 224, 224)))
    set_trained(model, mode, "classifier")
    return model


@contextmanager
def _watching(model: nn.Module, charges: list[LayerCharge], *, keeps_bits: bool) -> Iterator[None]:
    """Charge each layer as it is called."""
    around: list[int] = []  # inputs of the blocks that we are in, where an identity goes around them
    handles = []
    saved_so_far = 0.0

    def enter(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        around.append(FLOAT_BYTES * given[0].numel())

    def leave(*_: object) -> None:
        around.pop()

    def charge(path: str) -> "torch.utils.hooks.RemovableHandle":
        layer = model.get_submodule(path)

        def note(_: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> None:
            nonlocal saved_so_far
            saved, running = _charge(layer, given[0].numel(), found.numel(), keeps_bits=keeps_bits)
            residual = around[-1] if around else 0
            charges.append(
                LayerCharge(
                    path=path,
                    kind=type(layer).__name__,
                    saved=saved,
                    while_running=running,
                    residual=residual,
                    level=running + saved_so_far + residual,
                )
            )
            saved_so_far += saved

        return layer.register_forward_hook(note)

    for path, module in model.named_modules():
        if next(module.children(), None) is None:
            handles.append(charge(path))
        elif _has_identity(module):
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _has_identity(module: nn.Module) -> bool:
    block = module.block if isinstance(module, WithLite) else module
    return isinstance(block, InvertedResidual) and block.skip


def _charge(layer: nn.Module, given: int, found: int, *, keeps_bits: bool) -> tuple[float, int]:
    """Bytes kept, and bytes while it runs."""
    in_bytes, out_bytes = FLOAT_BYTES * given, FLOAT_BYTES * found
    if isinstance(layer, nn.Conv2d):
        return _if_trained(in_bytes, layer), in_bytes + out_bytes // layer.groups
    if isinstance(layer, nn.Linear):
        return _if_trained(in_bytes, layer), in_bytes + out_bytes
    if isinstance(layer, NORMS):
        return _if_trained(in_bytes, layer), in_bytes
    if isinstance(layer, BENT):
        return given / 8 * keeps_bits, in_bytes
    return (float(in_bytes), in_bytes) if isinstance(layer, CURVED) else (0.0, 0)


def _if_trained(in_bytes: int, layer: nn.Module) -> float:
    weight = layer.weight
    return float(in_bytes) if isinstance(weight, Tensor) and weight.requires_grad else 0.0
