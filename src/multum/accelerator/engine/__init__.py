"""Two engines that agree in every cycle: a reference to step and read, and a compiled one."""

from multum.accelerator.engine.plan import Plan, plan_of
from multum.accelerator.engine.reference import ReferenceEngine

__all__ = ["Plan", "ReferenceEngine", "plan_of"]
