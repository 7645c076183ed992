"""The SpAtten accelerator: its units one by one, and a workload's way through them, cycle by cycle."""

from multum.accelerator.architecture import Architecture, spatten_eighth
from multum.accelerator.by_layer import LayerReading, read_layers
from multum.accelerator.energy import Energy, energy_of
from multum.accelerator.simulation import DramTraffic, Simulation
from multum.accelerator.simulator import simulate
from multum.accelerator.topk_engine import TopkEngine, TopkPass, TopkRun
from multum.accelerator.workload import Workload, WorkloadRow
from multum.accelerator.zero_eliminator import ZeroEliminator

__all__ = [
    "Architecture",
    "DramTraffic",
    "Energy",
    "LayerReading",
    "Simulation",
    "TopkEngine",
    "TopkPass",
    "TopkRun",
    "Workload",
    "WorkloadRow",
    "ZeroEliminator",
    "energy_of",
    "read_layers",
    "simulate",
    "spatten_eighth",
]
