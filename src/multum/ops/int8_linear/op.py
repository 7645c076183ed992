"""The public function, its choice of implementation, its registration with torch. Shape legend as in `reference.py`."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int8
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode
from torch.utils.flop_counter import register_flop_formula

from multum.core import invalid
from multum.ops.dispatch import Implementation, choose
from multum.ops.int8_linear import cpu, reference

Choice = Literal["auto", "reference", "cpu"]
Activations = Literal["float", "int8"]

MOST_INPUTS = 65_536
"""Inputs whose products, with activations in int8, surely fit into a sum of 32 bits."""


def quantize_weight(
    weight_OI: Float[Tensor, "O I"],
) -> tuple[Int8[Tensor, "O I"], Float[Tensor, " O"]]:
    """Round the weights of a linear layer to int8, symmetric, with one scale for each output.

    Args:
        weight_OI: Weights as `nn.Linear` holds them.

    Returns:
        Codes from -127 to 127, and scales in float32: `weight ~ code * scale`, off by at most half a scale.

    Raises:
        UserError: A weight that is not finite.

    >>> code, scale = quantize_weight(torch.tensor([[0.0, -0.5, 1.0], [0.0, 0.0, 0.0]]))
    >>> code.tolist()
    [[0, -64, 127], [0, 0, 0]]
    """
    weight_OI = weight_OI.detach().float()
    if not weight_OI.is_meta and not bool(torch.isfinite(weight_OI).all()):
        raise invalid("weight", "finite", "NaN or infinity", "int8 codes cannot express it")
    return reference.round_rows(weight_OI)


def int8_linear(
    inputs: Float[Tensor, "... I"],
    weight_OI: Int8[Tensor, "O I"],
    scale_O: Float[Tensor, " O"],
    bias_O: Float[Tensor, " O"] | None = None,
    *,
    activations: Activations = "float",
    impl: Choice = "auto",
) -> Float[Tensor, "... O"]:
    """A linear layer over int8 weights: `inputs @ (weight * scale).T + bias`.

    With one row, as in generation, the time is that of reading the weights: a quarter of float32's.

    Args:
        inputs: Activations.
        weight_OI: Codes from `quantize_weight`.
        scale_O: Their scales.
        bias_O: Added at the end.
        activations: `float`: only the weights are rounded. `int8`: each row of the inputs is rounded to int8 as well
            (symmetric, its largest number becomes 127), and products are summed exactly in int32; faster with many
            rows. No row's result depends on the others. A row with a NaN or an infinity gives NaN.
        impl: `reference` (plain torch), `cpu` (compiled, float32), or `auto`.

    Returns:
        Outputs in the inputs' dtype. Differentiable in the inputs (rounding counts as the identity); the weights are
        constants.

    Raises:
        UserError: Shapes or types that do not fit, or more than 65,536 inputs with activations in int8.

    >>> weight, scale = quantize_weight(torch.eye(3))
    >>> int8_linear(torch.tensor([1.0, 2.0, 3.0]), weight, scale)
    tensor([1., 2., 3.])
    """
    _check(inputs, weight_OI, scale_O, bias_O, activations)
    rows_MI = inputs.reshape(math.prod(inputs.shape[:-1]), inputs.shape[-1])
    compute = _compute if _unobserved(inputs, bias_O) else _int8_linear
    output_MO: Tensor = compute(rows_MI, weight_OI, scale_O, bias_O, activations == "int8", impl)
    return output_MO.reshape(*inputs.shape[:-1], weight_OI.shape[0])


def implementations() -> dict[str, Implementation]:
    """What each fast path takes; `reference` takes everything."""
    return {
        "cpu": Implementation(
            device="cpu", dtypes=(torch.float32,), available=lambda: cpu.library() is not None
        )
    }


def _check(inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, activations: str) -> None:
    if weight.dtype != torch.int8 or weight.dim() != 2:
        got = f"{weight.dtype} of shape {tuple(weight.shape)}"
        raise invalid("weight", "int8 of shape (outputs, inputs)", got, "make it with quantize_weight")
    num_outputs, num_inputs = weight.shape
    if not inputs.is_floating_point() or inputs.dim() == 0 or inputs.shape[-1] != num_inputs:
        got = f"{inputs.dtype} of shape {tuple(inputs.shape)}"
        raise invalid("inputs", f"floating, with a last axis of {num_inputs}", got)
    for name, tensor in (("scale", scale), ("bias", bias)):
        if tensor is not None and (tuple(tensor.shape) != (num_outputs,) or not tensor.is_floating_point()):
            got = f"{tensor.dtype} of shape {tuple(tensor.shape)}"
            raise invalid(name, f"floating, of shape ({num_outputs},)", got)
    devices = {t.device for t in (inputs, weight, scale, bias) if t is not None}
    if len(devices) > 1:
        raise invalid("inputs, weight, scale and bias", "on one device", sorted(map(str, devices)))
    if activations not in ("float", "int8"):
        raise invalid("activations", "'float' or 'int8'", activations)
    if activations == "int8" and num_inputs > MOST_INPUTS:
        remedy = 'use activations="float"'
        raise invalid(
            "the number of inputs", f"at most {MOST_INPUTS} for activations in int8", num_inputs, remedy
        )


def _compute(
    inputs: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None, round_activations: bool, impl: str
) -> Tensor:
    if choose(impl, inputs, implementations()) == "cpu":
        bias = None if bias is None else bias.float()
        return cpu.int8_linear_cpu(inputs, weight, scale.float(), bias, round_activations)
    return reference.int8_linear_reference(inputs, weight, scale, bias, round_activations)


_int8_linear = torch.library.custom_op("multum::int8_linear", _compute, mutates_args=())


def _unobserved(inputs: Tensor, bias: Tensor | None) -> bool:
    """Whether nobody watches the call: no compiler, counter, transform or autograd.

    Then the registered operation is passed by, which costs as much as a small layer's product.
    """
    if torch.compiler.is_compiling() or is_in_torch_dispatch_mode() or type(inputs) is not Tensor:
        return False
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return False
    return not (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (inputs, bias)))


@_int8_linear.register_fake
def _fake(inputs: Tensor, weight: Tensor, *_: object) -> Tensor:
    return inputs.new_empty(inputs.shape[0], weight.shape[0])


def _save_for_backward(
    ctx: torch.autograd.function.FunctionCtx,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor | None, bool, str],
    output: Tensor,  # noqa: ARG001 - torch passes it by name
) -> None:
    ctx.save_for_backward(*inputs[1:3])


def _backward(
    ctx: torch.autograd.function.BackwardCFunction, output_grad: Tensor
) -> tuple[Tensor | None, ...]:
    saved: tuple[Tensor, ...] = ctx.saved_tensors
    weight, scale = saved
    needed: tuple[bool, ...] = ctx.needs_input_grad
    bias_grad = output_grad.sum(dim=0) if needed[3] else None
    inputs_grad = (output_grad * scale.to(output_grad.dtype)) @ weight.to(output_grad.dtype)
    return inputs_grad, None, None, bias_grad, None, None


_int8_linear.register_autograd(_backward, setup_context=_save_for_backward)


@register_flop_formula(torch.ops.multum.int8_linear)  # type: ignore[untyped-decorator, unused-ignore]
def int8_linear_flops(
    inputs_shape: tuple[int, int], weight_shape: tuple[int, int], *_: object, **__: object
) -> int:
    """Operations of the product, as of the float layer: `2 M I O`.

    >>> int8_linear_flops((1, 768), (3072, 768))
    4718592
    """
    return 2 * inputs_shape[0] * inputs_shape[1] * weight_shape[0]
