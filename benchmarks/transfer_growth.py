"""By how much a process grows in a step of training EfficientNet-Lite0, mode by mode, and at rivals'."""

import json
from collections.abc import Callable
from typing import Final, get_args

import torch
from torch.nn import functional

from benchmarks.places import ROOT
from benchmarks.transfer_peft import LORA, ask_peft, with_lora
from multum.cost.witness import ask_child, growth_of
from multum.transfer import MODES, Mode, TransferConfig, make_stock, recompute_blocks
from multum.transfer.train_command import adapted_network, fresh_backbone

STOCK, CHECKPOINTED = "full_stock", "full_checkpointed"
"""Everything trains: as torch has it, and with every block computed again in backward."""
LEAN: Final[dict[str, Mode]] = {mode.replace("+", "_"): mode for mode in get_args(Mode)}
MEASURED: Final = (*LEAN, STOCK, CHECKPOINTED, LORA)
assert len(LEAN) == len(MODES), "every mode has a name of its own"
NUM_CLASSES, WARM_SIDE = 10, 64

CHILD = """
import sys
from benchmarks.transfer_growth import grow
grow(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
"""


def grown_mb(name: str, *, batch: int, side: int) -> float:
    """Measure in a process of its own.

    Args:
        name: One of `MEASURED`.
        batch: Pictures of the step.
        side: Their height and width.

    Returns:
        The most that forward and backward added, in MB; gradients were there before.
    """
    words = (CHILD, name, str(batch), str(side))
    found = ask_peft(*words, grows=True) if name == LORA else ask_child(*words, folder=ROOT)
    return float(found["bytes"]) / 1e6


def grow(name: str, batch: int, side: int) -> None:
    """Print by how much this process grows in a step; run by a process of its own."""
    torch.set_num_threads(1)
    _step(name, 1, WARM_SIDE)()  # what libraries set up once
    step = _step(name, batch, side)
    print(json.dumps({"bytes": growth_of(step).most_bytes}))


def _step(name: str, batch: int, side: int) -> Callable[[], float]:
    config = TransferConfig(data="digits", pretrained=False, side=side, mode=LEAN.get(name, "full"))
    example = torch.randn(1, 3, side, side)
    network = adapted_network(config, fresh_backbone(config), NUM_CLASSES, example=example).model
    if name not in LEAN:
        make_stock(network)
    if name == CHECKPOINTED:
        recompute_blocks(network)
    if name == LORA:
        network = with_lora(network)
    for it in network.parameters():
        if it.requires_grad:
            it.grad = torch.zeros_like(it)
    pictures = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(NUM_CLASSES, (batch,))

    def step() -> float:
        loss = functional.cross_entropy(network(pictures), labels)
        loss.backward()
        return float(loss.detach())

    return step
