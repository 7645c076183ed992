"""What SpAtten would make of a run: the run's own workload, and the dense one of the same text, on its simulator.

Only attention is in a workload. The processor's time that stands beside it is that of the whole model, linear layers
and all, so the two are no speed-up; they say where each spends its time.
"""

from dataclasses import dataclass

import numpy as np

from multum.accelerator import Architecture, LayerReading, Workload, energy_of, read_layers, simulate
from multum.accelerator.rivals import dense_workload


@dataclass(frozen=True, kw_only=True)
class AcceleratorReading:
    """One workload on one architecture."""

    name: str
    """`dense` or `pruned`."""
    cycles: int
    """From the first request to the last output."""
    seconds: float
    """The same at the architecture's clock."""
    dram_bytes: int
    """Bytes over the memory's buses."""
    dram_efficiency: float
    """The part of what they could have carried."""
    joules: float
    """Energy of all units and the memory."""
    layers: tuple[LayerReading, ...]
    """Layer by layer."""


@dataclass(frozen=True, kw_only=True)
class OnAccelerator:
    """A run's attention, dense and pruned, and what the processor needed for the whole model."""

    architecture: str
    """Which accelerator."""
    iterations: int
    """Forwards that were followed: a prompt's or an encoder's, and one for each further token."""
    dense: AcceleratorReading
    """Every token, head and value, in 32 bits."""
    pruned: AcceleratorReading
    """As it was run."""
    processor_seconds: float | None
    """Measured time of the whole pruned run on this machine; None where none was taken."""

    @property
    def speedup(self) -> float:
        """Cycles of the dense attention over those of the pruned one."""
        return self.dense.cycles / self.pruned.cycles


def on_accelerator(
    workload: Workload, architecture: Architecture | None = None, *, processor_seconds: float | None = None
) -> OnAccelerator:
    """Simulate a run's workload and its dense counterpart.

    Args:
        workload: What was run, `run.workload()`.
        architecture: On what; None: SpAtten, with buffers as deep as the longest row needs.
        processor_seconds: What the run took on this machine.

    >>> step = Workload.from_counts(keys=[[64, 32]], heads=4, lengths=[64], key_bits=8, value_bits=8)
    >>> found = on_accelerator(step)
    >>> len(found.pruned.layers), found.speedup > 1, found.dense.dram_bytes // found.pruned.dram_bytes
    (2, True, 5)
    """
    dense = dense_workload(workload)
    chosen = (architecture or Architecture()).grown_for(dense)
    return OnAccelerator(
        architecture=chosen.name,
        iterations=len(np.unique(workload.iteration_id)),
        dense=_read("dense", dense, chosen),
        pruned=_read("pruned", workload, chosen),
        processor_seconds=processor_seconds,
    )


def _read(name: str, workload: Workload, architecture: Architecture) -> AcceleratorReading:
    found = simulate(workload, architecture)
    energy = energy_of(found.activity, found.dram, architecture, found.cycles)
    return AcceleratorReading(
        name=name,
        cycles=found.cycles,
        seconds=found.seconds,
        dram_bytes=found.dram.moved_bytes,
        dram_efficiency=found.dram_efficiency,
        joules=energy.total,
        layers=read_layers(found),
    )
