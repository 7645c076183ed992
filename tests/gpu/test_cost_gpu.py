"""The ruler on a CUDA device: against torch's allocator, and with a clock that waits."""

from typing import Any

import pytest
import torch
from torch import nn

from multum.cost import Mode, measure, time_call
from multum.cost.step import Step
from multum.cost.witness import growth_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def bert() -> tuple[nn.Module, Any]:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=256, num_hidden_layers=3, num_attention_heads=4, intermediate_size=1024)
    return BertModel(config), {"input_ids": torch.randint(0, 1000, (16, 128), device="cuda")}


def chain() -> tuple[nn.Module, Any]:
    layers = [nn.Linear(1024, 4096), nn.GELU(), nn.Linear(4096, 1024)]
    return nn.Sequential(*layers), (torch.randn(4096, 1024, device="cuda"),)


@pytest.mark.parametrize("make", [bert, chain])
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_live_peak_is_what_the_allocator_gave_out(make: Any, mode: Mode) -> None:
    torch.manual_seed(0)
    model, inputs = make()
    model = model.cuda().train(mode == "training")
    optimizer = torch.optim.AdamW(model.parameters()) if mode == "training" else None
    args, kwargs = (inputs, {}) if isinstance(inputs, tuple) else ((), inputs)
    step = Step(model, args, kwargs, mode, None, optimizer)
    for _ in range(2):
        step.run()
    step.forget_gradients()
    grown = growth_of(step.run, device="cuda").most_bytes
    step.forget_gradients()
    cost = measure(model, inputs, mode=mode, optimizer=optimizer, latency=False)
    assert cost.device.startswith("cuda")
    assert cost.peak_live_bytes - cost.resident_bytes == pytest.approx(grown, rel=0.10)


def test_macs_do_not_depend_on_the_device() -> None:
    torch.manual_seed(0)
    model, inputs = bert()
    on_cpu = measure(model, {"input_ids": inputs["input_ids"].cpu()}, mode="training", latency=False)
    on_gpu = measure(model.cuda(), inputs, mode="training", latency=False)
    assert (on_gpu.macs, on_gpu.attention_macs) == (on_cpu.macs, on_cpu.attention_macs)
    assert on_gpu.uncounted_ops == ()


def test_the_clock_waits_for_the_device() -> None:
    left = torch.randn(8192, 8192, device="cuda")
    long, short = (
        time_call(lambda n=n: left[:n] @ left, device="cuda", min_run_seconds=0.05) for n in (8192, 64)
    )
    assert long.median_seconds > 3 * short.median_seconds


def test_random_numbers_of_the_device_are_put_back() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8)).cuda()
    before = torch.cuda.get_rng_state()
    measure(model, torch.randn(4, 8, device="cuda"), mode="training", min_run_seconds=1e-3)
    assert torch.equal(torch.cuda.get_rng_state(), before)
