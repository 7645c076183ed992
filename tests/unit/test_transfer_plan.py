"""Plans fit in their budget by what they predict, weaken no more than they must, and say what is enough."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from multum.core import UserError
from multum.cost.memory_limit import is_about_memory, memory_limit
from multum.transfer import (
    DataFacts,
    MachineSpeed,
    TransferConfig,
    adapt,
    plan,
    step_memory,
    step_seconds,
)
from multum.transfer.budget import facts_of
from multum.transfer.fused_step import FusedStep
from multum.transfer.plan import MB, WEAKER, promise
from multum.transfer.step_memory import floor_bytes, stock_config
from multum.transfer.trained_depth import block_paths, freeze_below, last_blocks
from small_cnns import small_mobile

WISH = TransferConfig(data="digits", backbone="resnet-18", pretrained=False, side=64, batch_size=4)
FACTS = DataFacts(num_classes=5)


@pytest.fixture(autouse=True, scope="module")
def predicted_once() -> Iterator[None]:
    """A step takes a second or two to predict, and many plans ask for the same ones."""
    with pytest.MonkeyPatch.context() as patch:
        module = sys.modules["multum.transfer.plan"]  # the package has a function of this name
        patch.setattr(module, "step_memory", cache(step_memory))
        yield


def test_plans_fit_are_what_they_say_and_promise_more_with_more_memory() -> None:
    wish = replace(WISH, mode="full")
    found = [plan(wish, FACTS, budget) for budget in (75.0, 150.0, 400.0)]
    for it, budget in zip(found, (75, 150, 400), strict=True):
        assert it.total_bytes <= budget * MB
        assert it.total_bytes == step_memory(it.config, 5).total_bytes
        assert it.config.batch_size == WISH.batch_size
        assert it.config.mode in WEAKER["full"]
        assert it.config.side is not None
        assert it.config.side <= 64
    promises = [it.promise for it in found]
    assert promises == sorted(promises)
    assert plan(wish, FACTS, 4000.0).config == wish  # nothing is weakened without need


@pytest.mark.parametrize("budget_mb", [1.0, 0.0, -3.0, float("nan")])
def test_what_cannot_be_is_refused_with_what_is_enough(budget_mb: float) -> None:
    with pytest.raises(UserError, match="budget_mb must be") as caught:
        plan(WISH, FACTS, budget_mb)
    if budget_mb == 1:
        enough = float(str(caught.value).split("at least ")[1].split()[0])
        plan(WISH, FACTS, enough)
        with pytest.raises(UserError, match="at least"):
            plan(WISH, FACTS, enough - 2)


def test_pictures_count_in_memory_and_while_they_are_decoded() -> None:
    in_memory = replace(FACTS, num_in_memory=100 * MB // (3 * 64**2))
    with pytest.raises(UserError, match="at least"):
        plan(WISH, in_memory, 100.0)
    large = replace(FACTS, largest_pixels=50_000_000)
    with pytest.raises(UserError, match="at least"):
        plan(WISH, large, 100.0)


def test_facts_come_from_headers(tmp_path: Path) -> None:
    from PIL import Image

    for name, size in (("a/1.png", (8, 8)), ("a/2.png", (30, 20)), ("b/1.png", (9, 9)), ("b/2.png", (9, 9))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", size).save(tmp_path / name)
    facts = facts_of(replace(WISH, data=tmp_path))
    assert facts == DataFacts(num_classes=2, largest_pixels=600)


def test_digits_in_memory_take_less_where_they_are_smaller() -> None:
    wish = TransferConfig(data="digits", pretrained=False, mode="last")
    facts = facts_of(wish)
    assert facts.in_memory_bytes(64) == 1797 * 3 * 64**2
    found = plan(wish, facts, 64.0)
    assert found.config.side is not None
    assert found.config.side < 128
    assert found.total_bytes == found.memory.total_bytes + facts.in_memory_bytes(found.config.side)


def test_portions_and_recomputation_take_less_and_stock_takes_more() -> None:
    whole = step_memory(WISH, 5)
    assert step_memory(replace(WISH, micro_batch=1), 5).total_bytes < whole.total_bytes
    in_int8 = step_memory(replace(WISH, int8=True), 5)
    assert in_int8.weight_bytes < 0.7 * whole.weight_bytes
    assert in_int8.activation_bytes == whole.activation_bytes
    full = replace(WISH, mode="full")
    kept = step_memory(full, 5).kept_bytes
    assert (
        step_memory(replace(full, recompute=True), 5).kept_bytes < 0.8 * kept
    )  # of inputs of convolutions alone
    assert step_memory(stock_config(WISH), 5, is_stock=True).kept_bytes > 2 * whole.kept_bytes
    for it in (WISH, full, replace(full, fuse_step=True)):
        assert floor_bytes(it, 5) < step_memory(it, 5).total_bytes


def test_promise_falls_with_mode_side_and_depth() -> None:
    asked = replace(WISH, mode="full")
    weaker = [replace(asked, mode="lite+bias"), replace(asked, side=32), replace(asked, num_blocks=2)]
    assert all(promise(it, asked) < promise(asked, asked) for it in weaker)


def test_only_the_last_blocks_train() -> None:
    net = small_mobile()
    adapted = adapt(net, "lite+bias", example=torch.zeros(1, 3, 32, 32), num_classes=3, num_blocks=2)
    assert last_blocks(net, 2) == block_paths(net)[-2:]
    inside = tuple(f"{it}." for it in block_paths(net)[:-2])
    assert not [name for name in adapted.trained if name.startswith((*inside, "stem."))]
    assert [place.path for place in adapted.lite_places] == list(block_paths(net)[-2:])
    with pytest.raises(UserError, match="num_blocks must be in"):
        freeze_below(net, 99)
    with pytest.raises(UserError, match="model must be one with blocks"):
        block_paths(nn.Linear(2, 2))


def test_a_fused_step_is_the_step() -> None:
    nets = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    plain = torch.optim.AdamW(nets[0].parameters(), lr=0.1)
    fused = FusedStep(dict(nets[1].named_parameters()), lambda some: torch.optim.AdamW(some.values(), lr=0.1))
    for _ in range(3):
        x = torch.randn(5, 3, dtype=torch.float64)
        for net in nets:
            net(x).square().sum().backward()
        plain.step()
        plain.zero_grad()
        assert all(it.grad is None for it in nets[1].parameters())
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=0.0)
    fused.remove()
    nets[1](x).sum().backward()
    assert nets[1][0].weight.grad is not None


@pytest.mark.parametrize(
    "options",
    [
        {"budget_mb": 0.0},
        {"hard_limit": True},
        {"fuse_step": True, "micro_batch": 1},
        {"num_blocks": -1},
    ],
    ids=str,
)
def test_dials_that_contradict_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match="must be"):
        TransferConfig(data="digits", **options)  # type: ignore[arg-type]


LIMITED = """
import torch
from multum.core import UserError
from multum.cost.memory_limit import memory_limit

