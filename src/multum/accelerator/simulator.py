"""Run a workload on the accelerator: cycles, busy units, bytes, by the engine that is there.

>>> from multum.accelerator.workload import Workload
>>> step = Workload.from_counts(keys=[[512, 512]], heads=12, values=[[128, 128]], key_bits=8, value_bits=8)
>>> found = simulate(step)
>>> len(found.row_cycles), found.cycles == int(found.row_cycles.sum())
(24, True)
"""

from typing import Literal

from multum.accelerator.activity import activity_of
from multum.accelerator.architecture import Architecture
from multum.accelerator.engine.fast import run_fast
from multum.accelerator.engine.plan import plan_of
from multum.accelerator.engine.reference import ReferenceEngine
from multum.accelerator.simulation import DramTraffic, Simulation
from multum.accelerator.workload import Workload
from multum.core import invalid

Impl = Literal["auto", "reference", "cpu"]
"""The compiled engine where there is a compiler, the one in Python, or the compiled one and nothing else."""


def simulate(
    workload: Workload,
    architecture: Architecture | None = None,
    *,
    ideal_dram: bool = False,
    overlap: bool = True,
    impl: Impl = "auto",
) -> Simulation:
    """Run a workload.

    Args:
        workload: What to run.
        architecture: On what; None: SpAtten.
        ideal_dram: Whether the memory never waits, so that only its width counts.
        overlap: Whether rows of a layer overlap in time; False: each begins when the one before is finished, the serial
            sum of the authors' own model of BERT.
        impl: Which engine; both give the same.

    Raises:
        UserError: More keys than the architecture's buffers hold, a clock at which a transaction takes no whole number
            of cycles, or `impl="cpu"` without a compiler.
    """
    architecture = architecture or Architecture()
    if impl not in ("auto", "reference", "cpu"):
        raise invalid("impl", "auto, reference or cpu", impl)
    plan = plan_of(workload, architecture, overlap=overlap)
    found = None if impl == "reference" else run_fast(plan, architecture, ideal_dram=ideal_dram)
    if found is None and impl == "cpu":
        raise invalid(
            "impl", "auto or reference where there is no C++ compiler", impl, "install g++ or clang++"
        )
    if found is None:
        engine = ReferenceEngine(plan, architecture, ideal_dram=ideal_dram)
        engine.run()
        found = engine.times, engine.busy_by_unit, engine.memory.counts
    times, busy, memory = found
    traffic = DramTraffic(
        useful_bytes=int(plan.useful_bits.sum()) // 8,
        transactions=memory.transactions,
        transaction_bytes=architecture.hbm.transaction_bytes,
        activates=memory.activates,
        refreshes=memory.refreshes,
    )
    return Simulation(
        workload=workload,
        architecture=architecture,
        times=times,
        moved_bytes=plan.transactions * architecture.hbm.transaction_bytes,
        unit_busy_cycles=busy,
        dram=traffic,
        activity=activity_of(workload, architecture),
    )
