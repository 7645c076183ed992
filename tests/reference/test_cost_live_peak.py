"""The live peak against the growth of a process, for kernels with and without scratch memory."""

import json
import os
import subprocess
import sys

import pytest

from multum.cost.witness import GROWTH_ENVIRONMENT

CHILD = """
import json, sys, torch
from torch import nn
from multum.cost import measure
from multum.cost.step import Step
from multum.cost.witness import growth_of

def chain(*layers): return nn.Sequential(*layers)
MODELS = {
    "products": (chain(nn.Linear(512, 1024), nn.GELU(), nn.LayerNorm(1024), nn.Linear(1024, 512)), (4000, 512)),
    "blocked": (chain(nn.Conv2d(24, 40, 3), nn.ReLU(), nn.Conv2d(40, 40, 3, 2, groups=40)), (4, 24, 160, 160)),
    "transposed": (chain(nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ConvTranspose2d(32, 16, 3, 1, 1)), (4, 32, 96, 96)),
    "unfolded": (chain(nn.Conv2d(8, 8, 3).double(), nn.Conv2d(8, 8, 1).double()), (4, 8, 96, 96)),
    "channels last": (chain(nn.Conv2d(32, 64, 3), nn.ReLU()).to(memory_format=torch.channels_last), (4, 32, 128, 128)),
}
model, shape = MODELS[sys.argv[1]]
x = torch.randn(shape, dtype=next(model.parameters()).dtype)
if sys.argv[1] == "channels last":
    x = x.contiguous(memory_format=torch.channels_last)
found = {}
for mode in ("inference", "training"):
    step = Step(model, (x,), {}, mode)
    step.run()
    step.forget_gradients()
    growth = growth_of(step.run).most_bytes
    step.forget_gradients()
    cost = measure(model, x, mode=mode, latency=False)
    found[mode] = (growth, cost.peak_live_bytes - cost.resident_bytes)
print(json.dumps(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory of a process is read from /proc")
@pytest.mark.parametrize("name", ["products", "blocked", "transposed", "unfolded", "channels last"])
def test_predicted_growth_is_the_real_one(name: str) -> None:
    environment = {**os.environ, **GROWTH_ENVIRONMENT, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, name]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    for mode, (grown, predicted) in json.loads(child.stdout).items():
        assert predicted == pytest.approx(grown, rel=0.10), mode
