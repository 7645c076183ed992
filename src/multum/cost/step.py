"""One pass over a model: the call, the loss, the backward pass and the optimizer step, each with clear errors.

The default loss is stated here and nowhere else: what the model itself calls its loss (`output.loss`, as transformers
models return when they get labels), or else the sum, over all floating-point outputs that depend on something
trainable, of the mean of their squares. It gives every output a dense gradient and adds next to nothing of its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from multum.core.errors import UserError, invalid, wrong_type
from multum.cost.result import Mode
from multum.cost.traffic import tensors_in

Loss = Callable[[Any], torch.Tensor]
"""Turns what the model returned into one number."""

OptimizerFactory = Callable[[list[nn.Parameter]], Optimizer]
"""Makes an optimizer for parameters, for instance `torch.optim.AdamW`."""


def check_inputs(inputs: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Turn the inputs into positional and keyword arguments.

    Args:
        inputs: One tensor, a tuple of positional arguments, or a mapping of keyword arguments.

    Returns:
        Both kinds of arguments.

    Raises:
        UserError: When it is none of these.
    """
    if isinstance(inputs, torch.Tensor):
        return (inputs,), {}
    if isinstance(inputs, tuple):
        return inputs, {}
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    raise wrong_type(
        "inputs",
        "a tensor, a tuple of positional arguments or a mapping of keyword arguments",
        inputs,
        "wrap a single argument of another type in a tuple",
    )


def describe(value: object) -> str:
    """Tell shapes and types of nested inputs.

    >>> describe((torch.zeros(2, 3), {"mask": None}))
    '(float32[2, 3], mask=None)'
    """
    if isinstance(value, torch.Tensor):
        place = "" if value.device.type == "cpu" else f" on {value.device}"
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}{place}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={describe(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return f"({', '.join(describe(part) for part in value)})"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


@dataclass
class Step:
    """A pass that can be run again and again."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    mode: Mode
    loss: Loss | None = None
    optimizer: Optimizer | None = None

    def run(self) -> None:
        """Run the whole pass, as it would run in real life."""
        with self.gradients():
            if self.mode == "inference":
                self.forward()
                return
            self.forget_gradients()
            loss = self.loss_of(self.forward())
            if loss.requires_grad:
                loss.backward()
            self.update()

    @contextmanager
    def gradients(self) -> Iterator[None]:
        """Switch gradients off for inference, and on for training whatever the caller has set."""
        if self.mode == "inference":
            with torch.no_grad():
                yield
        else:
            with torch.inference_mode(False), torch.enable_grad():
                yield

    def forget_gradients(self) -> None:
        """Drop all gradients, as `zero_grad` does."""
        for parameter in self.model.parameters():
            parameter.grad = None

    def forward(self) -> Any:
        """Call the model.

        Returns:
            What it returned.

        Raises:
            UserError: When the model refuses; the message tells the inputs and what the model said.
        """
        try:
            return self.model(*self.args, **self.kwargs)
        except torch.OutOfMemoryError:
            raise
        except Exception as problem:  # whatever the model raises, the user needs to see the inputs beside it
            came = ", ".join(text for text in (describe(self.args)[1:-1], describe(self.kwargs)) if text)
            raise UserError(
                f"inputs must be what {type(self.model).__name__} accepts; got {came or 'nothing'}; "
                f"the model said {type(problem).__name__}: {problem}"
            ) from problem

    def loss_of(self, output: Any) -> torch.Tensor:
        """Turn the output into one number.

        Args:
            output: What the model returned.

        Returns:
            The loss, a tensor with one element.

        Raises:
            UserError: When there is nothing to make a loss of, or the user's function returns something else.
        """
        loss = self.loss(output) if self.loss is not None else default_loss(output)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise wrong_type("loss", "a function that returns a tensor with one number", loss)
        return loss

    def update(self) -> None:
        """Take the optimizer's step, if there is an optimizer.

        Raises:
            UserError: When its step wants to compute the loss again by itself.
        """
        if self.optimizer is None:
            return
        try:
            self.optimizer.step()
        except TypeError as problem:
            if "closure" not in str(problem):
                raise
            name = type(self.optimizer).__name__
            raise invalid("optimizer", "one whose step needs no closure", name) from problem

    def check_finite(self, loss: torch.Tensor) -> None:
        """Refuse a loss that is not a finite number.

        Args:
            loss: What `loss_of` returned.

        Raises:
            UserError: When it is infinite or not a number.
        """
        if loss.device.type != "meta" and not bool(torch.isfinite(loss.detach()).all()):
            remedy = (
                "look for NaN in the weights or inputs" if self.loss is None else "look at the loss function"
            )
            raise invalid("loss", "finite", loss.detach().item(), remedy)


def default_loss(output: Any) -> torch.Tensor:
    """Make one number of any output, as the head of this module tells.

    Args:
        output: What a model returned.

    Returns:
        The loss.

    Raises:
        UserError: When the output holds no floating-point tensor.

    >>> float(default_loss({"left": torch.tensor([1.0, 3.0]), "right": torch.tensor([2.0])}))
    9.0
    """
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(own, torch.Tensor) and own.numel() == 1:
        return own
    floats = [tensor for tensor in tensors_in(output) if tensor.is_floating_point() or tensor.is_complex()]
    if not floats:
        raise wrong_type(
            "output",
            "something with a floating-point tensor in it",
            output,
            "pass loss=, a function of the output",
        )
    terms = [
        tensor.abs().square().mean() if tensor.is_complex() else tensor.square().mean() for tensor in floats
    ]
    trained: Sequence[torch.Tensor] = [term for term in terms if term.requires_grad] or terms
    total = trained[0]
    for term in trained[1:]:
        total = total + term
    return total
