"""Run the linear layers of a model over int8 weights: inside a block, or for good.

Which layers: `nn.Linear` itself and the transformers library's `Conv1D` (a linear layer with its weights transposed, in
GPT-2); sub-classes keep their own forward. Shape legend as in `reference.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

from multum.core import invalid
from multum.ops.int8_linear.op import Activations, int8_linear, quantize_weight


class Int8Layer(nn.Module):
    """What a layer is after `int8_linears_`: also of its former class, so that who looks for linear layers finds it."""

    weight_int8: Int8[Tensor, "O I"]
    """Codes of the weights; a buffer."""

    weight_scale: Float[Tensor, " O"]
    """One scale for each output; a buffer."""

    activations: Activations
    """Whether inputs are rounded as well."""

    transposed: bool
    """Whether the former class holds its weights as (inputs, outputs)."""

    bias: Tensor | None

    @property
    def weight(self) -> Float[Tensor, "_rows _columns"]:
        """The rounded weights as floats, in the layout of the former class; made anew at every call, and constant."""
        weight_OI = self.weight_int8.to(self.weight_scale.dtype) * self.weight_scale[:, None]
        return weight_OI.T if self.transposed else weight_OI

    def forward(self, inputs: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        """Compute the layer."""
        return int8_linear(
            inputs, self.weight_int8, self.weight_scale, self.bias, activations=self.activations
        )


def int8_linears_(model: nn.Module, *, activations: Activations = "float", output_layer: bool = False) -> int:
    """Hold the weights of a model's linear layers in int8 from now on; the float weights are given up.

    Layers stay the same objects with their hooks and biases; they become instances of `Int8Layer`, and their state
    holds `weight_int8` and `weight_scale` in place of `weight`. A weight shared with another module (tied embeddings)
    stays there.

    Args:
        model: Any module.
        activations: `float`, which suits generation, or `int8`, which suits encoders; as in `int8_linear`.
        output_layer: Whether the layer that writes the vocabulary's logits (`lm_head`) is among them.

    Returns:
        How many layers hold int8 weights now.

    Raises:
        UserError: Weights that are not finite; nothing is changed then.

    >>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    >>> int8_linears_(model), model[0].weight_int8.dtype
    (1, torch.int8)
    """
    layers = _layers(model, output_layer)
    rounded = {layer: _rounded(path, layer) for path, layer in layers.items()}
    for layer, (code_OI, scale_O) in rounded.items():
        transposed = not isinstance(layer, nn.Linear)
        del layer.weight
        kind: Any = type(layer)
        layer.__class__ = _int8_class(kind)
        layer.register_buffer("weight_int8", code_OI)
        layer.register_buffer("weight_scale", scale_O)
        vars(layer).update(activations=activations, transposed=transposed)
    return len(rounded)


@contextmanager
def int8_linears(
    model: nn.Module, *, activations: Activations = "float", output_layer: bool = False
) -> Iterator[int]:
    """Run a model's linear layers over int8 weights inside the block; undone at its end.

    The weights are rounded when the block begins, and kept beside the float ones; a change inside the block is not
    seen. To save their memory, use `int8_linears_`.

    Args:
        model: Any module; layers whose forward something else has replaced are left alone.
        activations: `float`, which suits generation, or `int8`, which suits encoders; as in `int8_linear`.
        output_layer: Whether the layer that writes the vocabulary's logits (`lm_head`) is among them.

    Yields:
        How many layers run over int8 weights.

    Raises:
        UserError: Weights that are not finite; inside the block, a call that wants their gradients.

    >>> with int8_linears(nn.Sequential(nn.Linear(8, 4), nn.ReLU())) as num_layers:
    ...     num_layers
    1
    """
    layers = _layers(model, output_layer)
    forwards = {layer: _RoundedForward(path, layer, activations) for path, layer in layers.items()}
    for layer, forward in forwards.items():
        vars(layer)["forward"] = forward  # an instance attribute hides the class's method
    try:
        yield len(forwards)
    finally:
        for layer in forwards:
            del vars(layer)["forward"]


class _RoundedForward:
    """The forward of one layer inside the block."""

    def __init__(self, path: str, layer: Any, activations: Activations) -> None:
        self.path, self.layer, self.activations = path, layer, activations
        self.code_OI, self.scale_O = _rounded(path, layer)

    def __call__(self, inputs: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        if torch.is_grad_enabled() and self.layer.weight.requires_grad:
            raise invalid(
                f"the weight of {self.path or 'the layer'}",
                "a constant inside int8_linears",
                "requires_grad=True",
                "run under torch.no_grad(), or call model.requires_grad_(False) first",
            )
        return int8_linear(inputs, self.code_OI, self.scale_O, self.layer.bias, activations=self.activations)


def _layers(model: nn.Module, output_layer: bool) -> dict[str, Any]:
    """The layers to change by their path; a layer that appears twice counts once."""
    find_output = getattr(model, "get_output_embeddings", None)
    left_out = None if output_layer or find_output is None else find_output()
    return {
        path: module
        for path, module in model.named_modules()
        if _is_linear(type(module)) and "forward" not in vars(module) and module is not left_out
    }


def _is_linear(kind: type[nn.Module]) -> bool:
    return kind is nn.Linear or (
        kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"
    )


def _rounded(path: str, layer: Any) -> tuple[Int8[Tensor, "O I"], Float[Tensor, " O"]]:
    weight_OI = layer.weight if isinstance(layer, nn.Linear) else layer.weight.T
    if not bool(torch.isfinite(weight_OI).all()):
        raise invalid(f"the weight of {path or 'the layer'}", "finite", "NaN or infinity")
    return quantize_weight(weight_OI)


@cache
def _int8_class(kind: Any) -> type[nn.Module]:
    return type(f"Int8{kind.__name__}", (Int8Layer, kind), {"__doc__": Int8Layer.__doc__})
