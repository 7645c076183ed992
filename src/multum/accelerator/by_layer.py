"""A simulation told layer by layer: cycles, bytes of DRAM and energy, all iterations of a layer together."""

from dataclasses import dataclass

import numpy as np

from multum.accelerator.energy import energy_by_group
from multum.accelerator.simulation import Simulation


@dataclass(frozen=True, kw_only=True)
class LayerReading:
    """What one layer took."""

    layer: int
    """Its number in the workload."""
    rows: int
    """Heads that it computed, over all iterations."""
    cycles: int
    """From the last output before it to its own last, added up."""
    dram_bytes: int
    """Bytes over the buses."""
    joules: float
    """All units, and the memory's in proportion to its bytes."""


def read_layers(simulation: Simulation) -> tuple[LayerReading, ...]:
    """What each layer took; together all that the workload took.

    >>> from multum.accelerator.simulator import simulate
    >>> from multum.accelerator.workload import Workload
    >>> found = simulate(Workload.from_counts(keys=[[64, 32], [65, 33]], heads=2))
    >>> sum(it.cycles for it in read_layers(found)) == found.cycles
    True
    """
    layers, group_R = np.unique(simulation.workload.layer_id, return_inverse=True)
    cycles_G, bytes_G = (
        np.bincount(group_R, weights=it).astype(np.int64)
        for it in (simulation.row_cycles, simulation.moved_bytes)
    )
    energies = energy_by_group(
        simulation.activity.by(group_R), simulation.dram, simulation.architecture, cycles_G, bytes_G
    )
    return tuple(
        LayerReading(
            layer=int(layer),
            rows=int((group_R == group).sum()),
            cycles=int(cycles_G[group]),
            dram_bytes=int(bytes_G[group]),
            joules=energies[group].total,
        )
        for group, layer in enumerate(layers)
    )
