"""The witnesses: what they see, and what they leave out."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from multum.core.errors import UserError
from multum.cost import witness
from multum.cost.witness import GROWTH_ENVIRONMENT, growth_of, kept_by_autograd

LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the memory of a process is read from /proc"
)

CHILD = """
import json, sys, torch
from multum.cost.witness import growth_of
held = torch.ones(5_000_000)
def pass_by():
    first = torch.ones(10_000_000)
    del first
    second = torch.ones(6_000_000)
    third = second + 1
pass_by()
growth = growth_of(pass_by)
print(json.dumps([growth.most_bytes, growth.counted_bytes, growth.sampled_bytes]))
"""


def test_saved_tensors_count_once_by_storage() -> None:
    weight = torch.ones(10, requires_grad=True)
    made = weight.exp()  # 40 bytes, kept by exp and by both products
    assert kept_by_autograd((made * made).sum() + (made[:5] * made[5:]).sum(), known=[weight]) == 40


def test_known_tensors_do_not_count() -> None:
    layer, x = nn.Linear(4, 4), torch.ones(3, 4)
    loss = layer(x).square().sum()
    assert kept_by_autograd(loss, known=[*layer.parameters(), x]) == 3 * 4 * 4
    assert kept_by_autograd(loss, known=layer.parameters()) == 2 * 3 * 4 * 4


def test_a_tensor_without_history_keeps_nothing() -> None:
    assert kept_by_autograd(torch.ones(3)) == 0


@LINUX
def test_growth_of_a_process_is_the_largest_pair_of_tensors() -> None:
    environment = {**os.environ, **GROWTH_ENVIRONMENT}
    child = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=True
    )
    most, counted, sampled = json.loads(child.stdout)
    expected = 48_000_000
    assert most == pytest.approx(expected, rel=0.02)
    assert sampled <= 1.02 * expected
    assert counted is None or counted == most


UNCOUNTED = """
import json, threading, torch
from multum.cost import witness

looks, look = threading.Semaphore(0), witness._memory_of_process

def look_and_tell(name):
    seen = look(name)
    looks.release()
    return seen

def hold():
    made = torch.ones(25_000_000)
    while looks.acquire(blocking=False):  # those from before it was held
        pass
    for _ in range(20):  # a busy machine may let the other thread wait long
        assert looks.acquire(timeout=30)
    return made

witness._forget_peak, witness._memory_of_process = (lambda: False), look_and_tell
witness.growth_of(hold)  # code that runs for the first time is read into memory, and counts
growth = witness.growth_of(hold)
print(json.dumps([growth.most_bytes, growth.counted_bytes, growth.sampled_bytes]))
"""
"""In a process of its own: what other tests left in this one may go in the middle of it."""


@LINUX
def test_without_a_count_the_samples_are_the_witness() -> None:
    child = subprocess.run(
        [sys.executable, "-c", UNCOUNTED],
        env={**os.environ, **GROWTH_ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    most, counted, sampled = json.loads(child.stdout)
    assert counted is None
    assert most == sampled == pytest.approx(100_000_000, rel=0.02)


def test_a_system_that_does_not_tell_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(witness, "_STATUS", tmp_path / "status")
    with pytest.raises(UserError, match="only be seen on Linux"):
        growth_of(lambda: None)
    (tmp_path / "status").write_text("Name: python\n")
    with pytest.raises(UserError, match="must tell VmRSS"):
        growth_of(lambda: None)
