"""The ruler against the world: what it predicts, and what really happens, on four models.

Kept bytes are held against a walk through autograd's graph, the live peak against the growth of the process (on a GPU
against torch's allocator). The growth is what a pass adds to what is there before it, weights and inputs, so that
large weights cannot hide an error in the activations. Each model and mode is measured in a process of its own, which
is started so that freed memory goes back to the system at once.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.places import ROOT
from benchmarks.registry import Case, Figure, Setting, Suite, Table
from benchmarks.schema import Check, Results
from multum.cost import Mode, measure
from multum.cost.step import Step, check_inputs
from multum.cost.traffic import tensors_in
from multum.cost.units import format_bytes
from multum.cost.witness import GROWTH_ENVIRONMENT, growth_of, kept_by_autograd

MODES: tuple[Mode, ...] = ("inference", "training")
SMALLEST_GROWTH_BYTES = 1_000_000
"""Below this the granularity of the system's pages would be measured."""


class SmallMobileNet(nn.Sequential):
    """A convolutional network of inverted bottlenecks: full, depthwise and pointwise convolutions, with strides."""

    def __init__(self) -> None:
        def norm(channels: int) -> list[nn.Module]:
            return [nn.BatchNorm2d(channels), nn.ReLU6()]

        def block(channels: int, out: int, stride: int) -> list[nn.Module]:
            wide = 4 * channels
            deep = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
            shrink = [nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out)]
            return [nn.Conv2d(channels, wide, 1, bias=False), *norm(wide), deep, *norm(wide), *shrink]

        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 10)]
        stem = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), *norm(32)]
        super().__init__(*stem, *block(32, 48, 2), *block(48, 64, 1), *block(64, 96, 2), *head)


class TiedGenerator(nn.Module):
    """A generator of pictures whose upsampling and refining layers are the same ones at every resolution."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Linear(64, width * 8 * 8)
        self.grow = nn.ConvTranspose2d(width, width, 4, 2, 1)
        self.refine = nn.Conv2d(width, width, 3, padding=1)
        self.refine_again = nn.Conv2d(width, width, 3, padding=1)
        self.refine_again.weight = self.refine.weight
        self.to_picture = nn.Conv2d(width, 3, 1)

    def forward(self, noise_BZ: torch.Tensor) -> torch.Tensor:
        """Draw one picture for each row of noise."""
        features = self.first(noise_BZ).view(-1, self.width, 8, 8)
        for _ in range(3):
            features = torch.nn.functional.leaky_relu(self.grow(features), 0.2)
            features = features + torch.nn.functional.leaky_relu(self.refine(features), 0.2)
            features = features + torch.nn.functional.leaky_relu(self.refine_again(features), 0.2)
        return torch.tanh(self.to_picture(features))


def mobilenet(generator: torch.Generator, batch: int) -> tuple[nn.Module, Any]:
    """Build the convolutional network and a batch of pictures."""
    return SmallMobileNet(), torch.randn(4 * batch, 3, 96, 96, generator=generator)


def bert(generator: torch.Generator, batch: int) -> tuple[nn.Module, Any]:
    """Build a small BERT and a batch of texts."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024, vocab_size=8000
    )
    return BertModel(config), {"input_ids": torch.randint(0, 8000, (batch, 128), generator=generator)}


def causal(generator: torch.Generator, batch: int) -> tuple[nn.Module, Any]:
    """Build a small GPT-2 with its loss, and a batch of texts."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=256, n_layer=4, n_head=4, vocab_size=8000, bos_token_id=0, eos_token_id=0)
    tokens = torch.randint(0, 8000, (batch, 128), generator=generator)
    return GPT2LMHeadModel(config), {"input_ids": tokens, "labels": tokens}


def generator_of_pictures(generator: torch.Generator, batch: int) -> tuple[nn.Module, Any]:
    """Build the generator with tied weights, and a batch of noise."""
    return TiedGenerator(), torch.randn(2 * batch, 64, generator=generator)


MODELS: Mapping[str, tuple[str, Callable[[torch.Generator, int], tuple[nn.Module, Any]]]] = {
    "cnn": ("inverted bottlenecks, 32 pictures of 96 x 96", mobilenet),
    "bert": ("BERT of 4 layers, width 256, 8 texts of 128 tokens", bert),
    "causal_lm": ("GPT-2 of 4 layers, width 256, 8 texts of 128 tokens, with its loss", causal),
    "tied_generator": ("generator with shared layers, 16 pictures of 64 x 64", generator_of_pictures),
}
BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What was predicted and what happened, in bytes."""

    kept: int
    """Activations kept for the backward pass, as the ruler reads them."""

    kept_by_autograd: int
    """The same, found by walking autograd's graph."""

    growth: int
    """Live peak minus what was alive before the pass, as the ruler reads it."""

    growth_of_process: int
    """The same, as the process (or the device's allocator) grew."""

    growth_sampled: int
    """The same, as a sampling thread saw it."""

    workspace: int
    """The part of the predicted growth that is an estimate of kernels' scratch memory."""

    unchanged: bool
    """Whether the model computed the same before and after it was measured, bit for bit."""

    @property
    def kept_error(self) -> float:
        """Distance of the kept bytes from autograd's, as a share of autograd's."""
        return abs(self.kept - self.kept_by_autograd) / max(self.kept_by_autograd, 1)

    @property
    def live_peak_error(self) -> float:
        """Distance of the growth from the real one, as a share of the real one."""
        return abs(self.growth - self.growth_of_process) / max(self.growth_of_process, SMALLEST_GROWTH_BYTES)