try:
    with memory_limit(20_000_000):
        torch.ones(25_000_000)
except UserError as problem:
    print(problem)
print(torch.ones(25_000_000).numel())
"""
"""In a process of its own: one that has freed much already needs no new memory."""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits memory so")
def test_a_limit_refuses_what_is_beyond_it_and_leaves_again() -> None:
    child = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert "memory must not grow by more than 20 MB" in child.stdout
    assert child.stdout.endswith("25000000\n")


def test_other_errors_pass_a_limit_and_no_limit_is_of_nothing() -> None:
    with pytest.raises(ZeroDivisionError), memory_limit(20 * MB):
        raise ZeroDivisionError
    with pytest.raises(UserError, match="positive"), memory_limit(0):
        pass
    assert not is_about_memory(ValueError("shape"))


def test_time_grows_with_work_and_shrinks_with_speed() -> None:
    memory = step_memory(WISH, 5)
    slow = MachineSpeed(flops_per_second=1e10, bytes_per_second=1e9)
    whole = step_seconds(memory, WISH, slow)
    assert whole > 2 * memory.macs / 1e10 + memory.cost.dram_bytes / 1e9, "the floors"
    assert step_seconds(memory, WISH, replace(slow, flops_per_second=1e11)) < whole
    assert step_seconds(memory, WISH, replace(slow, bytes_per_second=1e10)) < whole
    assert step_seconds(memory, replace(WISH, num_threads=2), slow) < whole
    assert step_seconds(memory, replace(WISH, micro_batch=1), slow) > whole
    assert step_seconds(replace(memory, macs=2 * memory.macs), WISH, slow) > whole
    assert step_seconds(replace(memory, num_layers=2 * memory.num_layers), WISH, slow) > whole


def test_time_is_told_about_as_it_is() -> None:
    """To a factor of 4, for other work on the machine; what was measured without any is in LOG.md."""
    from multum.transfer.train_command import adapted_network, fresh_backbone

    config = replace(WISH, side=160, batch_size=8)
    net = adapted_network(config, fresh_backbone(config), 5).model
    pictures = torch.rand(8, 3, 160, 160).contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        nn.functional.cross_entropy(net(pictures), torch.zeros(8, dtype=torch.long)).backward()
        seconds.append(time.perf_counter() - start)
    assert 0.25 < step_seconds(step_memory(config, 5), config) / min(seconds) < 4
