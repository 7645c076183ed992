"""Layers of norms whose statistics are of the sample; `keeps` says what they keep of their input.

`exact`, `8bit` or `nothing`, as in `norm_functions`: one tensor of the input's size, a byte an element, or nothing and
a biased gradient, of which `gradient_error` tells how far it is off in a network.

Source: TinyTL (NeurIPS 2020), Table 1.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from multum.core import invalid
from multum.transfer.norm_functions import Keeps, group_norm, layer_norm


class LeanGroupNorm(nn.GroupNorm):
    """Keeps what `keeps` says, and nothing while of all that goes into it only the shift trains."""

    keeps: Keeps = "exact"

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """The same as `nn.GroupNorm`'s."""
        return group_norm(input, self.num_groups, self.weight, self.bias, eps=self.eps, keeps=self.keeps)


class LeanLayerNorm(nn.LayerNorm):
    """Keeps what `keeps` says, and nothing while of all that goes into it only the shift trains."""

    keeps: Keeps = "exact"

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """The same as `nn.LayerNorm`'s."""
        return layer_norm(
            input, self.normalized_shape, self.weight, self.bias, eps=self.eps, keeps=self.keeps
        )


def gradient_error(
    model: nn.Module, example: Tensor, loss: Callable[[Any], Tensor] | None = None
) -> dict[str, float]:
    """How far the gradients of a network are off because of what its norms, and its GELUs, do not keep.

    Args:
        model: With lean norms or GELUs, in the mode that it is trained in; it stays as it is.
        example: What goes into it; the error depends on it.
        loss: Of what comes out; None: cross entropy, the samples labelled 0, 1, 2, ... in turn.

    Returns:
        Norm of the difference over the norm of the exact gradient, of each trained parameter; 0 where both are 0.

    Raises:
        UserError: No parameter of the model trains.

    >>> make_affine = LeanGroupNorm(2, 4).requires_grad_(False)
    >>> make_affine.keeps = "nothing"
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 1), make_affine, nn.Flatten())
    >>> errors = gradient_error(net, torch.arange(8.0).view(2, 1, 2, 2))
    >>> errors["0.weight"] > 0.1
    True
    """
    exactly = copy.deepcopy(model)
    for module in exactly.modules():
        if hasattr(module, "keeps"):
            vars(module)["keeps"] = "exact"
    asked, exact = (_gradients(it, example, loss or _cross_entropy) for it in (copy.deepcopy(model), exactly))
    return {name: _relative(asked[name], exact[name]) for name in exact}


def _gradients(model: nn.Module, example: Tensor, loss: Callable[[Any], Tensor]) -> dict[str, Tensor]:
    trained = {name: it for name, it in model.named_parameters() if it.requires_grad}
    if not trained:
        raise invalid("model", "one of which something trains", "requires_grad=False everywhere")
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(0)  # both drop the same features
        found = torch.autograd.grad(loss(model(example)), list(trained.values()), materialize_grads=True)
    return dict(zip(trained, found, strict=True))


def _cross_entropy(output: Tensor) -> Tensor:
    scores = output.flatten(1)
    labels = torch.arange(len(scores), device=scores.device) % scores.shape[1]
    return functional.cross_entropy(scores, labels)


def _relative(found: Tensor, exact: Tensor) -> float:
    error = torch.dist(found, exact)
    return float(error / exact.norm()) if error > 0 else 0.0