def hold_against_the_world(model_name: str, mode: Mode, *, device: str, seed: int = 0) -> Accuracy:
    """Measure one model in this process, and look at what really happens.

    Args:
        model_name: Key of `MODELS`.
        mode: Kind of pass; training takes an AdamW step too.
        device: Where to run.
        seed: Seed of weights and inputs.

    Returns:
        Predictions and observations.
    """
    torch.manual_seed(seed)
    model, inputs = MODELS[model_name][1](torch.Generator().manual_seed(seed), BATCH)
    model = model.to(device).train(mode == "training")
    args, kwargs = check_inputs(_moved(inputs, device))
    optimizer = torch.optim.AdamW(model.parameters()) if mode == "training" else None
    step = Step(model, args, kwargs, mode, None, optimizer)
    for _ in range(2):  # caches, lazy set-up and the optimizer's state
        step.run()
    step.forget_gradients()
    growth = growth_of(step.run, device=device)
    step.forget_gradients()
    before = _answer(step)
    cost = measure(model, _moved(inputs, device), mode=mode, optimizer=optimizer, latency=False)
    same = all(torch.equal(*pair) for pair in zip(before, _answer(step), strict=True))
    return Accuracy(
        kept=cost.kept_bytes,
        kept_by_autograd=_kept(step) if mode == "training" else 0,
        growth=cost.peak_live_bytes - cost.resident_bytes,
        growth_of_process=growth.most_bytes,
        growth_sampled=growth.sampled_bytes,
        workspace=cost.workspace_bytes,
        unchanged=same,
    )


def _moved(inputs: Any, device: str) -> Any:
    if isinstance(inputs, Mapping):
        return {key: value.to(device) for key, value in inputs.items()}
    return inputs.to(device)


def _answer(step: Step) -> list[torch.Tensor]:
    """Compute the model's outputs, dropout and running statistics left alone."""
    was_training = step.model.training
    step.model.eval()
    with torch.no_grad():
        found = [tensor.clone() for tensor in tensors_in(step.forward())]
    step.model.train(was_training)
    return found


def _kept(step: Step) -> int:
    with step.gradients():
        loss = step.loss_of(step.forward())
    known = [*step.model.parameters(), *step.model.buffers(), *tensors_in((step.args, step.kwargs))]
    return kept_by_autograd(loss, known=known)


def in_a_child(model_name: str, mode: Mode, setting: Setting) -> Accuracy:
    """Measure one model and mode in a fresh process whose allocator gives memory back.

    Args:
        model_name: Key of `MODELS`.
        mode: Kind of pass.
        setting: Device and seed.

    Returns:
        Predictions and observations.
    """
    wish = {"model_name": model_name, "mode": mode, "device": setting.device, "seed": setting.seed}
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.suites.cost_accuracy", json.dumps(wish)],
        cwd=ROOT,
        env={**os.environ, **GROWTH_ENVIRONMENT},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Accuracy(**json.loads(child.stdout.splitlines()[-1]))


def _check(found: Accuracy) -> Check:
    return Check.holds(found.unchanged, "outputs before and after measuring are equal, bit for bit")


def _run(found: Accuracy, _setting: Setting) -> dict[str, float]:
    errors = {"kept_error": found.kept_error, "live_peak_error": found.live_peak_error}
    sizes = {f"{name}_bytes": float(value) for name, value in vars(found).items() if name != "unchanged"}
    return errors | sizes


def _worst(error: str, results: Results) -> float:
    return max(results.number(case.name, error) for case in CASES)


CASES = tuple(
    Case(
        name=f"{name}.{mode}",
        about=f"{about}, {mode}",
        prepare=partial(in_a_child, name, mode),
        check=_check,
        run=_run,
    )
    for name, (about, _) in MODELS.items()
    for mode in MODES
)


def _table(results: Results) -> str:
    """Predicted beside measured, case by case, as Markdown."""
    lines = [
        "| model and pass | kept, predicted | kept by autograd | peak, predicted | growth of the process |",
        "|---|---:|---:|---:|---:|",
    ]
    names = ("kept_bytes", "kept_by_autograd_bytes", "growth_bytes", "growth_of_process_bytes")
    for case in results.cases:
        cells = [format_bytes(int(results.number(case.name, name))) for name in names]
        lines.append(f"| {case.about} | {' | '.join(cells)} |")
    return "\n".join(lines)


SUITE = Suite(
    name="cost_accuracy",
    about="What multum.cost predicts against what autograd keeps and how the process grows",
    cases=CASES,
    figures=(
        Figure(
            id="frame.cost_kept_bytes_worst_error",
            unit="",
            goal_max=0.02,
            peer="a walk through autograd's graph, unique storages",
            how="worst of four models, training; parameters, buffers and inputs excluded on both sides",
            value=partial(_worst, "kept_error"),
        ),
        Figure(
            id="frame.cost_live_peak_worst_error",
            unit="",
            goal_max=0.10,
            peer="growth of a child process during one pass",
            how="worst of four models, inference and training with AdamW; peak resident set of the process "
            "(VmHWM, reset before the pass) minus the resident set before it, with MALLOC_MMAP_THRESHOLD_=65536 and "
            "MALLOC_TRIM_THRESHOLD_=0; weights are not part of the growth",
            value=partial(_worst, "live_peak_error"),
        ),
    ),
    devices=("cpu", "cuda"),
    tables=(Table(name="predictions", render=_table),),
)

if __name__ == "__main__":
    print(json.dumps(vars(hold_against_the_world(**json.loads(sys.argv[1])))))
