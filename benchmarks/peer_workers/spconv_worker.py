"""spconv at work: layers and whole networks, each prepared once, compared with ours, and run when it is asked for."""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.peer_workers import spconv_layers, spconv_unet
from benchmarks.peer_workers.serve import serve
from benchmarks.sparse_problem import SparseProblem
from benchmarks.unet_problem import UNetProblem, ours

_made: dict[str, Callable[[], Any]] = {}


def threads(num_threads: int) -> None:
    """Set torch's number of threads."""
    torch.set_num_threads(num_threads)


def prepare_layer(name: str, wish: dict[str, Any]) -> float:
    """Make a problem's layers; returns how far what they compute is from ours, in norm, at worst."""
    problem = SparseProblem(**wish)
    _made[name] = spconv_layers.theirs(problem)
    return spconv_layers.error_of(problem)


def prepare_map(name: str, wish: dict[str, Any]) -> int:
    """Make ready to find the kernel map of a layer that stays; returns its pairs."""
    _made[name] = spconv_layers.hashed_map(SparseProblem(**wish))
    return int(_made[name]()[2].sum())


def prepare_unet(name: str, wish: dict[str, Any]) -> float:
    """Make a network; returns how far its numbers are from ours, in norm."""
    problem = UNetProblem(**wish)
    _made[name] = spconv_unet.theirs(problem, problem.scan())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        other = _made[name]().detach()
        torch.manual_seed(0)
        mine = ours(problem)().detach()
    return float((mine - other).norm() / mine.norm())


def run(name: str) -> None:
    """Compute what was prepared."""
    _made[name]()


if __name__ == "__main__":
    serve(
        {
            "threads": threads,
            "prepare_layer": prepare_layer,
            "prepare_map": prepare_map,
            "prepare_unet": prepare_unet,
            "run": run,
        }
    )
