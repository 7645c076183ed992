"""`measure`: put any torch module on the scale.

>>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
>>> cost = measure(model, torch.zeros(2, 8), latency=False)
>>> cost.macs == 2 * (8 * 16 + 16 * 4)
True
>>> [(layer.path, layer.macs) for layer in cost.layers if layer.macs]
[('0', 256), ('2', 128)]
>>> measure(model, torch.zeros(2, 8), mode="training", latency=False).kept_bytes  # one activation, one output
160
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim import Optimizer

from multum.core.errors import invalid, wrong_type
from multum.cost.assemble import assemble
from multum.cost.audit import audit
from multum.cost.guard import StateGuard
from multum.cost.result import Cost, Mode
from multum.cost.step import Loss, OptimizerFactory, Step, check_inputs
from multum.cost.timing import time_call
from multum.cost.traffic import tensors_in


def measure(
    model: nn.Module,
    inputs: torch.Tensor | tuple[Any, ...] | Mapping[str, Any],
    *,
    mode: Mode = "inference",
    loss: Loss | None = None,
    optimizer: Optimizer | OptimizerFactory | None = None,
    latency: bool = True,
    num_threads: int | None = None,
    min_run_seconds: float = 0.2,
    name: str | None = None,
) -> Cost:
    """Measure what a model costs on some inputs.

    The model runs once under the ledger, and, if the latency is wanted, some more times without it. With an
    optimizer, one step runs before the measured one, so that the optimizer's state exists as it does in every step of
    a real training but the first. Afterwards everything is as it was before: weights, buffers, gradients, inputs,
    optimizer, random numbers, flags, attributes.

    Args:
        model: Any module, on any device. In training mode it is set to `train()` only if it is in `eval()` as a
            whole, so that layers frozen on purpose stay so; for inference it is set to `eval()`.
        inputs: One tensor, a tuple of positional arguments, or a mapping of keyword arguments.
        mode: "inference" is a forward pass without gradients, "training" a whole step.
        loss: Turns the output into one number; by default the output's own `loss` or the mean of its squares.
        optimizer: An optimizer of this model, or a function that makes one from a list of parameters, such as
            `torch.optim.AdamW`; None leaves the optimizer out.
        latency: Whether to take the time as well.
        num_threads: Threads for the time measurement; None leaves torch's setting.
        min_run_seconds: How long to repeat the pass for the time measurement.
        name: What to call the reading; the model's class by default.

    Returns:
        The reading.

    Raises:
        UserError: When an argument has the wrong type, the model refuses the inputs, or the loss is not finite.
    """
    _check(model, mode, loss, optimizer)
    args, kwargs = check_inputs(inputs)
    device = _device_of(model, (args, kwargs))
    own = optimizer if isinstance(optimizer, Optimizer) else None
    guard = StateGuard()
    with guard.keeping(model, own):
        _set_flags(model, mode)
        step = Step(model, args, kwargs, mode, loss, own or _make_optimizer(model, optimizer))
        with _eager(model) as written:
            watched = replace(step, model=written)
            if step.optimizer is not None:
                audit(watched, guard, device)  # makes the optimizer's state
            cost = assemble(audit(watched, guard, device), name or type(written).__name__)
        if not latency:
            return cost
        taken = time_call(step.run, num_threads=num_threads, min_run_seconds=min_run_seconds, device=device)
    return replace(cost, latency=taken)


def _check(model: object, mode: object, loss: object, optimizer: object) -> None:
    if not isinstance(model, nn.Module):
        raise wrong_type(
            "model", "a torch.nn.Module", model, "wrap a function in a module with a forward method"
        )
    if mode not in get_args(Mode):
        raise invalid("mode", " or ".join(repr(known) for known in get_args(Mode)), mode)
    if mode == "inference" and (loss is not None or optimizer is not None):
        name, value = ("loss", loss) if loss is not None else ("optimizer", optimizer)
        raise invalid(name, "None for inference", value, 'use mode="training"')
    if loss is not None and not callable(loss):
        raise wrong_type("loss", "a function of the model's output", loss)
    if optimizer is not None and not isinstance(optimizer, Optimizer) and not callable(optimizer):
        raise wrong_type("optimizer", "an optimizer, or a function that makes one from parameters", optimizer)
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
            raise invalid("model", "initialised", f"lazy {path}", "run the model once before measuring it")


def _device_of(model: nn.Module, inputs: object) -> torch.device:
    for tensor in [*model.parameters(), *model.buffers(), *tensors_in(inputs)]:
        return tensor.device
    return torch.device("cpu")


def _set_flags(model: nn.Module, mode: Mode) -> None:
    try:
        if mode == "inference":
            model.eval()
        elif not model.training:
            model.train()
    except NotImplementedError:  # an exported program has only the one behaviour it was exported with
        return


def _make_optimizer(model: nn.Module, factory: Optimizer | OptimizerFactory | None) -> Optimizer | None:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if factory is None or isinstance(factory, Optimizer) or not trainable:
        return None
    made = factory(trainable)
    if not isinstance(made, Optimizer):
        raise wrong_type("optimizer", "an optimizer, or a function that makes one from parameters", made)
    return made


@contextmanager
def _eager(model: nn.Module) -> Iterator[nn.Module]:
    """Let a compiled model run as it is written: the ledger sees operations, not generated kernels."""
    wrapped = any(type(module).__name__ == "OptimizedModule" for module in model.modules())
    if not wrapped and all(
        getattr(module, "_compiled_call_impl", None) is None for module in model.modules()
    ):
        yield model
        return
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*global hooks on modules.*")
        yield getattr(model, "_orig_mod", model)
