"""The SpAtten accelerator, unit by unit. So far what it is fed, and the top-k engine."""

from multum.accelerator.topk_engine import TopkEngine, TopkPass, TopkRun
from multum.accelerator.workload import Workload, WorkloadRow
from multum.accelerator.zero_eliminator import ZeroEliminator

__all__ = ["TopkEngine", "TopkPass", "TopkRun", "Workload", "WorkloadRow", "ZeroEliminator"]
