"""ProxylessNAS-Mobile as the transfer suites train it: every mode, lean and stock, in float32 and channels-last."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from multum.backbones import proxyless_mobile
from multum.transfer import Mode, adapt, make_stock, replace_classifier

CLASSES = 102


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network with its pictures and labels."""

    model: nn.Module
    """In evaluation, so that nothing is dropped; norms have their statistics fixed."""
    pictures: Tensor
    """(B, 3, H, W)."""
    labels: Tensor
    """(B,)."""

    def loss(self) -> Tensor:
        """Cross entropy of the batch."""
        return functional.cross_entropy(self.model(self.pictures), self.labels)

    def step(self) -> None:
        """Forward and backward."""
        for it in self.model.parameters():
            it.grad = None
        self.loss().backward()

    @property
    def own(self) -> tuple[Tensor, ...]:
        """What is there before and after a step."""
        return (*self.model.parameters(), *self.model.buffers(), self.pictures, self.labels)


def build(
    mode: Mode | None,
    *,
    batch: int,
    size: int,
    is_lean: bool = True,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Network:
    """Build it.

    Args:
        mode: What trains; None: everything, of the plain network as torch has it.
        batch: Pictures.
        size: Pixels of a side.
        is_lean: Whether layers keep only what they must; otherwise the same network of stock layers.
        dtype: Of everything.
        seed: Of weights, statistics, pictures and labels.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = proxyless_mobile(CLASSES, dropout=0.0)
        pictures = torch.randn(batch, 3, size, size)
        labels = torch.randint(CLASSES, (batch,))
        if mode is None:
            replace_classifier(model, "classifier", CLASSES)
        else:
            adapt(model, mode, example=pictures[:1], lite_start="scale")  # its convolutions are not 0
        for it in model.modules():
            if isinstance(it, nn.BatchNorm2d):  # a lite residual that adds something, norms that do something
                nn.init.uniform_(it.weight, 0.8, 1.2)
                nn.init.normal_(it.bias, std=0.1)
    if not is_lean:
        make_stock(model)
    model.to(dtype).eval()
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    inmost = pictures.to(dtype).contiguous(memory_format=torch.channels_last)
    return Network(model=model, pictures=inmost, labels=labels)


@contextmanager
def stock_twin(network: Network) -> Iterator[Network]:
    """The same network of stock layers, with weights of its own."""
    twin = copy.deepcopy(network.model)
    make_stock(twin)
    yield Network(model=twin.eval(), pictures=network.pictures, labels=network.labels)


def gradient_errors(ours: nn.Module, theirs: nn.Module) -> list[float]:
    """Norm of the difference over the norm, of each tensor that has a gradient in both.

    >>> one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> one.weight.grad, other.weight.grad = 3 * torch.ones(2, 2), 2 * torch.ones(2, 2)
    >>> gradient_errors(one, other)
    [0.5]
    """
    expected = dict(theirs.named_parameters())
    return [
        float(torch.dist(mine.grad, true.grad) / true.grad.norm().clamp_min(1e-30))
        for name, mine in ours.named_parameters()
        if mine.grad is not None and (true := expected[name]).grad is not None
    ]
