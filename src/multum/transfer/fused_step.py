"""The optimizer's step within backward: each parameter moves as soon as its gradient is whole, and the gradient goes.

So gradients are never there all at once. The result is that of a step after backward: nothing in backward reads a
parameter again whose gradient is whole. A batch that is cut into micro-batches needs its gradients to the end.

Source: Lv, Yang, Liu, Gao, Guo and Qiu, "Full parameter fine-tuning for large language models with limited resources"
(2023), section 3.1.
Differs from the paper: any optimizer, with its own state for each parameter.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn

StepMaker = Callable[[Mapping[str, nn.Parameter]], torch.optim.Optimizer]
"""Makes an optimizer of named parameters."""


class FusedStep:
    """An optimizer for each parameter, which works when its gradient is there.

    Args:
        parameters: What trains, by name.
        make: Makes the optimizer of one of them.

    >>> net = nn.Linear(2, 1)
    >>> fused = FusedStep(dict(net.named_parameters()), lambda some: torch.optim.SGD(some.values(), lr=0.1))
    >>> net(torch.ones(1, 2)).sum().backward()
    >>> net.weight.grad is None
    True
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], make: StepMaker) -> None:
        self.optimizers = {name: make({name: it}) for name, it in parameters.items()}
        self._handles = [
            it.register_post_accumulate_grad_hook(_Step(self.optimizers[name]))
            for name, it in parameters.items()
        ]

    def remove(self) -> None:
        """Let backward leave gradients again."""
        for handle in self._handles:
            handle.remove()


class _Step:
    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def __call__(self, parameter: torch.Tensor) -> None:
        self.optimizer.step()
        parameter.grad = None
