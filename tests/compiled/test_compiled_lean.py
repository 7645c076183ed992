"""Compiled, lean networks are one graph of the same results, and keep about what they keep uncompiled.

In a process of its own: the tests' checks of shapes, which are around every function and dataclass here, would be in
the compiler's way.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import copy, sys
import torch
from torch import nn
from multum.cost.witness import kept_by_autograd
from multum.transfer import adapt
from multum.transfer.transformer_modes import adapt_transformer
from small_cnns import settle_norms
from small_transformers import draw_example, make_transformer, scores_of

what, backend = sys.argv[1:]
torch.set_num_threads(1)
torch.manual_seed(0)
if what == "cnn":
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        nn.AvgPool2d(2),
        nn.Sequential(nn.Conv2d(8, 8, 3, groups=2), nn.LeakyReLU(0.2)),
        nn.GroupNorm(2, 8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).double()
    settle_norms(model)
    adapt(model, "bias")
    model.train()
    x = torch.randn(2, 3, 17, 20, dtype=torch.float64)
else:
    kind, mode, keeps = what.split(",")
    model, x = make_transformer(kind), draw_example(kind)
    adapt_transformer(model, mode, rank=2, keeps=keeps, gelu=keeps)
twin = copy.deepcopy(model)
compiled = torch.compile(twin, fullgraph=True, backend=backend)
kept = []
outputs = []
for it, run in ((model, model), (twin, compiled)):
    scores = scores_of(run, x)
    kept.append(kept_by_autograd(scores, known=(*it.parameters(), *it.buffers(), x)))
    scores.square().sum().backward()
    outputs.append(scores)
torch.testing.assert_close(outputs[1], outputs[0])
for (name, mine), other in zip(model.named_parameters(), twin.parameters(), strict=True):
    assert (mine.grad is None) == (other.grad is None), name
    if mine.grad is not None:
        torch.testing.assert_close(other.grad, mine.grad, rtol=1e-7, atol=1e-9, msg=name)
assert kept[1] <= 1.15 * kept[0] + 4096, kept
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("what", "backend"),
    [
        ("cnn", "inductor"),
        ("bert,lora-fa,8bit", "aot_eager"),
        ("bert,lora,exact", "aot_eager"),  # inductor takes a minute for it and adds nothing of ours
    ],
)
def test_compiled_networks_have_the_gradients_of_uncompiled_ones(
    what: str, backend: str, repository: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, what, backend],
        cwd=repository / "tests",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
