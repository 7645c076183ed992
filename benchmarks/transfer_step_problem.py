"""Ways of training ProxylessNAS-Mobile whose steps are timed: ours, torch's, checkpointing's, peft's.

All see the same pictures, in float32, channels inmost, norms by their running statistics; gradients of each step are
forgotten before the next. peft's runs in its own environment, beside the plain network in full, which both share.
"""

import json
from collections.abc import Callable, Iterable
from typing import Final

import torch

from benchmarks.places import ROOT
from benchmarks.transfer_peft import LORA, ask_peft, with_lora
from benchmarks.transfer_problem import Network, build
from multum.cost import interleaved_times
from multum.cost.witness import ask_child, growth_of
from multum.transfer import Mode, recompute_blocks

BATCH = 8
OURS: Final[dict[str, Mode]] = {"lite_bias": "lite+bias", "bias": "bias", "last": "last"}
STOCK_FULL, CHECKPOINTED_FULL = "stock_full", "checkpointed_full"
STOCK_LITE_BIAS, CHECKPOINTED_LITE_BIAS, STOCK_BIAS = (
    "stock_lite_bias",
    "checkpointed_lite_bias",
    "stock_bias",
)
RIVALS: Final[dict[str, Mode | None]] = {
    STOCK_FULL: None,
    CHECKPOINTED_FULL: None,
    STOCK_LITE_BIAS: "lite+bias",
    CHECKPOINTED_LITE_BIAS: "lite+bias",
    STOCK_BIAS: "bias",
}
"""What trains in torch's own layers; None: everything, without lite residuals."""

TIMED = """
import sys
from benchmarks.transfer_step_problem import time_lora
time_lora(int(sys.argv[1]), int(sys.argv[2]))
"""
GROWN = """
import sys
from benchmarks.transfer_step_problem import grow
grow(sys.argv[1], int(sys.argv[2]))
"""


def network_of(way: str, size: int, *, batch: int = BATCH) -> Network:
    """Build the network for a way, with pictures of so many pixels."""
    mode = OURS.get(way) or RIVALS.get(way)
    network = build(mode, batch=batch, size=size, is_lean=way in OURS)
    if way in (CHECKPOINTED_LITE_BIAS, CHECKPOINTED_FULL):
        recompute_blocks(network.model)
    if way == LORA:
        return Network(model=with_lora(network.model), pictures=network.pictures, labels=network.labels)
    return network


def steps(ways: Iterable[str], size: int) -> dict[str, Callable[[], None]]:
    """A step of each way: forward and backward."""
    return {way: network_of(way, size).step for way in ways}


def lora_times(size: int, *, rounds: int) -> dict[str, float]:
    """Seconds of a step of peft's LoRA and of the plain network in full, in peft's environment.

    Raises:
        PeerError: The environment is not installed.
    """
    return ask_peft(TIMED, str(size), str(rounds))


def grown_mb(way: str, size: int) -> float:
    """By how much a process of its own grows in a step, in MB; gradients were there before."""
    words = (GROWN, way, str(size))
    return float((ask_peft(*words, grows=True) if way == LORA else ask_child(*words, folder=ROOT))["mb"])


def time_lora(size: int, rounds: int) -> None:
    """Print what `lora_times` returns; run by a process of its own."""
    found = interleaved_times(steps((LORA, STOCK_FULL), size), rounds=rounds, num_threads=1)
    print(json.dumps({way: it.median_seconds for way, it in found.items()}))


def grow(way: str, size: int) -> None:
    """Print by how much this process grows in a step; run by a process of its own."""
    torch.set_num_threads(1)
    network_of(way, 64, batch=1).step()  # what libraries set up once
    network = network_of(way, size)
    for it in network.model.parameters():
        if it.requires_grad:
            it.grad = torch.zeros_like(it)  # there in every step but the first
    print(json.dumps({"mb": growth_of(lambda: network.loss().backward()).most_bytes / 1e6}))
