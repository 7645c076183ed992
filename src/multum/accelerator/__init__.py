"""The SpAtten accelerator. So far what it is fed: a workload, row by row."""

from multum.accelerator.workload import Workload, WorkloadRow

__all__ = ["Workload", "WorkloadRow"]
