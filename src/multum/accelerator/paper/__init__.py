"""The paper's evaluation: its 30 benchmarks, and every published number beside ours."""

from multum.accelerator.paper.assumptions import Assumptions, assumed
from multum.accelerator.paper.benchmarks30 import Benchmark, Network, thirty_benchmarks
from multum.accelerator.paper.breakdown import Step, breakdown
from multum.accelerator.paper.measured import Measured, geometric_mean, measure, measure_workload
from multum.accelerator.paper.public_trace import medium_trace
from multum.accelerator.paper.reproduce import BenchmarkResult, Reproduction, reproduce
from multum.accelerator.paper.rows import ASSUMED, Row, Table
from multum.accelerator.paper.sensitivity import Effect, Sensitivity
from multum.accelerator.paper.sweeps import Point, Sweep
from multum.accelerator.paper.workloads import TECHNIQUES, workload_of

__all__ = [
    "ASSUMED",
    "TECHNIQUES",
    "Assumptions",
    "Benchmark",
    "BenchmarkResult",
    "Effect",
    "Measured",
    "Network",
    "Point",
    "Reproduction",
    "Row",
    "Sensitivity",
    "Step",
    "Sweep",
    "Table",
    "assumed",
    "breakdown",
    "geometric_mean",
    "measure",
    "measure_workload",
    "medium_trace",
    "reproduce",
    "thirty_benchmarks",
    "workload_of",
]
