"""By how much a process of its own grows while a layer or a network is computed once, ours and spconv's."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.peers import ENVIRONMENTS, ask_environment
from benchmarks.places import ROOT
from benchmarks.sparse_problem import SparseProblem
from benchmarks.sparse_problem import ours as our_layers
from benchmarks.unet_problem import UNetProblem
from benchmarks.unet_problem import ours as our_unet
from multum.cost.witness import GROWTH_ENVIRONMENT, ask_child, growth_of

SPCONV = "spconv"
CHILD = """
import sys
from benchmarks.sparse_growth import grow
grow(*sys.argv[1:])
"""


def grown_mb(problem: SparseProblem | UNetProblem, who: str) -> float:
    """The most that one run adds, in MB.

    Args:
        problem: What is computed.
        who: `ours` or `spconv`.
    """
    words = (CHILD, who, type(problem).__name__, json.dumps(asdict(problem)))
    if who == SPCONV:
        found = ask_environment(ENVIRONMENTS[SPCONV], *words, settings=GROWTH_ENVIRONMENT)
    else:
        found = ask_child(*words, folder=ROOT)
    return float(found["bytes"]) / 1e6


def grow(who: str, kind: str, wish: str) -> None:
    """Print by how much this process grows; run by a process of its own."""
    torch.set_num_threads(1)
    run = _runner(who, kind, json.loads(wish))
    run()  # what libraries set up once
    print(json.dumps({"bytes": growth_of(run).most_bytes}))


def _runner(who: str, kind: str, wish: dict[str, Any]) -> Callable[[], object]:
    if kind == "SparseProblem":
        layer = SparseProblem(**wish)
        if who != SPCONV:
            return our_layers(layer)
        from benchmarks.peer_workers import spconv_layers

        return spconv_layers.theirs(layer)
    network = UNetProblem(**wish)
    if who != SPCONV:
        return our_unet(network)
    from benchmarks.peer_workers import spconv_unet

    found: Callable[[], object] = spconv_unet.theirs(network, network.scan())
    return found
